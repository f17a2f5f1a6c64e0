//! Diffs between states with random edits, also such as no chain has.

use std::ops::Range;

use coldstore_consensus::{FieldKind, Fork, Preset, StateField, StateFields};
use coldstore_history::states::value::{DiffValue, Kind, encode_diff};
use coldstore_history::states::{Columns, StateRef, VALIDATOR_BYTES};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::diffs::{Roots, apply, chain, context};

const PRESET: Preset = Preset::Minimal;
const PER_VALIDATOR: [(&str, usize); 5] = [
    ("validators", VALIDATOR_BYTES),
    ("balances", 8),
    ("previous_epoch_participation", 1),
    ("current_epoch_participation", 1),
    ("inactivity_scores", 8),
];
/// The offset in a payload's header, whose fixed part precedes `extra_data`.
const EXTRA_DATA_OFFSET: Range<usize> = 436..440;

/// A state taken apart.
#[derive(Clone)]
struct Parts {
    layout: StateFields,
    fields: Vec<Vec<u8>>,
}

impl Parts {
    fn of(ssz: &[u8]) -> Self {
        let layout = StateFields::of_ssz(PRESET, ssz).unwrap();
        let spans = layout.spans(ssz).unwrap();
        Self { layout, fields: spans.into_iter().map(|span| ssz[span].to_vec()).collect() }
    }

    fn ssz(&self) -> Vec<u8> {
        let (mut fixed, mut variable) = (Vec::new(), Vec::new());
        for (field, bytes) in self.layout.iter().zip(&self.fields) {
            if field.fixed_len().is_some() {
                fixed.extend_from_slice(bytes);
            } else {
                let offset = self.layout.fixed_part_len() + variable.len();
                fixed.extend(u32::try_from(offset).unwrap().to_le_bytes());
                variable.extend_from_slice(bytes);
            }
        }
        [fixed, variable].concat()
    }

    fn set_slot(&mut self, slot: u64) {
        self.fields[2] = slot.to_le_bytes().to_vec();
    }

    fn field(&mut self, index: Index) -> (StateField, &mut Vec<u8>) {
        let place = index.index(self.layout.len());
        (self.layout.iter().nth(place).unwrap(), &mut self.fields[place])
    }
}

/// An edit of one field, whichever it is.
#[derive(Clone, Debug)]
enum Edit {
    /// Bytes at random places.
    Bytes(Index, Vec<(Index, u8)>),
    /// Elements leave at the front.
    Leave(Index, Index),
    /// An element is taken out.
    TakeOut(Index, Index),
    /// Elements are added at the end.
    Add(Index, Vec<u8>),
    /// Nothing is left.
    Clear(Index),
    /// Everything is another.
    Replace(Index, u8),
    /// Validators are added.
    Validators(Vec<u8>),
    /// The last validators leave.
    FewerValidators(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), prop::collection::vec((at(), any::<u8>()), 1..20)).prop_map(|(f, b)| Edit::Bytes(f, b)),
        2 => (at(), at()).prop_map(|(field, count)| Edit::Leave(field, count)),
        1 => (at(), at()).prop_map(|(field, index)| Edit::TakeOut(field, index)),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(field, seeds)| Edit::Add(field, seeds)),
        1 => at().prop_map(Edit::Clear),
        1 => (at(), any::<u8>()).prop_map(|(field, seed)| Edit::Replace(field, seed)),
        2 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Edit::Validators),
        1 => at().prop_map(Edit::FewerValidators),
    ]
}

