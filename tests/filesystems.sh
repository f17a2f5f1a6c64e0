#!/usr/bin/env bash
# Runs the tests of crashes, kills and full disks on other file systems than the machine's own. Needs
# root (images are mounted through loop devices), mkfs.xfs (xfsprogs) and mkfs.btrfs (btrfs-progs).
#
#   tests/filesystems.sh [ext4 | xfs | btrfs | tmpfs]...        default: all
#
# COLDSTORE_SCRATCH  directory for the images (default /var/tmp)
# COLDSTORE_KILLS    kills per kind of writer (default 60)
# PROPTEST_CASES     cases per model test (default 2,000, on btrfs 200)
# TESTS              test binaries to run (default: those listed below, if present)
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
    echo "$0: only root can mount a file system" >&2
    exit 2
fi
[ $# -gt 0 ] || set -- ext4 xfs btrfs tmpfs

tests=()
for name in ${TESTS:-two_processes write model crash abuse}; do
    if [ -f "tests/$name.rs" ] || [ -f "tests/$name/main.rs" ]; then
        tests+=(--test "$name")
    fi
done
cargo test --locked -p coldstore "${tests[@]}" --test full_disk --no-run

scratch=$(mktemp -d "${COLDSTORE_SCRATCH:-/var/tmp}/coldstore-filesystems-XXXXXX")
# Some tests switch to another user and need access.
chmod 755 "$scratch"
clean_up() {
    for mount in "$scratch"/large "$scratch"/small; do
        if mountpoint -q "$mount"; then umount "$mount"; fi
    done
    rm -rf "$scratch"
}
trap clean_up EXIT
mkdir "$scratch/large" "$scratch/small"

# image KIND SIZE MOUNT: creates a file system of this size (in `truncate` syntax) and mounts it.
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

# Calls on a full btrfs are slow.
declare -A step=([btrfs]=65536)
# A case of the model flushes about 22 times, and btrfs does a hundred flushes per second for two tests
# in parallel: 2,000 cases would take a quarter of an hour.
declare -A cases=([btrfs]=200)
# Minimum size of each file system.
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
