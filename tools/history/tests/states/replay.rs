//! A replay from slot to slot.

use std::borrow::Cow;
use std::collections::BTreeMap;

use coldstore::{Archive, ReaderOptions, Slot, Snapshot};
use coldstore_history::replay::{Check, Replay, ReplayError, Source};
use test_support::chain_content::{all_states, truth};

use crate::archive::{minimal_from, minimal_rules};

const SLOTS_PER_ERA: u64 = 64;

/// Replays every era from its boundary state to the next one, and compares every state on the way.
fn replay_all<S: Snapshot>(source: &Source<S>, check: Check, truth: &BTreeMap<u64, Vec<u8>>) {
    for era in 0..9 {
        let start = Slot(era * SLOTS_PER_ERA);
        let state = source.snapshots.get(start).unwrap().unwrap();
        let mut replay = Replay::start(minimal_rules(source), start, state, check).unwrap();
        let end = Slot(start.0 + SLOTS_PER_ERA);
        while replay.slot() < end && replay.slot().0 < 575 {
            replay.step(source).unwrap();
            replay.compare_with(&truth[&replay.slot().0]).unwrap();
        }
        if end.0 < 576 {
            replay.compare_with(&source.snapshots.get(end).unwrap().unwrap()).unwrap();
        }
    }
}

#[test]
fn every_boundary_state_leads_to_the_next_one() {
    let (archive, truth) = (minimal_from(0), all_states());
    let mapped = Source::of(&archive.open()).unwrap();
    assert!(matches!(mapped.snapshots.get(Slot(0)).unwrap(), Some(Cow::Borrowed(_))));
    replay_all(&mapped, Check::Slot, &truth);
    let pread = Archive::open(archive.path(), ReaderOptions::default()).unwrap();
    replay_all(&Source::of(&pread).unwrap(), Check::Boundary, &truth);
}

#[test]
fn the_root_of_a_replayed_state_is_the_one_in_the_truth() {
    let archive = minimal_from(0);
    let (source, roots) = (Source::of(&archive.open()).unwrap(), truth("STATES.tsv"));
    let state = source.snapshots.get(Slot(0)).unwrap().unwrap();
    let mut replay =
        Replay::start(minimal_rules(&source), Slot(0), state, Check::Boundary).unwrap();
    while replay.slot().0 < 575 {
        replay.step(&source).unwrap();
        assert_eq!(replay.root(), roots[&replay.slot().0].root, "slot {}", replay.slot());
        assert!(replay.check_root(&source).unwrap());
    }
    let end = replay.step(&source).unwrap_err();
    assert!(matches!(end, ReplayError::NoBlockRoot { slot: Slot(576) }), "{end}");
}
