//! Waiting for slots, and following a column while somebody else writes it.
//!
//! Times appear here only as guards against a hang and as the pace of a writer: no test expects
//! something to be fast.
#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "side files of the tests, not files of a column")]

mod support;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use coldstore::{
    Arrival, Compression, FollowOptions, Follower, MappedReader, Slot, View, Writer, WriterOptions,
};
use support::{Choices, HANG, Process, bytes_from, reader, scratch, spec, without_hanging};

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
    without_hanging("wait_for", move || reader.wait_for(Slot(slot), timeout).unwrap())
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
    use support::system_calls::{Verdict, restrict};
    let refused = u16::try_from(libc::EMFILE).unwrap();
    let mut calls = vec![(libc::SYS_inotify_init1, Verdict::Fail(refused))];
    #[cfg(target_arch = "x86_64")]
    calls.push((libc::SYS_inotify_init, Verdict::Fail(refused)));
    restrict(Verdict::Allow, &calls);
}

// ---------------------------------------------------------------- waiting

#[test]
fn waiting_for_a_record_that_is_there_ends_at_once() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    put(&mut writer, &[3, 8190, 8200]);
    let reader = reader(scratch.path());
    for slot in [3, 8190, 8200] {
        assert!(matches!(wait(&reader, slot, None), Arrival::Record));
        assert!(matches!(wait(&reader, slot, Some(Duration::ZERO)), Arrival::Record));
    }
}

#[test]
fn waiting_for_a_slot_that_was_skipped_ends_at_once_and_says_so() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    put(&mut writer, &[3, 20_000]);
    let reader = reader(scratch.path());
    for slot in [0, 4, 8192, 19_999] {
        assert!(matches!(wait(&reader, slot, None), Arrival::Skipped));
    }
}

#[test]
fn waiting_sees_commits_since_the_latest_view() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    let reader = reader(scratch.path());
    put(&mut writer, &[3]);
    assert!(matches!(wait(&reader, 3, Some(Duration::ZERO)), Arrival::Record));
    assert!(matches!(wait(&reader, 2, Some(Duration::ZERO)), Arrival::Skipped));
}

#[test]
fn waiting_for_a_slot_that_does_not_come_times_out() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    let reader = reader(scratch.path());
    let short = Some(Duration::from_millis(20));
    assert!(matches!(wait(&reader, 0, short), Arrival::TimedOut), "an empty column");
    put(&mut writer, &[3]);
    assert!(matches!(wait(&reader, 4, short), Arrival::TimedOut));
    assert!(matches!(wait(&reader, 4, Some(Duration::ZERO)), Arrival::TimedOut));
    assert!(matches!(wait(&reader, Slot::MAX.0, short), Arrival::TimedOut));
}

#[test]
fn a_slot_that_was_skipped_and_then_filled_is_a_record() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[3, 20_000]);
    let reader = reader(scratch.path());
    for slot in [1, 9_000, 19_999] {
        assert!(matches!(wait(&reader, slot, None), Arrival::Skipped));
        put(&mut writer, &[slot]);
        assert!(matches!(wait(&reader, slot, None), Arrival::Record));
    }
}

#[test]
fn a_waiter_is_woken_by_the_commit_that_reaches_its_slot() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    let reader = reader(scratch.path());
    let waiter = thread::spawn({
        let reader = reader.clone();
        move || {
            let record = reader.wait_for(Slot(5), Some(HANG)).unwrap();
            let shown = reader.view().get(Slot(5)).unwrap().map(std::borrow::Cow::into_owned);
            let skipped = reader.wait_for(Slot(9), Some(HANG)).unwrap();
            (record, shown, skipped)
        }
    });
    for slot in [0, 4, 5, 8, 10] {
        thread::sleep(Duration::from_millis(10));
        put(&mut writer, &[slot]);
    }
    let (record, shown, skipped) = waiter.join().unwrap();
    assert!(matches!(record, Arrival::Record));
    assert_eq!(shown, Some(value(5)), "the reader's latest view shows what was waited for");
    assert!(matches!(skipped, Arrival::Skipped));
}

#[test]
fn a_waiter_of_the_writers_own_reader_is_woken() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    let reader = support::writers_reader(&writer);
    let waiter = thread::spawn(move || reader.wait_for(Slot(5), Some(HANG)).unwrap());
    thread::sleep(Duration::from_millis(10));
    put(&mut writer, &[5]);
    assert!(matches!(waiter.join().unwrap(), Arrival::Record));
}

