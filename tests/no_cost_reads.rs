//! A read of a mapped record costs no allocation and no system call.
//!
//! The first is counted by the allocator of this binary. The second is proved by the kernel: a child
//! process forbids itself every system call but the one that ends it, and then reads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::ffi::{OsStr, c_long};
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use coldstore::{Compression, Slot, View, Writer, WriterOptions};
use test_support::allocations::{Counting, made_by};
use test_support::system_calls::{Verdict, exit_at_once, restrict};
use test_support::{Process, bytes_from, reader, scratch, spec};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DIRECTORY: &str = "COLDSTORE_TEST_COLUMN";
const WHAT: &str = "COLDSTORE_TEST_WHAT";

/// What a child that read to the end leaves as its status; no other way of ending has it.
const READ_ALL: i32 = 42;

/// Slots with a record: in a sealed file, behind a skipped file, in the current file.
const WRITTEN: [u64; 6] = [0, 5, 8191, 3 * 8192, 3 * 8192 + 1, 3 * 8192 + 100];
/// Slots without: in files that exist, in the skipped file, above the highest.
const ABSENT: [u64; 6] = [1, 8190, 8192, 20_000, 3 * 8192 + 50, 3 * 8192 + 101];

/// The largest bound on values with which no record is asked for on its own.
const SMALL: u64 = 4096;

fn fill(directory: &Path, compression: Compression, backfill: bool, bound: u64) {
    let options = WriterOptions::create(spec(compression, bound)).allow_backfill(backfill);
    let mut writer = Writer::open(directory, options).unwrap();
    let items: Vec<(Slot, Vec<u8>)> =
        WRITTEN.iter().map(|&slot| (Slot(slot), bytes_from(slot, 32))).collect();
    writer.put_batch(&items).unwrap();
}

/// Every kind of read that is promised to cost nothing, over every kind of slot.
fn read_everything(view: &View, borrowed_value: bool, buffer: &mut Vec<u8>) {
    for slot in WRITTEN {
        let slot = Slot(slot);
        assert!(black_box(view.get_stored(slot)).unwrap().is_some());
        assert!(black_box(view.contains(slot)).unwrap());
        assert_eq!(black_box(view.record(slot)).unwrap().unwrap().slot(), slot);
        if borrowed_value {
            assert_eq!(black_box(view.get(slot)).unwrap().unwrap().len(), 32);
            assert!(black_box(view.get_into(slot, buffer)).unwrap());
        }
    }
    for slot in ABSENT {
        let slot = Slot(slot);
        assert!(black_box(view.get_stored(slot)).unwrap().is_none());
        assert!(black_box(view.get(slot)).unwrap().is_none());
        assert!(!black_box(view.contains(slot)).unwrap());
    }
    assert_eq!(black_box(view.highest_written_slot()), Some(Slot(WRITTEN[5])));
}

#[test]
fn a_warm_read_allocates_nothing() {
    for (compression, backfill) in [
        (Compression::None, false),
        (Compression::None, true),
        (Compression::Snappy, false),
        (Compression::Snappy, true),
    ] {
        let scratch = scratch();
        fill(scratch.path(), compression, backfill, SMALL);
        let reader = reader(scratch.path());
        let view = reader.view();
        let mut buffer = Vec::with_capacity(64);
        let borrowed_value = compression == Compression::None;
        read_everything(&view, borrowed_value, &mut buffer);

        let (allocations, ()) = made_by(|| {
            for _ in 0..1_000 {
                read_everything(&view, borrowed_value, &mut buffer);
            }
        });
        assert_eq!(allocations, 0, "{compression}, backfill {backfill}");
    }
}

#[test]
fn the_latest_view_needs_no_allocation() {
    let scratch = scratch();
    fill(scratch.path(), Compression::None, false, SMALL);
    let reader = reader(scratch.path());
    reader.view().contains(Slot(0)).unwrap();
    let (allocations, ()) = made_by(|| {
        for _ in 0..1_000 {
            let view = black_box(reader.view());
            let view = black_box(view.clone());
            assert!(view.contains(Slot(0)).unwrap());
        }
    });
    assert_eq!(allocations, 0);
}

/// The allocator does count: without this, the tests above prove nothing.
#[test]
fn the_counter_counts() {
    let (allocations, bytes) = made_by(|| black_box(vec![1_u8; 100]));
    assert_eq!(allocations, 1);
    drop(bytes);
}

fn child(what: &str) -> ExitStatus {
    let scratch = scratch();
    let column = scratch.path().join("column");
    let compression = if what == "stored" { Compression::Snappy } else { Compression::None };
    let bound = if what == "large" { SMALL + 1 } else { SMALL };
    fill(&column, compression, what == "backfill", bound);
    let output = scratch.path().join("output");
    let mut process = Process::start(
        "child_that_reads_without_system_calls",
        output,
        &[(DIRECTORY, column.as_os_str()), (WHAT, OsStr::new(what))],
    );
    let status = process.wait();
    print!("{}", process.printed());
    status
}

#[test]
fn a_warm_read_makes_no_system_call() {
    for what in ["plain", "backfill", "stored"] {
        let status = child(what);
        assert_eq!(status.code(), Some(READ_ALL), "{what}: {status}");
    }
}

/// Where a record may be large it is asked for at its first touch, and again when it may have
/// gone from memory.
#[test]
fn a_warm_read_in_a_column_of_large_values_makes_no_system_call_but_advice() {
    let status = child("large");
    assert_eq!(status.code(), Some(READ_ALL), "{status}");
}

#[test]
fn a_refresh_without_a_new_commit_makes_no_system_call_but_stat() {
    let status = child("refresh");
    assert_eq!(status.code(), Some(READ_ALL), "{status}");
}

/// The kernel does forbid: without this, the tests above prove nothing.
#[test]
fn a_forbidden_system_call_kills() {
    let status = child("forbidden");
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
}

#[test]
#[ignore = "started by the tests above as a process of its own"]
fn child_that_reads_without_system_calls() {
    let (Some(directory), Some(what)) = (std::env::var_os(DIRECTORY), std::env::var(WHAT).ok())
    else {
        return;
    };
    let reader = reader(&PathBuf::from(directory));
    let view = reader.view();
    let mut buffer = Vec::with_capacity(64);
    let borrowed_value = what != "stored";
    read_everything(&view, borrowed_value, &mut buffer);
    if what == "refresh" {
        reader.refresh().unwrap();
    }

    let mut allowed = vec![(libc::SYS_exit_group, Verdict::Allow)];
    if what == "refresh" {
        allowed.extend(STAT.map(|call| (call, Verdict::Allow)));
    }
    if what == "large" {
        let calls = [libc::SYS_madvise, CACHESTAT, libc::SYS_getrusage];
        allowed.extend(calls.map(|call| (call, Verdict::Allow)));
    }
    restrict(Verdict::Kill, &allowed);
    for _ in 0..1_000 {
        if what == "refresh" {
            let view = reader.refresh().unwrap();
            read_everything(&view, borrowed_value, &mut buffer);
        } else {
            read_everything(&view, borrowed_value, &mut buffer);
            let view = reader.view();
            read_everything(&view, borrowed_value, &mut buffer);
        }
    }
    if what == "forbidden" {
        println!("this needs `write`, and nobody will read it");
    }
    exit_at_once(READ_ALL);
}

const CACHESTAT: c_long = 451;
#[cfg(target_arch = "x86_64")]
const STAT: [c_long; 4] = [libc::SYS_stat, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx];
#[cfg(not(target_arch = "x86_64"))]
const STAT: [c_long; 3] = [libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx];
