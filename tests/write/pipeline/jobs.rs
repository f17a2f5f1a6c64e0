//! What becomes of each job: its answer, and its records.

use super::*;

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

        // Four producers, each in an era of its own, and one above the highest slot. The writer is held
        // until each has a job in the queue, so that some are merged.
        let (go_on, held) = std::sync::mpsc::channel();
        let stream = pipeline.submit_from(Slot(20_000), 1, Box::new(Held(held))).unwrap();
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
            let start = std::time::Instant::now();
            while pipeline.queue().jobs < 6 {
                assert!(start.elapsed() < test_support::HANG, "{:?}", pipeline.queue());
                std::thread::yield_now();
            }
            drop(go_on);
        });
        assert!(stream.wait().is_err(), "a stream that ended early");
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
