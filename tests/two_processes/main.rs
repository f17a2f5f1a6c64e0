//! One process writes, others read, and the writer is killed with -9 again and again.
//!
//! The parent starts this very binary as a writer and as readers. What the writer commits is a pure
//! function of the number of the batch ([`batch`]), and a value one of its slot and that number:
//! a reader can tell from one record which others belong to it. The writer appends to a side log
//! what was acknowledged, *after* the acknowledgement, so whatever a reader finds in the log before
//! it refreshes must be in the view after.
//!
//! One kind of writer commits batch after batch. The other hands several at once to a pipeline,
//! which merges them into commits over the current and several sealed files.
//!
//! Most kills are aimed at a commit: the writer process strikes itself, some random time after it has
//! begun the n-th commit. The others come from outside at any moment, also while it opens and heals.
//!
//! `COLDSTORE_KILLS` is the number of times that each kind of writer is killed (default 60). What
//! was done is printed for each kind, captured or not.
#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "side files of the tests, not files of a column")]

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use coldstore::verify::{VerifyOptions, verify_column};
use coldstore::{
    Compression, FileId, Pipeline, PipelineOptions, SLOTS_PER_FILE, Slot, View, Writer,
    WriterOptions,
};
use plan::*;
use test_support::{Choices, HANG, Process, bytes_from, mix, reader, scratch, spec};

const DIRECTORY: &str = "COLDSTORE_TEST_COLUMN";
const KIND: &str = "COLDSTORE_TEST_KIND";
const NUMBER: &str = "COLDSTORE_TEST_NUMBER";
/// Commits before the one in which the writer kills itself, and at how much of it, in permille.
const AIM: &str = "COLDSTORE_TEST_AIM";

/// What a writer says that found something to heal.
const HEALED: &str = "this writer healed the column";

/// What a reader says in the end: its views, the records in them, and the old views that it has looked
/// at again.
const READ: &str = "this reader has read ";

/// Longer than any child runs: none is left behind when the parent is killed.
const CHILD_LIFETIME: Duration = Duration::from_secs(300);

// ---------------------------------------------------------------- the writer

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_writes() {
    let (Some(directory), Ok(kind)) = (std::env::var_os(DIRECTORY), std::env::var(KIND)) else {
        return;
    };
    let (column, kind) = (PathBuf::from(directory), Kind::named(&kind));
    let striker = Striker::new(&std::env::var(AIM).unwrap_or_default());
    let writer = kind.open(&column);
    if !writer.heal_report().is_clean() {
        println!("{HEALED}");
    }
    if kind.pipeline {
        write_through_a_pipeline(kind, &column, writer, striker);
    } else {
        write_one_by_one(kind, &column, writer, striker);
    }
}

fn goes_on(column: &Path, start: Instant) -> bool {
    start.elapsed() < CHILD_LIFETIME && !stop_path(column).exists()
}

fn items(kind: Kind, n: u64) -> Vec<(Slot, Vec<u8>)> {
    batch(kind, n).into_iter().map(|slot| (Slot(slot), value(n, slot))).collect()
}

/// Not so fast that the readers have no chance to read everything.
fn pause(n: u64) {
    if mix(n).is_multiple_of(4) {
        thread::sleep(Duration::from_micros(mix(n) % 3_000));
    }
}

/// The batch that nobody acknowledged is there as a whole or not at all: an identical put is how a
/// caller finds out.
fn write_one_by_one(kind: Kind, column: &Path, mut writer: Writer, mut striker: Option<Striker>) {
    let start = Instant::now();
    let first = first_open(&acknowledged(column));
    let mut n = first;
    while goes_on(column, start) {
        let items = items(kind, n);
        if let Some(striker) = &mut striker {
            striker.before(n - first);
        }
        let committed = writer
            .put_batch(&items)
            .unwrap_or_else(|error| panic!("batch {n} of {}: {error}", kind.name()));
        let count = items.len() as u64;
        assert_eq!(committed.written + committed.unchanged, count, "batch {n}");
        assert!(
            committed.unchanged == 0 || (committed.written == 0 && n == first),
            "batch {n}, the first was {first}: {committed:?}"
        );
        acknowledge(column, n);
        n += 1;
        if striker.is_none() {
            pause(n);
        }
    }
}

