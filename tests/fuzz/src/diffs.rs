//! A diff beside the state that it is on: refused with the slot and the reason, or applied, and then every
//! accessor gives what the state's bytes hold.
//!
//! The first byte of an input chooses what the rest is: a diff as it is; a diff whose checksums, lengths and
//! base are made right first; or edits of a state, which a diff must then give. The next two bytes choose the
//! base, one of the states of every slot of the small chain.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use coldstore::Slot;
use coldstore_consensus::{Preset, Root, StateFields};
use coldstore_history::states::value::{
    DiffContext, DiffValue, RootsError, SlotRoots, apply_path, encode_diff,
};
use coldstore_history::states::{Columns, StateRef};
use test_support::chain_content::{all_states, truth};

use super::scratch::Bytes;

pub const AS_IT_IS: u8 = 0;
pub const MADE_RIGHT: u8 = 1;
pub const EDITS: u8 = 2;

const PRESET: Preset = Preset::Minimal;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 10;
/// Of `block_roots` in a state.
const BLOCK_ROOTS_OFFSET: usize = 176;

/// The states of the small chain by slot, and its roots.
pub struct Chain {
    pub states: BTreeMap<u64, Vec<u8>>,
    block_roots: BTreeMap<u64, Root>,
    state_roots: BTreeMap<u64, Root>,
}

pub fn chain() -> &'static Chain {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let states = all_states();
        let block_roots = states.iter().skip(1).map(|(slot, state)| {
            let place = (slot - 1) as usize % PRESET.slots_per_era() as usize;
            let at = BLOCK_ROOTS_OFFSET + 32 * place;
            (slot - 1, Root(state[at..at + 32].try_into().unwrap()))
        });
        let block_roots = block_roots.collect();
        let truth = truth("STATES.tsv").into_iter();
        let state_roots = truth.map(|(slot, state)| (slot, state.root)).collect();
        Chain { states, block_roots, state_roots }
    })
}

impl SlotRoots for Chain {
    fn block_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.block_roots.get(&slot.0).copied())
    }

    fn state_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.state_roots.get(&slot.0).copied())
    }
}

pub fn run(data: &[u8]) {
    let chain = chain();
    let mut bytes = Bytes(data);
    let mode = bytes.u8() % 3;
    let base_slot = u64::from(bytes.u16()) % chain.states.len() as u64;
    match mode {
        AS_IT_IS => apply_any(chain, base_slot, bytes.0),
        MADE_RIGHT => {
            if let Some(value) = made_right(chain, base_slot, bytes.0) {
                apply_any(chain, base_slot, &value);
            }
        }
        _ => edit(chain, base_slot, bytes),
    }
}

/// The diff of a state on another.
pub fn encode(chain: &Chain, base: &[u8], next: &[u8]) -> Option<Vec<u8>> {
    let [of_base, of_next] = [base, next].map(|ssz| Columns::of_raw(PRESET, ssz).ok());
    let base = StateRef { base, columns: &of_base? };
    let next = StateRef { base: next, columns: &of_next? };
    Some(encode_diff(base, next, DiffContext::new(chain)).unwrap())
}

fn apply_any(chain: &Chain, base_slot: u64, value: &[u8]) {
    let slot = u64::from_le_bytes(Bytes(value.get(8..).unwrap_or_default()).array());
    let base = &chain.states[&base_slot];
    let on_base = Columns::of_raw(PRESET, base).unwrap();
    let context = DiffContext::new(chain);
    let applied = DiffValue::parse(Slot(slot), value).and_then(|diff| {
        let diffs = std::slice::from_ref(&diff);
        apply_path(PRESET, base, &on_base, diffs, context).map(|columns| (columns, diff.ssz_len()))
    });
    let (columns, ssz_len) = match applied {
        Ok(applied) => applied,
        Err(fault) => {
            let text = fault.to_string();
            assert!(text.starts_with(&format!("slot {slot}: ")), "names no slot: {text}");
            assert!(!fault.wanted.is_empty() && !fault.found.is_empty(), "no reason: {text}");
            return;
        }
    };
    let ssz = check_state(StateRef { base, columns: &columns });
    assert_eq!(ssz.len() as u64, ssz_len);
    // A state whose layout is unknown need not be one of a known layout.
    if columns.fork().is_some() {
        assert_gives(chain, base, &ssz);
    }
}

