//! States that are kept as diffs.

use std::collections::BTreeMap;
use std::mem;

use coldstore::{Column, Slot, View, Writer, WriterOptions};
use coldstore_consensus::Preset;
use coldstore_consensus::transition::BeaconState;
use coldstore_history::reconstruct::{Chosen, Ended, SinkError, StateSink, StoredDiffs};
use coldstore_history::replay::Source;
use coldstore_history::states::hierarchy::Layer;
use coldstore_history::states::value::{DiffContext, DiffValue, apply_path};
use coldstore_history::states::{Columns, StateRef};
use test_support::ImportedArchive;
use test_support::chain_content::all_states;

use crate::archive::{Run, assert_stored, boundaries, minimal, storing};
use crate::run::Faulty;

fn keeping(keep: &str) -> Run {
    storing(Chosen::Kept(keep.parse().unwrap()))
}

/// The slots and values in `bsd`.
fn diffs(archive: &ImportedArchive) -> BTreeMap<u64, Vec<u8>> {
    let archive = archive.open();
    let Some(column) = archive.column_if_there(Column::StateDiffs).unwrap() else {
        return BTreeMap::new();
    };
    let view = column.view();
    let records = view.range(..).map(|record| {
        let record = record.unwrap();
        (record.slot().0, record.value().unwrap().into_owned())
    });
    records.collect()
}

/// The slots from a kept one down to a whole state.
fn path_of(stored: &BTreeMap<u64, Vec<u8>>, slot: u64) -> Vec<u64> {
    let next = |slot: &u64| {
        let value = stored.get(slot)?;
        Some(DiffValue::parse(Slot(*slot), value).unwrap().base_slot().0)
    };
    std::iter::successors(Some(slot), next).collect()
}

/// Reads a state back through its diffs.
fn read(source: &Source<View>, stored: &BTreeMap<u64, Vec<u8>>, slot: u64) -> Vec<u8> {
    let mut path = path_of(stored, slot);
    let whole = source.snapshots.get(Slot(path.pop().unwrap())).unwrap();
    let whole = whole.expect("a path ends with a whole state");
    let columns = Columns::of_raw(Preset::Minimal, &whole).unwrap();
    let path: Vec<_> = path
        .iter()
        .rev()
        .map(|slot| DiffValue::parse(Slot(*slot), &stored[slot]).unwrap())
        .collect();
    let context = DiffContext::new(source);
    let columns = apply_path(Preset::Minimal, &whole, &columns, &path, context).unwrap();
    let mut ssz = Vec::new();
    StateRef { base: &whole, columns: &columns }.write_ssz(&mut ssz).unwrap();
    ssz
}

/// Asserts that these slots, and no others, have a diff, and that each is the right state.
#[track_caller]
fn assert_kept(archive: &ImportedArchive, wanted: impl IntoIterator<Item = u64>) {
    let (stored, truth) = (diffs(archive), all_states());
    let mut wanted: Vec<u64> = wanted.into_iter().collect();
    wanted.sort_unstable();
    wanted.dedup();
    assert_eq!(stored.keys().copied().collect::<Vec<_>>(), wanted);
    let source = Source::of(&archive.open()).unwrap();
    for slot in wanted {
        assert!(read(&source, &stored, slot) == truth[&slot], "the state of slot {slot}");
    }
}

/// Slots of diffs: those of a chain whose boundary states are whole.
fn but_boundaries(slots: impl Iterator<Item = u64>) -> impl Iterator<Item = u64> {
    slots.filter(|slot| !slot.is_multiple_of(64))
}

fn all_slots() -> Vec<u64> {
    but_boundaries(1..=575).collect()
}

#[test]
fn the_state_of_every_slot_is_kept_and_right() {
    let archive = minimal(0..=9);
    let run = keeping("slots");
    let done = run.run(&archive);
    assert_kept(&archive, all_slots());
    assert_stored(&archive, &all_states(), boundaries(0..=9));
    assert_eq!((done.slots, done.eras, done.stored_states), (575, 9, 567));
    assert_eq!((done.equal_ends, done.ends_by_root, done.failed.len()), (8, 1, 0));
    let stored = diffs(&archive);
    let bytes: usize = stored.values().map(Vec::len).sum();
    let counted = done.diffs.values().fold((0, 0), |sum, layer| {
        let StoredDiffs { records, bytes } = *layer;
        (sum.0 + records, sum.1 + bytes)
    });
    assert_eq!(counted, (567, bytes as u64));
    // Three keyframes in an era, four epochs, and the slots.
    let records = |layer| done.diffs[&layer].records;
    let layers = [Layer::Flat(4), Layer::Chained(3), Layer::Chained(0)];
    assert_eq!(layers.map(records), [27, 36, 504]);
    // Keyframes refer to the era, epochs and slots to those before them.
    assert_eq!(path_of(&stored, 127), [127, 126, 125, 124, 123, 122, 121, 120, 112, 64]);
    let again = run.run(&archive);
    assert_eq!((again.slots, again.stored_states, again.done_eras), (0, 0, 9));
}