/// As many batches as may wait together do, so that one commit takes several of them.
fn write_through_a_pipeline(kind: Kind, column: &Path, writer: Writer, striker: Option<Striker>) {
    let start = Instant::now();
    let aimed = striker.is_some();
    let striker = Mutex::new((striker, 0));
    let options = PipelineOptions::default().on_commit(move |_| {
        let (striker, commits) = &mut *striker.lock().unwrap();
        *commits += 1;
        if let Some(striker) = striker {
            striker.before(*commits);
        }
    });
    let pipeline = Pipeline::start(writer, options).unwrap();
    let acknowledged = acknowledged(column);
    let first = kind.together(first_open(&acknowledged));
    let mut now = first.clone();
    while goes_on(column, start) {
        // A batch is given again that was acknowledged out of turn: that is what a retry does.
        let tickets: Vec<_> =
            now.clone().map(|n| (n, pipeline.submit(items(kind, n)).unwrap())).collect();
        for (n, ticket) in tickets {
            let committed = ticket
                .wait()
                .unwrap_or_else(|error| panic!("batch {n} of {}: {error}", kind.name()));
            let count = batch(kind, n).len() as u64;
            assert_eq!(committed.written + committed.unchanged, count, "batch {n}");
            assert!(
                committed.unchanged == 0 || (committed.written == 0 && first.contains(&n)),
                "batch {n}, the first were {first:?}: {committed:?}"
            );
            assert!(
                committed.written == 0 || !acknowledged.contains(&n),
                "batch {n} was acknowledged before and was not there"
            );
            acknowledge(column, n);
            if !aimed {
                pause(n);
            }
        }
        now = kind.together(now.end);
    }
}

/// A thread that kills its process as `kill -9` does: in the commit of a given number, counted from
/// the start, when a given part of the time that the commit before took is over.
struct Striker {
    at: u64,
    permille: u32,
    begun: Instant,
    /// When to strike, in nanoseconds after `begun`.
    when: Arc<AtomicU64>,
    commit_begun: Duration,
}

impl Striker {
    fn new(aim: &str) -> Option<Self> {
        let (at, permille) = aim.split_once(' ')?;
        let striker = Striker {
            at: at.parse().unwrap(),
            permille: permille.parse().unwrap(),
            begun: Instant::now(),
            when: Arc::new(AtomicU64::new(u64::MAX)),
            commit_begun: Duration::ZERO,
        };
        let (begun, when) = (striker.begun, Arc::clone(&striker.when));
        thread::spawn(move || {
            loop {
                let when = when.load(Ordering::Relaxed);
                if when == u64::MAX {
                    thread::yield_now();
                } else if begun.elapsed() >= Duration::from_nanos(when) {
                    // SAFETY: both calls take and give plain numbers.
                    #[allow(unsafe_code, clippy::multiple_unsafe_ops_per_block, reason = "kill")]
                    unsafe {
                        libc::kill(libc::getpid(), libc::SIGKILL)
                    };
                }
            }
        });
        Some(striker)
    }

    /// To be called before each commit, with its number from the start.
    fn before(&mut self, commit: u64) {
        let now = self.begun.elapsed();
        let before = now - self.commit_begun;
        self.commit_begun = now;
        if commit == self.at.max(1) {
            let when = now + before * self.permille / 1_000;
            self.when.store(u64::try_from(when.as_nanos()).unwrap(), Ordering::Relaxed);
        }
    }
}

// ---------------------------------------------------------------- the readers

/// What a view shows, by slot, with the commit that each record says it is of.
type Shown = BTreeMap<u64, u64>;

