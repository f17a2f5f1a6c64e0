//! Which part of its execution payload a block carries.

use coldstore::era::ExecutionPayload;
use coldstore::era::ssz::BLOCK_HEAD_BYTES;

/// The offsets after the sync aggregate, and the lengths of the fixed part of a payload and of its header.
const FIXED_PARTS: [(u32, u32, u32); 4] = [
    (1, 508, 536), // bellatrix
    (2, 512, 568), // capella
    (3, 528, 584), // deneb
    (4, 528, 584), // electra, fulu
];

/// A block with this many offsets after a sync aggregate of this length, whose payload states a fixed
/// part of `fixed_part` bytes.
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
fn each_fork_of_both_presets_is_recognized() {
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
fn truncated_blocks_and_wrong_offsets_are_unknown() {
    let block = block(160, 3, 528);
    for len in 0..block.len() - 200 {
        assert_eq!(ExecutionPayload::of_block(&block[..len]), ExecutionPayload::Unknown, "{len}");
    }
    // A payload offset within the body's fixed part, before the voluntary exits, or past the end
    // of the block.
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
