//! The anchor of a proof, and its limits.

use coldstore::{Column, Slot};
use coldstore_consensus::Preset;
use coldstore_history::deep::{Loose, NotProved, PassedOver};

use crate::archive::{Held, Proved};
use test_support::era_files;

const MINIMAL: &str = "chain-minimal";
/// Blocks up to slot 511, and of era 9.
const BLOCKS: [u64; 2] = [454, 62];

fn minimal() -> Held {
    Held::imported(MINIMAL, Preset::Minimal)
}

/// A state with eight more bytes in its fixed part than fulu's, as of a later fork.
fn of_later_fork(state: &[u8]) -> Vec<u8> {
    const FIXED_LEN: usize = 10_441;
    const OFFSETS_AT: [usize; 12] =
        [4272, 4348, 4360, 4364, 6928, 6932, 7057, 10_229, 10_249, 10_301, 10_305, 10_309];
    let mut state = state.to_vec();
    for at in OFFSETS_AT {
        let offset = u32::from_le_bytes(state[at..at + 4].try_into().unwrap()) + 8;
        state[at..at + 4].copy_from_slice(&offset.to_le_bytes());
    }
    state.splice(FIXED_LEN..FIXED_LEN, [7; 8]);
    state
}

/// Eight of nine eras are proved by the state of slot 512.
#[track_caller]
fn rests_on_512(proved: &Proved) {
    let report = proved.report;
    assert_eq!(report.own_state, Some(Slot(512)));
    assert_eq!((report.agreeing_eras, report.blocks), (8, BLOCKS[0]));
    let slots = Some((Slot(512), Slot(575)));
    assert_eq!(report.loose, Loose { eras: 1, blocks: BLOCKS[1], roots: 128, slots });
    // The states of slots 0 to 448 have their roots in proved eras; the state of slot 512 does not.
    assert_eq!(report.states, 8);
    assert_eq!(proved.why_not, None);
}

#[test]
fn an_older_state_anchors_the_proof_when_the_newest_is_of_an_unknown_fork() {
    let held = minimal();
    held.remake(Column::StateSnapshots, |slot, state| {
        Some(if slot == 576 { of_later_fork(&state) } else { state })
    });
    let proved = held.proved();
    rests_on_512(&proved);
    assert!(proved.damages.is_empty(), "{:?}", proved.damages);
    let wanted = PassedOver { of_unknown_forks: 1, ..PassedOver::default() };
    assert_eq!(proved.report.passed_over, wanted);
    assert_eq!(proved.report.unproved_states, 2);
}

#[test]
fn an_older_state_anchors_the_proof_when_the_newest_is_damaged() {
    let held = minimal();
    for garbage in [vec![0xee; 20_000], vec![1; 3], vec![0; 300_000]] {
        held.remake(Column::StateSnapshots, |slot, state| {
            Some(if slot == 576 { garbage.clone() } else { state })
        });
        let proved = held.proved();
        rests_on_512(&proved);
        proved.names(Column::StateSnapshots, 576);
        assert_eq!((proved.damages.len(), proved.report.passed_over.count()), (1, 1));
    }
    // The last summary: the roots of era 9, in the state itself, do not hash to it.
    let held = minimal();
    let state = held.open().column(Column::StateSnapshots).unwrap().view();
    let state = state.get_stored(Slot(576)).unwrap().unwrap().to_vec();
    let summary = coldstore_consensus::hash_state(Preset::Minimal, &mut &state[..]).unwrap();
    let [summary, _] = *summary.body.unwrap().accumulators.historical_summaries.last().unwrap();
    let at = state.windows(32).position(|bytes| bytes == summary.0).unwrap();
    held.remake(Column::StateSnapshots, |slot, mut state| {
        if slot == 576 {
            state[at] ^= 1;
        }
        Some(state)
    });
    let proved = held.proved();
    rests_on_512(&proved);
    let finding = proved.names(Column::StateSnapshots, 576);
    assert!(finding.wanted.contains("era 9"), "{finding:?}");
    assert_eq!(proved.damages.len(), 1, "{:?}", proved.damages);
}

#[test]
fn history_after_the_last_state_is_consistent_but_not_proved() {
    let held = minimal();
    held.remake(Column::StateSnapshots, |slot, state| (slot <= 256).then_some(state));
    let report = held.proved().report;
    assert_eq!((report.agreeing_eras, report.blocks, report.own_state), (4, 231, Some(Slot(256))));
    let slots = Some((Slot(256), Slot(575)));
    assert_eq!(report.loose, Loose { eras: 5, blocks: 285, roots: 640, slots });
    assert_eq!((report.states, report.unproved_states), (4, 1));
}

#[test]
fn without_a_state_nothing_is_proved() {
    let held = minimal();
    let is_fulu = |slot| slot >= 448;
    held.remake(Column::StateSnapshots, |slot, state| is_fulu(slot).then(|| of_later_fork(&state)));
    let proved = held.proved();
    assert_eq!((proved.report.blocks, proved.report.loose.blocks), (0, 516));
    let Some(why @ NotProved::NoKnownState(_)) = proved.why_not else { panic!("{proved:?}") };
    assert!(why.to_string().contains("no state in bss can be hashed"), "{why}");
    std::fs::remove_dir_all(held.path().join("bss")).unwrap();
    let proved = held.proved();
    assert_eq!((proved.report.blocks, proved.report.loose.blocks), (0, 516));
    assert_eq!(proved.why_not, Some(NotProved::NoState));
    assert_eq!((proved.report.own_state, proved.report.skipped_slots), (None, 0));
}

#[test]
fn a_root_of_wrong_length_is_damage() {
    for column in [Column::BlockRoots, Column::StateRoots] {
        let held = minimal();
        held.remake(column, |slot, mut root| {
            root.truncate(if slot == 300 { 31 } else { 32 });
            Some(root)
        });
        let proved = held.proved();
        let finding = proved.names(column, 300);
        let lengths = (finding.wanted.as_str(), finding.found.as_str());
        assert_eq!(lengths, ("a root of 32 bytes", "31 bytes"));
        assert_eq!(proved.report.agreeing_eras, 8);
    }
}

/// Era 6 begins with the skipped slots 320 to 322, and its archive with them.
#[test]
fn a_skipped_first_slot_counts_as_in_an_import() {
    let held = Held::of(&era_files(MINIMAL)[6..], Preset::Minimal);
    let report = held.proved().report;
    // 62 + 60 + 62 + 56 blocks of 256 slots.
    assert_eq!((report.blocks, report.skipped_slots, report.unknown_slots), (240, 16, 0));
    // Without the next block it is unknown.
    held.remake(Column::Blocks, |slot, block| (slot != 323).then_some(block));
    let proved = held.proved();
    assert_eq!((proved.report.skipped_slots, proved.report.unknown_slots), (15, 1));
    // The state of the slot shows what the next block cannot: slot 256 had a block.
    let held = Held::of(&era_files(MINIMAL)[5..], Preset::Minimal);
    held.remake(Column::Blocks, |slot, block| (slot != 256).then_some(block));
    let states = Held::of(&era_files(MINIMAL)[4..], Preset::Minimal);
    held.take_column(Column::StateSnapshots, &states);
    let proved = held.proved();
    assert_eq!(proved.report.lost_blocks, 1, "{:?}", proved.notes);
    proved.names(Column::Blocks, 256);
}
