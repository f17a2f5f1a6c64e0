//! The options of an import, and the columns that it writes to.

use std::num::NonZeroU64;

use crate::archive::{ArchiveWriter, ArchiveWriterOptions};
use crate::column::Column;
use crate::error::Error;
use crate::manifest::StatesPolicy;
use crate::slot::Slot;
use crate::write::{Writer, settle};

/// The eras whose states are stored in `bss`. The state of an import's last era is always stored if it is
/// the newest of the archive, because the next era is proved by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum States {
    /// All of them.
    #[default]
    All,
    /// None of them.
    None,
    /// States of eras that are multiples of this number, including era 0.
    Every(NonZeroU64),
}

impl States {
    /// Whether the state of this era is to be stored.
    #[must_use]
    pub fn selects(self, era: u64) -> bool {
        match self {
            States::All => true,
            States::None => false,
            States::Every(divisor) => era % divisor == 0,
        }
    }
}

impl From<States> for StatesPolicy {
    fn from(states: States) -> Self {
        match states {
            States::All => StatesPolicy::All,
            States::None => StatesPolicy::None,
            States::Every(eras) => StatesPolicy::Every(eras),
        }
    }
}

impl StatesPolicy {
    /// The policy as an import option; `None` if the policy is unknown.
    #[must_use]
    pub fn states(self) -> Option<States> {
        match self {
            StatesPolicy::All => Some(States::All),
            StatesPolicy::None => Some(States::None),
            StatesPolicy::Every(eras) => Some(States::Every(eras)),
            StatesPolicy::Unknown => None,
        }
    }
}

/// Options of an import.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// The states that are stored.
    pub states: States,
    /// Whether a column that lacks slots at or below its highest may be opened for backfill.
    pub backfill: bool,
    /// By [`Column::index`]: slots below this one were pruned and are not restored.
    pub pruned_before: [Option<Slot>; Column::ALL.len()],
    /// The archive's original first slot, if pruned history below the present first slot is to be restored.
    pub first_slot: Option<Slot>,
}

impl From<States> for ImportOptions {
    fn from(states: States) -> Self {
        Self { states, ..Self::default() }
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
}

impl<'a> ImportColumns<'a> {
    /// Options that name the four columns of an import.
    #[must_use]
    pub fn options() -> ArchiveWriterOptions {
        use Column::{BlockRoots, Blocks, StateRoots, StateSnapshots};
        ArchiveWriterOptions::new().columns([Blocks, BlockRoots, StateRoots, StateSnapshots])
    }

    /// The columns of an archive. Its options must name all but `bss`.
    ///
    /// # Errors
    /// [`Error::NotOpened`].
    pub fn of(archive: &'a mut ArchiveWriter) -> Result<Self, Error> {
        let mut writers = archive.writers();
        let mut writer =
            |column: Column| writers[column.index()].take().ok_or(Error::NotOpened { column });
        Ok(Self {
            blocks: writer(Column::Blocks)?,
            block_roots: writer(Column::BlockRoots)?,
            state_roots: writer(Column::StateRoots)?,
            state_snapshots: writer(Column::StateSnapshots).ok(),
        })
    }

    /// Creates columns and replaces confs if that was
    /// [deferred](crate::ArchiveWriterOptions::deferred).
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        let Self { blocks, block_roots, state_roots, state_snapshots } = self;
        let roots = [&mut **blocks, block_roots, state_roots];
        settle(roots.into_iter().chain(state_snapshots.as_deref_mut()), || Ok(()))
    }
}
