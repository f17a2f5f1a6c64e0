use std::collections::BTreeMap;
use std::sync::Arc;

use super::{SyntheticChain, SyntheticParameters, SyntheticSlot};
use crate::config::Config;
use crate::network::KnownNetwork;
use crate::preset::Preset;
use crate::transition::constants::FAR_FUTURE_EPOCH;
use crate::transition::vector::root_of;
use crate::transition::{BeaconState, Block, ChainRules};

const EPOCHS: u64 = 12;

fn rules() -> Arc<ChainRules> {
    let known = KnownNetwork::by_name("mainnet").unwrap();
    let config = Config { genesis_validators_root: None, ..Config::of_known(known) };
    Arc::new(ChainRules::new(Preset::Mainnet, &config).unwrap())
}

fn slots(chain: &mut SyntheticChain, count: u64) -> Vec<SyntheticSlot> {
    (0..count).map(|_| chain.advance().unwrap()).collect()
}

/// How many validators have which flags.
fn counts(flags: &[u8]) -> BTreeMap<u8, usize> {
    flags.iter().fold(BTreeMap::new(), |mut counts, flags| {
        *counts.entry(*flags).or_default() += 1;
        counts
    })
}

#[test]
fn a_synthetic_chain_is_replayed_from_its_first_state() {
    let rules = rules();
    let mut chain = SyntheticChain::new(&rules, SyntheticParameters::small());
    let (first, start) = (chain.slot(), chain.state().to_ssz());
    assert_eq!(first.slot % (32 * 8192), 0);
    let mut state = BeaconState::from_ssz(Arc::clone(&rules), &start[..]).unwrap();
    assert_eq!(root_of(&state), first.state_root);
    assert_eq!(state.latest_block_header.root(), first.block_root);
    let mut roots = BTreeMap::from([(first.slot, first.state_root)]);
    for slot in slots(&mut chain, EPOCHS * 32) {
        let root = roots[&state.slot];
        state
            .process_slots(slot.slot, |_| Ok::<_, Box<crate::transition::TransitionError>>(root))
            .unwrap();
        if let Some(block) = &slot.block {
            let block = Block::parse(Preset::Mainnet, block).unwrap();
            state.process_block(&block).unwrap();
            assert_eq!(
                (block.root(), block.header().state_root),
                (slot.block_root, slot.state_root)
            );
        }
        roots.insert(slot.slot, slot.state_root);
    }
    assert!(state.to_ssz() == chain.state().to_ssz());
    assert_eq!(root_of(&state), roots[&state.slot]);
}

#[test]
fn everything_happens_on_a_synthetic_chain() {
    let mut chain = SyntheticChain::new(&rules(), SyntheticParameters::small());
    let start = chain.state().clone();
    let missed = slots(&mut chain, EPOCHS * 32).iter().filter(|slot| slot.block.is_none()).count();
    let state = chain.state();
    assert!((5..60).contains(&missed), "{missed} missed slots");
    assert_eq!(state.finalized_checkpoint.epoch, state.current_epoch() - 2);
    let flags = counts(&state.previous_epoch_participation);
    let expected: Vec<u8> = vec![0b000, 0b010, 0b011, 0b111];
    assert_eq!(flags.keys().copied().collect::<Vec<_>>(), expected);
    assert!(flags[&0b111] > 500, "{flags:?}");
    // Deposits became validators, which were activated.
    let added = state.validators.len() - start.validators.len();
    let is_activated = |epoch: &&u64| **epoch != FAR_FUTURE_EPOCH;
    let activated = state.validators.activation_epoch[start.validators.len()..].iter();
    assert!(added >= 5 && activated.filter(is_activated).count() >= 2, "{added} added");
    let leaving = |state: &BeaconState<'_>| {
        state
            .validators
            .exit_epoch
            .iter()
            .filter(|epoch| **epoch > start.current_epoch() && **epoch != FAR_FUTURE_EPOCH)
            .count()
    };
    assert!(leaving(state) > leaving(&start) + 2);
    assert!(!state.pending_partial_withdrawals.is_empty());
    assert!(state.next_withdrawal_index > start.next_withdrawal_index + 1000);
    let prefixes = |state: &BeaconState<'_>, prefix| {
        let of_start = (0..start.validators.len())
            .map(|index| state.validators.withdrawal_credentials(index)[0]);
        of_start.filter(|other| *other == prefix).count()
    };
    assert!(prefixes(state, 0) < prefixes(&start, 0));
    assert!(prefixes(state, 2) > prefixes(&start, 2));
    assert!(state.pending_deposits.iter().all(|deposit| !start.pending_deposits.contains(deposit)));
}

#[test]
fn a_synthetic_chain_depends_on_its_seed_alone() {
    let ssz = |seed| {
        let mut chain = SyntheticChain::new(
            &rules(),
            SyntheticParameters { seed, ..SyntheticParameters::small() },
        );
        let blocks = slots(&mut chain, 40);
        (chain.state().to_ssz(), blocks)
    };
    assert!(ssz(1) == ssz(1));
    assert!(ssz(1) != ssz(2));
}

#[test]
fn roots_are_made_up_if_they_are_not_wanted() {
    let parameters = SyntheticParameters { true_roots: false, ..SyntheticParameters::small() };
    let mut chain = SyntheticChain::new(&rules(), parameters);
    let last = slots(&mut chain, 34).pop().unwrap();
    assert_ne!(root_of(chain.state()), last.state_root);
    let parent = chain.state().latest_block_header().root_with_state(last.state_root);
    assert_eq!(parent, last.block_root);
}
