//! Undamaged archives.

use std::fs;
use std::mem;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use coldstore::{Column, Error, Slot, Writer, WriterOptions};
use coldstore_consensus::Root;
use coldstore_consensus::transition::BeaconState;
use coldstore_history::reconstruct::{Chosen, Ended, SinkError, StateSink, Stretch};
use coldstore_history::replay::{Check, ReplayError};
use test_support::chain_content::{all_states, blocks, truth};
use test_support::{ImportedArchive, MINIMAL};

use crate::archive::{assert_stored, boundaries, every, minimal, stored, storing};

#[test]
fn every_state_of_all_forks_is_stored_and_right() {
    let (archive, truth) = (minimal(0..=9), all_states());
    let run = storing(every(1));
    let done = run.run(&archive);
    assert_stored(&archive, &truth, 0..=576);
    assert_eq!((done.slots, done.stored_states), (575, 567));
    assert_eq!((done.eras, done.done_eras), (9, 0));
    // The block of slot 576 is in no file, so the state at the end of the last era cannot be reached.
    assert_eq!((done.equal_ends, done.ends_by_root), (8, 1));
    assert!(done.failed.is_empty());
    let again = run.run(&archive);
    assert_eq!((again.slots, again.stored_states, again.done_eras), (0, 0, 9));
}

#[test]
fn any_number_of_workers_stores_the_same() {
    let archives = [1, 4].map(|jobs| {
        let archive = minimal(0..=9);
        let mut run = storing(every(3));
        run.jobs = jobs;
        assert_eq!(run.run(&archive).eras, 9);
        stored(&archive)
    });
    assert!(archives[0] == archives[1]);
    assert_eq!(archives[0].len(), 3 * 64 + 10 - 3, "multiples of 3 up to 575, and the boundaries");
}

#[test]
fn only_the_chosen_slots_of_the_chosen_eras_are_stored() {
    let truth = all_states();
    for check in [Check::Boundary, Check::Epoch, Check::Slot] {
        let archive = minimal(0..=9);
        let mut run = storing(Chosen::Slots([70, 128, 203, 204, 570].map(Slot).to_vec()));
        run.options.check = check;
        run.options.eras = Some(2..=4);
        let done = run.run(&archive);
        assert_stored(&archive, &truth, boundaries(0..=9).chain([70, 203, 204]));
        // Era 3 has no chosen slot that is missing.
        assert_eq!((done.eras, done.done_eras, done.equal_ends), (2, 1, 2));
    }
}

#[test]
fn a_check_is_done_and_counted_also_where_all_states_are_stored() {
    let archive = minimal(0..=9);
    let mut run = storing(every(16));
    run.run(&archive);
    for (check, slots, checked) in
        [(Check::Boundary, 0, 0), (Check::Epoch, 575, 71), (Check::Slot, 575, 575)]
    {
        run.options.check = check;
        let done = run.run(&archive);
        assert_eq!((done.slots, done.checked_states, done.stored_states), (slots, checked, 0));
    }
    archive.remake(Column::StateRoots, |slot, root| (slot != 200).then_some(root));
    run.options.check = Check::Slot;
    let failed = run.run(&archive).failed;
    assert_eq!(failed.len(), 1);
    assert!(matches!(failed[0].error, ReplayError::NoStateRoot { slot: Slot(200) }));
}

#[test]
fn without_chosen_states_the_replay_only_proves() {
    let archive = minimal(0..=9);
    let done = storing(Chosen::Nothing).run(&archive);
    assert_eq!((done.slots, done.stored_states, done.equal_ends), (575, 0, 8));
    assert_stored(&archive, &all_states(), boundaries(0..=9));
}

#[test]
fn a_stopped_run_resumes_from_the_nearest_stored_state() {
    let (archive, truth) = (minimal(0..=9), all_states());
    let mut run = storing(every(5));
    run.stop_after = 64 + 33;
    let ended = run.try_run(&archive).unwrap_err();
    assert!(matches!(ended.why, Ended::Stopped), "{ended}");
    assert_eq!(ended.done.slots, 97);
    let fives = |last: u64| (0..=last).step_by(5);
    assert_stored(&archive, &truth, boundaries(0..=9).chain(fives(97)));
    run.stop_after = u64::MAX;
    let plan = run.plan(&archive);
    let second =
        Stretch { eras: 2..=2, start: Slot(95), end: Slot(128), ends_with_stored_state: true };
    assert_eq!((plan.done_eras, &plan.stretches[0]), (1, &second));
    assert_eq!(run.run(&archive).slots, 575 - 95);
    assert_stored(&archive, &truth, boundaries(0..=9).chain(fives(575)));
}

