//! Many threads read while one writes.
#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test removes the column under its readers")]

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use coldstore::{
    Compression, Error, Follower, MappedReader, OwnedRecord, ReaderOptions, Slot, View, Writer,
    WriterOptions,
};
use test_support::{Choices, bytes_from, reader, reader_of, scan, scratch, spec};

const COMPRESSIONS: [Compression; 2] = [Compression::None, Compression::Snappy];

/// Slots and values, as a scan gives them.
type Shown = Vec<(u64, Vec<u8>)>;

fn create(directory: &std::path::Path, compression: Compression, backfill: bool) -> Writer {
    let options = WriterOptions::create(spec(compression, 1 << 20)).allow_backfill(backfill);
    Writer::open(directory, options).unwrap()
}

fn value(slot: u64) -> Vec<u8> {
    bytes_from(slot, usize::try_from(test_support::mix(slot) % 200).unwrap())
}

fn items(slots: impl IntoIterator<Item = u64>) -> Vec<(Slot, Vec<u8>)> {
    slots.into_iter().map(|slot| (Slot(slot), value(slot))).collect()
}

#[test]
fn handles_are_send_and_sync() {
    fn send<T: Send>() {}
    fn send_sync_clone<T: Send + Sync + Clone + 'static>() {}
    fn send_static<T: Send + 'static>() {}
    send_sync_clone::<MappedReader>();
    send_sync_clone::<View>();
    send_static::<OwnedRecord>();
    send_static::<Writer>();
    send::<Follower>();
    send::<Follower<View>>();
}

/// The n-th sequential batch: sixteen slots with gaps, now and then over a file boundary.
fn sequential_batch(n: u64) -> Vec<u64> {
    (0..16).map(|index| n * 1_000 + index * 60 + test_support::mix(n * 16 + index) % 60).collect()
}

/// The n-th backfill batch: slots that the n-th sequential batch skipped, in the file it begins in.
fn backfill_batch(n: u64) -> Vec<u64> {
    let sequential = sequential_batch(n);
    let (first, last) = (sequential[0], sequential[15]);
    sequential
        .iter()
        .map(|slot| slot + 1)
        .filter(|slot| slot / 8192 == first / 8192 && *slot < last && !sequential.contains(slot))
        .collect()
}

/// Everything that a view of a moment must show and may show, given what was acknowledged before.
fn check_view(view: &View, acknowledged: u64, choices: &mut Choices) {
    let highest = view.highest_written_slot().map(|slot| slot.0);
    for commit in 0..acknowledged {
        let slots = batch_of(commit);
        if choices.below(4) == 0 {
            let slot = slots[usize::try_from(choices.below(slots.len() as u64)).unwrap()];
            let shown = view.get(Slot(slot)).unwrap();
            assert_eq!(shown.as_deref(), Some(&value(slot)[..]), "acknowledged slot {slot}");
        }
    }
    for commit in acknowledged..acknowledged + 4 {
        let slots = batch_of(commit);
        let shown = slots.iter().filter(|&&slot| view.contains(Slot(slot)).unwrap()).count();
        assert!(
            shown == 0 || shown == slots.len(),
            "commit {commit}: {shown} of {} slots, highest {highest:?}",
            slots.len()
        );
    }
    let from = choices.below(highest.unwrap_or(0) + 1);
    for record in view.range(Slot(from)..).take(20) {
        let record = record.unwrap();
        assert_eq!(*record.value().unwrap(), value(record.slot().0), "slot {}", record.slot());
    }
}

/// Sequential and backfill batches take turns. A backfill batch comes up twice: the second time nothing
/// is written.
fn batch_of(commit: u64) -> Vec<u64> {
    if commit.is_multiple_of(2) { sequential_batch(commit / 2) } else { backfill_batch(commit / 4) }
}

