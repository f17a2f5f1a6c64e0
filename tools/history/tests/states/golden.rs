//! Diffs that an independent program wrote, and the library's diffs read by it (`tests/states-format`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use coldstore::Slot;
use coldstore_consensus::{Preset, Root};
use coldstore_history::states::value::{
    DiffContext, DiffFault, DiffValue, RootsError, SlotRoots, apply_path, encode_diff,
};
use coldstore_history::states::{Columns, StateRef};
use test_support::chain_content::{all_states, packed, truth};

const PRESET: Preset = Preset::Minimal;

/// The states of the small chain, and its roots.
struct Chain {
    states: BTreeMap<u64, Vec<u8>>,
    state_roots: BTreeMap<u64, Root>,
}

impl Chain {
    fn new() -> Self {
        let roots = truth("STATES.tsv").into_iter().map(|(slot, state)| (slot, state.root));
        Self { states: all_states(), state_roots: roots.collect() }
    }

    fn columns(&self, slot: u64) -> Columns {
        Columns::of_raw(PRESET, &self.states[&slot]).unwrap()
    }

    fn encode(&self, base_slot: u64, slot: u64) -> Vec<u8> {
        let (base, next) = (self.columns(base_slot), self.columns(slot));
        let state = |slot, columns| StateRef { base: &self.states[&slot], columns };
        let context = DiffContext::new(self);
        encode_diff(state(base_slot, &base), state(slot, &next), context).unwrap()
    }

    fn decode(&self, base_slot: u64, slot: u64, value: &[u8]) -> Result<Vec<u8>, DiffFault> {
        let diff = DiffValue::parse(Slot(slot), value)?;
        let (base, columns) = (&self.states[&base_slot], self.columns(base_slot));
        let columns = apply_path(PRESET, base, &columns, &[diff], DiffContext::new(self))?;
        let mut ssz = Vec::new();
        StateRef { base, columns: &columns }.write_ssz(&mut ssz).unwrap();
        Ok(ssz)
    }
}

impl SlotRoots for Chain {
    /// As the next state has it.
    fn block_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        let Some(next) = self.states.get(&(slot.0 + 1)) else { return Ok(None) };
        let columns = self.columns(slot.0 + 1);
        let roots = StateRef { base: next, columns: &columns }.field("block_roots").unwrap();
        let place = usize::try_from(slot.0).unwrap() % (roots.len() / 32) * 32;
        Ok(Some(Root(roots[place..place + 32].try_into().unwrap())))
    }

    fn state_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.state_roots.get(&slot.0).copied())
    }
}

/// A golden value: its name, the slot of its base, its own.
struct Golden {
    name: String,
    base_slot: u64,
    slot: u64,
    value: Vec<u8>,
}

fn golden_values() -> Vec<Golden> {
    let files = packed("diffs.tar.zst").into_iter();
    let values = files.map(|(file, value)| {
        let parts: Vec<_> = file.split('.').collect();
        let [name, base_slot, slot] = parts[..] else { panic!("{file}") };
        let [base_slot, slot] = [base_slot, slot].map(|slot| slot.parse().unwrap());
        Golden { name: name.to_owned(), base_slot, slot, value }
    });
    values.collect()
}

#[test]
fn the_diffs_of_another_program_give_the_states_of_their_slots() {
    let chain = Chain::new();
    let values: Vec<_> =
        golden_values().into_iter().filter(|of| !of.name.starts_with("refused-")).collect();
    assert!(values.len() >= 50, "{}", values.len());
    for Golden { name, base_slot, slot, value } in values {
        match chain.decode(base_slot, slot, &value) {
            Ok(ssz) => assert!(ssz == chain.states[&slot], "{name}: another state"),
            Err(fault) => panic!("{name}: {fault}"),
        }
    }
}

#[test]
fn a_diff_that_breaks_a_rule_of_the_format_is_refused() {
    let chain = Chain::new();
    let values: Vec<_> =
        golden_values().into_iter().filter(|of| of.name.starts_with("refused-")).collect();
    assert!(values.len() >= 90, "{}", values.len());
    let mut accepted = Vec::new();
    for Golden { name, base_slot, slot, value } in values {
        match chain.decode(base_slot, slot, &value) {
            Ok(_) => accepted.push(name),
            Err(fault) => {
                assert_eq!(fault.slot, Slot(slot), "{name}: {fault}");
                assert!(!fault.wanted.is_empty() && !fault.found.is_empty(), "{name}: {fault:?}");
            }
        }
    }
    assert!(accepted.is_empty(), "accepted: {accepted:?}");
}

/// Where the format leaves no choice.
#[test]
fn the_diff_of_a_skipped_slot_is_the_one_that_another_program_wrote() {
    let (chain, name) = (Chain::new(), "skipped-slot-by-columns");
    let golden = golden_values().into_iter().find(|of| of.name == name).unwrap();
    assert_eq!(
        const_hex::encode(chain.encode(golden.base_slot, golden.slot)),
        const_hex::encode(golden.value)
    );
}

/// A path beside the tests of all packages.
fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/states-format/golden.py")
}

/// Runs the program. `None`, with a message, where it cannot run: without Python or libzstd.
fn run_script(arguments: &[&str]) -> Option<String> {
    let command = Command::new("python3").arg("-B").arg(script()).args(arguments).output();
    let output = match command {
        Ok(output) if output.status.code() != Some(77) => output,
        Ok(output) => {
            println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Err(error) => {
            println!("skipped: python3 cannot be run: {error}");
            return None;
        }
    };
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{out}{err}");
    Some(out)
}

#[test]
fn another_program_reads_the_golden_diffs_as_this_one_does() {
    run_script(&["check"]);
}

#[test]
fn another_program_reads_the_diffs_of_every_slot() {
    let (chain, directory) = (Chain::new(), tempfile::tempdir().unwrap());
    let last = *chain.states.keys().last().unwrap();
    for slot in 1..=last {
        // The slot before, the epoch before, a distance that is no layer's, and the window's first.
        for base_slot in [slot - 1, slot.saturating_sub(8), slot * 2 / 3, slot.saturating_sub(64)] {
            let value = chain.encode(base_slot, slot);
            assert!(chain.decode(base_slot, slot, &value).unwrap() == chain.states[&slot]);
            fs::write(directory.path().join(format!("{slot}-on-{base_slot}")), value).unwrap();
        }
    }
    if let Some(out) = run_script(&["read", directory.path().to_str().unwrap()]) {
        assert_eq!(out, format!("read the states of {last} slots\n"));
    }
}
