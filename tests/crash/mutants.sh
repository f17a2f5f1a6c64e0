#!/usr/bin/env bash
# Applies each patch in mutants/ alone to a copy of the sources, and runs the campaigns until one fails.
# Prints the campaign that caught each patch; a patch that no campaign catches is an error. Arguments
# select patches by name.
#   tests/crash/mutants.sh [NAME…]
# MUTANTS_DIR: directory for the copy and its build (default /tmp/coldstore-mutants); it is kept.
# MUTANTS_RUN: a command prefix for cargo. A campaign that takes over an hour counts as not caught.
# A line "campaign: NAME" above a patch names the campaign to try first.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=${MUTANTS_DIR:-/tmp/coldstore-mutants}
tree=$scratch/tree
rm -rf "$tree"
mkdir -p "$tree"
# The copies are newer than the build of an earlier run.
git ls-files -z --cached --others --exclude-standard |
    xargs -0 cp --preserve=mode --parents -t "$tree"
patches=$PWD/tests/crash/mutants
names=("$@")
if [ $# -eq 0 ]; then
    for patch in "$patches"/*.patch; do
        names+=("$(basename "$patch" .patch)")
    done
fi
# `limit campaign`: quick runs of all campaigns first, the slow one last.
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
# Optimization speeds the campaigns up; overflow checks and assertions stay on.
export CARGO_PROFILE_DEV_OPT_LEVEL=${CARGO_PROFILE_DEV_OPT_LEVEL:-1}
export COLDSTORE_TESTS=whole
cd "$tree"
survived=()
for name in "${names[@]}"; do
    log=$scratch/$name.log
    patch -s -p1 -F1 --no-backup-if-mismatch <"$patches/$name.patch"
    # Files restored below must be newer than the build.
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
            # A timeout is not a failure of the test.
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
