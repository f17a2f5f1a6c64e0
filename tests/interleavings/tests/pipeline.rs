//! Many producers, one writer thread: every job is answered, an acknowledged record can be read, and
//! no thread waits forever (Shuttle reports a deadlock as a failure).
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod support;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coldstore_interleavings::{Error, Pipeline, PipelineOptions, Slot};
use shuttle::thread;
use support::{Steps, explore, reader, scratch, writer};

/// At most two jobs and nine bytes.
fn narrow() -> PipelineOptions {
    PipelineOptions::default().max_jobs(NonZeroUsize::new(2).unwrap()).max_bytes(9)
}

/// Submits a job for each slot and waits for all. Returns the acknowledged slots.
fn produce(pipeline: Pipeline, slots: [u64; 2]) -> thread::JoinHandle<Vec<u64>> {
    thread::spawn(move || {
        let mut tickets = Vec::new();
        for slot in slots {
            match pipeline.submit(vec![(Slot(slot), slot.to_le_bytes()[..5].to_vec())]) {
                Ok(ticket) => tickets.push((slot, ticket)),
                Err(Error::ShuttingDown { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        drop(pipeline);
        let mut acknowledged = Vec::new();
        for (slot, ticket) in tickets {
            match ticket.wait() {
                Ok(committed) => {
                    assert_eq!(committed.written, 1);
                    acknowledged.push(slot);
                }
                Err(Error::Io(_) | Error::Poisoned { .. }) => {}
                Err(error) => panic!("an accepted job: {error}"),
            }
        }
        acknowledged
    })
}

#[test]
fn every_accepted_job_is_answered_during_a_shutdown() {
    explore(|| {
        let scratch = scratch();
        let reader = reader_of(&scratch);
        let disk = Steps { flushes_at_once: true, ..Steps::default() };
        let writer = writer(scratch.path(), disk);
        let pipeline = Pipeline::start(writer, narrow()).unwrap();
        let producers = [[1, 9000], [2, 9001], [20_000, 3]];
        let producers = producers.map(|slots| produce(pipeline.clone(), slots));
        let writer = pipeline.shutdown().expect("the first call gets the writer");
        assert!(pipeline.shutdown().is_none());
        assert_eq!((pipeline.queue().jobs, pipeline.queue().bytes), (0, 0));
        assert!(matches!(pipeline.put(Slot(7), vec![7]), Err(Error::ShuttingDown { .. })));
        let mut acknowledged: Vec<u64> =
            producers.into_iter().flat_map(|producer| producer.join().unwrap()).collect();
        acknowledged.sort_unstable();
        let view = reader.refresh().unwrap();
        let there: Vec<u64> = view.range(..).map(|record| record.unwrap().slot().0).collect();
        assert_eq!(there, acknowledged, "the acknowledged slots are those that can be read");
        drop(writer);
    });
}

#[test]
fn dropping_the_last_handle_ends_the_writer_after_the_last_answer() {
    explore(|| {
        let scratch = scratch();
        let told = Arc::new(AtomicU64::new(0));
        let writer = writer(scratch.path(), Steps::default());
        let count = Arc::clone(&told);
        let options = narrow().on_commit(move |info| {
            count.fetch_add(info.records, Ordering::SeqCst);
        });
        let pipeline = Pipeline::start(writer, options).unwrap();
        let producers = [[1, 2], [3, 4]].map(|slots| produce(pipeline.clone(), slots));
        let (last, count) = (pipeline.clone(), Arc::new(AtomicU64::new(0)));
        let answered = Arc::clone(&count);
        // This answer may drop the last handle on the writer thread.
        pipeline
            .submit_then(vec![(Slot(5), vec![5; 5])], move |outcome| {
                assert!(outcome.is_ok());
                answered.fetch_add(1, Ordering::SeqCst);
                drop(last);
            })
            .unwrap();
        drop(pipeline);
        let acknowledged: usize =
            producers.into_iter().map(|producer| producer.join().unwrap().len()).sum();
        assert_eq!(acknowledged, 4);
        // The writer thread releases the lock when it ends.
        let mut attempts = 0;
        while support::is_locked(scratch.path()) {
            attempts += 1;
            assert!(attempts < 100_000, "the writer thread still holds the lock");
            thread::yield_now();
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert_eq!(told.load(Ordering::SeqCst), 5);
    });
}

#[test]
fn a_failing_disk_fails_every_waiting_job() {
    explore(|| {
        let scratch = scratch();
        let reader = reader_of(&scratch);
        let left = Arc::new(AtomicU64::new(5));
        let disk = Steps { fails_after: Some(left), flushes_at_once: true, ..Steps::default() };
        let pipeline = Pipeline::start(writer(scratch.path(), disk), narrow()).unwrap();
        let producers = [[1, 9000], [2, 9001]].map(|slots| produce(pipeline.clone(), slots));
        let acknowledged: Vec<u64> =
            producers.into_iter().flat_map(|producer| producer.join().unwrap()).collect();
        assert!(acknowledged.len() < 4, "a write failed");
        let poisoned = pipeline.put(Slot(30_000), vec![1]).unwrap_err();
        assert!(matches!(poisoned, Error::Poisoned { .. }), "{poisoned}");
        assert_eq!(pipeline.queue().jobs, 0);
        drop(pipeline);
        let view = reader.refresh().unwrap();
        for slot in acknowledged {
            assert!(view.contains(Slot(slot)).unwrap(), "slot {slot} was acknowledged");
        }
    });
}

/// A reader of a new column.
fn reader_of(scratch: &tempfile::TempDir) -> coldstore_interleavings::MappedReader {
    drop(writer(scratch.path(), Steps::default()));
    reader(scratch.path())
}
