//! Many producers, one writer.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use test_support::{Fault, PLAIN, TestDisk};

use coldstore::{
    ArchivePipeline, ArchiveWriter, ArchiveWriterOptions, Column, Committed, Error, Manifest,
    OwnedRange, Pipeline, PipelineOptions, Queue, Reader, ReaderOptions, Slot, TrySubmitError,
    View, Writer, WriterOptions,
};

fn value(slot: u64) -> Vec<u8> {
    (0..slot % 200 + 1).map(|index| ((slot * 7 + index) % 251).try_into().unwrap()).collect()
}

fn item(slot: u64) -> (Slot, Vec<u8>) {
    (Slot(slot), value(slot))
}

fn writer(directory: &Path, column: Column, backfill: bool) -> Writer {
    Writer::open(directory, WriterOptions::create(column.spec()).allow_backfill(backfill)).unwrap()
}

fn view(directory: &Path) -> View {
    // SAFETY: the directory is this test's own.
    #[allow(unsafe_code)]
    unsafe { Reader::open_mapped(directory, ReaderOptions::default()) }.unwrap().view()
}

fn shown(directory: &Path) -> BTreeMap<u64, Vec<u8>> {
    let view = view(directory);
    view.range(..)
        .map(|record| record.unwrap())
        .map(|record| (record.slot().0, record.value().unwrap().into_owned()))
        .collect()
}

#[test]
fn every_job_of_many_producers_is_answered_and_durable() {
    for column in [Column::Blocks, Column::StateDiffs] {
        let directory = test_support::scratch();
        let mut first = writer(directory.path(), column, true);
        first.put_batch(&[item(0), item(8192), item(16_384), item(24_576)]).unwrap();
        let commits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&commits);
        let options = PipelineOptions::default()
            .max_jobs(NonZeroUsize::new(16).unwrap())
            .max_bytes(4096)
            .on_commit(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
            });
        let pipeline = Pipeline::start(first, options).unwrap();

        // Four producers, each in an era of its own, and one above the highest slot.
        std::thread::scope(|scope| {
            for era in 0..4u64 {
                let pipeline = pipeline.clone();
                scope.spawn(move || {
                    for slot in (1..150).map(|n| era * 8192 + n) {
                        let done = pipeline.put(Slot(slot), value(slot)).unwrap();
                        assert_eq!(done, Committed { written: 1, unchanged: 0 });
                    }
                });
            }
            scope.spawn(|| {
                for first in (0..30).map(|n| 30_000 + n * 10) {
                    pipeline.put_batch((first..first + 5).map(item).collect()).unwrap();
                }
            });
        });
        assert_eq!(pipeline.queue().jobs, 0);
        assert_eq!(pipeline.queue().bytes, 0);
        assert!(commits.load(Ordering::Relaxed) < 4 * 149 + 30, "nothing was ever merged");
        drop(pipeline);

        let mut expected: Vec<u64> =
            (0..4).flat_map(|era| (0..150).map(move |n| era * 8192 + n)).collect();
        expected.extend((0..30).flat_map(|n| (0..5).map(move |m| 30_000 + n * 10 + m)));
        let shown = shown(directory.path());
        assert_eq!(shown.keys().copied().collect::<Vec<_>>(), expected);
        assert!(shown.iter().all(|(slot, found)| *found == value(*slot)));
        let again = writer(directory.path(), column, false);
        assert!(again.heal_report().is_clean(), "{:?}", again.heal_report());
    }
}

/// Guards against a conf that names the file just filled with its length before.
#[test]
fn successive_commits_into_one_file_keep_each_others_records() {
    let directory = test_support::scratch();
    let mut first = writer(directory.path(), Column::StateDiffs, true);
    first.put_batch(&[item(0), item(8192), item(16_384)]).unwrap();
    // A round takes half of what may wait: there is always a next one to name the file of.
    let options = PipelineOptions::default().max_bytes(4096);
    let pipeline = Pipeline::start(first, options).unwrap();
    let slots: Vec<u64> = (1..400).map(|n| if n % 90 == 0 { 8192 + n } else { n }).collect();
    let missing = Arc::new(Mutex::new(Vec::new()));
    for slot in &slots {
        let (slot, missing, path) = (*slot, Arc::clone(&missing), directory.path().to_owned());
        let told = move |outcome: coldstore::Result<Committed>| {
            outcome.unwrap();
            if view(&path).get(Slot(slot)).unwrap().is_none() {
                missing.lock().unwrap().push(slot);
            }
        };
        pipeline.submit_then(vec![item(slot)], told).unwrap();
    }
    drop(pipeline);
    let again = writer(directory.path(), Column::StateDiffs, false);
    assert!(again.heal_report().is_clean(), "{:?}", again.heal_report());
    assert_eq!(*missing.lock().unwrap(), [0; 0], "acknowledged, and not there");
    assert_eq!(shown(directory.path()).len(), 3 + slots.len());
}

