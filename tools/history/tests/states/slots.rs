//! The states of all slots.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use coldstore::Slot;
use coldstore_history::replay::ReplayError;
use test_support::chain_content::{all_states, truth};

use crate::archive::{error_at, minimal_from, minimal_states, ssz_at};

/// The last slot of the small chain with a state.
const LAST: u64 = 576;

#[test]
fn the_state_of_every_slot_is_rebuilt_from_boundary_states_by_several_threads() {
    let (truth, roots) = (all_states(), truth("STATES.tsv"));
    let archive = minimal_from(0);
    let states = minimal_states(&archive);
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let slot = next.fetch_add(1, Ordering::Relaxed);
            if slot > LAST {
                return;
            }
            let mut state = states.at(Slot(slot)).unwrap();
            let mut ssz = Vec::new();
            state.write_ssz(&mut ssz).unwrap();
            assert!(ssz == truth[&slot], "slot {slot}");
            assert_eq!(state.fork().unwrap().to_string(), roots[&slot].fork);
            assert_eq!((state.base().0, state.replayed_slots()), (slot - slot % 64, slot % 64));
            match state.prove() {
                Ok(root) => assert_eq!(root, roots[&slot].root, "slot {slot}"),
                // The root of the last state would be in the next era.
                Err(ReplayError::NoStateRoot { slot: Slot(LAST) }) => assert_eq!(slot, LAST),
                Err(error) => panic!("{error}"),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(work);
        }
    });
}

#[test]
fn an_archive_that_begins_with_a_later_era_needs_nothing_older() {
    let truth = all_states();
    for era in [1, 5] {
        let archive = minimal_from(era);
        let states = minimal_states(&archive);
        let first = era as u64 * 64;
        for slot in (first..LAST).step_by(37) {
            assert!(ssz_at(&states, slot).unwrap() == truth[&slot], "era {era}, slot {slot}");
        }
        let before = error_at(&states, first - 1);
        let is_it =
            matches!(before, ReplayError::NoState { next: Some(next), .. } if next.0 == first);
        assert!(is_it, "{before}");
        assert!(before.to_string().ends_with(&format!("that of slot {first}")), "{before}");
    }
}

#[test]
fn a_slot_above_the_highest_is_beyond_the_end() {
    let archive = minimal_from(0);
    let states = minimal_states(&archive);
    let beyond = error_at(&states, LAST + 1);
    assert!(matches!(beyond, ReplayError::BeyondEnd { end: Some(Slot(LAST)), .. }), "{beyond}");
}
