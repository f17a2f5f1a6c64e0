//! Replays the chains of `tests/vectors/chains.py`, which combine what single vectors do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::packs::{Files, for_each_packed, packed};
use super::registry::VALIDATOR_BYTES;
use super::vector::{difference, root_of};
use super::{BeaconState, Block, ChainRules, StateTree, TransitionError};
use crate::config::Config;
use crate::containers::Layouts;
use crate::preset::Preset;
use crate::root::Root;

/// A chain: its rules, the blocks and whole states by slot, and the state roots of all slots.
struct Chain {
    name: String,
    rules: Arc<ChainRules>,
    blocks: BTreeMap<u64, Vec<u8>>,
    states: BTreeMap<u64, Vec<u8>>,
    roots: BTreeMap<u64, Root>,
}

impl Chain {
    fn read(name: &str, files: Files) -> Self {
        let config = Config::parse(std::str::from_utf8(&files["config"]).unwrap()).unwrap();
        let rules = Arc::new(ChainRules::new(Preset::Minimal, &config).unwrap());
        let roots: Vec<Root> = files["roots"].as_chunks().0.iter().copied().map(Root).collect();
        let (mut blocks, mut states) = (BTreeMap::new(), BTreeMap::new());
        for (file, bytes) in files {
            match file.split_once('_') {
                Some(("block", slot)) => blocks.insert(slot.parse().unwrap(), bytes),
                Some(("state", slot)) => states.insert(slot.parse().unwrap(), bytes),
                _ => None,
            };
        }
        let first = *states.keys().next().unwrap();
        let roots = (first..).zip(roots).collect();
        Self { name: name.to_owned(), rules, blocks, states, roots }
    }

    /// The state kept at this slot, from its bytes.
    fn state(&self, slot: u64) -> BeaconState<'_> {
        BeaconState::from_ssz(Arc::clone(&self.rules), self.states[&slot].as_slice()).unwrap()
    }

    /// Moves the state to the next slot, and applies the block there.
    fn step(&self, state: &mut BeaconState<'_>, is_blinded: bool) {
        let slot = state.slot + 1;
        let root = self.roots[&state.slot];
        let mut applied = state.process_slots(slot, |_| Ok::<_, Box<TransitionError>>(root));
        if let Some(block) = self.blocks.get(&slot) {
            let block = if is_blinded { blinded(block) } else { block.clone() };
            let block = Block::parse(Preset::Minimal, &block).unwrap();
            applied = applied.and_then(|()| state.process_block(&block));
        }
        applied.unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    fn must_equal_the_kept(&self, state: &BeaconState<'_>) {
        let Some(wanted) = self.states.get(&state.slot) else { return };
        if state.to_ssz() != *wanted {
            let differs = difference(state, &self.state(state.slot));
            panic!("{} slot {}: {differs}", self.name, state.slot);
        }
    }

    /// From the first state to the last slot: every root, and every state that is kept.
    fn replay(&self) {
        let (first, last) =
            (*self.states.keys().next().unwrap(), *self.roots.keys().last().unwrap());
        let (mut state, mut tree) = (self.state(first), StateTree::default());
        assert_eq!(root_of(&state), self.roots[&first], "{} slot {first}", self.name);
        let mut mirror = Mirror::default();
        mirror.update(&mut state);
        while state.slot < last {
            self.step(&mut state, false);
            self.must_equal_the_kept(&state);
            let slot = state.slot;
            // The changes of one slot, or of two, with a hash before them or after.
            if slot % 3 != 0 {
                mirror.update(&mut state);
                mirror.must_equal(&state, &self.name);
            }
            assert_eq!(tree.root(&mut state), self.roots[&slot], "{} slot {slot}", self.name);
        }
    }

    /// From every state that is kept to the next one, with nothing computed before and with blinded blocks.
    fn replay_in_parts(&self) {
        for (from, to) in self.states.keys().zip(self.states.keys().skip(1)) {
            let mut state = self.state(*from);
            while state.slot < *to {
                self.step(&mut state, true);
            }
            self.must_equal_the_kept(&state);
        }
    }
}

/// The large fields of a state, encoded, in which only changes are written.
#[derive(Default)]
struct Mirror {
    by_name: BTreeMap<&'static str, Vec<u8>>,
}

impl Mirror {
    fn update(&mut self, state: &mut BeaconState<'_>) {
        let changes = state.take_changes();
        for field in state.layout().fields {
            let mirrored = self.by_name.entry(field.name).or_default();
            if field.name == "validators" {
                mirrored.resize(state.validator_count() * VALIDATOR_BYTES, 0);
                let changed = changes.of(field.name).unwrap();
                for index in changed.ranges(state.validator_count()).flatten() {
                    mirrored.as_chunks_mut().0[index] = state.encoded_validator(index);
                }
            } else if let Some(flat) = state.flat_field(field.name) {
                mirrored.resize(flat.len() * flat.element_len(), 0);
                for elements in changes.of(field.name).unwrap().ranges(flat.len()) {
                    flat.write(elements, mirrored);
                }
            } else {
                mirrored.clear();
                assert!(state.write_field(field.name, mirrored));
            }
        }
    }

    fn must_equal(&self, state: &BeaconState<'_>, chain: &str) {
        for field in state.layout().fields {
            let mut wanted = Vec::new();
            state.write_field(field.name, &mut wanted);
            assert!(
                self.by_name[field.name] == wanted,
                "{chain} slot {}: {} by its changes",
                state.slot,
                field.name
            );
        }
    }
}

/// The block with its payload's header in place of the payload, if it has one.
fn blinded(block: &[u8]) -> Vec<u8> {
    let fork = Block::parse(Preset::Minimal, block).unwrap().hashed.fork;
    let layout = |is_blinded: bool| {
        let mut layouts = Layouts::of(Preset::Minimal).blocks.iter();
        layouts.find(|layout| (layout.fork, layout.is_blinded) == (fork, is_blinded))
    };
    match (layout(false), layout(true)) {
        (Some(full), Some(bare)) => crate::block::tests::blinded(full, bare, block),
        _ => block.to_vec(),
    }
}

#[test]
fn states_of_the_chains_are_those_of_the_specification() {
    let mut table = "| chain | blocks | slots |\n|---|--:|--:|\n".to_owned();
    for_each_packed(&packed("chains.tar.zst"), |name, files| {
        let chain = Chain::read(name, files);
        chain.replay();
        chain.replay_in_parts();
        table += &format!("| {name} | {} | {} |\n", chain.blocks.len(), chain.roots.len());
    });
    // The end of the table, which is not that of an empty one.
    table += "\n";
    let readme = std::fs::read_to_string(packed("README.md")).unwrap();
    assert!(readme.contains(&table), "tests/vectors/README.md lacks this table:\n{table}");
}