#[test]
fn a_job_that_breaks_a_rule_fails_alone() {
    let directory = test_support::scratch();
    let pipeline = Pipeline::start(
        writer(directory.path(), Column::StateDiffs, false),
        PipelineOptions::default(),
    )
    .unwrap();
    pipeline.put(Slot(100), value(100)).unwrap();
    let jobs = [
        pipeline.submit(vec![item(200)]),
        pipeline.submit(vec![(Slot(100), b"other".to_vec())]),
        pipeline.submit(vec![item(50)]),
        pipeline.submit(vec![item(100)]),
        pipeline.submit(vec![item(300)]),
    ];
    let answers: Vec<_> = jobs.into_iter().map(|job| job.unwrap().wait()).collect();
    assert_eq!(*answers[0].as_ref().unwrap(), Committed { written: 1, unchanged: 0 });
    assert!(matches!(answers[1], Err(Error::Conflict { slot: Slot(100) })));
    assert!(matches!(answers[2], Err(Error::BackfillDisabled { slot: Slot(50), .. })));
    assert_eq!(*answers[3].as_ref().unwrap(), Committed { written: 0, unchanged: 1 });
    assert!(answers[4].is_ok());

    // What is wrong with the job itself is said at once.
    assert!(matches!(pipeline.submit(vec![item(9), item(8)]), Err(Error::NotAscending { .. })));
    assert!(matches!(pipeline.submit(vec![(Slot(u64::MAX), vec![])]), Err(Error::InvalidSlot)));
    assert_eq!(shown(directory.path()).keys().copied().collect::<Vec<_>>(), [100, 200, 300]);
}

#[test]
fn shutdown_finishes_waiting_jobs_and_releases_the_lock() {
    let directory = test_support::scratch();
    let pipeline = Pipeline::start(
        writer(directory.path(), Column::StateDiffs, false),
        PipelineOptions::default(),
    )
    .unwrap();
    let tickets: Vec<_> = (0..300).map(|slot| pipeline.submit(vec![item(slot)]).unwrap()).collect();
    let other = pipeline.clone();
    drop(pipeline.shutdown().expect("the first to ask gets the writer"));
    assert!(other.shutdown().is_none());
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
    assert!(matches!(other.put(Slot(900), value(900)), Err(Error::ShuttingDown { .. })));
    assert_eq!(shown(directory.path()).len(), 300);
    drop(writer(directory.path(), Column::StateDiffs, false));
}

#[test]
fn a_job_larger_than_the_bound_is_admitted_alone() {
    let directory = test_support::scratch();
    let pipeline = Pipeline::start(
        writer(directory.path(), Column::StateDiffs, false),
        PipelineOptions::default().max_bytes(10),
    )
    .unwrap();
    std::thread::scope(|scope| {
        for producer in 0..4u64 {
            let pipeline = &pipeline;
            scope.spawn(move || {
                // Jobs of one producer ascend; those of another may be faster, and then these are
                // refused: what counts is that everybody gets an answer.
                for slot in (0..20).map(|n| n * 4 + producer) {
                    drop(pipeline.put(Slot(slot), vec![7; 1000]));
                }
            });
        }
    });
    assert_eq!(pipeline.queue(), coldstore::Queue::default());
    assert!(!shown(directory.path()).is_empty());
}

#[test]
fn callbacks_get_the_answers_in_the_order_of_the_commits() {
    let directory = test_support::scratch();
    let pipeline = Pipeline::start(
        writer(directory.path(), Column::StateDiffs, false),
        PipelineOptions::default(),
    )
    .unwrap();
    let answered = Arc::new(Mutex::new(Vec::new()));
    for slot in 0..100 {
        let answered = Arc::clone(&answered);
        let told = move |outcome: coldstore::Result<Committed>| {
            answered.lock().unwrap().push((slot, outcome.unwrap().written));
        };
        pipeline.submit_then(vec![item(slot)], told).unwrap();
    }
    drop(pipeline.shutdown());
    let expected: Vec<(u64, u64)> = (0..100).map(|slot| (slot, 1)).collect();
    assert_eq!(*answered.lock().unwrap(), expected);
}

