//! Computes the root of a block from the bytes of a `SignedBeaconBlock`.

use crate::containers::{BlockLayout, Layouts};
use crate::fork::Fork;
use crate::hash::{Hasher, Malformed, offset_at};
use crate::header::BlockHeader;
use crate::preset::Preset;
use crate::root::Root;
use crate::sha256::Node;
use crate::ssz::{Kind, OFFSET_BYTES, fixed_part_len};

// SignedBeaconBlock { message: BeaconBlock, signature }, then the message.
const MESSAGE_AT: usize = OFFSET_BYTES + 96;
const BODY_OFFSET_AT: usize = MESSAGE_AT + 8 + 8 + 32 + 32;
pub(crate) const BODY_AT: usize = BODY_OFFSET_AT + OFFSET_BYTES;
const _: () = assert!(MESSAGE_AT == 100 && BODY_AT == 184);
/// The first variable field of every body: its offset is the length of the body's fixed part.
const PROPOSER_SLASHINGS_OFFSET_AT: usize = BODY_AT + 96 + 72 + 32;

/// A hashed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedBlock {
    /// `hash_tree_root` of the block, without its signature.
    pub root: Root,
    /// Its header.
    pub header: BlockHeader,
    /// The first fork with this layout; for fulu blocks it is electra.
    pub fork: Fork,
    /// Whether the block has the header of its execution payload in place of the payload. The root is
    /// the same.
    pub is_blinded: bool,
}

/// Why a block cannot be hashed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// The body has the layout of no known fork: it is damaged or newer.
    #[error("{0}")]
    UnknownLayout(Malformed),
    /// The body has the layout of a known fork, but is malformed.
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

/// Hashes blocks of one preset; reuses its memory.
#[derive(Debug)]
pub struct BlockHasher {
    layouts: &'static Layouts,
    hasher: Hasher,
}

impl BlockHasher {
    /// Creates a hasher.
    #[must_use]
    pub fn new(preset: Preset) -> Self {
        Self { layouts: Layouts::of(preset), hasher: Hasher::default() }
    }

    /// Creates a hasher that keeps the root of the field with this name.
    pub(crate) fn keeping(preset: Preset, field: &'static str) -> Self {
        Self { hasher: Hasher::keeping(field), ..Self::new(preset) }
    }

    /// The last root of the field that is kept.
    pub(crate) fn kept(&self) -> Option<Node> {
        self.hasher.kept()
    }

    /// The root of the block in the bytes of a `SignedBeaconBlock`.
    ///
    /// # Errors
    /// [`BlockFault`]. All bytes but the signature are checked or hashed.
    pub fn hash(&mut self, signed_block: &[u8]) -> Result<HashedBlock, BlockFault> {
        let message = message_of(signed_block)?;
        let fixed_len = offset_at(signed_block, PROPOSER_SLASHINGS_OFFSET_AT)
            .map_err(|malformed| malformed.inside("body"))?;
        let body = signed_block.get(BODY_AT..).unwrap_or_default();
        let mut fault: Option<Malformed> = None;
        for layout in self.layouts.blocks.iter().filter(|layout| fixed_part(layout) == fixed_len) {
            match self.hasher.root(layout.body, body) {
                Ok(body_root) => {
                    let header = BlockHeader { body_root: Root(body_root), ..message };
                    let BlockLayout { fork, is_blinded, .. } = *layout;
                    return Ok(HashedBlock { root: header.root(), header, fork, is_blinded });
                }
                // Full blocks are the normal case, so report the error for that layout.
                Err(malformed) => fault = fault.or(Some(malformed.inside("body"))),
            }
        }
        Err(fault.map_or_else(|| self.unknown(fixed_len), BlockFault::Malformed))
    }

    fn unknown(&self, found: usize) -> BlockFault {
        let mut lens: Vec<String> =
            self.layouts.blocks.iter().map(|layout| fixed_part(layout).to_string()).collect();
        lens.dedup();
        let wanted = format!("a body whose fixed part has one of {} bytes", lens.join(", "));
        BlockFault::UnknownLayout(Malformed::new(wanted, found.to_string()))
    }
}

/// The header of the block in the bytes of a `SignedBeaconBlock`, without the root of its body.
fn message_of(signed_block: &[u8]) -> Result<BlockHeader, Malformed> {
    let Some(fixed) = signed_block.first_chunk::<BODY_AT>() else {
        let wanted = format!("a signed block of at least {BODY_AT} bytes");
        return Err(Malformed::new(wanted, format!("{} bytes", signed_block.len())));
    };
    let offsets = (offset_at(fixed, 0)?, offset_at(fixed, BODY_OFFSET_AT)?);
    let wanted = (MESSAGE_AT, BODY_AT - MESSAGE_AT);
    if offsets != wanted {
        let wanted = format!("a signed block with its offsets {} and {}", wanted.0, wanted.1);
        let found = format!("offsets {} and {}", offsets.0, offsets.1);
        return Err(Malformed::new(wanted, found));
    }
    let mut header = [0; BlockHeader::BYTES];
    header[..BODY_OFFSET_AT - MESSAGE_AT].copy_from_slice(&fixed[MESSAGE_AT..BODY_OFFSET_AT]);
    Ok(BlockHeader::read(&header))
}

fn fixed_part(layout: &BlockLayout) -> usize {
    match layout.body.kind {
        Kind::Container(fields) => fixed_part_len(fields),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "block_tests.rs"]
pub(crate) mod tests;

#[cfg(test)]
#[path = "gnosis_tests.rs"]
mod gnosis_tests;
