#!/usr/bin/env bash
# Converts the corpus of a target between one file in the repository and a folder for the fuzzers.
#   tests/fuzz/corpus.sh unpack [TARGET]...   corpus/TARGET.tar.zst to corpus/TARGET
#   tests/fuzz/corpus.sh pack [TARGET]...     the folder to the file, reproducibly
set -euo pipefail
cd "$(dirname "$0")/corpus"
what=${1:?unpack or pack}
shift
[ $# -gt 0 ] || set -- blocks column conf diffs era operations slots snappy
for target; do
    case $what in
    unpack)
        mkdir -p "$target"
        tar --zstd -xf "$target.tar.zst" -C "$target"
        ;;
    pack)
        tar --sort=name --owner=0 --group=0 --numeric-owner --mode=644 --mtime=@0 -cf - \
            -C "$target" --transform='s,^\./,,' --no-recursion \
            --null -T <(cd "$target" && find . -type f -print0 | sort -z) |
            zstd -q -19 --force -o "$target.tar.zst"
        ;;
    *)
        echo "$0: unpack or pack, not $what" >&2
        exit 2
        ;;
    esac
done