#[test]
fn the_last_handle_may_be_dropped_in_an_answer() {
    let directory = test_support::scratch();
    let pipeline = Pipeline::start(
        writer(directory.path(), Column::StateDiffs, false),
        PipelineOptions::default(),
    )
    .unwrap();
    let tickets: Vec<_> = (1..50).map(|slot| pipeline.submit(vec![item(slot)]).unwrap()).collect();
    let (last, path) = (pipeline.clone(), directory.path().to_owned());
    pipeline.submit_then(vec![item(100)], move |_| drop(last)).unwrap();
    drop(pipeline);
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
    // The thread ends by itself and gives the lock back.
    let start = std::time::Instant::now();
    while start.elapsed() < test_support::HANG {
        match Writer::open(&path, WriterOptions::existing()) {
            Ok(_) => return,
            Err(Error::AlreadyOpen { .. }) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the lock was never given back");
}

/// Guards against jobs that wait for ever behind a disk that failed, or are told that all is well.
#[test]
fn an_io_error_fails_all_waiting_jobs_with_its_cause() {
    for call in 0..12 {
        let (directory, disk) = (test_support::scratch(), TestDisk::new());
        let options = WriterOptions::create(PLAIN);
        let mut first = Writer::open_on(disk.shared(), directory.path(), options).unwrap();
        first.put(Slot(0), b"before").unwrap();
        disk.fail_at(call, Fault::Dead);
        let pipeline = Pipeline::start(first, PipelineOptions::default()).unwrap();
        let tickets: Vec<_> =
            (1..60).map(|slot| pipeline.submit(vec![item(slot)]).unwrap()).collect();
        let answers: Vec<_> = tickets.into_iter().map(coldstore::Ticket::wait).collect();
        let acknowledged = answers.iter().take_while(|answer| answer.is_ok()).count();
        let mut failed_at = None;
        for error in answers[acknowledged..].iter().map(|answer| answer.as_ref().unwrap_err()) {
            let cause = match error {
                Error::Poisoned { cause, .. } => cause,
                other => other,
            };
            let Error::Io(cause) = cause else { panic!("call {call}: {error:?}") };
            failed_at.get_or_insert(cause.operation);
            assert!(error.to_string().contains("injected fault"), "call {call}: {error}");
        }
        if disk.was_hit() {
            let late = pipeline.put(Slot(1000), value(1000)).unwrap_err();
            // A file that cannot be opened poisons nothing: nothing was changed.
            let unchanged = matches!(&late, Error::Io(error) if error.operation == "open");
            assert!(unchanged || matches!(late, Error::Poisoned { .. }), "call {call}: {late:?}");
            // Data and offset file are opened first, by every commit: how many there were before
            // the disk failed is up to the threads.
            assert_eq!(unchanged, failed_at == Some("open"), "call {call}: {failed_at:?}");
            assert!(unchanged || call >= 2, "call {call}: {late:?}");
        }
        assert_eq!(pipeline.queue(), coldstore::Queue::default());
        drop(pipeline);
        drop(writer_of(directory.path()));
        let shown = shown(directory.path());
        assert!((1..=acknowledged as u64).all(|slot| shown.contains_key(&slot)), "call {call}");
    }
}

fn writer_of(directory: &Path) -> Writer {
    Writer::open(directory, WriterOptions::existing()).unwrap()
}

#[test]
fn the_queue_is_bounded() {
    let directory = test_support::scratch();
    let (most, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(None::<Pipeline>)));
    let (top, handle) = (Arc::clone(&most), Arc::clone(&seen));
    let options =
        PipelineOptions::default().max_jobs(NonZeroUsize::new(4).unwrap()).on_commit(move |_| {
            if let Some(pipeline) = &*handle.lock().unwrap() {
                top.fetch_max(pipeline.queue().jobs, Ordering::Relaxed);
            }
        });
    let pipeline =
        Pipeline::start(writer(directory.path(), Column::StateDiffs, true), options).unwrap();
    *seen.lock().unwrap() = Some(pipeline.clone());
    pipeline.put(Slot(100_000), value(1)).unwrap();
    std::thread::scope(|scope| {
        for producer in 0..16 {
            let pipeline = &pipeline;
            scope.spawn(move || {
                for slot in (0..20).map(|n| n * 16 + producer) {
                    pipeline.put(Slot(slot), value(slot)).unwrap();
                }
            });
        }
    });
    let most = most.load(Ordering::Relaxed);
    assert!((2..=4).contains(&most), "{most} jobs at once");
    *seen.lock().unwrap() = None;
    drop(pipeline);
    assert_eq!(shown(directory.path()).len(), 321);
}

/// Guards against a large value that overtakes what was queued before it, or holds memory.
#[test]
fn values_from_files_are_committed_in_order() {
    for column in [Column::Blocks, Column::StateDiffs] {
        let directory = test_support::scratch();
        let commits = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&commits);
        let options = PipelineOptions::default().on_commit(move |info| {
            assert!(info.flush <= info.elapsed && !info.flush.is_zero());
            told.lock().unwrap().push(info.records);
        });
        let pipeline = Pipeline::start(writer(directory.path(), column, false), options).unwrap();
        let (sender, answers) = std::sync::mpsc::channel();
        // Without backfill each of them has to come behind the one before it.
        for slot in 0..30 {
            let (sender, value) = (sender.clone(), value(slot));
            let answer = move |outcome| sender.send((slot, outcome)).unwrap();
            if slot % 3 == 1 {
                let (len, source) = (value.len() as u64, Box::new(std::io::Cursor::new(value)));
                pipeline.submit_from_then(Slot(slot), len, source, answer).unwrap();
            } else {
                pipeline.submit_then(vec![(Slot(slot), value)], answer).unwrap();
            }
        }
        for slot in 0..30 {
            let (answered, outcome) = answers.recv().unwrap();
            assert_eq!((answered, outcome.unwrap().written), (slot, 1));
        }
        assert!(commits.lock().unwrap().iter().filter(|records| **records == 1).count() >= 10);
        let from = |slot, value: Vec<u8>| {
            let (len, source) = (value.len() as u64, Box::new(std::io::Cursor::new(value)));
            pipeline.put_from(Slot(slot), len, source)
        };
        assert_eq!(from(4, value(4)).unwrap(), Committed { written: 0, unchanged: 1 });
        assert!(matches!(from(4, value(5)), Err(Error::Conflict { slot: Slot(4) })));
        assert!(matches!(from(90, vec![0; 1]), Ok(Committed { written: 1, .. })));
        // A source that ends early is an error of that job alone.
        let short = pipeline.put_from(Slot(91), 100, Box::new(std::io::empty()));
        assert!(matches!(short, Err(Error::Io(_))), "{short:?}");
        pipeline.put(Slot(91), value(91)).unwrap();
        drop(pipeline);
        assert_eq!(shown(directory.path()).len(), 32);
    }
}