#[test]
fn many_waiters_are_all_woken() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    let shared = reader(scratch.path());
    let (arrived, arrivals) = mpsc::channel();
    let waiters: Vec<_> = (0..24_u64)
        .map(|slot| {
            // Half of them share a reader, the others have one of their own.
            let reader = if slot % 2 == 0 { shared.clone() } else { reader(scratch.path()) };
            let arrived = arrived.clone();
            thread::spawn(move || {
                let arrival = reader.wait_for(Slot(slot), Some(HANG)).unwrap();
                arrived.send((slot, matches!(arrival, Arrival::Record))).unwrap();
                arrival
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(10));
    // Slots divisible by three are skipped.
    for slot in (0..24).filter(|slot| slot % 3 != 0) {
        put(&mut writer, &[slot]);
    }
    for (slot, waiter) in waiters.into_iter().enumerate() {
        let arrival = waiter.join().unwrap();
        if slot % 3 == 0 {
            assert!(matches!(arrival, Arrival::Skipped), "slot {slot}");
        } else {
            assert!(matches!(arrival, Arrival::Record), "slot {slot}");
        }
    }
    assert_eq!(arrivals.try_iter().count(), 24);
}

#[test]
fn a_waiter_outlives_a_writer_that_comes_and_goes() {
    let scratch = scratch();
    drop(create(scratch.path(), false));
    let reader = reader(scratch.path());
    let waiter = thread::spawn(move || reader.wait_for(Slot(3), Some(HANG)).unwrap());
    for slot in 0..4 {
        let mut writer = create(scratch.path(), false);
        put(&mut writer, &[slot]);
    }
    assert!(matches!(waiter.join().unwrap(), Arrival::Record));
}

// ---------------------------------------------------------------- following

#[test]
fn a_follower_sees_what_is_there_and_then_what_comes_in_order() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    put(&mut writer, &[1, 5, 8191]);
    put(&mut writer, &[8192, 30_000]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow(Slot(0), FollowOptions::default()).unwrap();
    assert_eq!(take(&mut follower, 5), [1, 5, 8191, 8192, 30_000]);
    assert_nothing_more(&mut follower);
    put(&mut writer, &[30_001, 40_960]);
    assert_eq!(take(&mut follower, 2), [30_001, 40_960]);
    put(&mut writer, &[40_961]);
    put(&mut writer, &[40_970, 40_971]);
    assert_eq!(take(&mut follower, 3), [40_961, 40_970, 40_971]);
    assert_nothing_more(&mut follower);
}

#[test]
fn a_follower_begins_at_the_slot_it_is_asked_for() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    put(&mut writer, &[1, 5, 8191, 8192, 8195]);
    let reader = reader(scratch.path());
    let follow = |from| reader.follow(Slot(from), FollowOptions::default()).unwrap();
    assert_eq!(take(&mut follow(5), 4), [5, 8191, 8192, 8195]);
    assert_eq!(take(&mut follow(8193), 1), [8195]);
    let mut later = follow(9_000);
    assert_nothing_more(&mut later);
    put(&mut writer, &[8_999, 9_000, 9_010]);
    assert_eq!(take(&mut later, 2), [9_000, 9_010]);
}

#[test]
fn a_follower_of_an_empty_column_sees_its_first_record() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    let reader = reader(scratch.path());
    for options in [FollowOptions::default(), FollowOptions::default().backfilled(true)] {
        let mut follower = reader.follow(Slot(0), options).unwrap();
        assert_nothing_more(&mut follower);
    }
    let mut follower = reader.follow(Slot(0), FollowOptions::default()).unwrap();
    put(&mut writer, &[100_000]);
    assert_eq!(take(&mut follower, 1), [100_000]);
}

#[test]
fn a_follower_does_not_see_backfilled_slots_unasked() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[1, 8191, 20_000]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow(Slot(0), FollowOptions::default()).unwrap();
    assert_eq!(take(&mut follower, 3), [1, 8191, 20_000]);
    put(&mut writer, &[0, 5]);
    put(&mut writer, &[8_192]);
    put(&mut writer, &[19_999]);
    assert_nothing_more(&mut follower);
    put(&mut writer, &[20_001]);
    assert_eq!(take(&mut follower, 1), [20_001]);
}

