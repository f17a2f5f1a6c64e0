//! Fields at fixed offsets of the SSZ containers, from phase0 to fulu.
//!
//! Source: the consensus specification of `SignedBeaconBlock`, `BeaconBlock` and `BeaconState`. Forks
//! only append fields after the ones used here, so the fork, which a record does not carry, is not
//! needed.

use std::fmt;

use crate::slot::Slot;

const SLOT_BYTES: usize = 8;
const ROOT_BYTES: usize = 32;
const OFFSET_BYTES: usize = 4;
const SIGNATURE_BYTES: usize = 96;

// SignedBeaconBlock { message: BeaconBlock, signature }, then the message.
const MESSAGE_OFFSET_AT: usize = 0;
const SIGNATURE_AT: usize = MESSAGE_OFFSET_AT + OFFSET_BYTES;
const BLOCK_SLOT_AT: usize = SIGNATURE_AT + SIGNATURE_BYTES;
const PROPOSER_INDEX_AT: usize = BLOCK_SLOT_AT + SLOT_BYTES;
const PARENT_ROOT_AT: usize = PROPOSER_INDEX_AT + 8;
const STATE_ROOT_AT: usize = PARENT_ROOT_AT + ROOT_BYTES;
const BODY_OFFSET_AT: usize = STATE_ROOT_AT + ROOT_BYTES;
const BODY_AT: usize = BODY_OFFSET_AT + OFFSET_BYTES;
const _: () = assert!(BLOCK_SLOT_AT == 100 && PARENT_ROOT_AT == 116 && STATE_ROOT_AT == 148);

/// Bytes of a `SignedBeaconBlock` before its body.
pub const BLOCK_HEAD_BYTES: usize = BODY_AT;

// BeaconState, up to the two vectors of roots.
const GENESIS_TIME_AT: usize = 0;
const GENESIS_VALIDATORS_ROOT_AT: usize = GENESIS_TIME_AT + 8;
const STATE_SLOT_AT: usize = GENESIS_VALIDATORS_ROOT_AT + ROOT_BYTES;
const FORK_AT: usize = STATE_SLOT_AT + SLOT_BYTES;
const LATEST_BLOCK_HEADER_AT: usize = FORK_AT + 4 + 4 + 8;
const BLOCK_ROOTS_AT: usize = LATEST_BLOCK_HEADER_AT + 8 + 8 + 3 * ROOT_BYTES;
const _: () = assert!(STATE_SLOT_AT == 40 && BLOCK_ROOTS_AT == 176);

/// Length in bytes of the prefix of a `BeaconState` that ends with its slot.
pub const STATE_HEAD_BYTES: usize = FORK_AT;

/// A value that is not the expected container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The expected container or field.
    pub wanted: String,
    /// What the value has.
    pub found: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wanted {}, found {}", self.wanted, self.found)
    }
}

/// The fields that place a block in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// The block's slot.
    pub slot: Slot,
    /// Root of the parent block.
    pub parent_root: [u8; 32],
    /// Root of the state after the block.
    pub state_root: [u8; 32],
}

impl BlockHead {
    /// Parses the start of a `SignedBeaconBlock`: at least its first [`BLOCK_HEAD_BYTES`].
    ///
    /// # Errors
    /// [`Mismatch`] if the value is shorter, or its two offsets of variable parts are not those of a
    /// signed block.
    pub fn parse(value: &[u8]) -> Result<Self, Mismatch> {
        let parse = || {
            let message = u32_at(value, MESSAGE_OFFSET_AT)?;
            let body = u32_at(value, BODY_OFFSET_AT)?;
            let head = BlockHead {
                slot: Slot(u64_at(value, BLOCK_SLOT_AT)?),
                parent_root: root_at(value, PARENT_ROOT_AT)?,
                state_root: root_at(value, STATE_ROOT_AT)?,
            };
            Some((message, body, head))
        };
        let (message, body, head) = parse().ok_or_else(|| Mismatch {
            wanted: format!("a signed block of at least {BLOCK_HEAD_BYTES} bytes"),
            found: format!("{} bytes", value.len()),
        })?;
        let wanted = (BLOCK_SLOT_AT, BODY_AT - BLOCK_SLOT_AT);
        if (message as usize, body as usize) != wanted {
            return Err(Mismatch {
                wanted: format!("a signed block with the offsets {} and {}", wanted.0, wanted.1),
                found: format!("offsets {message} and {body}"),
            });
        }
        Ok(head)
    }
}