/// A value whose first byte comes when it is sent: until then the writer's thread waits in its commit.
struct Held(std::sync::mpsc::Receiver<u8>);

impl std::io::Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Ok(byte) = self.0.recv() else { return Ok(0) };
        buffer[0] = byte;
        Ok(1)
    }
}

#[derive(Default)]
struct Woken(AtomicU64);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

#[test]
fn a_full_queue_returns_the_items_and_a_ticket_can_be_awaited() {
    let directory = tempfile::tempdir().unwrap();
    let options = PipelineOptions::default().max_jobs(NonZeroUsize::MIN);
    let writer = writer(directory.path(), Column::StateDiffs, false);
    let pipeline = Pipeline::start(writer, options).unwrap();
    let (go_on, held) = std::sync::mpsc::channel();
    let mut first = pipeline.submit_from(Slot(1), 1, Box::new(Held(held))).unwrap();
    assert_eq!((first.slots(), first.records()), (Some((Slot(1), Slot(1))), 1));

    let woken = Arc::<Woken>::default();
    let waker = std::task::Waker::from(Arc::clone(&woken));
    let mut context = std::task::Context::from_waker(&waker);
    assert!(Pin::new(&mut first).poll(&mut context).is_pending());
    match pipeline.try_submit(vec![item(2)]) {
        Err(TrySubmitError::Full(items)) => assert_eq!(items, [item(2)]),
        other => panic!("{other:?}"),
    }
    go_on.send(7).unwrap();
    while woken.0.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    let written = Committed { written: 1, unchanged: 0 };
    match Pin::new(&mut first).poll(&mut context) {
        Poll::Ready(outcome) => assert_eq!(outcome.unwrap(), written),
        Poll::Pending => panic!("woken without an answer"),
    }
    // What is refused takes no room.
    let refused = pipeline.try_submit(vec![item(4), item(3)]);
    assert!(matches!(refused, Err(TrySubmitError::Refused(Error::NotAscending { .. }))));
    assert_eq!(pipeline.queue(), Queue::default());
    assert_eq!(pipeline.try_submit(vec![item(2)]).unwrap().wait().unwrap(), written);
    assert_eq!(pipeline.queue(), Queue::default());
    drop(pipeline);
    assert_eq!(shown(directory.path()).keys().copied().collect::<Vec<_>>(), [1, 2]);
}