#[test]
fn eight_threads_read_what_one_writes() {
    const COMMITS: u64 = 160;
    for compression in COMPRESSIONS {
        let scratch = scratch();
        let mut writer = create(scratch.path(), compression, true);
        let own = reader_of(&writer);
        let apart = reader(scratch.path());
        let acknowledged = Arc::new(AtomicU64::new(0));
        let done = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..8_u64)
            .map(|number| {
                let reader = if number % 2 == 0 { own.clone() } else { apart.clone() };
                let (acknowledged, done) = (Arc::clone(&acknowledged), Arc::clone(&done));
                thread::spawn(move || {
                    let mut choices = Choices::new(number << 32);
                    let mut held: Option<(View, Shown)> = None;
                    let mut views = 0_u64;
                    loop {
                        let last_round = done.load(Ordering::Acquire);
                        let before = acknowledged.load(Ordering::Acquire);
                        let view = reader.refresh().unwrap();
                        check_view(&view, before, &mut choices);
                        views += 1;
                        if let Some((old, shown)) = &held {
                            assert_eq!(&scan(old, ..), shown, "a held view changed");
                        }
                        if views % 8 == 1 {
                            let shown = scan(&view, ..);
                            held = Some((view, shown));
                        }
                        if last_round {
                            return views;
                        }
                    }
                })
            })
            .collect();

        for commit in 0..COMMITS {
            writer.put_batch(&items(batch_of(commit))).unwrap();
            acknowledged.store(commit + 1, Ordering::Release);
            let shown = own.refresh().unwrap();
            let first = batch_of(commit)[0];
            assert_eq!(shown.get(Slot(first)).unwrap().as_deref(), Some(&value(first)[..]));
        }
        done.store(true, Ordering::Release);
        let views: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        println!("{compression}: views per thread {views:?}");

        let mut all: Vec<u64> = (0..COMMITS).flat_map(batch_of).collect();
        all.sort_unstable();
        all.dedup();
        let shown = scan(&apart.refresh().unwrap(), ..);
        assert_eq!(shown, all.iter().map(|&slot| (slot, value(slot))).collect::<Vec<_>>());
    }
}

#[test]
fn one_view_is_read_by_many_threads() {
    for compression in COMPRESSIONS {
        let scratch = scratch();
        let mut writer = create(scratch.path(), compression, false);
        let slots: Vec<u64> = (0..400).map(|index| index * 97).collect();
        writer.put_batch(&items(slots.iter().copied())).unwrap();
        let view = reader(scratch.path()).view();
        thread::scope(|scope| {
            for number in 0..8_u64 {
                let (view, slots) = (&view, &slots);
                scope.spawn(move || {
                    let mut choices = Choices::new(number);
                    let mut buffer = Vec::new();
                    for _ in 0..2_000 {
                        let index = choices.below(slots.len() as u64);
                        let slot = slots[usize::try_from(index).unwrap()];
                        assert!(view.get_into(Slot(slot), &mut buffer).unwrap());
                        assert_eq!(buffer, value(slot), "slot {slot}");
                        assert!(!view.contains(Slot(slot + 1)).unwrap());
                    }
                });
            }
        });
    }
}

#[test]
fn a_held_view_does_not_change_while_the_writer_commits() {
    for compression in COMPRESSIONS {
        let scratch = scratch();
        let mut writer = create(scratch.path(), compression, true);
        writer.put_batch(&items([1, 5, 9_000, 17_000, 17_010])).unwrap();
        let reader = reader(scratch.path());
        let view = reader.view();
        let shown = scan(&view, ..);
        assert_eq!(
            shown,
            items([1, 5, 9_000, 17_000, 17_010])
                .into_iter()
                .map(|(slot, value)| (slot.0, value))
                .collect::<Vec<_>>()
        );
        for batch in [&[17_011][..], &[2, 3], &[17_005], &[9_001], &[4], &[40_000], &[30_000]] {
            writer.put_batch(&items(batch.iter().copied())).unwrap();
            assert_eq!(scan(&view, ..), shown, "after {batch:?}");
            assert_eq!(view.highest_written_slot(), Some(Slot(17_010)));
            for slot in batch {
                assert!(view.get(Slot(*slot)).unwrap().is_none());
            }
        }
        assert_eq!(scan(&reader.view(), ..), shown, "nobody refreshed");
        assert_eq!(scan(&reader.refresh().unwrap(), ..).len(), 13);
        assert_eq!(scan(&view, ..), shown);
    }
}