/// Every record of the view; each must be right.
fn show(kind: Kind, view: &View) -> Shown {
    let mut shown = Shown::new();
    for record in view.range(..) {
        let record = record.unwrap_or_else(|error| panic!("scan: {error}"));
        let slot = record.slot().0;
        let stored = record.value().unwrap_or_else(|error| panic!("slot {slot}: {error}"));
        let n = commit_of(&stored);
        assert_eq!(*stored, value(n, slot), "slot {slot}");
        assert!(batch(kind, n).contains(&slot), "slot {slot} is none of commit {n}");
        assert_eq!(shown.insert(slot, n), None, "slot {slot} came twice");
    }
    shown
}

/// Batches are whole, as far as the view promises it, and those acknowledged before it was made are
/// all there. Commits after the view was made may show in sealed files that it touched later, so a
/// later commit may be there and one before it, in the current file, not.
fn check_whole(kind: Kind, view: &View, shown: &Shown, acknowledged: &BTreeSet<u64>) {
    let highest = view.highest_written_slot().map_or(0, |slot| slot.0);
    let mut counts: BTreeMap<u64, BTreeMap<FileId, usize>> = BTreeMap::new();
    for (slot, n) in shown {
        *counts.entry(*n).or_default().entry(Slot(*slot).file_id()).or_default() += 1;
    }
    for (n, files) in &counts {
        let slots = batch(kind, *n);
        for (file, count) in files {
            let whole = slots.iter().filter(|slot| Slot(**slot).file_id() == *file).count();
            assert_eq!(*count, whole, "commit {n} in file {file}, highest {highest}");
        }
        // A backfill batch over two files may show its part in the sealed one alone, to a view that
        // is older than the commit: then its last slot is missing, which is in the current file.
        let all: usize = files.values().sum();
        let sealed_alone = n % STEPS == 6
            && kind.backfill
            && !acknowledged.contains(n)
            && files.len() == 1
            && !shown.contains_key(slots.last().unwrap());
        assert!(all == slots.len() || sealed_alone, "commit {n}: {all} of {}", slots.len());
    }
    for n in acknowledged {
        assert!(counts.contains_key(n), "batch {n} was acknowledged and is not there");
    }
}

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_reads() {
    let (Some(directory), Ok(kind)) = (std::env::var_os(DIRECTORY), std::env::var(KIND)) else {
        return;
    };
    let (column, kind) = (PathBuf::from(directory), Kind::named(&kind));
    let number: u64 = std::env::var(NUMBER).unwrap().parse().unwrap();
    let mut choices = Choices::new(number << 40);
    let start = Instant::now();
    let mut long_lived = reader(&column);
    let mut held: Vec<(View, Shown)> = Vec::new();
    let (mut views, mut records, mut rechecked) = (0_u64, 0_u64, 0_u64);
    let mut highest_before = None;
    while start.elapsed() < CHILD_LIFETIME && !stop_path(&column).exists() {
        let acknowledged = acknowledged(&column);
        if choices.below(16) == 0 {
            long_lived = reader(&column);
        }
        let view = long_lived.refresh().unwrap_or_else(|error| panic!("refresh: {error}"));
        let highest = view.highest_written_slot();
        assert!(highest >= highest_before, "the highest slot went back");
        highest_before = highest;
        views += 1;

        let shown = show(kind, &view);
        check_whole(kind, &view, &shown, &acknowledged);
        records += shown.len() as u64;
        if choices.below(4) == 0 {
            let backwards: Vec<u64> =
                view.range(..).rev().map(|record| record.unwrap().slot().0).collect();
            assert!(backwards.iter().eq(shown.keys().rev()), "the two directions differ");
        }

        // An old view shows what it showed, whatever the writer did since.
        if !held.is_empty() {
            let index = usize::try_from(choices.below(held.len() as u64)).unwrap();
            let (old, before) = &held[index];
            let now = show(kind, old);
            assert_eq!(&now, before, "a held view changed");
            rechecked += 1;
        }
        if choices.below(6) == 0 {
            if held.len() == 4 {
                held.swap_remove(usize::try_from(choices.below(4)).unwrap());
            }
            held.push((view, shown));
        }
    }
    println!("{READ}{views} {records} {rechecked}");
}

