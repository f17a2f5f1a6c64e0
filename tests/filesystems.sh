#!/usr/bin/env bash
# Runs the tests that are about crashes, kills and full disks on other file systems than the one that
# the machine happens to have. Needs to be root (images are mounted through loop devices), mkfs.xfs
# (xfsprogs) and mkfs.btrfs (btrfs-progs).
#
#   tests/filesystems.sh [ext4 | xfs | btrfs | tmpfs]...        all of them unless said otherwise
#
# COLDSTORE_SCRATCH  where the images are made (default /var/tmp)
# COLDSTORE_KILLS    how often each kind of writer is killed (default 60)
# PROPTEST_CASES     how many cases each test against a model makes (default 2,000, on btrfs 200)
# TESTS              the test binaries to run (default: those below that there are)
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
    echo "$0: only root can mount a file system" >&2
    exit 2
fi
[ $# -gt 0 ] || set -- ext4 xfs btrfs tmpfs

tests=()
for name in ${TESTS:-two_processes interrupted heal backfill model crash abuse}; do
    if [ -f "tests/$name.rs" ] || [ -f "tests/$name/main.rs" ]; then
        tests+=(--test "$name")
    fi
done
cargo test --locked -p coldstore "${tests[@]}" --test full_disk --no-run

scratch=$(mktemp -d "${COLDSTORE_SCRATCH:-/var/tmp}/coldstore-filesystems-XXXXXX")
# Some tests are another user for a while.
chmod 755 "$scratch"
clean_up() {
    for mount in "$scratch"/large "$scratch"/small; do
        if mountpoint -q "$mount"; then umount "$mount"; fi
    done
    rm -rf "$scratch"
}
trap clean_up EXIT
mkdir "$scratch/large" "$scratch/small"

# image KIND SIZE MOUNT: makes a file system of a size (as `truncate` takes it) and mounts it.
image() {
    local kind=$1 size=$2 mount=$3
    if [ "$kind" = tmpfs ]; then
        mount -t tmpfs -o "size=$size" tmpfs "$mount"
        return
    fi
    rm -f "$mount.image"
    truncate -s "$size" "$mount.image"
    case $kind in
        ext4) mkfs.ext4 -q -F "$mount.image" ;;
        xfs) mkfs.xfs -q -f "$mount.image" ;;
        btrfs) mkfs.btrfs -q -f --mixed "$mount.image" 2>/dev/null ;;
        *)
            echo "$0: no file system is called $kind here" >&2
            exit 2
            ;;
    esac
    mount -o loop "$mount.image" "$mount"
}

# A full btrfs takes its time over every call.
declare -A step=([btrfs]=65536)
# A case of the model flushes some 22 times. Two tests side by side flush a hundred times in a second
# there, so 2,000 cases would take a quarter of an hour.
declare -A cases=([btrfs]=200)
# The smallest that each of them can be.
declare -A smallest=([ext4]=16M [xfs]=300M [btrfs]=128M [tmpfs]=4M)

for kind; do
    printf '\n== %s\n' "$kind"
    image "$kind" 1G "$scratch/large"
    TMPDIR="$scratch/large" COLDSTORE_TEST_DIR="$scratch/large" \
        PROPTEST_CASES="${PROPTEST_CASES:-${cases[$kind]:-2000}}" \
        cargo test -q --locked -p coldstore "${tests[@]}"
    umount "$scratch/large"
    image "$kind" "${smallest[$kind]:-16M}" "$scratch/small"
    COLDSTORE_FULL_DISK="$scratch/small" COLDSTORE_FULL_DISK_STEP="${step[$kind]:-4096}" \
        cargo test -q --locked -p coldstore --test full_disk
    umount "$scratch/small"
    rm -f "$scratch"/*.image
done