#[test]
fn eras_without_a_state_at_their_beginning_are_replayed_from_an_earlier_one() {
    let (archive, truth) = (minimal(0..=9), all_states());
    let kept = [0, 128, 512, 576];
    archive.remake(Column::StateSnapshots, |slot, state| kept.contains(&slot).then_some(state));
    let run = storing(every(50));
    let eras: Vec<_> = run.plan(&archive).stretches.into_iter().map(|it| it.eras).collect();
    assert_eq!(eras, [1..=2, 3..=8, 9..=9]);
    let done = run.run(&archive);
    assert_eq!((done.eras, done.equal_ends, done.ends_by_root), (9, 2, 1));
    assert_stored(&archive, &truth, kept.into_iter().chain((0..=575).step_by(50)));
}

#[test]
fn a_replay_that_starts_before_the_chosen_eras_stores_nothing_of_the_others() {
    let (archive, truth) = (minimal(0..=9), all_states());
    archive
        .remake(Column::StateSnapshots, |slot, state| (slot < 192 || slot == 576).then_some(state));
    let mut run = storing(every(20));
    run.options.eras = Some(5..=5);
    let plan = run.plan(&archive);
    let fifth =
        Stretch { eras: 5..=5, start: Slot(128), end: Slot(320), ends_with_stored_state: false };
    assert_eq!(plan.stretches, [fifth]);
    run.run(&archive);
    assert_stored(&archive, &truth, [0, 64, 128, 260, 280, 300, 320, 576]);
}

#[test]
fn an_archive_that_begins_with_a_later_era_needs_nothing_older() {
    let (archive, truth) = (minimal(3..=9), all_states());
    let run = storing(every(7));
    assert_eq!(run.plan(&archive).reach, Some((Slot(193), Slot(575))));
    let done = run.run(&archive);
    assert_eq!((done.eras, done.equal_ends), (6, 5));
    let sevens = (196..=575).step_by(7);
    assert_stored(&archive, &truth, boundaries(3..=9).chain(sevens));
}

#[test]
fn states_whose_blocks_or_roots_were_pruned_are_left_out() {
    let pruned = [Column::Blocks, Column::BlockRoots, Column::StateRoots];
    for columns in [&pruned[..], &pruned[..1], &pruned[1..2], &pruned[2..]] {
        let archive = minimal(0..=9);
        for column in columns {
            archive.remake(*column, |slot, value| (slot >= 192).then_some(value));
        }
        let run = storing(every(7));
        let plan = run.plan(&archive);
        assert_eq!(plan.reach, Some((Slot(193), Slot(575))), "{columns:?}");
        assert_eq!(plan.pruned_eras, Some(1..=3));
        let done = run.run(&archive);
        assert_eq!((done.eras, done.failed.len()), (6, 0));
    }
}

#[test]
fn a_lost_table_of_states_fails_its_own_eras_alone() {
    let archive = minimal(0..=9);
    let states = archive.path().join(Column::StateSnapshots.dir_name());
    let mut writer = Writer::open(&states, WriterOptions::default()).unwrap();
    // The current file is checked when the archive is opened.
    for slot in [8192, 2 * 8192] {
        writer.put(Slot(slot), b"in a later file").unwrap();
    }
    drop(writer);
    // Otherwise the first state names the chain.
    let chain = Root::of_slice(&all_states()[&0][8..40]).unwrap();
    let manifest = format!("slots_per_era = 64\ngenesis_validators_root = \"{chain}\"\n");
    fs::write(archive.path().join("archive.toml"), manifest).unwrap();
    let lose = |file: &str| fs::remove_file(states.join(file)).unwrap();
    let run = || storing(every(8)).run_with(&archive, vec![Full::after(u64::MAX)]).unwrap();
    lose("data_00001.off");
    let done = run();
    assert_eq!((done.eras, done.stored_states, done.failed.len()), (9, 63, 0));
    lose("data_00000.off");
    let done = run();
    assert_eq!((done.eras, done.stored_states, done.failed.len()), (0, 0, 9));
    for failed in &done.failed {
        assert!(failed.to_string().contains("data_00000.off"), "{failed}");
    }
}