/// Guards against a sync that overtakes the commits it waits for, or hides their failure.
#[test]
fn sync_returns_when_everything_submitted_before_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = writer(directory.path(), Column::StateDiffs, true);
    first.put_batch(&[item(0), item(40_000)]).unwrap();
    let pipeline = Pipeline::start(first, PipelineOptions::default()).unwrap();
    pipeline.sync().unwrap();
    // The writer is held, so that all jobs and the sync are planned together: four commits.
    let (go_on, held) = std::sync::mpsc::channel();
    let stream = pipeline.submit_from(Slot(40_001), 1, Box::new(Held(held))).unwrap();
    let slots = [1, 9000, 17_000, 41_000];
    let tickets = slots.map(|slot| pipeline.submit(vec![item(slot)]).unwrap());
    std::thread::scope(|scope| {
        let synced = scope.spawn(|| {
            pipeline.sync().unwrap();
            shown(directory.path())
        });
        while pipeline.queue().jobs < 6 {
            std::thread::yield_now();
        }
        go_on.send(7).unwrap();
        let shown = synced.join().unwrap();
        assert!(slots.iter().all(|slot| shown.contains_key(slot)), "{:?}", shown.keys());
    });
    for ticket in tickets {
        assert_eq!(ticket.wait().unwrap().written, 1);
    }
    assert_eq!(stream.wait().unwrap().written, 1);

    let (directory, disk) = (test_support::scratch(), TestDisk::new());
    let options = WriterOptions::create(PLAIN);
    let first = Writer::open_on(disk.shared(), directory.path(), options).unwrap();
    disk.fail_at(2, Fault::Dead);
    let pipeline = Pipeline::start(first, PipelineOptions::default()).unwrap();
    drop(pipeline.submit(vec![item(1)]).unwrap());
    assert!(pipeline.sync().is_err());
    assert!(disk.was_hit());
}

/// Slots with their values.
type Items = Vec<(Slot, Vec<u8>)>;

fn items<const N: usize>(items: [(u64, &str); N]) -> Items {
    items.map(|(slot, value)| (Slot(slot), value.into())).to_vec()
}

/// Submits jobs while the writer is held, so that they are planned together, in a column with the slots
/// 19,999, which holds "held", and 20,000. Returns the slots of each commit, and the answers. With `fault`,
/// the disk fails before the first commit.
fn planned(jobs: &[Items], fault: bool) -> (Vec<Vec<u64>>, Vec<coldstore::Result<Committed>>) {
    let (directory, disk) = (test_support::scratch(), TestDisk::new());
    let options = WriterOptions::create(PLAIN).allow_backfill(true);
    let mut first = Writer::open_on(disk.shared(), directory.path(), options).unwrap();
    first.put_batch(&items([(19_999, "held"), (20_000, "")])).unwrap();
    let commits = Arc::new(Mutex::new(vec![shown(directory.path())]));
    let (told, path) = (Arc::clone(&commits), directory.path().to_owned());
    let options = PipelineOptions::default().on_commit(move |_| {
        told.lock().unwrap().push(shown(&path));
        if fault {
            disk.fail_at(0, Fault::Dead);
        }
    });
    let pipeline = Pipeline::start(first, options).unwrap();
    let (go_on, held) = std::sync::mpsc::channel();
    let stream = pipeline.submit_from(Slot(19_998), 1, Box::new(Held(held))).unwrap();
    let tickets: Vec<_> = jobs.iter().map(|job| pipeline.submit(job.clone()).unwrap()).collect();
    go_on.send(7).unwrap();
    stream.wait().unwrap();
    let answers = tickets.into_iter().map(coldstore::Ticket::wait).collect();
    drop(pipeline);
    let commits = commits.lock().unwrap();
    let new = |pair: &[BTreeMap<u64, Vec<u8>>]| {
        pair[1].keys().filter(|slot| !pair[0].contains_key(slot)).copied().collect()
    };
    (commits.windows(2).skip(1).map(new).collect(), answers)
}