impl Edit {
    fn apply(&self, parts: &mut Parts) {
        match self {
            Edit::Bytes(field, bytes) => {
                let (field, content) = parts.field(*field);
                let count = if content.is_empty() { 0 } else { bytes.len() };
                for (at, byte) in &bytes[..count] {
                    let at = at.index(content.len());
                    if field.name != "latest_execution_payload_header"
                        || !EXTRA_DATA_OFFSET.contains(&at)
                    {
                        content[at] = *byte;
                    }
                }
            }
            Edit::Leave(field, count) => {
                if let Some((element_len, list)) = list_in(parts, *field) {
                    let count = count.index(list.len() / element_len + 1);
                    list.drain(..count * element_len);
                }
            }
            Edit::TakeOut(field, index) => {
                if let Some((element_len, list)) =
                    list_in(parts, *field).filter(|(_, list)| !list.is_empty())
                {
                    let at = index.index(list.len() / element_len) * element_len;
                    list.drain(at..at + element_len);
                }
            }
            Edit::Add(field, seeds) => {
                let FieldKind::List { limit, .. } = parts.field(*field).0.kind else { return };
                if let Some((element_len, list)) = list_in(parts, *field) {
                    let room = usize::try_from(limit).unwrap() - list.len() / element_len;
                    for seed in seeds.iter().take(room) {
                        list.extend(noise(*seed, element_len));
                    }
                }
            }
            Edit::Clear(field) => {
                if let Some((_, list)) = list_in(parts, *field) {
                    list.clear();
                }
            }
            Edit::Replace(field, seed) => {
                let (field, content) = parts.field(*field);
                if field.name != "latest_execution_payload_header" {
                    *content = noise(*seed, content.len());
                }
            }
            Edit::Validators(seeds) => each_validator_list(parts, |list, element_len| {
                list.extend(seeds.iter().flat_map(|seed| noise(*seed, element_len)));
            }),
            Edit::FewerValidators(count) => {
                let count = parts.fields[parts.layout.place("balances").unwrap()].len() / 8
                    - count.index(5);
                each_validator_list(parts, |list, element_len| list.truncate(count * element_len));
            }
        }
    }
}

/// The field, if it is a list of elements of fixed length, of which other fields do not depend.
fn list_in(parts: &mut Parts, index: Index) -> Option<(usize, &mut Vec<u8>)> {
    let (field, content) = parts.field(index);
    match field.kind {
        FieldKind::List { element_len, .. }
            if PER_VALIDATOR.iter().all(|(name, _)| *name != field.name) =>
        {
            Some((element_len, content))
        }
        _ => None,
    }
}

fn each_validator_list(parts: &mut Parts, mut change: impl FnMut(&mut Vec<u8>, usize)) {
    for (name, element_len) in PER_VALIDATOR {
        if let Some(place) = parts.layout.place(name) {
            change(&mut parts.fields[place], element_len);
        }
    }
}

fn noise(seed: u8, byte_len: usize) -> Vec<u8> {
    let mut number = u64::from(seed) + 1;
    let bytes = std::iter::repeat_with(|| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number.to_le_bytes()[3]
    });
    bytes.take(byte_len).collect()
}

/// Compares what the diff between two states gives with the later one, by all ways to get columns.
fn check(roots: &Roots, base: &[u8], next: &[u8], slot: u64) -> Result<(), TestCaseError> {
    let base_columns = Columns::of_raw(PRESET, base).unwrap();
    let base_ref = StateRef { base, columns: &base_columns };
    let raw = Columns::of_raw(PRESET, next).unwrap();
    let raw_ref = StateRef { base: next, columns: &raw };
    let streamed = Columns::from_stream(PRESET, base, next.len() as u64, &mut &next[..]).unwrap();
    let streamed_ref = StateRef { base, columns: &streamed };
    let value = encode_diff(base_ref, raw_ref, context(roots)).unwrap();
    let of_streamed = encode_diff(base_ref, streamed_ref, context(roots)).unwrap();
    prop_assert!(value == of_streamed);
    let applied = apply(roots, base, slot, &value);
    prop_assert!(applied.as_ref().is_ok_and(|ssz| ssz == next), "{:?}", applied.err());
    let mut ssz = Vec::new();
    streamed_ref.write_ssz(&mut ssz).unwrap();
    prop_assert!(ssz == next);
    prop_assert_eq!(streamed_ref.ssz_len(), next.len() as u64);
    for index in [0, raw.validator_count() / 2, raw.validator_count() - 1, raw.validator_count()] {
        prop_assert_eq!(streamed_ref.validator(index), raw_ref.validator(index));
        prop_assert_eq!(streamed_ref.balance(index), raw_ref.balance(index));
    }
    for name in raw_ref.field_names() {
        prop_assert!(streamed_ref.field(name) == raw_ref.field(name), "{}", name);
        prop_assert_eq!(streamed_ref.field_len(name), raw_ref.field_len(name));
    }
    Ok(())
}

