#!/usr/bin/env bash
# Applies each patch in mutants/ to a copy of the sources, alone, and runs the campaign on it: it
# must fail. Prints what caught each. Names of patches as arguments: only those.
#   tests/crash/mutants.sh [NAME…]
# MUTANTS_DIR: where the copy and its build go (default: /tmp/coldstore-mutants, which is kept).
# MUTANTS_RUN: a command to put before cargo.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=${MUTANTS_DIR:-/tmp/coldstore-mutants}
tree=$scratch/tree
rm -rf "$tree"
mkdir -p "$tree"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp -p --parents -t "$tree"
patches=$PWD/tests/crash/mutants
names=("$@")
if [ $# -eq 0 ]; then
    for patch in "$patches"/*.patch; do
        names+=("$(basename "$patch" .patch)")
    done
fi
export CARGO_TARGET_DIR=$scratch/target
cd "$tree"
survived=()
for name in "${names[@]}"; do
    log=$scratch/$name.log
    patch -s -p1 -F3 --no-backup-if-mismatch <"$patches/$name.patch"
    # What is restored below must look newer than what was built.
    sleep 1
    if ! ${MUTANTS_RUN:-} cargo test -q -p coldstore --test crash --no-run >"$log" 2>&1; then
        echo "$name: does not build, see $log" >&2
        exit 1
    fi
    if ${MUTANTS_RUN:-} timeout 600 cargo test -q -p coldstore --test crash -- --skip lies \
        >"$log" 2>&1; then
        echo "$name: SURVIVED"
        survived+=("$name")
    else
        echo "$name: $(grep -A1 'panicked at tests/crash/' "$log" | grep -v panicked | cut -c1-500 | tr '\n' ' ')"
    fi
    patch -R -s -p1 -F3 --no-backup-if-mismatch <"$patches/$name.patch"
done
if [ ${#survived[@]} -gt 0 ]; then
    echo "survived: ${survived[*]}" >&2
    exit 1
fi
