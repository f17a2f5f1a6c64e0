#!/usr/bin/env bash
# Counts instructions per warm get and per get of its floor with callgrind, as the difference between
# two runs a million gets apart. Needs valgrind and bc.
set -euo pipefail
cd "$(dirname "$0")/.."
bench=$(cargo bench --bench ratios --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*ratios[^"]*\)".*/\1/p' | tail -n 1)

count() { # subject, gets
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" --instructions "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

each() { # subject
    echo "($(count "$1" 2000000) - $(count "$1" 1000000)) / 1000000" | bc -l
}

# The cost of creating and walking the list of random slots is the same for every subject.
nothing=$(each nothing)
for subject in get floor checked; do
    printf '%s: %.1f instructions each\n' "$subject" "$(echo "$(each $subject) - $nothing" | bc -l)"
done
