//! Detects blinded blocks, which carry the header of their execution payload in place of the payload.
//!
//! Lighthouse's cold store keeps *blinded* blocks: the execution payload is replaced by an
//! `ExecutionPayloadHeader`, which has the same `hash_tree_root`. So a blinded block has the right
//! block root, and no check of roots distinguishes it from a full one. Its layout does.
//!
//! # Why one number suffices
//! In SSZ, the offset of a container's first variable-size field equals the length of the
//! container's fixed part: the field begins where the fixed part ends, and a decoder rejects any other
//! offset. `ExecutionPayload` and `ExecutionPayloadHeader` begin with the same fields. In both, the first
//! variable-size field is `extra_data`, whose offset is stored at byte 436. The rest of the fixed part
//! differs: a payload has offsets (4 bytes each) where its header has roots (32 bytes each).
//!
//! | fork | payload | header |
//! |---|---|---|
//! | bellatrix | 508: `transactions` | 536: `transactions_root` |
//! | capella | 512: and `withdrawals` | 568: and `withdrawals_root` |
//! | deneb, electra, fulu | 528: and two numbers | 584: and two numbers |
//!
//! No length appears in both columns. So the offset of `extra_data` is a number of the first column in
//! every valid full block, and a number of the second in every valid blinded one.
//!
//! The payload itself is found in the same way. Its offset is stored at a fixed place of the body, after
//! the sync aggregate. The body's own first offset, at byte 200, is the length of the body's fixed part,
//! which identifies the fork and the preset. If these numbers contradict each other, the layout is
//! unknown.

use crate::format::ssz::{BLOCK_HEAD_BYTES, u32_at};

const OFFSET_BYTES: u32 = 4;

// BeaconBlockBody: randao_reveal[96], eth1_data[72], graffiti[32], five offsets, and from altair on
// sync_aggregate, then more offsets.
const FIRST_OFFSET_AT: u32 = 96 + 72 + 32;
const LAST_OFFSET_AT: u32 = FIRST_OFFSET_AT + 4 * OFFSET_BYTES;
const PHASE0_BYTES: u32 = LAST_OFFSET_AT + OFFSET_BYTES;
const _: () = assert!(PHASE0_BYTES == 220);

/// Length in bytes of a sync aggregate (committee bits and a signature): mainnet's and minimal's.
const SYNC_AGGREGATE_BYTES: [u32; 2] = [512 / 8 + 96, 32 / 8 + 96];

/// Position of the offset of `extra_data`, in a payload and in a header.
const EXTRA_DATA_OFFSET_AT: u32 = 32 + 20 + 32 + 32 + 256 + 32 + 4 * 8;
const _: () = assert!(EXTRA_DATA_OFFSET_AT == 436);

/// The number of offsets after the sync aggregate, with the lengths of the fixed part of a payload and of
/// a header.
const FIXED_PARTS: [(u32, u32, u32); 4] = [
    (1, 508, 536), // bellatrix
    (2, 512, 568), // capella
    (3, 528, 584), // deneb
    (4, 528, 584), // electra, fulu
];

/// The part of its execution payload that a block carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionPayload {
    /// None: the block's fork has no payloads (phase0, altair).
    None,
    /// The whole payload.
    Whole,
    /// Only its header: the block is blinded.
    Header,
    /// Unknown: the layout matches no fork from phase0 to fulu with mainnet's or minimal's preset.
    Unknown,
}

impl ExecutionPayload {
    /// Inspects a decoded `SignedBeaconBlock`.
    #[must_use]
    pub fn of_block(value: &[u8]) -> Self {
        value.get(BLOCK_HEAD_BYTES..).and_then(Self::of_body).unwrap_or(Self::Unknown)
    }

    fn of_body(body: &[u8]) -> Option<Self> {
        let fixed_part = number_at(body, FIRST_OFFSET_AT)?;
        if fixed_part == PHASE0_BYTES {
            return Some(Self::None);
        }
        for sync_aggregate in SYNC_AGGREGATE_BYTES {
            let altair = PHASE0_BYTES.checked_add(sync_aggregate)?;
            let Some(behind) = fixed_part.checked_sub(altair) else { continue };
            if behind == 0 {
                return Some(Self::None);
            }
            for (offsets, whole, header) in FIXED_PARTS {
                if behind == offsets.checked_mul(OFFSET_BYTES)? {
                    return Self::at(body, altair, fixed_part, whole, header);
                }
            }
        }
        None
    }

    /// `offset_at` is the position in the body of the payload's offset.
    fn at(body: &[u8], offset_at: u32, fixed_part: u32, whole: u32, header: u32) -> Option<Self> {
        let payload_at = number_at(body, offset_at)?;
        // Offsets ascend: the payload lies after the voluntary exits.
        if payload_at < fixed_part || payload_at < number_at(body, LAST_OFFSET_AT)? {
            return None;
        }
        let found = number_at(body, payload_at.checked_add(EXTRA_DATA_OFFSET_AT)?)?;
        match found {
            _ if found == whole => Some(Self::Whole),
            _ if found == header => Some(Self::Header),
            _ => None,
        }
    }
}

fn number_at(body: &[u8], at: u32) -> Option<u32> {
    u32_at(body, usize::try_from(at).ok()?)
}
