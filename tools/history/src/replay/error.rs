//! Why a replay stops.

use coldstore::{Column, Slot};
use coldstore_consensus::transition::{StateDifference, TransitionError};
use coldstore_consensus::{Malformed, Root};

use crate::states::PathFault;
use crate::states::value::DiffFault;

/// Why a replay stops. Nothing that it has computed for the slot may be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A record cannot be read.
    #[error(transparent)]
    Storage(#[from] coldstore::Error),

    /// There is no stored state to start from.
    #[error("slot {slot}: bss has no state at or before it{}", first(*.next))]
    NoState {
        /// The slot.
        slot: Slot,
        /// The first state after it.
        next: Option<Slot>,
    },

    /// The rules of the archive's network were not asked for.
    #[error("slot {slot}: without the network's config nothing is replayed from this state")]
    NoRules {
        /// The slot.
        slot: Slot,
    },

    /// The slot is above the last one with a block root or a state.
    #[error("slot {slot}: beyond the end{}", last(*.end))]
    BeyondEnd {
        /// The slot.
        slot: Slot,
        /// The last slot that can be reached; `None` in an empty archive.
        end: Option<Slot>,
    },

    /// A record of a column of roots is not a root.
    #[error(
        "slot {slot}: wanted a root of 32 bytes in {column}, found {byte_len} bytes; `coldstore verify` \
         lists the damage"
    )]
    NotARoot {
        /// `bbr` or `bsr`.
        column: Column,
        /// The slot.
        slot: Slot,
        /// The record's length.
        byte_len: usize,
    },

    /// The state to start from is not a state of this chain and slot.
    #[error(
        "slot {slot}: the state in bss cannot be replayed: wanted {wanted}, found {found}; check the network, \
         then `coldstore verify --deep`"
    )]
    Start {
        /// The slot.
        slot: Slot,
        /// What a state of that slot has.
        wanted: String,
        /// What is there.
        found: String,
    },

    /// `bbr` has no root for a slot: without it a missing block cannot be told from a skipped slot.
    #[error(
        "slot {slot}: bbr has no block root, so the slot cannot be replayed; import its era, or restore a \
         copy of bbr"
    )]
    NoBlockRoot {
        /// The slot.
        slot: Slot,
    },

    /// `bbr` names a block that `blk` does not have.
    #[error(
        "slot {slot}: blk has no record of the block {root}, which bbr names; import its era again with \
         --backfill, or --refill if it was pruned"
    )]
    MissingBlock {
        /// The slot.
        slot: Slot,
        /// The block's root.
        root: Root,
    },

    /// The block in `blk` is not the one that `bbr` names.
    #[error(
        "slot {slot}: the block in blk is not the one of the chain: wanted {wanted}, found {found}; \
         `coldstore verify --deep` shows which column is damaged"
    )]
    WrongBlock {
        /// The slot.
        slot: Slot,
        /// What `bbr` implies.
        wanted: String,
        /// What is there.
        found: String,
    },

    /// The last block by the state is not the one that `bbr` names: the state is not of this history, or a
    /// root is wrong.
    #[error(
        "slot {slot}: wanted the block root {wanted}, in bbr, found {found} by the state; `coldstore verify \
         --deep` shows which column is damaged"
    )]
    WrongBlockRoot {
        /// The slot.
        slot: Slot,
        /// The root in `bbr`.
        wanted: Root,
        /// The root of the state's latest block.
        found: Root,
    },

    /// A rule of the transition refuses a block or a state.
    #[error(
        "{0}; either the config is not that of this network, or a record is damaged: `coldstore verify \
         --deep`"
    )]
    Refused(#[from] Box<TransitionError>),

    /// A state root is not the one in `bsr`.
    #[error("slot {slot}: wanted the state root {wanted}, in bsr, found {found}, {}; `coldstore verify --deep` proves the stored columns", by(*hashed))]
    WrongStateRoot {
        /// The slot.
        slot: Slot,
        /// The root in `bsr`.
        wanted: Root,
        /// The other root.
        found: Root,
        /// Whether the other root is that of the replayed state; else its block names it.
        hashed: bool,
    },

    /// The state is stored as diffs that cannot be read, and cannot be replayed either.
    #[error("{fault}; nor can it be replayed: {replay}")]
    Diffs {
        /// Why not.
        fault: Box<PathFault>,
        /// Why there is no replay.
        replay: Box<ReplayError>,
    },

    /// `bsr` has no root to prove a state with.
    #[error("slot {slot}: bsr has no state root, so the state cannot be proved")]
    NoStateRoot {
        /// The slot.
        slot: Slot,
    },

    /// A state that is stored as diffs cannot be read.
    #[error(transparent)]
    Path(Box<PathFault>),

    /// A diff cannot be made.
    #[error(transparent)]
    Diff(#[from] DiffFault),

    /// There is no state to which a diff may refer.
    #[error(
        "slot {slot}: its diff would refer to the state of {}, of which bss and bsd have none; import the \
         era file that ends with a state before it",
        slots(.bases)
    )]
    NoBase {
        /// The slot.
        slot: Slot,
        /// The slots of the states to which it may refer.
        bases: Vec<Slot>,
    },

    /// The columns from which diffs are made are not those of the state.
    #[error("slot {slot}: the diffs made up to here are wrong; this is a defect, please report it")]
    WrongColumns {
        /// The slot.
        slot: Slot,
    },

    /// The replayed state is not the one in `bss`.
    #[error(
        "slot {slot}: the replayed state is not the one in bss: {}: wanted {}, found {}; `coldstore verify \
         --deep` shows whether the one in bss is damaged",
        .difference.field, .difference.wanted, .difference.found
    )]
    WrongState {
        /// The slot.
        slot: Slot,
        /// The first difference; `wanted` is in `bss`.
        difference: Box<StateDifference>,
    },
}

fn first(next: Option<Slot>) -> String {
    next.map_or_else(String::new, |next| format!("; its first after it is that of slot {next}"))
}

fn last(end: Option<Slot>) -> String {
    match end {
        Some(end) => format!(": the archive's blocks and states end with slot {end}"),
        None => ": the archive is empty".to_owned(),
    }
}

fn slots(slots: &[Slot]) -> String {
    match slots {
        [] => "a slot in its window".to_owned(),
        [only] => format!("slot {only}"),
        slots => {
            let slots: Vec<String> = slots.iter().map(Slot::to_string).collect();
            format!("one of the slots {}", slots.join(", "))
        }
    }
}

fn by(hashed: bool) -> &'static str {
    if hashed { "of the replayed state" } else { "which its block names" }
}

impl From<PathFault> for ReplayError {
    fn from(fault: PathFault) -> Self {
        match fault {
            PathFault::Whole { error, .. } => *error,
            fault => Self::Path(Box::new(fault)),
        }
    }
}

impl ReplayError {
    pub(crate) fn start(slot: Slot, fault: &Malformed) -> Self {
        let (wanted, found) = fault.wanted_and_found();
        Self::Start { slot, wanted, found }
    }
}
