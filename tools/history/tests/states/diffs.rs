//! Diffs of the small chain's states, and of states with random edits.

use std::collections::BTreeMap;

use coldstore::Slot;
use coldstore_consensus::{Preset, Root};
use coldstore_history::states::value::{
    DiffContext, DiffFault, DiffValue, DutyCache, Kind, RootsError, SlotRoots, apply_path,
    encode_diff, encode_slot,
};
use coldstore_history::states::{Columns, StateRef};
use test_support::chain_content::{all_states, truth};

const PRESET: Preset = Preset::Minimal;

/// The roots of the chain's slots.
pub(crate) struct Roots {
    blocks: BTreeMap<u64, Root>,
    states: BTreeMap<u64, Root>,
}

impl SlotRoots for Roots {
    fn block_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.blocks.get(&slot.0).copied())
    }

    fn state_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.states.get(&slot.0).copied())
    }
}

/// The chain's states by slot, and its roots.
pub(crate) fn chain() -> (BTreeMap<u64, Vec<u8>>, Roots) {
    let states = all_states();
    let truth = truth("STATES.tsv");
    let state_roots = truth.iter().map(|(slot, state)| (*slot, state.root)).collect();
    let block_roots = states.iter().filter_map(|(slot, state)| {
        let slot = slot.checked_sub(1)?;
        let at = 176 + 32 * usize::try_from(slot % PRESET.slots_per_era()).unwrap();
        Some((slot, Root::of_slice(&state[at..at + 32]).unwrap()))
    });
    let roots = Roots { blocks: block_roots.collect(), states: state_roots };
    (states, roots)
}

pub(crate) fn context(roots: &Roots) -> DiffContext<'_> {
    DiffContext::new(roots)
}

pub(crate) fn encode(roots: &Roots, base: &[u8], next: &[u8]) -> Vec<u8> {
    encode_in(context(roots), base, next)
}

fn encode_in(context: DiffContext<'_>, base: &[u8], next: &[u8]) -> Vec<u8> {
    let [base_columns, next_columns] =
        [base, next].map(|ssz| Columns::of_raw(PRESET, ssz).unwrap());
    let base = StateRef { base, columns: &base_columns };
    let next = StateRef { base: next, columns: &next_columns };
    encode_diff(base, next, context).unwrap()
}

pub(crate) fn apply(
    roots: &Roots,
    base: &[u8],
    slot: u64,
    value: &[u8],
) -> Result<Vec<u8>, DiffFault> {
    let columns = Columns::of_raw(PRESET, base).unwrap();
    let diff = DiffValue::parse(Slot(slot), value)?;
    let columns = apply_path(PRESET, base, &columns, &[diff], context(roots))?;
    let mut ssz = Vec::new();
    StateRef { base, columns: &columns }.write_ssz(&mut ssz).unwrap();
    Ok(ssz)
}

#[test]
fn every_state_of_the_chain_is_what_its_diff_on_an_earlier_one_gives() {
    let (states, roots) = chain();
    let mut sizes = 0;
    for distance in [1, 3, 8, 64, 200] {
        for (slot, next) in &states {
            let Some(base) = slot.checked_sub(distance).and_then(|slot| states.get(&slot)) else {
                continue;
            };
            let value = encode(&roots, base, next);
            sizes += value.len();
            let applied = apply(&roots, base, *slot, &value);
            assert!(
                applied.as_ref() == Ok(next),
                "slot {slot}, {distance} slots: {:?}",
                applied.err()
            );
        }
    }
    assert!(sizes > 0);
}

/// With chunks of so few validators that each state has several, and with one chunk.
/// All forks, skipped slots, and the first slots of an epoch, which take in the last attesters of the one before.
#[test]
fn a_chain_of_diffs_of_slots_gives_each_of_its_states() {
    let (states, roots) = chain();
    let duties = DutyCache::default();
    let context = DiffContext { duties: Some(&duties), ..context(&roots) };
    let base = &states[&0];
    let mut columns = Columns::of_raw(PRESET, base).unwrap();
    let (mut values, mut of_slots) = (Vec::new(), 0);
    for (slot, next) in states.iter().skip(1) {
        let before = Columns::of_raw(PRESET, &states[&(slot - 1)]).unwrap();
        let before = StateRef { base: &states[&(slot - 1)], columns: &before };
        let next_columns = Columns::of_raw(PRESET, next).unwrap();
        let value =
            encode_slot(before, StateRef { base: next, columns: &next_columns }, context).unwrap();
        let diff = DiffValue::parse(Slot(*slot), &value).unwrap();
        let is_first_of_epoch = slot % PRESET.slots_per_epoch() == 0;
        assert_eq!(diff.kind() == Kind::Slot, !is_first_of_epoch, "slot {slot}");
        of_slots += if is_first_of_epoch { 0 } else { value.len() };
        columns = apply_path(PRESET, base, &columns, &[diff], context).unwrap();
        let mut ssz = Vec::new();
        StateRef { base, columns: &columns }.write_ssz(&mut ssz).unwrap();
        assert!(ssz == *next, "slot {slot}");
        values.push((*slot, value));
    }
    let path: Vec<DiffValue<'_>> =
        values.iter().map(|(slot, value)| DiffValue::parse(Slot(*slot), value).unwrap()).collect();
    let columns = Columns::of_raw(PRESET, base).unwrap();
    let context = DiffContext { duties: None, ..context };
    let columns = apply_path(PRESET, base, &columns, &path, context).unwrap();
    let mut ssz = Vec::new();
    StateRef { base, columns: &columns }.write_ssz(&mut ssz).unwrap();
    assert!(ssz == *states.values().last().unwrap());
    assert!(of_slots > 0);
}

#[test]
fn a_chain_of_diffs_gives_its_last_state() {
    for chunk_log2 in [4, DiffContext::CHUNK_LOG2] {
        check_chain(chunk_log2);
    }
}

fn check_chain(chunk_log2: u8) {
    let (states, roots) = chain();
    let context = DiffContext { chunk_log2, ..context(&roots) };
    let slots: Vec<u64> = states.keys().copied().collect();
    let base = &states[&slots[0]];
    let values: Vec<(u64, Vec<u8>)> = slots
        .windows(2)
        .map(|pair| (pair[1], encode_in(context, &states[&pair[0]], &states[&pair[1]])))
        .collect();
    let path: Vec<DiffValue<'_>> =
        values.iter().map(|(slot, value)| DiffValue::parse(Slot(*slot), value).unwrap()).collect();
    let columns = Columns::of_raw(PRESET, base).unwrap();
    let columns = apply_path(PRESET, base, &columns, &path, context).unwrap();
    let mut ssz = Vec::new();
    StateRef { base, columns: &columns }.write_ssz(&mut ssz).unwrap();
    assert!(ssz == states[slots.last().unwrap()]);
    assert!(path.iter().all(|diff| diff.kind() == Kind::Columns));
}