#[test]
fn the_states_of_epochs_or_of_some_slots_are_kept() {
    let archive = minimal(0..=9);
    keeping("epochs").run(&archive);
    assert_kept(&archive, but_boundaries((0..=575).step_by(8)));
    assert_eq!(path_of(&diffs(&archive), 104), [104, 96, 64]);
    let archive = minimal(0..=9);
    keeping("every:7").run(&archive);
    // Each is followed by one of the multiples of 7.
    let keyframes = but_boundaries((0..=575).step_by(16));
    assert_kept(&archive, but_boundaries((0..=575).step_by(7)).chain(keyframes));
    let stored = diffs(&archive);
    assert_eq!(path_of(&stored, 105), [105, 96, 64]);
}

#[test]
fn layers_that_are_added_later_give_the_same_states() {
    let orders =
        [["epochs", "slots"], ["every:7", "slots"], ["slots", "epochs"], ["every:7", "epochs"]];
    for order in orders {
        let archive = minimal(0..=9);
        let mut before = BTreeMap::new();
        for keep in order {
            keeping(keep).run(&archive);
            let after = diffs(&archive);
            assert!(before.iter().all(|(slot, value)| after[slot] == *value), "{order:?}");
            before = after;
        }
        if order.contains(&"slots") {
            assert_kept(&archive, all_slots());
        } else {
            let kept = (0..=575).filter(|slot| [7, 8, 16].iter().any(|by| slot % by == 0));
            assert_kept(&archive, but_boundaries(kept));
        }
    }
    let at_once = [minimal(0..=9), minimal(0..=9)];
    keeping("slots").run(&at_once[0]);
    for keep in ["epochs", "slots"] {
        keeping(keep).run(&at_once[1]);
    }
    assert!(diffs(&at_once[0]) == diffs(&at_once[1]));
}

#[test]
fn any_number_of_workers_keeps_the_same_diffs() {
    let kept = [1, 3].map(|jobs| {
        let archive = minimal(0..=9);
        Run { jobs, ..keeping("slots") }.run(&archive);
        diffs(&archive)
    });
    assert_eq!(kept[0].len(), 567);
    assert!(kept[0] == kept[1]);
}

#[test]
fn a_run_that_was_stopped_anywhere_ends_like_an_undisturbed_one() {
    let undisturbed = minimal(0..=9);
    keeping("slots").run(&undisturbed);
    let wanted = diffs(&undisturbed);
    for stop_after in [1, 63, 64, 100, 130, 575] {
        let archive = minimal(0..=9);
        let stopped = Run { stop_after, ..keeping("slots") };
        stopped.try_run(&archive).unwrap_err();
        // Eras are stored as a whole.
        let done = stop_after.saturating_sub(1) / 64 * 64;
        assert_eq!(diffs(&archive).len() as u64, done - done / 64, "{stop_after}");
        keeping("slots").run(&archive);
        assert!(diffs(&archive) == wanted, "{stop_after}");
    }
}

#[test]
fn what_is_left_of_an_era_is_filled_up() {
    let undisturbed = minimal(0..=9);
    keeping("slots").run(&undisturbed);
    let wanted = diffs(&undisturbed);
    for stored in [1u64, 15, 16, 17, 40, 62] {
        let archive = minimal(0..=9);
        // As after a kill between two commits.
        let directory = archive.path().join(Column::StateDiffs.dir_name());
        let options = WriterOptions::create(Column::StateDiffs.spec()).allow_backfill(true);
        let mut writer = Writer::open(directory, options).unwrap();
        for (slot, value) in wanted.range(..=64 + stored) {
            writer.put(Slot(*slot), value).unwrap();
        }
        drop(writer);
        keeping("slots").run(&archive);
        assert!(diffs(&archive) == wanted, "{stored}");
    }
}

#[test]
fn nothing_of_an_era_with_a_wrong_block_is_kept() {
    let archive = minimal(0..=9);
    archive.remake(Column::Blocks, |slot, mut block| {
        // The graffiti.
        if slot == 250 {
            block[300] ^= 1;
        }
        Some(block)
    });
    let done = Run { jobs: 2, ..keeping("slots") }.run(&archive);
    let failed: Vec<_> = done.failed.iter().map(ToString::to_string).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].starts_with("era 4: slot 250: the block in blk is not"), "{}", failed[0]);
    assert_kept(&archive, all_slots().into_iter().filter(|slot| !(193..=255).contains(slot)));
}

