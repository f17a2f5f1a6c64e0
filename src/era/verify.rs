//! The first pass over a group: everything is decoded and checked, nothing is written.

use std::hash::RandomState;

use super::check;
use super::error::ImportError;
use super::group::Group;
use super::index::IndexEncoding;
use super::reader::{EraFile, EraState, Limits};
use super::report::Phase;
use super::ssz::Root;
use super::ticker::Ticker;
use crate::slot::Slot;

/// A group that may be committed. A file may have many groups, and all of them are verified
/// before the first is committed: what is kept of each is small.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) group: Group,
    /// The blocks of the era.
    pub(super) blocks: Vec<VerifiedBlock>,
    /// What their sums were made with.
    pub(super) hasher: RandomState,
    /// Bytes of the decoded state.
    pub(super) state_len: u64,
    /// `None` in era 0.
    pub(super) index_encoding: Option<IndexEncoding>,
    /// What the era says of the last slot before it.
    pub(super) before: Option<(Slot, Root)>,
    /// A slot of the era that the archive has already, as its highest, and its root here.
    pub(super) held: Option<(Slot, Root)>,
    /// The block root of its own last slot; era 0 has no slots.
    pub(super) last_root: Option<Root>,
}

/// A block that may be committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct VerifiedBlock {
    /// Its slot, as a place in the era.
    pub(super) place: u16,
    /// A keyed hash of its stored bytes: when they have it still, they are what was verified.
    pub(super) sum: u64,
}

pub(super) fn verify(
    file: &mut EraFile,
    group: &Group,
    limits: Limits,
    ticker: &mut Ticker<'_, '_>,
) -> Result<(Verified, EraState), ImportError> {
    let mut walk = file.walk(group, limits)?;
    let mut blocks = Vec::new();
    while let Some(block) = walk.next_block()? {
        blocks.push(block);
        ticker.tick(Phase::Verify, block.record.end())?;
    }
    let (state, state_len) =
        walk.read_state(&mut |position| ticker.note(Phase::Verify, position))?;
    let index_encoding = walk.check_index(&blocks)?;
    let hasher = walk.hasher().clone();
    ticker.tick(Phase::Verify, group.end)?;

    let mut verified = Verified {
        group: *group,
        blocks: Vec::new(),
        hasher,
        state_len,
        index_encoding,
        before: None,
        held: None,
        last_root: None,
    };
    if let (Some(slots), Some(roots)) = (group.slots, &state.roots) {
        check::check_era(file.path(), slots, &blocks, &state, roots)?;
        verified.before = check::wanted_before(slots, &blocks, roots);
        verified.last_root = roots.block_roots.last().copied();
        verified.blocks = blocks
            .iter()
            .filter_map(|block| {
                let place = u16::try_from(slots.index_of(block.head.slot)?).ok()?;
                Some(VerifiedBlock { place, sum: block.sum })
            })
            .collect();
    }
    Ok((verified, state))
}