// ---------------------------------------------------------------- the parent

fn kills() -> u64 {
    std::env::var("COLDSTORE_KILLS")
        .map_or(test_support::size::quick_or_whole(15, 60), |text| text.parse().unwrap())
}

/// What was done, in numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    kills: u64,
    healed: u64,
    acknowledged: u64,
    views: u64,
    records: u64,
    rechecked: u64,
}

fn kill_and_restart(kind: Kind) {
    // Several columns, so that a reader can look at everything in a view all the time.
    const KILLS_PER_COLUMN: u64 = 25;
    let (mut left, mut columns) = (kills(), 0);
    let mut counts = Counts::default();
    while left > 0 {
        // On a disk a commit spends its time in flushes, so that a kill falls between two of its
        // steps; in memory it falls into the middle of one.
        let scratch = if columns % 2 == 0 { tempfile::tempdir().unwrap() } else { scratch() };
        columns += 1;
        let column = scratch.path().join("column");
        drop(kind.open(&column));
        let now = left.min(KILLS_PER_COLUMN);
        kill_and_restart_one(kind, &column, now, left, &mut counts);
        left -= now;
    }
    let Counts { kills, healed, acknowledged, views, records, rechecked } = counts;
    // Not by `print!`, which the test harness keeps to itself.
    let told = format!(
        "{}: {kills} kills on {columns} columns, {healed} writers had something to heal, \
         {acknowledged} batches acknowledged; readers: {views} views, {records} records, \
         {rechecked} old views checked again\n",
        kind.name()
    );
    io::stdout().write_all(told.as_bytes()).unwrap();
}

fn kill_and_restart_one(kind: Kind, column: &Path, kills: u64, seed: u64, counts: &mut Counts) {
    let name = kind.name();
    let start = |child: &'static str, n: u64, aim: &str| {
        let number = n.to_string();
        let environment = [
            (DIRECTORY, column.as_os_str()),
            (KIND, OsStr::new(&name)),
            (NUMBER, OsStr::new(&number)),
            (AIM, OsStr::new(aim)),
        ];
        Process::start(child, column.with_extension(format!("{child}-{n}")), &environment)
    };
    let mut readers: Vec<Process> = (0..2).map(|n| start("child_that_reads", n, "")).collect();
    let mut choices = Choices::new(seed << 20);
    for kill in 0..kills {
        let aimed = choices.below(4) > 0;
        let aim = format!("{} {}", choices.below(12), choices.below(1_100));
        let mut writer = start("child_that_writes", kill, if aimed { &aim } else { "" });
        let status = if aimed {
            writer.wait()
        } else {
            // Some writers hardly begin, so that healing is interrupted too.
            let range = if choices.below(2) == 0 { 12 } else { 160 };
            thread::sleep(Duration::from_micros(choices.below(range * 1_000)));
            writer.kill()
        };
        assert_eq!(status.signal(), Some(9), "{status}, the writer failed:\n{}", writer.printed());
        counts.kills += 1;
        counts.healed += u64::from(writer.printed().contains(HEALED));
        for reader in &mut readers {
            let early = reader.ended();
            assert!(early.is_none(), "a reader ended with {early:?}:\n{}", reader.printed());
        }
    }
    fs::write(stop_path(column), "").unwrap();
    for reader in &mut readers {
        reader.expect_success();
        let printed = reader.printed();
        let line = printed.lines().find_map(|line| line.split_once(READ)).unwrap().1;
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        let [views, records, rechecked] = numbers[..] else { panic!("{line}") };
        assert!(views > 0, "a reader that was not there");
        counts.views += views;
        counts.records += records;
        counts.rechecked += rechecked;
    }
    counts.acknowledged += check_the_end(kind, column);
}

