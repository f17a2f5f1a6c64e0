//! Damaged archives: the era that is wrong is named, nothing wrong is stored, and the other eras are done.

use std::collections::BTreeMap;

use coldstore::{Column, Slot};
use coldstore_history::reconstruct::{Chosen, ReconstructReport};
use coldstore_history::replay::ReplayError;
use test_support::ImportedArchive;
use test_support::chain_content::{MINIMAL_CONFIG, all_states};

use crate::archive::{Run, SLOTS_PER_ERA, boundaries, every, minimal, stored, storing};

/// Reconstructs every state. Asserts that these eras fail, with these sentences, and that everything
/// stored is right: all states of the other eras, and those before the failure at `until`.
#[track_caller]
fn assert_fails(
    archive: &ImportedArchive,
    run: &Run,
    wanted: &[(u64, u64, &str)],
) -> ReconstructReport {
    let truth = all_states();
    let before = stored(archive);
    let done = run.run(archive);
    let failed: Vec<_> = done.failed.iter().map(ToString::to_string).collect();
    assert_eq!(failed.len(), wanted.len(), "{failed:?}");
    for ((era, _, sentence), failed) in wanted.iter().zip(&failed) {
        let sentence = format!("era {era}: {sentence}");
        assert!(failed.starts_with(&sentence), "{failed}\n{sentence}");
    }
    let until: BTreeMap<u64, u64> = wanted.iter().map(|(era, until, _)| (*era, *until)).collect();
    let after = stored(archive);
    for slot in 1..=575_u64 {
        let is_reached = until.get(&slot.div_ceil(SLOTS_PER_ERA)).is_none_or(|until| slot < *until);
        let is_stored = is_reached || before.contains_key(&slot);
        assert_eq!(after.contains_key(&slot), is_stored, "slot {slot}");
    }
    let new = after.iter().filter(|(slot, _)| !before.contains_key(slot));
    for (slot, state) in new {
        assert!(*state == truth[slot], "the state of slot {slot}");
    }
    assert_eq!(done.eras, 9 - wanted.len() as u64);
    done
}

fn two_workers() -> Run {
    Run { jobs: 2, ..storing(every(1)) }
}

#[test]
fn a_damaged_block_stops_its_era() {
    let archive = minimal(0..=9);
    archive.remake(Column::Blocks, |slot, mut block| {
        // The graffiti.
        if slot == 200 {
            block[300] ^= 1;
        }
        Some(block)
    });
    assert_fails(&archive, &two_workers(), &[(4, 200, "slot 200: the block in blk is not")]);
}

#[test]
fn a_missing_block_and_a_missing_root_stop_their_eras() {
    let archive = minimal(0..=9);
    archive.remake(Column::Blocks, |slot, block| (slot != 300).then_some(block));
    archive.remake(Column::BlockRoots, |slot, root| (slot != 400).then_some(root));
    let wanted = [
        (5, 300, "slot 300: blk has no record of the block 0x"),
        (7, 400, "slot 400: bbr has no block root"),
    ];
    assert_fails(&archive, &two_workers(), &wanted);
}

#[test]
fn a_forged_boundary_state_stops_the_era_that_ends_with_it_and_the_one_that_begins_with_it() {
    let archive = minimal(0..=9);
    let balances = all_states()[&256].len();
    archive.remake(Column::StateSnapshots, |slot, mut state| {
        // The last byte of the state, or that of the genesis time.
        if slot == 256 {
            assert_eq!(state.len(), balances);
            state[7] ^= 1;
        }
        Some(state)
    });
    let wanted = [
        // The last chosen state waits for the end of the era.
        (4, 255, "slot 256: the replayed state is not the one in bss: genesis_time: wanted "),
        (5, 257, "slot 256: wanted the state root 0x"),
    ];
    let done = assert_fails(&archive, &two_workers(), &wanted);
    assert!(matches!(done.failed[0].error, ReplayError::WrongState { slot: Slot(256), .. }));
    // The eras fail again until the state is repaired.
    let again = two_workers().run(&archive);
    assert_eq!((again.eras, again.done_eras, again.stored_states), (0, 7, 0));
    let failed: Vec<_> = again.failed.iter().map(|failed| *failed.eras.start()).collect();
    assert_eq!(failed, [4, 5]);
}

#[test]
fn a_chosen_state_that_is_stored_already_is_compared_with_the_replayed_one() {
    let (archive, truth) = (minimal(0..=9), all_states());
    storing(Chosen::Slots(vec![Slot(210), Slot(220)])).run(&archive);
    archive.remake(Column::StateSnapshots, |slot, mut state| {
        // The genesis time.
        state[7] ^= u8::from(slot == 220);
        Some(state)
    });
    let run = storing(Chosen::Slots([200, 210, 220, 230, 240].map(Slot).to_vec()));
    let done = run.run(&archive);
    let [failed] = &done.failed[..] else { panic!("{:?}", done.failed) };
    assert_eq!(failed.eras, 4..=4);
    let ReplayError::WrongState { slot, difference } = &failed.error else { panic!("{failed}") };
    assert_eq!((*slot, &*difference.field), (Slot(220), "genesis_time"));
    assert_eq!((done.eras, done.stored_states), (0, 1));
    let stored = stored(&archive);
    assert!(stored[&200] == truth[&200] && !stored.contains_key(&230));
    // The next run starts from the wrong state, so it goes back to the beginning of the era. The first missing
    // state stays out, and the era undone.
    for new in [1, 0] {
        let again = run.run(&archive);
        let failed = again.failed[0].to_string();
        assert!(failed.starts_with("era 4: slot 220: wanted the state root "), "{failed}");
        assert_eq!((again.eras, again.stored_states), (0, new));
    }
    let after = crate::archive::stored(&archive);
    assert!(after[&240] == truth[&240] && !after.contains_key(&230));
}

#[test]
fn a_cut_boundary_state_is_refused() {
    let archive = minimal(0..=9);
    archive.remake(Column::StateSnapshots, |slot, mut state| {
        if slot == 256 {
            state.truncate(3000);
        }
        Some(state)
    });
    let wanted = [(4, 255, "slot 256: the state in bss"), (5, 257, "slot 256: the state in bss")];
    assert_fails(&archive, &two_workers(), &wanted);
}

#[test]
fn a_config_with_another_fork_schedule_stops_the_eras_that_contradict_it() {
    let archive = minimal(0..=9);
    let config = MINIMAL_CONFIG.replace("ELECTRA_FORK_EPOCH: 42", "ELECTRA_FORK_EPOCH: 43");
    let run = Run { config, ..two_workers() };
    // Electra begins with slot 336.
    assert_fails(&archive, &run, &[(6, 336, "slot 336: ")]);
}

#[test]
fn a_run_that_only_proves_finds_the_same_damage() {
    let archive = minimal(0..=9);
    archive.remake(Column::Blocks, |slot, block| (slot != 300).then_some(block));
    let done = storing(Chosen::Nothing).run(&archive);
    assert_eq!((done.eras, done.failed.len()), (8, 1));
    let states = stored(&archive);
    assert_eq!(states.into_keys().collect::<Vec<_>>(), boundaries(0..=9).collect::<Vec<_>>());
}
