//! The records that a replay reads.

use coldstore::read::Taken;
use coldstore::{Archive, Column, PreadView, Result, Slot, Snapshot};
use coldstore_consensus::Root;

use super::ReplayError;
use crate::states::stored::Stored;

/// Snapshots of the columns, of one instant: mapped ([`coldstore::View`]) or read with `pread`.
#[derive(Clone, Debug)]
pub struct Source<S = PreadView> {
    /// `blk`
    pub blocks: S,
    /// `bbr`
    pub block_roots: S,
    /// `bsr`
    pub state_roots: S,
    /// `bss`
    pub snapshots: S,
    /// `bsd`; `None` in an archive without the column.
    pub diffs: Option<S>,
}

impl<S: Taken> Source<S> {
    /// Takes the snapshots of an archive.
    ///
    /// # Errors
    /// As [`Archive::views`]: an archive without one of the columns, other than `bsd`, has nothing to replay.
    pub fn of(archive: &Archive<S>) -> Result<Self> {
        use Column::{BlockRoots, Blocks, StateDiffs, StateRoots, StateSnapshots};
        let (views, diffs) = match archive.column_if_there(StateDiffs)? {
            None => (archive.views([Blocks, BlockRoots, StateRoots, StateSnapshots])?, None),
            Some(_) => {
                let all = [Blocks, BlockRoots, StateRoots, StateSnapshots, StateDiffs];
                let [views @ .., diffs] = archive.views(all)?;
                (views, Some(diffs))
            }
        };
        let [blocks, block_roots, state_roots, snapshots] = views;
        Ok(Self { blocks, block_roots, state_roots, snapshots, diffs })
    }
}

impl<S: Snapshot> Source<S> {
    /// The states in `bss` and `bsd`.
    #[must_use]
    pub fn stored(&self) -> Stored<'_, S> {
        Stored::new(Some(&self.snapshots), self.diffs.as_ref())
    }

    /// The last stored state at an era's end before a slot that is at none.
    ///
    /// # Errors
    /// Those of the snapshot.
    pub(crate) fn boundary_before(&self, slot: Slot, slots_per_era: u64) -> Result<Option<Slot>> {
        let mut boundary = slot.0 - slot.0 % slots_per_era;
        if boundary == slot.0 {
            return Ok(None);
        }
        while !self.stored().contains(Slot(boundary))? {
            let Some(before) = boundary.checked_sub(slots_per_era) else { return Ok(None) };
            boundary = before;
        }
        Ok(Some(Slot(boundary)))
    }

    /// The last slot with a state that can be rebuilt or is stored.
    #[must_use]
    pub fn end(&self) -> Option<Slot> {
        self.block_roots.highest_written_slot().max(self.stored().highest())
    }

    /// The block root in `bbr`.
    ///
    /// # Errors
    /// [`ReplayError::Storage`], [`ReplayError::NotARoot`]
    pub fn block_root(&self, slot: Slot) -> Result<Option<Root>, ReplayError> {
        root_in(&self.block_roots, Column::BlockRoots, slot)
    }

    /// The state root in `bsr`.
    ///
    /// # Errors
    /// As [`Self::block_root`].
    pub fn state_root(&self, slot: Slot) -> Result<Option<Root>, ReplayError> {
        root_in(&self.state_roots, Column::StateRoots, slot)
    }
}

fn root_in(view: &impl Snapshot, column: Column, slot: Slot) -> Result<Option<Root>, ReplayError> {
    let Some(value) = view.get(slot)? else { return Ok(None) };
    let byte_len = value.len();
    let root = Root::of_slice(&value).ok_or(ReplayError::NotARoot { column, slot, byte_len })?;
    Ok(Some(root))
}
