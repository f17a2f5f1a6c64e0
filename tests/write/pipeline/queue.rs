//! The queue: its bounds, waiting for it, and its end.

use super::*;

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
        match Writer::open(&path, WriterOptions::default()) {
            Ok(_) => return,
            Err(Error::AlreadyOpen { .. }) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the lock was never given back");
}

#[test]
fn the_queue_is_bounded() {
    let directory = test_support::scratch();
    let (most, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(None::<Pipeline>)));
    let (top, handle) = (Arc::clone(&most), Arc::clone(&seen));
    let (start, is_first) = (std::time::Instant::now(), AtomicBool::new(true));
    let options =
        PipelineOptions::default().max_jobs(NonZeroUsize::new(4).unwrap()).on_commit(move |_| {
            let Some(pipeline) = &*handle.lock().unwrap() else { return };
            // The first commit waits until no more jobs are let in.
            let is_full = || pipeline.queue().jobs >= 4 || start.elapsed() > test_support::HANG;
            while is_first.load(Ordering::Relaxed) && !is_full() {
                std::thread::yield_now();
            }
            is_first.store(false, Ordering::Relaxed);
            top.fetch_max(pipeline.queue().jobs, Ordering::Relaxed);
        });
    let pipeline =
        Pipeline::start(writer(directory.path(), Column::StateDiffs, true), options).unwrap();
    pipeline.put(Slot(100_000), value(1)).unwrap();
    *seen.lock().unwrap() = Some(pipeline.clone());
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
    assert_eq!(most.load(Ordering::Relaxed), 4, "jobs at once");
    *seen.lock().unwrap() = None;
    drop(pipeline);
    assert_eq!(shown(directory.path()).len(), 321);
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