#[test]
fn a_follower_sees_backfilled_slots_in_commit_order_when_asked() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[1, 8191, 20_000, 20_010]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow(Slot(0), FollowOptions::default().backfilled(true)).unwrap();
    assert_eq!(take(&mut follower, 4), [1, 8191, 20_000, 20_010]);
    // The current file, two sealed ones, one that was skipped, and the front again.
    for batch in [&[20_005][..], &[10, 12], &[9_000], &[20_003, 20_007], &[5], &[20_011], &[6]] {
        put(&mut writer, batch);
        assert_eq!(take(&mut follower, batch.len()), batch);
    }
    assert_nothing_more(&mut follower);
}

#[test]
fn commits_that_pile_up_in_one_file_are_followed_in_commit_order() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[0, 9_000, 9_100]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow(Slot(0), FollowOptions::default().backfilled(true)).unwrap();
    assert_eq!(take(&mut follower, 3), [0, 9_000, 9_100]);
    let order = [9_050, 9_010, 9_101, 9_090, 9_020, 9_102, 9_001];
    for slot in order {
        put(&mut writer, &[slot]);
    }
    let came = take(&mut follower, order.len());
    let (sequential, backfilled): (Vec<u64>, Vec<u64>) =
        came.into_iter().partition(|slot| *slot > 9_100);
    assert_eq!(sequential, [9_101, 9_102]);
    assert_eq!(backfilled, [9_050, 9_010, 9_090, 9_020, 9_001]);
    assert_nothing_more(&mut follower);
}

/// A follower that is busy elsewhere misses confs: the writer goes from one sealed file to the next
/// and back while nobody looks. Every slot still comes, once.
#[test]
fn backfill_of_many_files_while_the_follower_is_busy_is_seen_completely() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    let first: Vec<u64> = (0..6).map(|file| file * 8192 + 4_000).collect();
    put(&mut writer, &first);
    let reader = reader(scratch.path());
    let mut follower = reader.follow(Slot(0), FollowOptions::default().backfilled(true)).unwrap();
    assert_eq!(take(&mut follower, first.len()), first);
    let mut choices = Choices::new(1);
    for _ in 0..4 {
        let mut expected = BTreeSet::new();
        let mut sequential = Vec::new();
        for _ in 0..12 {
            let slot = choices.below(6) * 8192 + choices.below(4_000);
            if reader.refresh().unwrap().contains(Slot(slot)).unwrap() {
                continue;
            }
            put(&mut writer, &[slot]);
            expected.insert(slot);
            if choices.below(3) == 0 {
                let above = writer.highest_written_slot().unwrap().0 + 1;
                put(&mut writer, &[above]);
                expected.insert(above);
                sequential.push(above);
            }
        }
        let came = take(&mut follower, expected.len());
        assert_eq!(came.iter().copied().collect::<BTreeSet<u64>>(), expected, "{came:?}");
        let in_order: Vec<u64> =
            came.into_iter().filter(|slot| sequential.contains(slot)).collect();
        assert_eq!(in_order, sequential);
        assert_nothing_more(&mut follower);
    }
}

/// The follower looks at any moment of a commit: between the conf that names the file and the records,
/// between the records and the conf that commits them. On a disk, where those moments are long.
#[test]
fn a_follower_that_looks_at_any_moment_misses_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let mut writer = create(scratch.path(), true);
    let first: Vec<u64> = (0..4).map(|file| file * 8192 + 8_000).collect();
    put(&mut writer, &first);
    let plan: Vec<u64> = (0..160)
        .map(|n| support::mix(n) % 3 * 8192 + 7_900 - n * 40 - support::mix(n) % 40)
        .collect();
    let threads: Vec<_> = (0..3)
        .map(|number| {
            let reader = reader(scratch.path());
            let options = FollowOptions::default().backfilled(true);
            let mut follower = reader.follow(Slot(0), options).unwrap();
            // Before the writer goes on: a first look that comes late shows what was filled in by then.
            assert_eq!(take(&mut follower, first.len()), first);
            let plan = plan.clone();
            thread::spawn(move || {
                let mut choices = Choices::new(number << 32);
                let mut came = Vec::new();
                while came.len() < plan.len() {
                    came.extend(take(&mut follower, 1));
                    thread::sleep(Duration::from_micros(choices.below(4_000)));
                }
                assert_nothing_more(&mut follower);
                came
            })
        })
        .collect();
    for slot in &plan {
        put(&mut writer, &[*slot]);
    }
    for thread in threads {
        let came = thread.join().unwrap();
        let of_file = |slots: &[u64], file| -> Vec<u64> {
            slots.iter().copied().filter(|slot| slot / 8192 == file).collect()
        };
        for file in 0..3 {
            assert_eq!(of_file(&came, file), of_file(&plan, file));
        }
    }
}

