//! Whether a block carries its execution payload, or only that one's header.
//!
//! Lighthouse's cold store keeps *blinded* blocks: the execution payload is replaced by an
//! `ExecutionPayloadHeader`, which has the same `hash_tree_root`. So a blinded block has the right
//! block root, and no check of roots tells it from a full one. Its layout does.
//!
//! # Why one number tells
//! In SSZ the offset of a container's first part of variable size is the length of the
//! container's fixed part, for that part begins where the fixed part ends, and a decoder refuses
//! any other. `ExecutionPayload` and `ExecutionPayloadHeader` begin with the same fields, and in
//! both the first one of variable size is `extra_data`, whose offset stands at byte 436. The fixed
//! part that follows differs: a payload has offsets (4 bytes each) where its header has roots (32
//! bytes each).
//!
//! | fork | payload | header |
//! |---|---|---|
//! | bellatrix | 508: `transactions` | 536: `transactions_root` |
//! | capella | 512: and `withdrawals` | 568: and `withdrawals_root` |
//! | deneb, electra, fulu | 528: and two numbers | 584: and two numbers |
//!
//! No length stands in both columns. So the number at that place is one of the first column in
//! every valid full block, and one of the second in every valid blinded one.
//!
//! Where the payload is follows likewise: its offset is at a fixed place of the body, behind the
//! sync aggregate, and the body's own first offset, at byte 200 of it, is the length of the body's
//! fixed part, which tells the fork and the preset. A value in which these numbers do not agree
//! with each other is of no layout that is known here.

use super::ssz::{BLOCK_HEAD_BYTES, u32_at};

const OFFSET_BYTES: u32 = 4;

// BeaconBlockBody: randao_reveal[96], eth1_data[72], graffiti[32], five offsets, and from altair on
// sync_aggregate, then more offsets.
const FIRST_OFFSET_AT: u32 = 96 + 72 + 32;
const LAST_OFFSET_AT: u32 = FIRST_OFFSET_AT + 4 * OFFSET_BYTES;
const PHASE0_BYTES: u32 = LAST_OFFSET_AT + OFFSET_BYTES;
const _: () = assert!(PHASE0_BYTES == 220);

/// Bytes of a sync aggregate, the bits of the committee and a signature: mainnet's and minimal's.
const SYNC_AGGREGATE_BYTES: [u32; 2] = [512 / 8 + 96, 32 / 8 + 96];

/// Where the offset of `extra_data` stands, in a payload and in a header.
const EXTRA_DATA_OFFSET_AT: u32 = 32 + 20 + 32 + 32 + 256 + 32 + 4 * 8;
const _: () = assert!(EXTRA_DATA_OFFSET_AT == 436);

/// By the number of offsets behind the sync aggregate: the lengths of the fixed part of a payload
/// and of a header.
const FIXED_PARTS: [(u32, u32, u32); 4] = [
    (1, 508, 536), // bellatrix
    (2, 512, 568), // capella
    (3, 528, 584), // deneb
    (4, 528, 584), // electra, fulu
];

/// What a block has of its execution payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionPayload {
    /// The block is of a fork without one: phase0, altair.
    None,
    /// All of it.
    Whole,
    /// Its header alone: the block is blinded.
    Header,
    /// The layout is that of no fork from phase0 to fulu with mainnet's or minimal's preset.
    Unknown,
}

impl ExecutionPayload {
    /// Looks at a decoded `SignedBeaconBlock`.
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

    /// `offset_at` is where the body has the offset of the payload.
    fn at(body: &[u8], offset_at: u32, fixed_part: u32, whole: u32, header: u32) -> Option<Self> {
        let payload_at = number_at(body, offset_at)?;
        // Offsets ascend: the payload lies behind the voluntary exits.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with this many offsets behind a sync aggregate of this length, whose payload says
    /// that its fixed part has `fixed_part` bytes.
    fn block(sync_aggregate: u32, offsets: u32, fixed_part: u32) -> Vec<u8> {
        let body_fixed = 220 + sync_aggregate + 4 * offsets;
        let mut body = vec![0; body_fixed as usize];
        for at in 0..5 {
            let at = 200 + 4 * at;
            body[at..at + 4].copy_from_slice(&body_fixed.to_le_bytes());
        }
        let payload_at = (220 + sync_aggregate) as usize;
        if offsets > 0 {
            body[payload_at..payload_at + 4].copy_from_slice(&body_fixed.to_le_bytes());
        }
        body.extend(vec![0; 436]);
        body.extend(fixed_part.to_le_bytes());
        body.extend(vec![0; 200]);
        [vec![0; BLOCK_HEAD_BYTES], body].concat()
    }

    #[test]
    fn each_fork_of_both_presets_is_told_apart() {
        for sync_aggregate in [160, 100] {
            for (offsets, whole, header) in FIXED_PARTS {
                let of = |fixed_part| {
                    ExecutionPayload::of_block(&block(sync_aggregate, offsets, fixed_part))
                };
                assert_eq!(of(whole), ExecutionPayload::Whole);
                assert_eq!(of(header), ExecutionPayload::Header);
                for other in [0, whole - 1, whole + 1, header + 32, 500] {
                    assert_eq!(of(other), ExecutionPayload::Unknown, "{offsets}, {other}");
                }
            }
            assert_eq!(
                ExecutionPayload::of_block(&block(sync_aggregate, 0, 0)),
                ExecutionPayload::None
            );
        }
    }

    #[test]
    fn lengths_of_payloads_are_none_of_headers() {
        for (_, whole, _) in FIXED_PARTS {
            assert!(FIXED_PARTS.iter().all(|(_, _, header)| *header != whole));
        }
        // No body of one preset has the length of one of the other's.
        let lengths = |sync: u32| (0..=4).map(move |offsets| 220 + sync + 4 * offsets);
        assert!(lengths(160).all(|length| lengths(100).all(|other| other != length)));
    }

    #[test]
    fn what_is_cut_or_leads_astray_is_unknown() {
        let block = block(160, 3, 528);
        for len in 0..block.len() - 200 {
            assert_eq!(
                ExecutionPayload::of_block(&block[..len]),
                ExecutionPayload::Unknown,
                "{len}"
            );
        }
        // An offset of the payload before the body's fixed part ends, before the voluntary exits,
        // or out of the block.
        let payload_offset_at = BLOCK_HEAD_BYTES + 380;
        for wrong in [0, 391, u32::MAX] {
            let mut astray = block.clone();
            astray[payload_offset_at..payload_offset_at + 4].copy_from_slice(&wrong.to_le_bytes());
            assert_eq!(ExecutionPayload::of_block(&astray), ExecutionPayload::Unknown, "{wrong}");
        }
        let mut astray = block;
        astray[BLOCK_HEAD_BYTES + 216..][..4].copy_from_slice(&393_u32.to_le_bytes());
        assert_eq!(ExecutionPayload::of_block(&astray), ExecutionPayload::Unknown);
    }
}
