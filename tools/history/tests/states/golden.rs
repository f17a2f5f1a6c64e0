//! Diffs that an independent program wrote, and the library's diffs read by it (`tests/states-format`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use coldstore::Slot;
use coldstore_consensus::{Preset, Root};
use coldstore_history::states::value::{
    DiffContext, DiffFault, DiffValue, RootsError, SlotRoots, apply_path, encode_diff, encode_slot,
};
use coldstore_history::states::{Columns, StateRef};
use test_support::chain_content::{all_states, packed, truth};

const PRESET: Preset = Preset::Minimal;
/// Of `block_roots` in a state.
const BLOCK_ROOTS_OFFSET: usize = 176;

/// The states of the small chain by slot, some states that no chain has by name, and the roots.
struct Chain {
    states: BTreeMap<String, Vec<u8>>,
    state_roots: BTreeMap<u64, Root>,
}

fn slot_of(ssz: &[u8]) -> u64 {
    u64::from_le_bytes(ssz[40..48].try_into().unwrap())
}

fn columns(ssz: &[u8]) -> Columns {
    Columns::of_raw(PRESET, ssz).unwrap()
}

impl Chain {
    fn new() -> Self {
        let roots = truth("STATES.tsv").into_iter().map(|(slot, state)| (slot, state.root));
        let states = all_states().into_iter().map(|(slot, state)| (slot.to_string(), state));
        let made = packed("diffs.tar.zst").into_iter().filter(|(name, _)| !name.contains('.'));
        Self { states: states.chain(made).collect(), state_roots: roots.collect() }
    }

    fn state(&self, slot: u64) -> &[u8] {
        &self.states[&slot.to_string()]
    }

    fn encode(&self, base: &[u8], next: &[u8]) -> Vec<u8> {
        let (of_base, of_next) = (columns(base), columns(next));
        let base = StateRef { base, columns: &of_base };
        let next = StateRef { base: next, columns: &of_next };
        encode_diff(base, next, DiffContext::new(self)).unwrap()
    }

    /// As [`Self::encode`], on the state of the slot before.
    fn encode_next(&self, base: &[u8], next: &[u8]) -> Vec<u8> {
        let (of_base, of_next) = (columns(base), columns(next));
        let base = StateRef { base, columns: &of_base };
        let next = StateRef { base: next, columns: &of_next };
        encode_slot(base, next, DiffContext::new(self)).unwrap()
    }

    fn decode(&self, base: &[u8], slot: u64, value: &[u8]) -> Result<Vec<u8>, DiffFault> {
        let diff = DiffValue::parse(Slot(slot), value)?;
        let columns = apply_path(PRESET, base, &columns(base), &[diff], DiffContext::new(self))?;
        let mut ssz = Vec::new();
        StateRef { base, columns: &columns }.write_ssz(&mut ssz).unwrap();
        Ok(ssz)
    }

    /// What a golden value gives.
    fn decode_golden(&self, golden: &Golden) -> Result<Vec<u8>, DiffFault> {
        let slot = slot_of(&self.states[&golden.state]);
        self.decode(&self.states[&golden.base], slot, &golden.value)
    }
}

impl SlotRoots for Chain {
    /// As the next state has it.
    fn block_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        let next = (slot.0 + 1).to_string();
        let Some(next) = self.states.get(&next) else { return Ok(None) };
        let place = usize::try_from(slot.0 % PRESET.slots_per_era()).unwrap();
        let at = BLOCK_ROOTS_OFFSET + 32 * place;
        Ok(Some(Root(next[at..at + 32].try_into().unwrap())))
    }

    fn state_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.state_roots.get(&slot.0).copied())
    }
}

/// A golden value: its name, and those of the states that it is on and gives.
struct Golden {
    name: String,
    base: String,
    state: String,
    value: Vec<u8>,
}

fn golden_values() -> impl Iterator<Item = Golden> {
    packed("diffs.tar.zst").into_iter().filter_map(|(file, value)| {
        let mut parts = file.split('.').map(str::to_owned);
        let [name, base, state] = [(); 3].map(|()| parts.next());
        Some(Golden { name: name?, base: base?, state: state?, value })
    })
}

fn is_refused(golden: &Golden) -> bool {
    golden.name.starts_with("refused-")
}

#[test]
fn the_diffs_of_another_program_give_the_states_of_their_slots() {
    let chain = Chain::new();
    let values: Vec<_> = golden_values().filter(|golden| !is_refused(golden)).collect();
    assert!(values.len() >= 70, "{}", values.len());
    let mut wrong = Vec::new();
    for golden in values {
        match chain.decode_golden(&golden) {
            Ok(ssz) if ssz == chain.states[&golden.state] => {}
            Ok(_) => wrong.push(format!("{}: another state", golden.name)),
            Err(fault) => wrong.push(format!("{}: {fault}", golden.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_diff_that_breaks_a_rule_of_the_format_is_refused() {
    let chain = Chain::new();
    let values: Vec<_> = golden_values().filter(is_refused).collect();
    assert!(values.len() >= 130, "{}", values.len());
    let mut accepted = Vec::new();
    for golden in values {
        match chain.decode_golden(&golden) {
            Ok(_) => accepted.push(golden.name),
            Err(fault) => {
                let slot = slot_of(&chain.states[&golden.state]);
                assert_eq!(fault.slot, Slot(slot), "{}: {fault}", golden.name);
                let says_why = !fault.wanted.is_empty() && !fault.found.is_empty();
                assert!(says_why, "{}: {fault:?}", golden.name);
            }
        }
    }
    assert!(accepted.is_empty(), "accepted: {accepted:?}");
}

/// Where the format leaves no choice.
#[test]
fn the_diff_of_a_skipped_slot_is_the_one_that_another_program_wrote() {
    let (chain, name) = (Chain::new(), "skipped-slot-by-columns");
    let golden = golden_values().find(|golden| golden.name == name).unwrap();
    let encoded = chain.encode(&chain.states[&golden.base], &chain.states[&golden.state]);
    assert_eq!(const_hex::encode(encoded), const_hex::encode(golden.value));
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
    let last = *chain.state_roots.keys().last().unwrap();
    for slot in 1..=last {
        // The slot before, the epoch before, a distance that is no layer's, and the window's first.
        for base_slot in [slot - 1, slot.saturating_sub(8), slot * 2 / 3, slot.saturating_sub(64)] {
            let (base, next) = (chain.state(base_slot), chain.state(slot));
            let value = chain.encode(base, next);
            assert!(chain.decode(base, slot, &value).unwrap() == next);
            fs::write(directory.path().join(format!("{slot}-on-{base_slot}")), value).unwrap();
        }
        let (before, next) = (chain.state(slot - 1), chain.state(slot));
        let value = chain.encode_next(before, next);
        assert!(chain.decode(before, slot, &value).unwrap() == next);
        fs::write(directory.path().join(format!("{slot}-after-the-slot-before")), value).unwrap();
    }
    if let Some(out) = run_script(&["read", directory.path().to_str().unwrap()]) {
        assert_eq!(out, format!("read the states of {last} slots\n"));
    }
}