#[test]
fn a_follower_keeps_its_place_while_the_column_becomes_one_with_backfill() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), false);
    put(&mut writer, &[1, 9_000]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow(Slot(0), FollowOptions::default().backfilled(true)).unwrap();
    assert_eq!(take(&mut follower, 2), [1, 9_000]);
    drop(writer);
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[0]);
    assert_eq!(take(&mut follower, 1), [0]);
    put(&mut writer, &[8_999]);
    assert_eq!(take(&mut follower, 1), [8_999]);
    put(&mut writer, &[9_001]);
    assert_eq!(take(&mut follower, 1), [9_001]);
    assert_nothing_more(&mut follower);
}

/// Healing removes and truncates files; nothing of that is a commit.
#[test]
fn healing_is_not_followed() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[1, 9_000]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow(Slot(0), FollowOptions::default().backfilled(true)).unwrap();
    assert_eq!(take(&mut follower, 2), [1, 9_000]);
    drop(writer);
    support::append(&scratch.path().join("data_00001"), &[0xAB; 100]);
    fs::write(scratch.path().join("data_00002"), [0x65, 0x32, 0, 0, 0, 0, 0, 0]).unwrap();
    assert_nothing_more(&mut follower);
    let mut writer = create(scratch.path(), true);
    assert!(!writer.heal_report().is_clean());
    assert_nothing_more(&mut follower);
    put(&mut writer, &[9_001]);
    assert_eq!(take(&mut follower, 1), [9_001]);
}

/// An error about one file is told, and what happened in the others is not forgotten over it.
#[test]
fn a_file_that_cannot_be_read_does_not_hide_what_comes_into_the_others() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[1, 9_000, 20_000]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow(Slot(0), FollowOptions::default().backfilled(true)).unwrap();
    assert_eq!(take(&mut follower, 3), [1, 9_000, 20_000]);
    support::append(&scratch.path().join("data_00000"), &[1; 10]);
    support::append(&scratch.path().join("data_00000.off"), &[0; 8]);
    put(&mut writer, &[9_001]);
    let mut errors = 0;
    let slot = loop {
        match follower.next_slot(Some(HANG)) {
            Ok(slot) => break slot,
            Err(error) => errors += u64::from(error.is_corrupt()),
        }
        assert!(errors < 1_000, "the error comes again and again");
    };
    assert_eq!(slot, Some(Slot(9_001)), "after {errors} errors");
    put(&mut writer, &[20_001]);
    assert_eq!(take(&mut follower, 1), [20_001]);
}

/// Guards against a slot that is shown in its place and once more as a backfilled one: it came into
/// a file that the follower had not come to yet, or was in the middle of.
#[test]
fn a_slot_that_is_filled_ahead_of_the_follower_is_shown_once() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), true);
    put(&mut writer, &[1, 9, 9_000, 20_000]);
    let reader = reader(scratch.path());
    let mut follower = reader.follow(Slot(0), FollowOptions::default().backfilled(true)).unwrap();
    put(&mut writer, &[9_005]);
    assert_eq!(take(&mut follower, 2), [1, 9]);
    put(&mut writer, &[9_007]);
    put(&mut writer, &[20_001, 20_002]);
    put(&mut writer, &[5]);
    let mut shown = take(&mut follower, 7);
    assert_eq!(follower.next_slot(Some(Duration::from_millis(300))).unwrap(), None, "{shown:?}");
    shown.sort_unstable();
    assert_eq!(shown, [5, 9_000, 9_005, 9_007, 20_000, 20_001, 20_002][..]);
}

// ---------------------------------------------------------------- another process

const DIRECTORY: &str = "COLDSTORE_TEST_COLUMN";
const SIDE: &str = "COLDSTORE_TEST_SIDE";
const NOTICE: &str = "COLDSTORE_TEST_NOTICE";

/// The sequential commits of the writer process.
fn sequential_batches() -> Vec<Vec<u64>> {
    (0..60_u64)
        .map(|batch| (0..1 + batch % 4).map(|index| batch * 500 + index * 7).collect())
        .collect()
}

