//! States computed from the blocks of a real chain of every fork, against its own states.

use std::collections::BTreeMap;
use std::sync::Arc;

use coldstore_consensus::transition::{BeaconState, Block, ChainRules, StateTree, TransitionError};
use coldstore_consensus::{Config, Preset, Root};

use test_support::chain_content::{MINIMAL_CONFIG, Truth, all_states, blocks, truth};
use test_support::data;

const SLOTS_PER_ERA: u64 = 64;

fn rules() -> Arc<ChainRules> {
    Arc::new(ChainRules::new(Preset::Minimal, &Config::parse(MINIMAL_CONFIG).unwrap()).unwrap())
}

/// The blocks of all slots: that of the last slot belongs to an era without a file.
fn all_blocks() -> BTreeMap<u64, Vec<u8>> {
    let mut blocks = blocks("chain-minimal");
    let chain = std::fs::read_to_string(data("chain-minimal/chain.json")).unwrap();
    let chain: serde_json::Value = serde_json::from_str(&chain).unwrap();
    for (slot, block) in chain["block_at_last_boundary"].as_object().unwrap() {
        blocks.insert(slot.parse().unwrap(), const_hex::decode(block.as_str().unwrap()).unwrap());
    }
    blocks
}

/// Moves a state to the next slot and applies the slot's block, if there is one.
fn step(
    state: &mut BeaconState<'_>,
    blocks: &BTreeMap<u64, Vec<u8>>,
    roots: &BTreeMap<u64, Truth>,
) -> Result<(), Box<TransitionError>> {
    let root =
        |state: &BeaconState<'_>| Ok::<Root, Box<TransitionError>>(roots[&state.slot()].root);
    state.process_slots(state.slot() + 1, root)?;
    if let Some(block) = blocks.get(&state.slot()) {
        state.process_block(&Block::parse(Preset::Minimal, block).unwrap())?;
    }
    Ok(())
}

#[test]
fn every_state_of_the_chain_is_reached_from_genesis() {
    let (states, blocks, roots) = (all_states(), all_blocks(), truth("STATES.tsv"));
    let mut state = BeaconState::from_ssz(rules(), &states[&0]).unwrap();
    let mut tree = StateTree::default();
    let last = *states.keys().next_back().unwrap();
    while state.slot() < last {
        step(&mut state, &blocks, &roots).unwrap();
        assert_eq!(state.fork().to_string(), roots[&state.slot()].fork);
        assert!(state.to_ssz() == states[&state.slot()], "slot {}", state.slot());
        assert_eq!(tree.root(&mut state), roots[&state.slot()].root, "slot {}", state.slot());
    }
    assert_eq!(last, 576);
}

#[test]
fn the_end_of_every_era_is_reached_from_each_of_its_states() {
    let (states, blocks, roots) = (all_states(), all_blocks(), truth("STATES.tsv"));
    for (slot, start) in &states {
        let mut state = BeaconState::from_ssz(rules(), start).unwrap();
        assert!(state.to_ssz() == *start, "slot {slot}");
        let end = (slot + 1).next_multiple_of(SLOTS_PER_ERA);
        if !states.contains_key(&end) {
            continue;
        }
        while state.slot() < end {
            step(&mut state, &blocks, &roots).unwrap();
        }
        assert!(state.to_ssz() == states[&end], "from slot {slot}");
    }
}