#[test]
fn producers_that_interleave_cost_one_commit_for_each_file() {
    let jobs = [
        items([(1, "a")]),
        items([(9000, "b")]),
        items([(2, "c")]),
        items([(9001, "d"), (17_000, "e")]),
        items([(20_005, "f")]),
        items([(18_000, "g")]),
        items([(20_003, "h")]),
    ];
    let (commits, answers) = planned(&jobs, false);
    assert_eq!(commits, [vec![1, 2, 18_000], vec![9000, 9001, 17_000], vec![20_003, 20_005]]);
    assert!(answers.iter().all(Result::is_ok));
}

#[test]
fn of_jobs_planned_together_those_that_break_a_rule_fail_alone() {
    let jobs = [
        items([(1, "a")]),
        items([(1, "other")]),
        items([(2, "b"), (9000, "b")]),
        items([(3, "c"), (20_001, "c")]),
        items([(19_999, "other")]),
        items([(1, "a"), (19_999, "held")]),
    ];
    let (commits, answers) = planned(&jobs, false);
    assert_eq!(commits, [[1]]);
    assert!(matches!(answers[1], Err(Error::Conflict { slot: Slot(1) })));
    assert!(matches!(answers[2], Err(Error::SpansFiles { .. })));
    assert!(matches!(answers[3], Err(Error::MixedBatch { .. })));
    assert!(matches!(answers[4], Err(Error::Conflict { slot: Slot(19_999) })));
    assert_eq!(*answers[5].as_ref().unwrap(), Committed { written: 0, unchanged: 2 });
}

/// Guards against a repeated job that is acknowledged although the first one is never stored.
#[test]
fn a_repeated_job_is_answered_only_when_the_first_is_durable() {
    let job = items([(20_001, "a")]);
    let (commits, answers) = planned(&[job.clone(), job], true);
    assert_eq!(commits, [[0u64; 0]; 0]);
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
}

#[test]
fn a_bulk_submission_breaks_no_rule_wherever_its_slots_lie() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = writer(directory.path(), Column::Blocks, true);
    first.put_batch(&[item(0), item(8192), item(20_000)]).unwrap();
    let pipeline = Pipeline::start(first, PipelineOptions::default()).unwrap();
    let bulk = |slots: &[u64]| slots.iter().map(|slot| item(*slot)).collect::<Vec<_>>();
    let slots = [1, 2, 9000, 17_000, 20_001, 30_000];
    assert!(matches!(pipeline.put_batch(bulk(&slots)), Err(Error::MixedBatch { .. })));

    // The writer is held while the second run is queued: its slots up to 30,000 are above the highest
    // slot by then, and gaps when they are committed.
    let (go_on, held) = std::sync::mpsc::channel();
    let stream = pipeline.submit_from(Slot(20_000), 1, Box::new(Held(held))).unwrap();
    let tickets = pipeline.submit_bulk(bulk(&slots)).unwrap();
    let parts: Vec<_> = tickets.iter().map(|ticket| ticket.slots().unwrap()).collect();
    let part = |first, last| (Slot(first), Slot(last));
    assert_eq!(parts, [part(1, 2), part(9000, 9000), part(17_000, 17_000), part(20_001, 30_000)]);
    let later = pipeline.submit_bulk(bulk(&[25_000, 29_000, 31_000])).unwrap();
    drop(go_on);
    assert!(stream.wait().is_err());
    for ticket in tickets.into_iter().chain(later) {
        let records = ticket.records();
        assert_eq!(ticket.wait().unwrap(), Committed { written: records, unchanged: 0 });
    }
    // 25,000 is a gap now, and so is 29,000 in another round.
    let again = pipeline.submit_bulk(bulk(&[25_000, 29_500, 31_000, 40_000])).unwrap();
    let written: u64 = again.into_iter().map(|ticket| ticket.wait().unwrap().written).sum();
    assert_eq!(written, 2);
    // Nothing of a run with a mistake in it is queued.
    let mistaken = pipeline.submit_bulk(bulk(&[3, 9001, 9001]));
    assert!(matches!(mistaken, Err(Error::NotAscending { .. })));
    drop(pipeline);
    let mut expected = vec![0, 8192, 20_000, 25_000, 29_000, 29_500, 31_000, 40_000];
    expected.extend(slots);
    expected.sort_unstable();
    assert_eq!(shown(directory.path()).keys().copied().collect::<Vec<_>>(), expected);
}