/// Its backfill commits, each in one file, sealed or current.
fn backfill_batches() -> Vec<Vec<u64>> {
    let sequential = sequential_batches().concat();
    let gap = |slot: &u64| !sequential.contains(slot);
    (0..30_u64)
        .map(|batch| {
            let first = support::mix(batch) % 4 * 8192 + 3 + batch * 8;
            (first..=first + batch % 3).filter(gap).collect()
        })
        .collect()
}

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_writes() {
    let (Some(directory), Some(side)) = (std::env::var_os(DIRECTORY), std::env::var_os(SIDE))
    else {
        return;
    };
    let mut writer = create(Path::new(&directory), true);
    await_file(&Path::new(&side).join("ready"));
    for batch in sequential_batches() {
        put(&mut writer, &batch);
        thread::sleep(Duration::from_millis(1));
    }
    await_file(&Path::new(&side).join("backfill"));
    for batch in backfill_batches() {
        put(&mut writer, &batch);
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "started by the tests below as a process of its own"]
fn child_that_follows() {
    let (Some(directory), Some(side)) = (std::env::var_os(DIRECTORY), std::env::var_os(SIDE))
    else {
        return;
    };
    if std::env::var(NOTICE).unwrap() == "polled" {
        #[cfg(target_os = "linux")]
        forbid_inotify();
    }
    let side = PathBuf::from(side);
    let reader = reader(Path::new(&directory));
    let sequential: Vec<u64> = sequential_batches().concat();
    let last = *sequential.last().unwrap();

    let waiters: Vec<_> = sequential
        .iter()
        .step_by(10)
        .map(|&slot| {
            let reader = reader.clone();
            thread::spawn(move || {
                let written = reader.wait_for(Slot(slot), Some(HANG)).unwrap();
                assert!(matches!(written, Arrival::Record), "slot {slot}: {written:?}");
                let skipped = reader.wait_for(Slot(slot + 1), Some(HANG)).unwrap();
                if slot != last {
                    assert!(matches!(skipped, Arrival::Skipped), "slot {slot} + 1: {skipped:?}");
                }
            })
        })
        .collect();
    let mut plain = reader.follow(Slot(0), FollowOptions::default()).unwrap();
    let mut everything = reader.follow(Slot(0), FollowOptions::default().backfilled(true)).unwrap();
    fs::write(side.join("ready"), "").unwrap();

    assert_eq!(take(&mut plain, sequential.len()), sequential);
    assert_eq!(take(&mut everything, sequential.len()), sequential);
    for waiter in waiters {
        waiter.join().unwrap();
    }

    fs::write(side.join("backfill"), "").unwrap();
    let backfilled: BTreeSet<u64> = backfill_batches().concat().into_iter().collect();
    let came = take(&mut everything, backfilled.len());
    assert_eq!(came.iter().copied().collect::<BTreeSet<u64>>(), backfilled);
    for file in 0..4 {
        let of_file = |slots: &[u64]| -> Vec<u64> {
            slots.iter().copied().filter(|slot| slot / 8192 == file).collect()
        };
        assert_eq!(
            of_file(&came),
            of_file(&backfill_batches().concat()),
            "within file {file} in commit order"
        );
    }
    assert_nothing_more(&mut everything);
    assert_nothing_more(&mut plain);
}

fn await_file(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < HANG, "{} never came", path.display());
        thread::sleep(Duration::from_millis(1));
    }
}

fn follow_a_writer_in_another_process(notice: Notice) {
    let scratch = scratch();
    let column = scratch.path().join("column");
    drop(create(&column, true));
    let text: OsString = match notice {
        Notice::Watched => "watched".into(),
        Notice::Polled => "polled".into(),
    };
    let environment: [(&str, &OsStr); 3] =
        [(DIRECTORY, column.as_os_str()), (SIDE, scratch.path().as_os_str()), (NOTICE, &text)];
    let output = |name: &str| scratch.path().join(name);
    let mut follower = Process::start("child_that_follows", output("follower"), &environment);
    let mut writer = Process::start("child_that_writes", output("writer"), &environment);
    follower.expect_success();
    writer.expect_success();
}

#[test]
fn a_writer_in_another_process_is_followed() {
    follow_a_writer_in_another_process(Notice::Watched);
}

#[cfg(target_os = "linux")]
#[test]
fn a_writer_in_another_process_is_followed_without_inotify() {
    follow_a_writer_in_another_process(Notice::Polled);
}
