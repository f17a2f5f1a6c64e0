//! Every root equals the one from the specification's code.

use std::collections::BTreeSet;

use coldstore_consensus::{BlockHasher, Fork, Preset, era_root, hash_state};

use test_support::chain_content::{all_states, blocks, era_states, packed, truth, unhex};

const SLOTS_PER_ERA: u64 = 64;

#[test]
fn every_block_of_every_fork_has_its_root() {
    let truth = truth("BLOCKS.tsv");
    let mut hasher = BlockHasher::new(Preset::Minimal);
    let mut forks = BTreeSet::new();
    for (slot, block) in blocks("chain-minimal") {
        let wanted = &truth[&slot];
        assert_eq!(block.len(), wanted.byte_len, "slot {slot}");
        let hashed = hasher.hash(&block).unwrap();
        assert_eq!(hashed.root, wanted.root, "slot {slot}, {}", wanted.fork);
        assert_eq!(hashed.header.slot, slot);
        assert!(!hashed.is_blinded);
        let fork = if wanted.fork == "fulu" { "electra" } else { &wanted.fork };
        assert_eq!(hashed.fork.to_string(), fork, "slot {slot}");
        forks.insert(wanted.fork.clone());
    }
    assert_eq!(forks.len(), Fork::ALL.len(), "{forks:?}");
}

#[test]
fn every_state_of_every_fork_has_its_root() {
    let truth = truth("STATES.tsv");
    let states = all_states();
    assert_eq!(states.len(), truth.len());
    for (slot, state) in states {
        let wanted = &truth[&slot];
        assert_eq!(state.len(), wanted.byte_len, "slot {slot}");
        let hashed = hash_state(Preset::Minimal, &mut &state[..]).unwrap();
        let body = hashed.body.unwrap();
        assert_eq!(body.root, wanted.root, "slot {slot}, {}", wanted.fork);
        assert_eq!(body.fork.to_string(), wanted.fork, "slot {slot}");
        assert_eq!(hashed.prefix.slot, slot);
        if slot == 0 {
            assert_eq!(body.validators_root, hashed.prefix.genesis_validators_root);
        }
    }
}

#[test]
fn the_last_block_of_a_state_is_the_one_with_its_root() {
    let (blocks, states) = (truth("BLOCKS.tsv"), truth("STATES.tsv"));
    for (slot, state) in all_states() {
        let head = hash_state(Preset::Minimal, &mut &state[..]).unwrap().prefix;
        let last = head.latest_block;
        let state_root = if last.slot == slot { states[&slot].root } else { last.state_root };
        // The genesis block is in the first era, and slot 576 is after the last.
        assert_eq!(last.root_with_state(state_root), blocks[&last.slot].root, "slot {slot}");
    }
}

#[test]
fn the_accumulators_of_a_state_are_those_of_the_eras_below_it() {
    let states = era_states("chain-minimal");
    for (era, state) in &states {
        let body = hash_state(Preset::Minimal, &mut &state[..]).unwrap().body.unwrap();
        assert_eq!(body.accumulators.eras(), *era);
        assert_eq!(body.accumulators.historical_roots.len() as u64, (*era).min(3), "capella");
        for below in 1..=*era {
            let head = hash_state(Preset::Minimal, &mut &states[&below][..]).unwrap().prefix;
            let wanted = body.accumulators.era_root(below).unwrap();
            assert_eq!(era_root(&head.block_roots, &head.state_roots), wanted, "{era} {below}");
            assert_eq!(head.era_root(), wanted);
        }
        assert_eq!(body.accumulators.era_root(0), None);
        assert_eq!(body.accumulators.era_root(era + 1), None);
    }
    let last = hash_state(Preset::Minimal, &mut &states[&9][..]).unwrap().body.unwrap();
    assert_eq!(last.accumulators.era_root(3).unwrap().short(), "ed01c88d");
    assert_eq!(last.accumulators.era_root(9).unwrap().short(), "1f3abe8d");
}

#[test]
fn state_roots_of_an_era_begin_with_the_state_before_it() {
    let (states, truth) = (era_states("chain-minimal"), truth("STATES.tsv"));
    for (era, state) in states.iter().skip(1) {
        let head = hash_state(Preset::Minimal, &mut &state[..]).unwrap().prefix;
        assert_eq!(head.state_roots[0], truth[&((era - 1) * SLOTS_PER_ERA)].root);
    }
}

#[test]
fn eras_of_the_mainnet_preset_have_their_roots() {
    let (blocks, states) = (blocks("chain-mainnet-preset"), era_states("chain-mainnet-preset"));
    let mut hasher = BlockHasher::new(Preset::Mainnet);
    let mut last_root = None;
    for (era, state) in &states {
        let hashed = hash_state(Preset::Mainnet, &mut &state[..]).unwrap();
        let body = hashed.body.unwrap();
        assert_eq!(body.fork, Fork::Deneb);
        if *era == 0 {
            let root = "6d57622b9e089a91b0989ac3db9e5d878a17749e2d2aa4f2db9dd4416e4b144f";
            assert_eq!(hashed.prefix.genesis_validators_root, unhex(root));
        } else {
            let wanted = body.accumulators.era_root(*era).unwrap();
            assert_eq!(hashed.prefix.era_root(), wanted);
            if let Some(root) = last_root {
                assert_eq!(hashed.prefix.state_roots[0], root, "era {era}");
            }
            for (slot, block) in blocks.range((era - 1) * 8192..era * 8192) {
                let wanted = hashed.prefix.block_roots[usize::try_from(slot % 8192).unwrap()];
                assert_eq!(hasher.hash(block).unwrap().root, wanted, "slot {slot}");
            }
        }
        last_root = Some(body.root);
    }
}

/// Operations of every kind and lists of every length, which a short chain does not contain.
#[test]
fn random_values_of_every_fork_and_both_presets_have_their_roots() {
    let mut seen = BTreeSet::new();
    for (name, bytes) in packed("random-values/values.tar.zst") {
        let parts: Vec<&str> = name.split('-').collect();
        let [preset, fork, kind, _, root] = parts[..] else { panic!("{name}") };
        let root = unhex(root);
        seen.insert((preset.to_owned(), fork.to_owned(), kind.to_owned()));
        let preset = if preset == "mainnet" { Preset::Mainnet } else { Preset::Minimal };
        if kind == "state" {
            let body = hash_state(preset, &mut &bytes[..]).unwrap().body.unwrap();
            assert_eq!((body.root, body.fork.to_string().as_str()), (root, fork), "{name}");
        } else {
            let hashed = BlockHasher::new(preset).hash(&bytes).unwrap();
            assert_eq!(hashed.root, root, "{name}");
        }
    }
    assert_eq!(seen.len(), 2 * Fork::ALL.len() * 2, "{seen:?}");
}