/// Appends the blocks and roots of slots after the last imported era.
fn append(archive: &ImportedArchive, slots: RangeInclusive<u64>) {
    let open = |column: Column| {
        let directory = archive.path().join(column.dir_name());
        Writer::open(directory, WriterOptions::default()).unwrap()
    };
    let (mut blk, mut bbr, mut bsr) =
        (open(Column::Blocks), open(Column::BlockRoots), open(Column::StateRoots));
    let (blocks, block_roots, state_roots) =
        (blocks(MINIMAL), truth("BLOCKS.tsv"), truth("STATES.tsv"));
    for slot in slots {
        if let Some(block) = blocks.get(&slot) {
            blk.put(Slot(slot), block).unwrap();
        }
        bsr.put(Slot(slot), &state_roots[&slot].root.0).unwrap();
        let (_, latest) = block_roots.range(..=slot).next_back().unwrap();
        bbr.put(Slot(slot), &latest.root.0).unwrap();
    }
}

#[test]
fn the_last_era_is_replayed_as_far_as_there_are_blocks() {
    let (archive, truth) = (minimal(0..=8), all_states());
    append(&archive, 512..=550);
    let mut run = storing(every(1));
    run.jobs = 3;
    let done = run.run(&archive);
    assert_stored(&archive, &truth, 0..=550);
    assert_eq!((done.eras, done.equal_ends, done.ends_by_root), (9, 8, 1));
    // The era goes on: only what is new is replayed.
    append(&archive, 551..=560);
    assert_eq!(run.run(&archive).slots, 10);
    assert_stored(&archive, &truth, 0..=560);
}

/// Stores nothing after a number of states.
struct Full {
    left: u64,
    put: u64,
}

impl Full {
    fn after(left: u64) -> Self {
        Self { left, put: 0 }
    }
}

impl StateSink for Full {
    fn put(&mut self, _: Slot, _: &BeaconState<'_>) -> Result<(), SinkError> {
        self.left = self.left.checked_sub(1).ok_or("the disk is full")?;
        self.put += 1;
        Ok(())
    }

    fn put_diffs(&mut self, _: Vec<(Slot, Vec<u8>)>) -> Result<(), SinkError> {
        unreachable!("whole states are chosen")
    }

    fn finish(&mut self) -> Result<u64, SinkError> {
        Ok(mem::take(&mut self.put))
    }
}

#[test]
fn a_state_that_cannot_be_stored_ends_the_run_of_all_workers() {
    let archive = minimal(0..=9);
    let ended = storing(every(1))
        .run_with(&archive, vec![Full::after(u64::MAX), Full::after(7)])
        .unwrap_err();
    let Ended::Sink(error) = &ended.why else { panic!("{ended}") };
    assert_eq!(error.to_string(), "the disk is full");
    assert!(ended.done.slots < 575 && ended.done.stored_states >= 7);
}

/// Behaves as a test says.
pub(crate) struct Faulty {
    pub(crate) put: Box<dyn FnMut() -> Result<(), SinkError> + Send>,
    pub(crate) finish: Box<dyn FnMut() -> Result<(), SinkError> + Send>,
}

impl StateSink for Faulty {
    fn put(&mut self, _: Slot, _: &BeaconState<'_>) -> Result<(), SinkError> {
        (self.put)()
    }

    fn put_diffs(&mut self, _: Vec<(Slot, Vec<u8>)>) -> Result<(), SinkError> {
        (self.put)()
    }

    fn finish(&mut self) -> Result<u64, SinkError> {
        (self.finish)().map(|()| 0)
    }
}

fn poisoned() -> SinkError {
    Box::new(Error::ShuttingDown { directory: Path::new("bss").into() })
}

