//! A block on a real state: the rules refuse it, or the state after it is a state.
//!
//! The first two bytes of an input choose the state, one of those of every slot of the small chain; the
//! next one how many slots it is moved on before the block is applied. The rest is the block.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use coldstore_consensus::transition::{BeaconState, Block, ChainRules, StateTree, TransitionError};
use coldstore_consensus::{Config, Preset, hash_state};
use test_support::chain_content::{MINIMAL_CONFIG, all_states};

use super::scratch::Bytes;

/// A state is moved on by at most this many slots: more than an epoch.
const MOST_SLOTS: u64 = 9;

/// The chain that the states are of, and its states by slot.
type Chain = (Arc<ChainRules>, BTreeMap<u64, Vec<u8>>);

fn chain() -> Chain {
    let config = Config::parse(MINIMAL_CONFIG).unwrap();
    (Arc::new(ChainRules::new(Preset::Minimal, &config).unwrap()), all_states())
}

pub fn run(data: &[u8]) {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    let (rules, states) = CHAIN.get_or_init(chain);
    let mut bytes = Bytes(data);
    let slot = u64::from(bytes.u16()) % (states.len() as u64 - 1);
    let slots = 1 + u64::from(bytes.u8()) % MOST_SLOTS;
    let Ok(block) = Block::parse(Preset::Minimal, bytes.0) else { return };

    let mut state = BeaconState::from_ssz(Arc::clone(rules), &states[&slot]).unwrap();
    let mut tree = StateTree::default();
    let last = slot + slots;
    while state.slot() < last {
        let root = tree.root(&mut state);
        let next = state.slot() + 1;
        state.process_slots(next, |_| Ok::<_, Box<TransitionError>>(root)).unwrap();
    }
    if let Err(error) = state.process_block(&block) {
        assert!(error.to_string().starts_with(&format!("slot {last}: ")), "names no slot: {error}");
        return;
    }
    // What was updated is what is hashed and decoded from nothing.
    let ssz = state.to_ssz();
    let hashed = hash_state(Preset::Minimal, &mut &ssz[..]).unwrap();
    assert_eq!(hashed.body.unwrap().root, tree.root(&mut state));
    let again = BeaconState::from_ssz(Arc::clone(rules), &ssz).unwrap();
    assert!(again.to_ssz() == ssz);
}