/// A state of each fork.
fn state_of_each_fork() -> (Vec<(u64, Vec<u8>)>, Roots) {
    let (states, roots) = chain();
    let mut of_forks: Vec<(u64, Vec<u8>)> = Vec::new();
    for fork in Fork::ALL {
        let of_fork =
            |(_, ssz): &(&u64, &Vec<u8>)| StateFields::of_ssz(PRESET, ssz).unwrap().fork() == fork;
        // The last one of a fork has most in its lists.
        let (slot, ssz) = states.iter().rfind(of_fork).unwrap();
        of_forks.push((*slot, ssz.clone()));
    }
    (of_forks, roots)
}

#[test]
fn a_diff_applied_gives_the_state_whatever_the_edits_are() {
    let (states, roots) = state_of_each_fork();
    let config = ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() };
    let strategy = (
        0..states.len(),
        any::<Index>(),
        prop::collection::vec(edit(), 0..4),
        prop::collection::vec(edit(), 0..8),
        1u64..300,
    );
    proptest!(config, |((of, older, before, edits, distance) in strategy)| {
        // The base is of the same fork, or of one before.
        let (base_slot, base) = &states[older.index(of + 1)];
        let (mut base, mut next) = (Parts::of(base), Parts::of(&states[of].1));
        before.iter().for_each(|edit| edit.apply(&mut base));
        base.set_slot(*base_slot);
        edits.iter().for_each(|edit| edit.apply(&mut next));
        let slot = base_slot + distance;
        next.set_slot(slot);
        check(&roots, &base.ssz(), &next.ssz(), slot)?;
    });
}

#[test]
fn a_registry_that_gets_shorter_is_stored_in_pieces() {
    let (states, roots) = state_of_each_fork();
    let (slot, base) = states.last().unwrap();
    let mut next = Parts::of(base);
    each_validator_list(&mut next, |list, element_len| list.truncate(list.len() - element_len));
    next.set_slot(slot + 1);
    let next = next.ssz();
    let [base_columns, columns] = [base, &next].map(|ssz| Columns::of_raw(PRESET, ssz).unwrap());
    let base = StateRef { base, columns: &base_columns };
    let value =
        encode_diff(base, StateRef { base: &next, columns: &columns }, context(&roots)).unwrap();
    let diff = DiffValue::parse(coldstore::Slot(slot + 1), &value).unwrap();
    assert_eq!(diff.kind(), Kind::Generic);
    assert!(apply(&roots, base.base, slot + 1, &value).unwrap() == next);
}

#[test]
fn a_state_of_an_unknown_fork_is_stored_in_pieces() {
    let (states, roots) = chain();
    let (slot, base) = (500, &states[&500]);
    // A number that no known fork has, at the end of the fixed part.
    let mut parts = Parts::of(base);
    parts.set_slot(slot + 1);
    let known = parts.ssz();
    let layout = parts.layout;
    let mut next = known[..layout.fixed_part_len()].to_vec();
    let mut at = 0;
    for field in layout.iter() {
        let Some(byte_len) = field.fixed_len() else {
            let offset = u32::from_le_bytes(next[at..at + 4].try_into().unwrap()) + 8;
            next[at..at + 4].copy_from_slice(&offset.to_le_bytes());
            at += 4;
            continue;
        };
        at += byte_len;
    }
    next.extend([7; 8]);
    next.extend_from_slice(&known[layout.fixed_part_len()..]);

    let columns = Columns::of_raw(PRESET, &next).unwrap();
    assert_eq!((columns.fork(), columns.slot().0), (None, slot + 1));
    let base_columns = Columns::of_raw(PRESET, base).unwrap();
    let base_ref = StateRef { base, columns: &base_columns };
    let next_ref = StateRef { base: &next, columns: &columns };
    let value = encode_diff(base_ref, next_ref, context(&roots)).unwrap();
    assert!(value.len() < 1000, "{} bytes for an inserted number", value.len());
    assert!(apply(&roots, base, slot + 1, &value).unwrap() == next);
    // On a base of that fork too.
    let mut later = next.clone();
    later[40..48].copy_from_slice(&(slot + 2).to_le_bytes());
    later.push(9);
    let columns = Columns::of_raw(PRESET, &later).unwrap();
    let value =
        encode_diff(next_ref, StateRef { base: &later, columns: &columns }, context(&roots));
    assert!(apply(&roots, &next, slot + 2, &value.unwrap()).unwrap() == later);
}
