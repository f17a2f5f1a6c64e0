#!/usr/bin/env bash
# Applies each patch in mutants/ to a copy of the sources, alone, and runs the campaigns on it until
# one fails: one of them must. Prints what caught each. Names of patches as arguments: only those.
#   tests/crash/mutants.sh [NAME…]
# MUTANTS_DIR: where the copy and its build go (default: /tmp/coldstore-mutants, which is kept).
# MUTANTS_RUN: a command to put before cargo. One that takes over an hour counts as not caught.
# A line "campaign: NAME" above a patch names the campaign to begin with, which is the one that catches it.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=${MUTANTS_DIR:-/tmp/coldstore-mutants}
tree=$scratch/tree
rm -rf "$tree"
mkdir -p "$tree"
# The copies are newer than whatever an earlier run has built of changed sources.
git ls-files -z --cached --others --exclude-standard |
    xargs -0 cp --preserve=mode --parents -t "$tree"
patches=$PWD/tests/crash/mutants
names=("$@")
if [ $# -eq 0 ]; then
    for patch in "$patches"/*.patch; do
        names+=("$(basename "$patch" .patch)")
    done
fi
# A quick look at everything comes first, what takes a minute last: `limit campaign`.
campaigns=(
    "150 no_power_cut_tears_the_manifest"
    "150 no_power_cut_loses_or_tears_anything"
    "150 every_call_may_fail_once"
    "150 flushes_at_once_may_end_in_any_order"
    "150 any_of_the_flushes_at_once_may_fail"
    "150 no_power_cut_loses_what_a_pipeline_has_answered_or_tears_a_job"
    "24000 no_power_cut_loses_or_tears_anything"
)
export CARGO_TARGET_DIR=$scratch/target
# The campaigns take a fraction of the time; checks for overflow and the like stay.
export CARGO_PROFILE_DEV_OPT_LEVEL=${CARGO_PROFILE_DEV_OPT_LEVEL:-1}
export COLDSTORE_TESTS=whole
cd "$tree"
survived=()
for name in "${names[@]}"; do
    log=$scratch/$name.log
    patch -s -p1 -F1 --no-backup-if-mismatch <"$patches/$name.patch"
    # What is restored below must look newer than what was built.
    sleep 1
    if ! ${MUTANTS_RUN:-} cargo test -q -p coldstore --test crash --no-run >"$log" 2>&1; then
        echo "$name: does not build, see $log" >&2
        exit 1
    fi
    caught=
    first=$(sed -n 's/^campaign: //p' "$patches/$name.patch")
    for step in ${first:+"150 $first"} "${campaigns[@]}"; do
        read -r limit campaign <<<"$step"
        code=0
        COLDSTORE_CRASH_LIMIT=$limit ${MUTANTS_RUN:-} timeout 3600 \
            cargo test -q -p coldstore --test crash -- "$campaign" >"$log" 2>&1 || code=$?
        if [ "$code" -eq 124 ]; then
            # Nothing says that it would have failed.
            break
        elif [ "$code" -ne 0 ]; then
            caught=$campaign
            break
        fi
    done
    if [ -z "$caught" ]; then
        echo "$name: SURVIVED"
        survived+=("$name")
    else
        echo "$name: $caught: $(grep -A1 'panicked at tests/crash/' "$log" | grep -v panicked | cut -c1-500 | tr '\n' ' ')"
    fi
    patch -R -s -p1 -F1 --no-backup-if-mismatch <"$patches/$name.patch"
done
if [ ${#survived[@]} -gt 0 ]; then
    echo "survived: ${survived[*]}" >&2
    exit 1
fi