#[test]
fn the_first_difference_of_two_states_is_named_by_field_and_index() {
    let states = all_states();
    let (phase0, fulu) = (&states[&40], &states[&500]);
    let difference = |own: &[u8], wanted: &[u8]| {
        let state = BeaconState::from_ssz(rules(), own).unwrap();
        state
            .first_difference(wanted)
            .unwrap()
            .map(|found| (found.field, found.wanted, found.found))
    };
    let offset = |at: usize| u32::from_le_bytes(*phase0[at..].first_chunk().unwrap()) as usize;
    let [validators, balances] = [4360, 4364].map(offset);
    for (at, field) in [
        (0, "genesis_time"),
        (56, "fork.epoch"),
        (80, "latest_block_header.parent_root"),
        (176 + 32 * 5, "block_roots[5]"),
        (validators + 121 * 2 + 80, "validators[2].effective_balance"),
        (validators + 121 * 3 + 88, "validators[3].slashed"),
        (balances + 8 * 7, "balances[7]"),
    ] {
        let mut wanted = phase0.clone();
        wanted[at] ^= 1;
        let (found, ..) = difference(phase0, &wanted).unwrap();
        assert_eq!(found, field, "byte {at}");
    }
    assert_eq!(difference(phase0, phase0), None);
    assert_eq!(difference(fulu, fulu), None);
    // The last list of variable length, which is empty.
    let longer = [&fulu[..], &[0; 16]].concat();
    let [field, zero, one] = ["pending_consolidations", "length 0", "length 1"].map(str::to_owned);
    assert_eq!(difference(fulu, &longer), Some((field.clone(), one.clone(), zero.clone())));
    assert_eq!(difference(&longer, fulu), Some((field, zero, one)));
    let state = BeaconState::from_ssz(rules(), fulu).unwrap();
    assert!(state.first_difference(&fulu[..1000]).is_err());
}

/// A generator of numbers with a fixed seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }

    /// Changes up to four places: a random byte, the largest value, or a bit.
    fn damage(&mut self, bytes: &mut [u8], from: usize) {
        for _ in 0..=self.below(4) {
            let at = from + self.below(bytes.len() - from);
            match self.below(3) {
                0 => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                1 => bytes[at..].iter_mut().take(8).for_each(|byte| *byte = 0xff),
                _ => bytes[at] ^= 1 << self.below(8),
            }
        }
    }
}

// Overflow checks are on in tests, so a sum that could overflow is a panic here.
#[test]
fn damaged_blocks_are_refused_or_applied_and_nothing_panics() {
    let (states, blocks, mut numbers) = (all_states(), all_blocks(), Numbers(1));
    let roots = truth("STATES.tsv");
    let (mut refused, mut applied) = (0, 0);
    for (slot, block) in &blocks {
        let Some(before) = slot.checked_sub(1).and_then(|slot| states.get(&slot)) else { continue };
        let mut start = BeaconState::from_ssz(rules(), before).unwrap();
        let root = roots[&start.slot()].root;
        start.process_slots(*slot, |_| Ok::<_, Box<TransitionError>>(root)).unwrap();
        for _ in 0..20 {
            let mut damaged = block.clone();
            // Behind the header of the block, which would be refused at once.
            numbers.damage(&mut damaged, 184);
            let Ok(damaged) = Block::parse(Preset::Minimal, &damaged) else { continue };
            match start.clone().process_block(&damaged) {
                Ok(()) => applied += 1,
                Err(error) => {
                    assert_eq!(error.slot, *slot, "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 1000 && applied > 1000, "{refused} refused, {applied} applied");
}

#[test]
fn damaged_states_are_refused_or_processed_and_nothing_panics() {
    let (states, blocks, mut numbers) = (all_states(), all_blocks(), Numbers(2));
    let roots = truth("STATES.tsv");
    let mut processed = 0;
    for (slot, state) in states.iter().filter(|(slot, _)| (*slot + 2).is_multiple_of(8)) {
        for _ in 0..40 {
            let mut damaged = state.clone();
            numbers.damage(&mut damaged, 0);
            let Ok(mut state) = BeaconState::from_ssz(rules(), &damaged) else { continue };
            // To the end of the epoch, over forks and eras, and a block after it.
            while state.slot() < slot + 3 && step(&mut state, &blocks, &roots).is_ok() {
                processed += 1;
            }
            let _ = state.to_ssz();
        }
    }
    assert!(processed > 1000, "{processed} slots");
}
