//! The interface of provers, which an import may consult before it trusts a file.
//!
//! The library itself compares fields at fixed offsets and hashes nothing. A caller that can hash blocks
//! and states implements these traits. Eras are proved in the first pass, before anything of their file is
//! committed.

use std::fmt;
use std::io::Read;
use std::path::Path;

use super::e2store::RecordAt;
use super::group::{EraBlock, EraGroup};
use crate::error::Result;

/// Proves eras, one after the other, in the order of their slots. Eras that are already in the archive are
/// skipped.
pub trait Prover: fmt::Debug {
    /// Begins an era. `state` is the whole SSZ of the era's state.
    ///
    /// # Errors
    /// The reason to refuse the era: [`Error::Corrupt`](crate::Error::Corrupt) with the place. Errors from
    /// reading `state` need not be passed on: the import knows them.
    fn begin<'p>(
        &'p mut self,
        era: EraAt<'_>,
        state: &mut dyn Read,
    ) -> Result<Box<dyn EraProof + 'p>>;

    /// The `hash_tree_root` of a state, for a message about two different states. `None` if it cannot be
    /// computed.
    fn state_root(&mut self, state: &mut dyn Read) -> Option<[u8; 32]> {
        let _ = state;
        None
    }
}

/// The location of an era.
#[derive(Clone, Copy, Debug)]
pub struct EraAt<'a> {
    /// The file.
    pub path: &'a Path,
    /// All groups of the file.
    pub groups: &'a [EraGroup],
    /// The group of the era.
    pub group: &'a EraGroup,
    /// The record of the era's state.
    pub state: RecordAt,
}

/// An era whose blocks are still to be proved.
pub trait EraProof: Sync + fmt::Debug {
    /// Proves a block, given the whole SSZ of a `SignedBeaconBlock`. Called from many threads, in any
    /// order. The import itself checks the block's slot.
    ///
    /// # Errors
    /// The reason to refuse the era.
    fn block(&self, record: &RecordAt, block: &[u8]) -> Result<()>;

    /// Called after all blocks, once the import has found no other error in the era.
    ///
    /// # Errors
    /// The reason to refuse the era.
    fn finish(self: Box<Self>, blocks: &[EraBlock]) -> Result<()>;
}