/// Guards against a shared handle that does not see what it has acknowledged.
#[test]
fn an_archive_handle_reads_its_own_puts() {
    let directory = test_support::scratch();
    let options = ArchiveWriterOptions::new().raw(true).far(true).backfill(Column::StateDiffs);
    let open = || ArchivePipeline::open(directory.path(), options, |_| PipelineOptions::default());
    let archive = open().unwrap();
    std::thread::scope(|scope| {
        for producer in 0..8 {
            let archive = archive.clone();
            scope.spawn(move || {
                let column = Column::ALL[producer % 5];
                for n in 0..30 {
                    let slot = Slot(100_000 + n * 8 + producer as u64);
                    // A column without backfill refuses a slot below those of the other producer.
                    let given = slot.0.to_le_bytes().repeat(4);
                    let wanted = match archive.put(column, slot, given.clone()) {
                        Ok(_) => Some(given),
                        Err(Error::BackfillDisabled { .. }) => None,
                        Err(error) => panic!("{error}"),
                    };
                    assert_eq!(archive.get(column, slot).unwrap(), wanted);
                    assert_eq!(archive.contains(column, slot).unwrap(), wanted.is_some());
                }
            });
        }
    });

    let diffs = Column::StateDiffs;
    let before = archive.range(diffs, Slot(100_000)..).unwrap();
    archive.put(diffs, Slot(200_000), vec![]).unwrap();
    let gaps = || [1, 9000, 17_000].map(item).to_vec();
    assert!(matches!(archive.put_batch(diffs, gaps()), Err(Error::SpansFiles { .. })));
    assert_eq!(archive.put_bulk(diffs, gaps()).unwrap().written, 3);
    let ticket = archive.column(diffs).submit(vec![item(2)]).unwrap();
    archive.sync().unwrap();
    assert!(archive.contains(diffs, Slot(2)).unwrap());
    assert_eq!(ticket.wait().unwrap().written, 1);

    // Both iterators own their snapshots: they outlive the handle.
    let after = archive.range(diffs, Slot(2)..Slot(100_000)).unwrap();
    archive.shutdown();
    assert!(matches!(archive.put(diffs, Slot(3), vec![]), Err(Error::ShuttingDown { .. })));
    assert_eq!(archive.get(diffs, Slot(2)).unwrap(), Some(value(2)));
    drop(open().unwrap());
    drop(archive);
    let slots = |range: OwnedRange| -> Vec<u64> {
        let records = std::thread::spawn(|| range.collect::<coldstore::Result<Vec<_>>>());
        records.join().unwrap().unwrap().iter().map(|record| record.slot().0).collect()
    };
    assert_eq!(slots(before), (0..30).map(|n| 100_004 + n * 8).collect::<Vec<_>>());
    assert_eq!(slots(after), [2, 9000, 17_000]);
}

/// Guards against a manifest that records a commit of a column whose lock is not held.
#[test]
fn a_closed_archive_records_only_the_columns_that_it_had_open() {
    let directory = test_support::scratch();
    let open = |column| {
        let options = ArchiveWriterOptions::new().raw(true).far(true).column(column);
        ArchiveWriter::open(directory.path(), options).unwrap()
    };
    drop(open(Column::BlockRoots));
    let mut archive = open(Column::Blocks);
    let roots = directory.path().join(Column::BlockRoots.dir_name());
    writer(&roots, Column::BlockRoots, false).put(Slot(3), &[1; 32]).unwrap();
    archive.writer(Column::Blocks).unwrap().put(Slot(5), b"a block").unwrap();
    drop(archive);
    let manifest = Manifest::read(directory.path()).unwrap().unwrap();
    let highest = |column| manifest.column(column).highest;
    assert_eq!((highest(Column::Blocks), highest(Column::BlockRoots)), (Some(Slot(5)), None));
}
