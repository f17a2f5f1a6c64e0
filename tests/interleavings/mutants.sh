#!/usr/bin/env bash
# Applies each patch in mutants/ alone to a copy of the sources, and runs the interleavings: a test must
# fail. Prints the tests that failed. Arguments select patches by name.
#   tests/interleavings/mutants.sh [NAME…]
# MUTANTS_DIR: directory for the copy and its build (default /tmp/coldstore-mutants); it is kept.
# MUTANTS_RUN: a command prefix for cargo.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=${MUTANTS_DIR:-/tmp/coldstore-mutants}
tree=$scratch/interleavings
rm -rf "$tree"
mkdir -p "$tree"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp -p --parents -t "$tree"
patches=$PWD/tests/interleavings/mutants
names=("$@")
if [ $# -eq 0 ]; then
    for patch in "$patches"/*.patch; do
        names+=("$(basename "$patch" .patch)")
    done
fi
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$scratch/target}
cd "$tree"
survived=()
for name in "${names[@]}"; do
    log=$scratch/$name.log
    patch -s -p1 -F3 --no-backup-if-mismatch <"$patches/$name.patch"
    # Files restored below must be newer than the build.
    sleep 1
    if ! ${MUTANTS_RUN:-} cargo test -q -p coldstore-interleavings --no-run >"$log" 2>&1; then
        echo "$name: does not build, see $log" >&2
        exit 1
    fi
    if ${MUTANTS_RUN:-} timeout 600 cargo test -q -p coldstore-interleavings --no-fail-fast \
        >"$log" 2>&1; then
        echo "$name: SURVIVED"
        survived+=("$name")
    else
        echo "$name: $(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p; s/^    \([a-z_]*\)$/\1/p' "$log" | sort -u | tr '\n' ' ')"
    fi
    patch -R -s -p1 -F3 --no-backup-if-mismatch <"$patches/$name.patch"
done
if [ ${#survived[@]} -gt 0 ]; then
    echo "survived: ${survived[*]}" >&2
    exit 1
fi
