#!/usr/bin/env bash
# Draws src/docs/map.svg: the minimal chain of tests/data, with the states of slots 1 to 255 backfilled.
# Run from the root of the checkout; needs tar, zstd and cargo.
set -euo pipefail
coldstore() { cargo run --quiet --release --package coldstore-tools --bin coldstore -- "$@"; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
echo 'config_name = "minimal"' > "$scratch/minimal.toml"
coldstore import "$scratch/archive" tests/data/chain-minimal/era \
    --network "$scratch/minimal.toml" --backfill
zstd -q -d --long=27 -c tests/data/chain-minimal/states.tar.zst | tar -x -C "$scratch"
for slot in $(seq 1 255); do
    state=$(find "$scratch" -name "$(printf %08d "$slot").ssz")
    coldstore put "$scratch/archive" bss "$slot" "$state"
done
coldstore map "$scratch/archive" --svg src/docs/map.svg
