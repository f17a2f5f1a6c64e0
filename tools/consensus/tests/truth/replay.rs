//! States computed from the blocks of a real chain of every fork, against its own states.

use std::collections::BTreeMap;
use std::sync::Arc;

use coldstore_consensus::transition::{BeaconState, Block, ChainRules, StateTree, TransitionError};
use coldstore_consensus::{Config, Preset, Root};

use test_support::chain_content::{Truth, all_states, blocks, truth};
use test_support::data;

/// The fork schedule of the small chain (`chain.json`).
const CONFIG: &str = "CONFIG_NAME: minimal\nPRESET_BASE: minimal\nGENESIS_FORK_VERSION: 0x00000001\n\
                      ALTAIR_FORK_VERSION: 0x01000001\nBELLATRIX_FORK_VERSION: 0x02000001\n\
                      CAPELLA_FORK_VERSION: 0x03000001\nDENEB_FORK_VERSION: 0x04000001\n\
                      ELECTRA_FORK_VERSION: 0x05000001\nFULU_FORK_VERSION: 0x06000001\n\
                      ALTAIR_FORK_EPOCH: 6\nBELLATRIX_FORK_EPOCH: 12\nCAPELLA_FORK_EPOCH: 24\n\
                      DENEB_FORK_EPOCH: 30\nELECTRA_FORK_EPOCH: 42\nFULU_FORK_EPOCH: 56\n";
const SLOTS_PER_ERA: u64 = 64;

fn rules() -> Arc<ChainRules> {
    Arc::new(ChainRules::new(Preset::Minimal, &Config::parse(CONFIG).unwrap()))
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
