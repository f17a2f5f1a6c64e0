//! Jobs that are planned together, and bulk submissions.

use super::*;

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