#[test]
fn clones_of_a_reader_share_its_views() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), Compression::None, false);
    let reader = reader(scratch.path());
    let clone = reader.clone();
    writer.put(Slot(7), b"seven").unwrap();
    assert!(!clone.view().contains(Slot(7)).unwrap());
    let refreshed = thread::spawn(move || reader.refresh().unwrap()).join().unwrap();
    assert!(refreshed.contains(Slot(7)).unwrap());
    assert!(clone.refresh().unwrap().contains(Slot(7)).unwrap());
    assert!(clone.view().contains(Slot(7)).unwrap());
}

#[test]
fn an_owned_record_outlives_reader_view_writer_and_column() {
    for compression in COMPRESSIONS {
        let scratch = scratch();
        let column = scratch.path().join("column");
        let mut writer = create(&column, compression, true);
        writer.put_batch(&items([1, 2, 9_000])).unwrap();
        let reader = reader(&column);
        let view = reader.view();
        let records: Vec<(u64, OwnedRecord)> = [1, 2, 9_000]
            .into_iter()
            .map(|slot| (slot, view.owned(Slot(slot)).unwrap().unwrap()))
            .collect();
        assert!(view.owned(Slot(3)).unwrap().is_none());
        drop(view);
        drop(reader);
        writer.put(Slot(3), b"later").unwrap();
        drop(writer);
        fs::remove_dir_all(&column).unwrap();
        let checked = thread::spawn(move || {
            for (slot, record) in &records {
                assert_eq!(record[..], value(*slot)[..], "slot {slot}");
            }
            records.len()
        });
        assert_eq!(checked.join().unwrap(), 3);
    }
}

#[test]
fn a_view_outlives_reader_and_writer() {
    let scratch = scratch();
    let column = scratch.path().join("column");
    let mut writer = create(&column, Compression::None, false);
    writer.put_batch(&items([1, 2, 9_000])).unwrap();
    let reader = reader(&column);
    let view = reader.view();
    let shown = scan(&view, ..);
    drop(reader);
    drop(writer);
    fs::remove_dir_all(&column).unwrap();
    assert_eq!(scan(&view.clone(), ..), shown);
}

#[test]
fn the_writers_reader_shows_a_put_when_it_returns() {
    let scratch = scratch();
    let mut writer = create(scratch.path(), Compression::None, true);
    let own = reader_of(&writer);
    assert_eq!(own.view().highest_written_slot(), None);
    for slot in [10, 20, 15, 9_000, 9_010, 5, 9_005, 8_192, 100_000, 50_000] {
        writer.put(Slot(slot), &value(slot)).unwrap();
        let view = own.refresh().unwrap();
        assert_eq!(view.get(Slot(slot)).unwrap().as_deref(), Some(&value(slot)[..]));
        assert_eq!(view.highest_written_slot(), writer.highest_written_slot());
    }
    drop(writer);
    assert_eq!(scan(&own.refresh().unwrap(), ..).len(), 10);
}

/// Readers come and go while files are made, filled and sealed: none of them is an error.
#[test]
fn readers_may_be_opened_at_any_time() {
    let scratch = scratch();
    let column = scratch.path().join("column");
    let mut writer = create(&column, Compression::None, true);
    let done = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (column, done) = (column.clone(), Arc::clone(&done));
            thread::spawn(move || {
                let mut opened = 0_u64;
                while !done.load(Ordering::Acquire) || opened == 0 {
                    let view = test_support::open_reader(&column, ReaderOptions::default())
                        .unwrap_or_else(|error| panic!("open: {error}"))
                        .view();
                    if let Some(highest) = view.highest_written_slot() {
                        let shown = view.get(highest).unwrap();
                        assert_eq!(shown.as_deref(), Some(&value(highest.0)[..]));
                    }
                    opened += 1;
                }
                opened
            })
        })
        .collect();
    let start = Instant::now();
    let mut commits = 0;
    while start.elapsed() < Duration::from_millis(1_500) {
        writer.put_batch(&items([commits * 3_000])).unwrap();
        if commits > 3 {
            writer.put_batch(&items([(commits - 3) * 3_000 + 1])).unwrap();
        }
        commits += 1;
        if commits % 16 == 0 {
            drop(writer);
            writer = create(&column, Compression::None, true);
        }
    }
    done.store(true, Ordering::Release);
    let opened: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    println!("{commits} rounds of commits, readers opened {opened:?} times");
}

