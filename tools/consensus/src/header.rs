//! The header of a block: what a block and the state after it both say of it.

use crate::Root;
use crate::hash::Hasher;

/// `BeaconBlockHeader`. Its `hash_tree_root` is that of the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockHeader {
    /// The block's slot.
    pub slot: u64,
    /// `proposer_index`
    pub proposer_index: u64,
    /// The root of the block before it.
    pub parent_root: Root,
    /// The root of the state after it. Zeros in that state's own `latest_block_header`.
    pub state_root: Root,
    /// The root of its body.
    pub body_root: Root,
}

impl BlockHeader {
    pub(crate) const BYTES: usize = 8 + 8 + 3 * 32;

    /// Reads the fixed-size encoding, or as much of it as a block begins with: a `BeaconBlock` has its
    /// first four fields at the same places.
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

    /// The root of the block whose state has this root: what a state does not say of its own block.
    #[must_use]
    pub fn root_with_state(&self, state_root: Root) -> Root {
        Self { state_root, ..*self }.root()
    }
}
