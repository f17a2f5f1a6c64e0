//! The options of an import, and the columns that it writes to.

use super::prover::Prover;
use super::state_store::StateStore;
use crate::archive::ArchiveWriter;
use crate::column::Column;
use crate::error::Error;
use crate::manifest::StatesPolicy;
use crate::slot::Slot;
use crate::write::{Writer, settle};

/// The columns of an import.
pub const COLUMNS: [Column; 4] =
    [Column::Blocks, Column::BlockRoots, Column::StateRoots, Column::StateSnapshots];

/// Options of an import.
#[derive(Debug, Default)]
pub struct ImportOptions<'p> {
    pub(super) states: StatesPolicy,
    pub(super) backfill: bool,
    /// By [`Column::index`].
    pub(super) pruned_before: [Option<Slot>; Column::ALL.len()],
    pub(super) first_slot: Option<Slot>,
    pub(super) prover: Option<&'p mut dyn Prover>,
    pub(super) store: Option<&'p mut dyn StateStore>,
}

impl<'p> ImportOptions<'p> {
    /// The eras whose states are stored in `bss` (default: all). The state of an import's last era is
    /// always stored if it is the newest of the archive, because the next era is proved by it.
    /// [`StatesPolicy::Unknown`] counts as all.
    #[must_use]
    pub fn states(self, states: StatesPolicy) -> Self {
        Self { states, ..self }
    }

    /// Whether a column that lacks slots at or below its highest may be opened for backfill (default: no).
    #[must_use]
    pub fn backfill(self, backfill: bool) -> Self {
        Self { backfill, ..self }
    }

    /// Slots of `column` below `slot` were pruned, and are not restored.
    #[must_use]
    pub fn pruned_before(mut self, column: Column, slot: Option<Slot>) -> Self {
        self.pruned_before[column.index()] = slot;
        self
    }

    /// The archive's original first slot, if pruned history below the present first slot is to be restored.
    #[must_use]
    pub fn first_slot(self, first_slot: Option<Slot>) -> Self {
        Self { first_slot, ..self }
    }

    /// Proves every era that the archive lacks, even in part, before it is committed. If the prover refuses
    /// an era, nothing of its file is committed.
    #[doc(hidden)]
    #[must_use]
    pub fn prover(self, prover: &'p mut dyn Prover) -> Self {
        Self { prover: Some(prover), ..self }
    }

    /// Stores the states, and knows those that are stored already (default: all are whole in `bss`).
    #[doc(hidden)]
    #[must_use]
    pub fn store(self, store: &'p mut dyn StateStore) -> Self {
        Self { store: Some(store), ..self }
    }
}

impl From<StatesPolicy> for ImportOptions<'_> {
    fn from(states: StatesPolicy) -> Self {
        Self::default().states(states)
    }
}

/// The columns that an import writes to.
#[derive(Debug)]
pub struct ImportColumns<'a> {
    /// `blk`
    pub blocks: &'a mut Writer,
    /// `bbr`
    pub block_roots: &'a mut Writer,
    /// `bsr`
    pub state_roots: &'a mut Writer,
    /// `bss`; needed unless no state is selected. (Without it the newest state is not kept either.)
    pub state_snapshots: Option<&'a mut Writer>,
    /// `bsd`; for an [`ImportOptions::store`] that writes to it.
    pub state_diffs: Option<&'a mut Writer>,
}

impl<'a> ImportColumns<'a> {
    pub(super) fn of(archive: &'a mut ArchiveWriter) -> Result<Self, Error> {
        let mut writers = archive.writers();
        let mut writer =
            |column: Column| writers[column.index()].take().ok_or(Error::NotOpened { column });
        Ok(Self {
            blocks: writer(Column::Blocks)?,
            block_roots: writer(Column::BlockRoots)?,
            state_roots: writer(Column::StateRoots)?,
            state_snapshots: writer(Column::StateSnapshots).ok(),
            state_diffs: writer(Column::StateDiffs).ok(),
        })
    }

    /// The writer of one of the three columns of blocks and roots.
    pub(super) fn history(&self, column: Column) -> &Writer {
        match column {
            Column::BlockRoots => self.block_roots,
            Column::StateRoots => self.state_roots,
            _ => self.blocks,
        }
    }

    /// Creates columns and replaces confs if that was
    /// [deferred](crate::ArchiveWriterOptions::deferred).
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        let Self { blocks, block_roots, state_roots, state_snapshots, state_diffs } = self;
        let roots = [&mut **blocks, block_roots, state_roots];
        let states = [state_snapshots, state_diffs].into_iter().filter_map(Option::as_deref_mut);
        settle(roots.into_iter().chain(states), || Ok(()))
    }
}