#[test]
fn a_slot_with_a_different_state_from_another_producer_fails_its_era_alone() {
    let archive = minimal(0..=9);
    let mut puts = 0;
    let put = move || {
        puts += 1;
        if puts == 100 { Err(Error::Conflict { slot: Slot(101) }.into()) } else { Ok(()) }
    };
    let sink = Faulty { put: Box::new(put), finish: Box::new(|| Ok(())) };
    let done = storing(every(1)).run_with(&archive, vec![sink]).unwrap();
    let [failed] = &done.failed[..] else { panic!("{:?}", done.failed) };
    assert_eq!((&failed.eras, done.eras), (&(2..=2), 8));
}

#[test]
fn the_cause_of_an_error_is_reported_before_its_consequences() {
    let archive = minimal(0..=9);
    // Of one worker: a queue refuses states after one that it took was not stored.
    let sink =
        Faulty { put: Box::new(|| Err(poisoned())), finish: Box::new(|| Err("full".into())) };
    let ended = storing(every(1)).run_with(&archive, vec![sink]).unwrap_err();
    assert_eq!(format!("{:?}", ended.why), "Sink(\"full\")");
    // Of one worker that is stopped.
    let mut stopped = storing(every(1));
    stopped.stop_after = 3;
    let sink = Faulty { put: Box::new(|| Ok(())), finish: Box::new(|| Err("full".into())) };
    let ended = stopped.run_with(&archive, vec![sink]).unwrap_err();
    assert_eq!(format!("{:?}", ended.why), "Sink(\"full\")");
    // Of two: the first has the error only after the second was refused.
    let (putting, is_putting) = channel();
    let (refused, is_refused) = channel();
    let first = Faulty {
        put: Box::new(move || {
            putting.send(()).unwrap();
            is_refused.recv().unwrap();
            Err("full".into())
        }),
        finish: Box::new(|| Ok(())),
    };
    let second = Faulty {
        put: Box::new(move || {
            is_putting.recv().unwrap();
            refused.send(()).unwrap();
            Err(poisoned())
        }),
        finish: Box::new(|| Ok(())),
    };
    let ended = storing(every(1)).run_with(&archive, vec![first, second]).unwrap_err();
    assert_eq!(format!("{:?}", ended.why), "Sink(\"full\")");
}

#[test]
fn an_era_that_failed_is_reported_also_if_its_states_cannot_be_stored() {
    let archive = minimal(0..=9);
    archive.remake(Column::Blocks, |slot, block| (slot != 30).then_some(block));
    let sink = Faulty { put: Box::new(|| Ok(())), finish: Box::new(|| Err("full".into())) };
    let ended = storing(every(1)).run_with(&archive, vec![sink]).unwrap_err();
    assert!(matches!(ended.why, Ended::Sink(_)), "{ended}");
    assert_eq!(ended.done.failed[0].eras, 1..=1);
}

#[test]
fn a_worker_that_panics_ends_the_others() {
    let archive = minimal(0..=9);
    let (alive, has_panicked) = channel::<()>();
    let panics = Faulty {
        put: Box::new(move || {
            let _alive = &alive;
            panic!("as the test wants")
        }),
        finish: Box::new(|| Ok(())),
    };
    let puts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&puts);
    let waits = Faulty {
        put: Box::new(move || {
            // An error once the other sink was dropped.
            let _ = has_panicked.recv();
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }),
        finish: Box::new(|| Ok(())),
    };
    let run = || storing(every(1)).run_with(&archive, vec![waits, panics]);
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    assert_eq!(puts.load(Ordering::Relaxed), 1);
}

#[test]
fn no_state_is_handed_out_before_its_root_was_compared() {
    let archive = minimal(0..=9);
    // The slot was skipped, so no block names its state root.
    archive.remake(Column::StateRoots, |slot, root| {
        Some(if slot == 203 { vec![7; 32] } else { root })
    });
    let done =
        storing(Chosen::Slots(vec![Slot(203)])).run_with(&archive, vec![Full::after(0)]).unwrap();
    assert_eq!((done.stored_states, done.eras, done.done_eras), (0, 0, 8));
    let failed = done.failed[0].to_string();
    let found = &test_support::chain_content::truth("STATES.tsv")[&203].root;
    assert!(
        failed.starts_with(&format!(
            "era 4: slot 203: wanted the state root 0x{}, in bsr, found {found}, of the replayed state",
            "07".repeat(32)
        )),
        "{failed}"
    );
}
