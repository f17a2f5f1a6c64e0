//! The first pass over a group: everything is decoded and checked, nothing is written.

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
    /// Which slots of the era have a block, as places in the era.
    pub(super) block_places: Vec<u16>,
    /// Bytes of the decoded state.
    pub(super) state_len: u64,
    /// `None` in era 0.
    pub(super) index_encoding: Option<IndexEncoding>,
    /// What the era says of the last slot before it.
    pub(super) before: Option<(Slot, Root)>,
    /// The block root of its own last slot; era 0 has no slots.
    pub(super) last_root: Option<Root>,
}

pub(super) fn verify(
    file: &mut EraFile,
    group: &Group,
    limits: Limits,
    ticker: &mut Ticker<'_>,
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
    ticker.tick(Phase::Verify, group.end)?;

    let mut verified = Verified {
        group: *group,
        block_places: Vec::new(),
        state_len,
        index_encoding,
        before: None,
        last_root: None,
    };
    if let (Some(slots), Some(roots)) = (group.slots, &state.roots) {
        check::check_era(file.path(), slots, &blocks, &state, roots)?;
        verified.before = check::wanted_before(slots, &blocks, roots);
        verified.last_root = roots.block_roots.last().copied();
        verified.block_places = blocks
            .iter()
            .filter_map(|block| slots.index_of(block.head.slot))
            .filter_map(|place| u16::try_from(place).ok())
            .collect();
    }
    Ok((verified, state))
}