/// What is there after the last kill, before and after healing. Returns how many batches were
/// acknowledged.
fn check_the_end(kind: Kind, column: &Path) -> u64 {
    let acknowledged = acknowledged(column);
    let view = reader(column).view();
    let before = show(kind, &view);
    check_whole(kind, &view, &before, &acknowledged);
    let present: BTreeSet<u64> = before.values().copied().collect();
    let open = kind.together(first_open(&acknowledged));
    assert!(
        (0..open.start).all(|n| present.contains(&n)),
        "a batch is missing before a later one: {present:?}"
    );
    for n in &present {
        assert!(acknowledged.contains(n) || open.contains(n), "batch {n} was not given yet");
    }

    let writer = kind.open(column);
    let healed = writer.heal_report().to_string_or_clean();
    drop(writer);
    let view = reader(column).view();
    assert_eq!(show(kind, &view), before, "healing changed what is there");
    let mut findings = Vec::new();
    let summary =
        verify_column(column, None, &VerifyOptions::default().deep(true), &mut |finding| {
            findings.push(format!("{finding:?}"));
        });
    let summary = summary.unwrap();
    assert_eq!(summary.damages, 0, "{findings:?}");
    assert_eq!(summary.records, before.len() as u64);
    println!("{}: {} records, last healing: {healed}", kind.name(), before.len());
    acknowledged.len() as u64
}

trait Told {
    fn to_string_or_clean(&self) -> String;
}

impl Told for coldstore::HealReport {
    fn to_string_or_clean(&self) -> String {
        if self.is_clean() {
            return "nothing to do".to_owned();
        }
        self.actions.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

#[test]
fn readers_see_whole_batches_while_an_uncompressed_writer_is_killed() {
    kill_and_restart(Kind { compression: Compression::None, backfill: true, pipeline: false });
}

#[test]
fn readers_see_whole_batches_while_a_compressed_writer_is_killed() {
    kill_and_restart(Kind { compression: Compression::Snappy, backfill: true, pipeline: false });
}

#[test]
fn readers_see_whole_batches_while_a_writer_without_backfill_is_killed() {
    kill_and_restart(Kind { compression: Compression::None, backfill: false, pipeline: false });
}

#[test]
fn readers_see_whole_batches_while_an_uncompressed_pipeline_is_killed() {
    kill_and_restart(Kind { compression: Compression::None, backfill: true, pipeline: true });
}

#[test]
fn readers_see_whole_batches_while_a_compressed_pipeline_without_backfill_is_killed() {
    kill_and_restart(Kind { compression: Compression::Snappy, backfill: false, pipeline: true });
}

/// The plan of the commits is one that the rules allow: the parent would otherwise test refusals.
#[test]
fn the_plan_never_writes_a_slot_twice() {
    for backfill in [false, true] {
        let kind = Kind { compression: Compression::None, backfill, pipeline: false };
        let mut seen = BTreeSet::new();
        for n in 0..400 * STEPS {
            for slot in batch(kind, n) {
                assert!(seen.insert(slot), "slot {slot} of commit {n}");
            }
        }
    }
}

/// A second writer is refused at once while the first lives, and let in when it was killed.
#[test]
fn a_killed_writer_leaves_no_lock_behind() {
    let scratch = scratch();
    let column = scratch.path().join("column");
    let kind = Kind { compression: Compression::None, backfill: true, pipeline: false };
    drop(kind.open(&column));
    let kind_name = kind.name();
    let environment = [(DIRECTORY, column.as_os_str()), (KIND, OsStr::new(&kind_name))];
    let mut child =
        Process::start("child_that_writes", scratch.path().join("output"), &environment);
    let start = Instant::now();
    while acknowledged(&column).is_empty() {
        assert!(start.elapsed() < HANG, "{}", child.printed());
        thread::sleep(Duration::from_millis(1));
    }
    let refused = Writer::open(&column, WriterOptions::default()).unwrap_err();
    assert!(matches!(refused, coldstore::Error::AlreadyOpen { pid: Some(_), .. }), "{refused:?}");
    child.kill();
    let mut writer = kind.open(&column);
    writer.put_batch(&items(kind, first_open(&acknowledged(&column)))).unwrap();
}
