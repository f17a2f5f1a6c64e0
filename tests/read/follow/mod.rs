//! Waiting for slots, and following a column while somebody else writes it.
//!
//! Times appear here only as guards against a hang and as the pace of a writer: no test expects
//! something to be fast.
#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "side files of the tests, not files of a column")]

mod following;
mod processes;
mod waiting;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use coldstore::{Compression, Follower, MappedReader, Slot, View, Writer, WriterOptions};
use test_support::{
    Arrival, Choices, HANG, Process, bytes_from, reader, scratch, spec, wait_for, without_hanging,
};

fn create(directory: &Path, backfill: bool) -> Writer {
    let options = WriterOptions::create(spec(Compression::None, 1 << 20)).allow_backfill(backfill);
    Writer::open(directory, options).unwrap()
}

fn value(slot: u64) -> Vec<u8> {
    bytes_from(slot, 24)
}

fn put(writer: &mut Writer, slots: &[u64]) {
    let items: Vec<(Slot, Vec<u8>)> = slots.iter().map(|&slot| (Slot(slot), value(slot))).collect();
    writer.put_batch(&items).unwrap();
}

/// Waits in a thread of its own, so that a call that ignores its timeout is noticed too.
fn wait(reader: &MappedReader, slot: u64, timeout: Option<Duration>) -> Arrival {
    let reader = reader.clone();
    without_hanging("wait_for", move || wait_for(&reader, slot, timeout))
}

/// The next `count` slots of the follower; each must be readable in the follower's view at once.
fn take(follower: &mut Follower<View>, count: usize) -> Vec<u64> {
    let deadline = Instant::now() + HANG / 2;
    let mut slots = Vec::with_capacity(count);
    while slots.len() < count {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(slot) = follower.next_slot(Some(left)).unwrap() else {
            panic!("only {} of {count} came: {slots:?}", slots.len());
        };
        let shown = follower.view().get(slot).unwrap();
        assert_eq!(shown.as_deref(), Some(&value(slot.0)[..]), "slot {slot}");
        slots.push(slot.0);
    }
    slots
}

fn assert_nothing_more(follower: &mut Follower<View>) {
    assert_eq!(follower.next_slot(Some(Duration::from_millis(30))).unwrap(), None);
}

/// The ways in which a reader may learn of a commit.
#[derive(Clone, Copy, PartialEq)]
enum Notice {
    /// The kernel tells of changes in the directory.
    Watched,
    /// It does not, as on a network mount or when all watches are in use.
    Polled,
}

/// Runs the child function in a process that gets no inotify instance from the kernel.
#[cfg(target_os = "linux")]
fn forbid_inotify() {
    use test_support::system_calls::{Verdict, restrict};
    let refused = u16::try_from(libc::EMFILE).unwrap();
    let mut calls = vec![(libc::SYS_inotify_init1, Verdict::Fail(refused))];
    #[cfg(target_arch = "x86_64")]
    calls.push((libc::SYS_inotify_init, Verdict::Fail(refused)));
    restrict(Verdict::Allow, &calls);
}