/// End offset of the slot in a `SignedBeaconBlock`. Blinded blocks have it at the same offset.
pub const BLOCK_SLOT_END: usize = BLOCK_SLOT_AT + SLOT_BYTES;

/// The first field of a `SignedBeaconBlock`: the offset of its message.
pub const BLOCK_MESSAGE_OFFSET: u32 = 100;
const _: () = assert!(BLOCK_MESSAGE_OFFSET as usize == BLOCK_SLOT_AT);

/// The slot of a `SignedBeaconBlock`; `None` if `value` is shorter than [`BLOCK_SLOT_END`].
#[must_use]
pub fn block_slot(value: &[u8]) -> Option<Slot> {
    u64_at(value, BLOCK_SLOT_AT).map(Slot)
}

/// The fields that identify a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateHead {
    /// Identifies the chain.
    pub genesis_validators_root: [u8; 32],
    /// The state's slot.
    pub slot: Slot,
}

impl StateHead {
    /// Parses the start of a `BeaconState`: at least its first [`STATE_HEAD_BYTES`].
    ///
    /// # Errors
    /// [`Mismatch`] if the value is shorter.
    pub fn parse(value: &[u8]) -> Result<Self, Mismatch> {
        let parse = || {
            Some(StateHead {
                genesis_validators_root: root_at(value, GENESIS_VALIDATORS_ROOT_AT)?,
                slot: Slot(u64_at(value, STATE_SLOT_AT)?),
            })
        };
        parse().ok_or_else(|| Mismatch {
            wanted: format!("a state of at least {STATE_HEAD_BYTES} bytes"),
            found: format!("{} bytes", value.len()),
        })
    }
}

/// Length in bytes of the prefix of a `BeaconState` that ends with the offset after its two vectors of
/// roots. Each vector has `slots_per_era` entries.
#[must_use]
pub const fn state_roots_end(slots_per_era: usize) -> usize {
    let roots = slots_per_era.saturating_mul(2 * ROOT_BYTES);
    roots.saturating_add(BLOCK_ROOTS_AT + OFFSET_BYTES)
}

/// The block roots and state roots of an era's slots, from the state after the era.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EraRoots {
    /// One per slot; a skipped slot repeats the preceding root.
    pub block_roots: Vec<[u8; 32]>,
    /// One per slot.
    pub state_roots: Vec<[u8; 32]>,
}

impl EraRoots {
    /// Parses the first [`state_roots_end`] bytes of a `BeaconState` of `byte_len` bytes.
    ///
    /// # Errors
    /// [`Mismatch`] if the value is shorter, or the roots are not followed by the offset of
    /// `historical_roots` (the state is then of another preset).
    pub fn parse(value: &[u8], byte_len: u64, slots_per_era: usize) -> Result<Self, Mismatch> {
        let end = state_roots_end(slots_per_era);
        let Some(value) = value.get(..end) else {
            return Err(Mismatch {
                wanted: format!("a state of at least {end} bytes"),
                found: format!("{} bytes", value.len()),
            });
        };
        let roots_len = slots_per_era.saturating_mul(ROOT_BYTES);
        let state_roots_at = BLOCK_ROOTS_AT.saturating_add(roots_len);
        let offset_at = state_roots_at.saturating_add(roots_len);
        let fixed_part = u32_at(value, offset_at).map_or(0, u64::from);
        if fixed_part < end as u64 || fixed_part > byte_len {
            return Err(Mismatch {
                wanted: format!(
                    "{slots_per_era} block roots and state roots followed by the offset of the \
                     historical roots, from {end} to {byte_len}"
                ),
                found: fixed_part.to_string(),
            });
        }
        Ok(Self {
            block_roots: roots(value.get(BLOCK_ROOTS_AT..state_roots_at)),
            state_roots: roots(value.get(state_roots_at..offset_at)),
        })
    }
}

fn roots(bytes: Option<&[u8]>) -> Vec<[u8; 32]> {
    bytes.unwrap_or_default().as_chunks().0.to_vec()
}

fn array_at<const N: usize>(value: &[u8], at: usize) -> Option<[u8; N]> {
    value.get(at..)?.first_chunk().copied()
}

fn root_at(value: &[u8], at: usize) -> Option<[u8; 32]> {
    array_at(value, at)
}

pub(crate) fn u32_at(value: &[u8], at: usize) -> Option<u32> {
    array_at(value, at).map(u32::from_le_bytes)
}

fn u64_at(value: &[u8], at: usize) -> Option<u64> {
    array_at(value, at).map(u64::from_le_bytes)
}