#[test]
fn nothing_of_an_era_with_another_state_at_its_end_is_kept() {
    let archive = minimal(0..=9);
    archive.remake(Column::StateSnapshots, |slot, mut state| {
        // The genesis time.
        if slot == 256 {
            state[0] ^= 1;
        }
        Some(state)
    });
    let done = keeping("epochs").run(&archive);
    let failed: Vec<_> = done.failed.iter().map(ToString::to_string).collect();
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed[0].starts_with("era 4: slot 256: the replayed state is not the one"));
    let kept = (0..=575).step_by(8).filter(|slot| !(193..=320).contains(slot));
    assert_kept(&archive, but_boundaries(kept));
}

#[test]
fn eras_without_a_state_at_their_end_keep_that_state_too() {
    let archive = minimal(0..=9);
    let whole = [0, 128, 512, 576];
    archive.remake(Column::StateSnapshots, |slot, state| whole.contains(&slot).then_some(state));
    let run = keeping("epochs");
    let eras: Vec<_> = run.plan(&archive).stretches.into_iter().map(|it| it.eras).collect();
    assert_eq!(eras, [1..=2, 3..=8, 9..=9]);
    let done = run.run(&archive);
    assert_eq!((done.eras, done.equal_ends, done.ends_by_root), (9, 2, 1));
    let kept = (8..=575).step_by(8).filter(|slot| !whole.contains(slot));
    assert_kept(&archive, kept);
    let stored = diffs(&archive);
    assert_eq!(path_of(&stored, 296), [296, 288, 256, 0]);
    // The next layer starts from states that are diffs.
    let slots = keeping("slots");
    let second = &slots.plan(&archive).stretches[1];
    assert_eq!(
        (second.start, second.end, second.ends_with_stored_state),
        (Slot(64), Slot(128), true)
    );
    let done = slots.run(&archive);
    assert_eq!((done.eras, done.equal_ends, done.ends_by_root), (9, 8, 1));
    assert_kept(&archive, (1..=575).filter(|slot| !whole.contains(slot)));
}

/// Stores nothing, and checks what it is given.
#[derive(Default)]
struct Ordered {
    slots: Vec<u64>,
    batches: Vec<(u64, u64)>,
}

impl StateSink for Ordered {
    fn put(&mut self, _: Slot, _: &BeaconState<'_>) -> Result<(), SinkError> {
        unreachable!("diffs are chosen")
    }

    fn put_diffs(&mut self, items: Vec<(Slot, Vec<u8>)>) -> Result<(), SinkError> {
        self.batches.push((items[0].0.0, items[items.len() - 1].0.0));
        for (slot, value) in items {
            let base = DiffValue::parse(slot, &value)?.base_slot().0;
            if base % 64 != 0 && !self.slots.contains(&base) {
                return Err(format!("slot {slot} before its base {base}").into());
            }
            self.slots.push(slot.0);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<u64, SinkError> {
        assert_eq!(self.batches[..4], [(1, 15), (16, 31), (32, 47), (48, 63)]);
        Ok(mem::take(&mut self.slots).len() as u64)
    }
}

#[test]
fn a_base_comes_before_what_refers_to_it() {
    let archive = minimal(0..=1);
    let done = keeping("slots").run_with(&archive, vec![Ordered::default()]).unwrap();
    assert_eq!((done.stored_states, done.eras), (63, 1));
}

#[test]
fn a_sink_that_fails_ends_the_run_and_a_conflict_its_era() {
    let archive = minimal(0..=9);
    let finish = || Box::new(|| Ok(()));
    let full = Faulty { put: Box::new(|| Err("the disk is full".into())), finish: finish() };
    let ended = keeping("epochs").run_with(&archive, vec![full]).unwrap_err();
    let Ended::Sink(error) = &ended.why else { panic!("{ended}") };
    assert_eq!(error.to_string(), "the disk is full");
    let mut puts = 0;
    let put = move || {
        puts += 1;
        let conflict = || coldstore::Error::Conflict { slot: Slot(101) }.into();
        if puts == 5 { Err(conflict()) } else { Ok(()) }
    };
    let conflicting = Faulty { put: Box::new(put), finish: finish() };
    let done = keeping("epochs").run_with(&archive, vec![conflicting]).unwrap();
    let [failed] = &done.failed[..] else { panic!("{:?}", done.failed) };
    assert_eq!((&failed.eras, done.eras), (&(2..=2), 8));
}
