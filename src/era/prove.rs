//! What an import may ask before it believes a file.
//!
//! The library itself compares what stands at fixed places and hashes nothing. Whoever can hash
//! blocks and states proves eras through this door: in the first pass, before anything of their
//! file is committed.

use std::fmt;
use std::io::Read;
use std::path::Path;

use super::e2store::RecordAt;
use super::group::Group;
use super::group_records::EraBlock;
use super::ssz::Root;
use crate::error::Result;

/// Proves eras, one after the other, in the order of their slots. Eras that the archive has
/// already do not come by.
pub trait Prover {
    /// Begins with an era. `state` is the whole SSZ of the era's state.
    ///
    /// # Errors
    /// Why the era is refused: [`Error::Corrupt`](crate::Error::Corrupt) with the place. What
    /// comes out of `state` as an error need not be passed on: the import knows it.
    fn begin<'p>(
        &'p mut self,
        era: EraAt<'_>,
        state: &mut dyn Read,
    ) -> Result<Box<dyn EraProof + 'p>>;

    /// The `hash_tree_root` of a state, for a message about two that differ. `None` where it cannot
    /// be told.
    fn state_root(&mut self, state: &mut dyn Read) -> Option<Root> {
        let _ = state;
        None
    }
}

/// Where an era is.
#[derive(Clone, Copy, Debug)]
pub struct EraAt<'a> {
    /// The file.
    pub path: &'a Path,
    /// All groups of that file.
    pub groups: &'a [Group],
    /// The one of this era.
    pub group: &'a Group,
    /// The record of its state.
    pub state: RecordAt,
}

/// An era whose blocks are still to be proved.
pub trait EraProof: Sync + fmt::Debug {
    /// Proves a block, given the whole SSZ of a `SignedBeaconBlock`. Called from many threads, in
    /// any order; whether the block's slot is one that it may have is checked by the import.
    ///
    /// # Errors
    /// Why the era is refused.
    fn block(&self, record: &RecordAt, block: &[u8]) -> Result<()>;

    /// All blocks came by, and the import has found nothing else to object to.
    ///
    /// # Errors
    /// Why the era is refused.
    fn finish(self: Box<Self>, blocks: &[EraBlock]) -> Result<()>;
}
