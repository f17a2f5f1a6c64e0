//! The header of a block, contained in the block and in the state after it.

use crate::hash::Hasher;
use crate::root::Root;

/// `BeaconBlockHeader`. It has the block's `hash_tree_root`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockHeader {
    /// The block's slot.
    pub slot: u64,
    /// `proposer_index`
    pub proposer_index: u64,
    /// The root of the parent block.
    pub parent_root: Root,
    /// The root of the state after the block; zeros in that state's own `latest_block_header`.
    pub state_root: Root,
    /// The root of its body.
    pub body_root: Root,
}

impl BlockHeader {
    pub(crate) const BYTES: usize = 8 + 8 + 3 * 32;

    /// Parses the fixed-size encoding. A `BeaconBlock` begins with the same first four fields.
    pub(crate) fn read(bytes: &[u8; Self::BYTES]) -> Self {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let root = |at: usize| Root(std::array::from_fn(|index| bytes[at + index]));
        Self {
            slot: number(0),
            proposer_index: number(8),
            parent_root: root(16),
            state_root: root(48),
            body_root: root(80),
        }
    }

    /// The fixed-size encoding.
    pub(crate) fn write(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.slot.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.proposer_index.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.parent_root.0);
        bytes[48..80].copy_from_slice(&self.state_root.0);
        bytes[80..].copy_from_slice(&self.body_root.0);
        bytes
    }

    /// The root of the block.
    #[must_use]
    pub fn root(&self) -> Root {
        let number = |value: u64| {
            let mut leaf = [0; 32];
            leaf[..8].copy_from_slice(&value.to_le_bytes());
            leaf
        };
        Root(Hasher::default().of_fields(&[
            number(self.slot),
            number(self.proposer_index),
            self.parent_root.0,
            self.state_root.0,
            self.body_root.0,
        ]))
    }

    /// The root of the block, with the state root filled in; a state's own latest header lacks it.
    #[must_use]
    pub fn root_with_state(&self, state_root: Root) -> Root {
        Self { state_root, ..*self }.root()
    }
}
