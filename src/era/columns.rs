//! What an import is told, and the columns that it writes to.

use std::num::NonZeroU64;

use crate::column::Column;
use crate::error::Error;
use crate::manifest::StatesPolicy;
use crate::slot::Slot;
use crate::write::{Writer, settle};

/// Which eras' states go to `bss`. The last era of an import always leaves its state there, where it
/// is the archive's newest: what comes next is proved by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum States {
    /// All of them.
    #[default]
    All,
    /// None of them.
    None,
    /// Those of eras that this number divides; era 0 is one of them.
    Every(NonZeroU64),
}

impl States {
    /// True when the state of this era is to be stored.
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
    /// What an import is told by it; `None` where it is not known.
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

/// What an import is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// Which states are kept.
    pub states: States,
    /// Whether a column that lacks slots at or below its highest may be opened for backfill.
    pub backfill: bool,
    /// By [`Column::index`]: slots below this one were removed on purpose and are not brought back.
    pub pruned_before: [Option<Slot>; Column::ALL.len()],
    /// The slot with which the archive began, when what it holds now begins later because the rest was
    /// pruned and is to be brought back.
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

impl ImportColumns<'_> {
    /// Makes columns and replaces confs where that was [deferred](crate::ArchiveWriter::deferred).
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        let Self { blocks, block_roots, state_roots, state_snapshots } = self;
        let mut columns = vec![&mut **blocks, block_roots, state_roots];
        columns.extend(state_snapshots.as_deref_mut());
        settle(&mut columns, || Ok(()))
    }
}