/// Sealed files are filled, now this one, now that, while readers look at them for the first time in
/// their view. Whatever a view shows of a file at the first look it shows afterwards: the file's length
/// may already be one that a commit which is still on its way has made.
#[test]
fn the_first_access_to_a_file_being_filled_fixes_what_is_shown() {
    const FILES: u64 = 4;
    const BATCHES: u64 = 3_900;
    const TIME: Duration = Duration::from_millis(2_500);
    let scratch = scratch();
    let mut writer = create(scratch.path(), Compression::None, true);
    writer.put_batch(&items((0..=FILES).map(|file| file * 8_192 + 8_000))).unwrap();
    let acknowledged: Arc<[AtomicU64]> = (0..FILES).map(|_| AtomicU64::new(0)).collect();
    let done = Arc::new(AtomicBool::new(false));

    // Batch n of a file has these two slots.
    let slots = |file: u64, n: u64| [file * 8_192 + 2 * n, file * 8_192 + 2 * n + 1];
    let shown = move |view: &View, file: u64, n: u64| -> bool {
        let [first, second] = slots(file, n).map(|slot| view.contains(Slot(slot)).unwrap());
        assert_eq!(first, second, "half of batch {n} in file {file}");
        first
    };
    let threads: Vec<_> = (0..6_u64)
        .map(|number| {
            let reader = reader(scratch.path());
            let (acknowledged, done) = (Arc::clone(&acknowledged), Arc::clone(&done));
            thread::spawn(move || {
                let mut choices = Choices::new(number << 48);
                let mut looks = 0_u64;
                while !done.load(Ordering::Acquire) || looks == 0 {
                    let file = choices.below(FILES);
                    let index = usize::try_from(file).unwrap();
                    let before = acknowledged[index].load(Ordering::Acquire);
                    let view = reader.refresh().unwrap();
                    let mut count = before;
                    assert!(before == 0 || shown(&view, file, before - 1), "batch {before} - 1");
                    while shown(&view, file, count) {
                        count += 1;
                    }
                    looks += 1;
                    // Until the file has been filled further, or the writer is elsewhere.
                    for _ in 0..choices.below(4) {
                        assert!(!shown(&view, file, count), "batch {count} of file {file} came");
                        assert!(count == 0 || shown(&view, file, count - 1));
                        thread::yield_now();
                    }
                }
                looks
            })
        })
        .collect();

    let start = Instant::now();
    let mut choices = Choices::new(7);
    let mut commits = 0_u64;
    while start.elapsed() < TIME {
        let file = choices.below(FILES);
        let count = &acknowledged[usize::try_from(file).unwrap()];
        let n = count.load(Ordering::Relaxed);
        if n == BATCHES {
            break;
        }
        writer.put_batch(&items(slots(file, n))).unwrap();
        count.store(n + 1, Ordering::Release);
        commits += 1;
    }
    done.store(true, Ordering::Release);
    let looks: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    println!("{commits} commits, first looks per thread {looks:?}");
}

/// Between fork and exec a child process has a copy of every open file, and a lock lives as long as any
/// copy of its file: it has to be given back, not just closed.
#[test]
fn the_lock_is_released_at_once_while_children_start() {
    let scratch = scratch();
    let column = scratch.path().join("column");
    drop(create(&column, Compression::None, false));
    let done = Arc::new(AtomicBool::new(false));
    let starter = thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let program = std::env::current_exe().unwrap();
            let mut started = 0_u64;
            while !done.load(Ordering::Acquire) {
                let mut command = Command::new(&program);
                let child = command.args(["no such test", "--exact"]).stdout(Stdio::null());
                assert!(child.status().unwrap().success());
                started += 1;
            }
            started
        }
    });
    let start = Instant::now();
    let (mut opened, mut refused) = (0_u64, 0_u64);
    while start.elapsed() < Duration::from_millis(500) {
        coldstore::inspect(&column).map_or_else(
            |error| {
                assert!(matches!(error, Error::AlreadyOpen { .. }), "{error}");
                refused += 1;
            },
            drop,
        );
        match Writer::open(&column, WriterOptions::default()) {
            Ok(writer) => drop(writer),
            Err(Error::AlreadyOpen { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        opened += 1;
    }
    done.store(true, Ordering::Release);
    let started = starter.join().unwrap();
    assert_eq!(refused, 0, "of {opened} times, while {started} children were started");
}