/// What is read of a state is what its bytes hold.
fn check_state(state: StateRef<'_>) -> Vec<u8> {
    let mut ssz = Vec::new();
    state.write_ssz(&mut ssz).unwrap();
    assert_eq!(ssz.len() as u64, state.ssz_len());
    if state.fork().is_none() {
        return ssz;
    }
    // What an attestation of phase0 holds is not looked at: only the root covers it.
    let Ok(raw) = Columns::of_raw(PRESET, &ssz) else { return ssz };
    let raw = StateRef { base: &ssz, columns: &raw };
    assert_eq!((raw.slot(), raw.fork()), (state.slot(), state.fork()));
    for name in state.field_names() {
        assert!(state.field(name) == raw.field(name), "{name}");
    }
    assert_eq!(raw.validator_count(), state.validator_count());
    for index in (0..raw.validator_count().min(200)).chain([raw.validator_count()]) {
        assert!(state.validator(index) == raw.validator(index), "validator {index}");
        assert_eq!(state.balance(index), raw.balance(index), "validator {index}");
    }
    ssz
}

/// The diff of a state on the base gives that state.
fn assert_gives(chain: &Chain, base: &[u8], next: &[u8]) {
    let Some(value) = encode(chain, base, next) else { return };
    let slot = Slot(u64::from_le_bytes(next[40..48].try_into().unwrap()));
    let diff = DiffValue::parse(slot, &value).unwrap();
    let on_base = Columns::of_raw(PRESET, base).unwrap();
    let columns = apply_path(PRESET, base, &on_base, &[diff], DiffContext::new(chain)).unwrap();
    assert!(check_state(StateRef { base, columns: &columns }) == next, "another state");
}

/// The value with its checksums, lengths, base and preset as they must be. The rest stays what the fuzzer made
/// of it.
fn made_right(chain: &Chain, base_slot: u64, value: &[u8]) -> Option<Vec<u8>> {
    let mut value = value.to_vec();
    if value.len() < HEADER_BYTES {
        return None;
    }
    let base = &chain.states[&base_slot];
    let columns = Columns::of_raw(PRESET, base).unwrap();
    let validators = StateRef { base, columns: &columns }.validator_count() as u32;
    let is_generic = value[5] == 3;
    let mut put = |at: usize, bytes: &[u8]| value[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"CSD1\x01");
    put(7, &[1]);
    put(16, &base_slot.to_le_bytes());
    put(24, &chain.state_roots[&base_slot].0[..8]);
    put(40, &if is_generic { 0 } else { validators }.to_le_bytes());
    put(51, &[0]);
    put(60, &[0; 4]);
    let byte_len = value.len() as u32;
    value[52..56].copy_from_slice(&byte_len.to_le_bytes());

    let wanted = usize::from(u16::from_le_bytes([value[48], value[49]]));
    let count = wanted.min((value.len() - HEADER_BYTES) / ENTRY_BYTES);
    value[48..50].copy_from_slice(&(count as u16).to_le_bytes());
    let table_end = HEADER_BYTES + count * ENTRY_BYTES;
    let mut at = table_end;
    for index in 0..count {
        let entry = HEADER_BYTES + index * ENTRY_BYTES;
        let rest = value.len() - at;
        let named = u32::from_le_bytes(value[entry + 2..entry + 6].try_into().unwrap()) as usize;
        let byte_len = if index + 1 == count { rest } else { named.min(rest) };
        let crc = crc32c::crc32c(&value[at..at + byte_len]);
        value[entry + 2..entry + 6].copy_from_slice(&(byte_len as u32).to_le_bytes());
        value[entry + 6..entry + 10].copy_from_slice(&crc.to_le_bytes());
        at += byte_len;
    }
    value[56..60].fill(0);
    let crc = crc32c::crc32c(&value[..table_end]);
    value[56..60].copy_from_slice(&crc.to_le_bytes());
    Some(value)
}

/// Edits of a later state: the field, where in it, and what is added to the 8 bytes there.
fn edit(chain: &Chain, base_slot: u64, mut bytes: Bytes<'_>) {
    let slot = base_slot + 1 + u64::from(bytes.u8());
    let Some(next) = chain.states.get(&slot) else { return };
    let mut next = next.clone();
    let spans = StateFields::of_ssz(PRESET, &next).unwrap().spans(&next).unwrap();
    while !bytes.is_empty() {
        let span = spans[usize::from(bytes.u8()) % spans.len()].clone();
        let at = span.start + usize::from(bytes.u16());
        let change = bytes.u64();
        // The slot is what the diff is looked up by.
        if at + 8 > span.end || span.contains(&40) {
            continue;
        }
        let old = u64::from_le_bytes(next[at..at + 8].try_into().unwrap());
        next[at..at + 8].copy_from_slice(&old.wrapping_add(change).to_le_bytes());
    }
    assert_gives(chain, &chain.states[&base_slot], &next);
}
