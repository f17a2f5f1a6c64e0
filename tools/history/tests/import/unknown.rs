//! Unknown forks: fixed fields are compared, and the rest is reported.

use std::fs;

use coldstore::Slot;

use crate::era_file::EraParts;
use crate::run::{ERA_SLOTS, Place};

const ERA: u64 = 9;
const STATE_SLOT: u64 = ERA * ERA_SLOTS;
const SLOTS_PER_EPOCH: u64 = 8;

/// Positions of the offsets of the variable fields in a fulu state of the minimal preset.
const OFFSETS_AT: [usize; 12] =
    [4272, 4348, 4360, 4364, 6928, 6932, 7057, 10_229, 10_249, 10_301, 10_305, 10_309];
const FIXED_LEN: usize = 10_441;

fn offset_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A state as of a fork after fulu: one more number in its fixed part.
fn of_later_fork(state: &[u8], version: [u8; 4], epoch: u64) -> Vec<u8> {
    assert_eq!(offset_at(state, OFFSETS_AT[0]) as usize, FIXED_LEN);
    let mut state = state.to_vec();
    for at in OFFSETS_AT {
        let moved = offset_at(&state, at) + 8;
        state[at..at + 4].copy_from_slice(&moved.to_le_bytes());
    }
    state.splice(FIXED_LEN..FIXED_LEN, [7; 8]);
    state[52..56].copy_from_slice(&version);
    state[56..64].copy_from_slice(&epoch.to_le_bytes());
    state
}

/// Makes the body's fixed part longer than that of any known fork.
fn make_unknown(block: &mut [u8]) {
    let proposer_slashings_at = 184 + 200;
    let longer = offset_at(block, proposer_slashings_at) + 4;
    block[proposer_slashings_at..proposer_slashings_at + 4].copy_from_slice(&longer.to_le_bytes());
}

fn slot_of(block: &[u8]) -> u64 {
    u64::from_le_bytes(block[100..108].try_into().unwrap())
}

#[test]
fn a_state_of_a_later_fork_is_imported_and_reported() {
    let place = Place::with_eras(7..=ERA);
    let path = place.file(ERA);
    let mut parts = EraParts::read(&path);
    let blocks = parts.blocks.len() as u64;
    parts.state = of_later_fork(&parts.state, [9; 4], STATE_SLOT / SLOTS_PER_EPOCH);
    fs::write(&path, parts.to_bytes()).unwrap();
    let proved = place.import(&[]).succeeded();
    assert_eq!(proved.unknown_states, [Slot(STATE_SLOT)]);
    assert_eq!(proved.unknown_blocks, 0, "all of them were before the fork");
    assert!(proved.blocks > blocks);

    // The fork starts three epochs earlier: its blocks have a new layout too.
    let epoch = STATE_SLOT / SLOTS_PER_EPOCH - 3;
    let mut parts = EraParts::read(&path);
    parts.state[56..64].copy_from_slice(&epoch.to_le_bytes());
    let of_fork = |block: &&mut Vec<u8>| slot_of(block) >= epoch * SLOTS_PER_EPOCH;
    parts.blocks.iter_mut().filter(of_fork).for_each(|block| make_unknown(block));
    let count = parts.blocks.iter().filter(|block| slot_of(block) >= epoch * SLOTS_PER_EPOCH);
    let count = count.count() as u64;
    fs::write(&path, parts.to_bytes()).unwrap();
    place.clear();
    let proved = place.import(&[]).succeeded();
    assert_eq!((proved.unknown_blocks, count > 0), (count, true));

    // A block before the fork is of a known one, or damaged.
    let first = parts.blocks.iter_mut().find(|block| slot_of(block) < epoch * SLOTS_PER_EPOCH);
    make_unknown(first.unwrap());
    fs::write(&path, parts.to_bytes()).unwrap();
    place.clear();
    let error = place.import(&[]).error.unwrap();
    assert!(error.contains("era 9, slot 512: a block with the root"), "{error}");
    place.assert_ends_with_era(8, "an unknown block of a known fork");
}

#[test]
fn a_damaged_state_is_not_mistaken_for_a_later_fork() {
    let place = Place::with_eras(7..=ERA);
    let path = place.file(ERA);
    let parts = EraParts::read(&path);
    let version: [u8; 4] = parts.state[52..56].try_into().unwrap();
    let end = STATE_SLOT / SLOTS_PER_EPOCH;
    for (version, epoch, words) in [
        (version, end, "a state laid out like those of the same fork before it"),
        ([9; 4], end - 1, "a state of a known fork, as its blocks are"),
    ] {
        let state = of_later_fork(&parts.state, version, epoch);
        let mut damaged = parts.clone();
        damaged.state = state;
        fs::write(&path, damaged.to_bytes()).unwrap();
        place.clear();
        let error = place.import(&[]).error.unwrap();
        assert!(error.contains("era 9, slot 576") && error.contains(words), "{error}");
        place.assert_ends_with_era(8, words);
    }
}

/// The first state does not show the preset; a later one is damaged.
#[test]
fn an_unknown_layout_is_an_unknown_preset_at_first_and_damage_later() {
    for (eras, wanted) in [(ERA..=ERA, "unsupported preset"), (7..=ERA, "corrupt state record")] {
        let place = Place::with_eras(eras);
        let path = place.file(ERA);
        let mut parts = EraParts::read(&path);
        parts.state[OFFSETS_AT[0]..][..4].copy_from_slice(&9000_u32.to_le_bytes());
        fs::write(&path, parts.to_bytes()).unwrap();
        let error = place.import(&[]).error.unwrap();
        assert!(error.contains(wanted) && error.contains("era 9, slot 576"), "{error}");
    }
}
