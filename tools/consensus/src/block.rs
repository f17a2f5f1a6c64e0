//! The root of a block, from the bytes of a `SignedBeaconBlock`.

use coldstore::Slot;
use coldstore::era::ssz::{BLOCK_HEAD_BYTES, BlockHead, Root};

use crate::containers::{BlockLayout, Layouts};
use crate::hash::{Hasher, Malformed, offset_at};
use crate::preset::{Fork, Preset};
use crate::ssz::{Kind, U64, fixed_part_len};

const MESSAGE_AT: usize = 4 + 96;
const PROPOSER_INDEX_AT: usize = MESSAGE_AT + 8;
/// The first variable field of every body: its offset is the length of the body's fixed part.
const PROPOSER_SLASHINGS_OFFSET_AT: usize = BLOCK_HEAD_BYTES + 96 + 72 + 32;

/// A block whose root is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedBlock {
    /// `hash_tree_root` of the block. Its signature has no part in it.
    pub root: Root,
    /// What the block says of itself.
    pub head: BlockHead,
    /// The first fork that has such blocks; those of fulu are electra's.
    pub fork: Fork,
    /// True where the block has the header of its execution payload and not the payload. The root
    /// is the same.
    pub is_blinded: bool,
}

/// Why a block has no root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// Its body is laid out like that of no fork that is known here: it is damaged, or newer.
    #[error("{0}")]
    UnknownLayout(Malformed),
    /// It is laid out like the blocks of a fork, and is none.
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

/// Hashes blocks of one preset, one after the other.
#[derive(Debug)]
pub struct BlockHasher {
    layouts: &'static Layouts,
    hasher: Hasher,
}

impl BlockHasher {
    /// Nothing is hashed yet.
    #[must_use]
    pub fn new(preset: Preset) -> Self {
        Self { layouts: Layouts::of(preset), hasher: Hasher::default() }
    }

    /// The root of the block in the bytes of a `SignedBeaconBlock`.
    ///
    /// # Errors
    /// [`BlockFault`]; whatever the bytes are, they are refused or hashed, all but the signature.
    pub fn hash(&mut self, signed_block: &[u8]) -> Result<HashedBlock, BlockFault> {
        let head = BlockHead::parse(signed_block)
            .map_err(|mismatch| Malformed::new(mismatch.wanted, mismatch.found))?;
        let fixed_len = offset_at(signed_block, PROPOSER_SLASHINGS_OFFSET_AT)
            .map_err(|malformed| malformed.inside("body"))?;
        let body = signed_block.get(BLOCK_HEAD_BYTES..).unwrap_or_default();
        let mut fault: Option<Malformed> = None;
        for layout in self.layouts.blocks.iter().filter(|layout| fixed_part(layout) == fixed_len) {
            match self.hasher.root(layout.body, body) {
                Ok(body_root) => {
                    let root = self.header_root(signed_block, &head, &body_root)?;
                    let BlockLayout { fork, is_blinded, .. } = *layout;
                    return Ok(HashedBlock { root, head, fork, is_blinded });
                }
                // With the payload is how blocks are, and what the operator wants to hear of.
                Err(malformed) => fault = fault.or(Some(malformed.inside("body"))),
            }
        }
        Err(fault.map_or_else(|| self.unknown(fixed_len), BlockFault::Malformed))
    }

    /// A block and its header have the same root.
    fn header_root(
        &mut self,
        signed_block: &[u8],
        head: &BlockHead,
        body_root: &Root,
    ) -> Result<Root, Malformed> {
        let proposer = signed_block.get(PROPOSER_INDEX_AT..PROPOSER_INDEX_AT + 8);
        let proposer = self.hasher.root(&U64, proposer.unwrap_or_default())?;
        let slot = slot_leaf(head.slot);
        Ok(self.hasher.of_fields(&[slot, proposer, head.parent_root, head.state_root, *body_root]))
    }

    fn unknown(&self, found: usize) -> BlockFault {
        let mut lens: Vec<String> =
            self.layouts.blocks.iter().map(|layout| fixed_part(layout).to_string()).collect();
        lens.dedup();
        let wanted = format!("a body whose fixed part has one of {} bytes", lens.join(", "));
        BlockFault::UnknownLayout(Malformed::new(wanted, found.to_string()))
    }
}

fn slot_leaf(slot: Slot) -> Root {
    let mut leaf = [0; 32];
    leaf[..8].copy_from_slice(&slot.0.to_le_bytes());
    leaf
}

fn fixed_part(layout: &BlockLayout) -> usize {
    match layout.body.kind {
        Kind::Container(fields) => fixed_part_len(fields),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "gnosis_tests.rs"]
mod gnosis_tests;
