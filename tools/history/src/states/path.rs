//! From a slot to the whole state that its diffs are based on.

use std::borrow::Cow;

use coldstore::{Slot, Snapshot};

use super::States;
use super::cache::CachedState;
use super::hierarchy::MAX_STEPS;
use super::kind::{Foreign, ValueKind, check_diff, whole_state};
use super::value::{DiffFault, DiffValue};
use crate::replay::ReplayError;

/// Offsets of SSZ have 32 bits.
const MAX_STATE_BYTES: u64 = u32::MAX as u64;

/// Why a kept state cannot be read: its chain of diffs breaks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathFault {
    /// A record cannot be read.
    #[error("slot {slot}: {error}")]
    Storage {
        /// The record's slot.
        slot: Slot,
        /// Why not.
        error: coldstore::Error,
    },
    /// A value is another software's.
    #[error("{error}")]
    Foreign {
        /// Its slot.
        slot: Slot,
        /// Whose it is.
        error: Box<Foreign>,
    },
    /// A value of `bsd` is damaged, or not a diff of this format.
    #[error(transparent)]
    Value(#[from] DiffFault),
    /// A state in the chain is not stored.
    #[error(
        "slot {slot}: its diff in bsd is based on the state of slot {base}, which neither bss nor bsd has; \
         `coldstore reconstruct` stores it again"
    )]
    Missing {
        /// The slot of the diff.
        slot: Slot,
        /// The slot of the missing state.
        base: Slot,
    },
    /// The base that a value names is none that the archive's layers give it.
    #[error(
        "slot {slot}: wanted a diff in bsd on one of the slots that the layers in archive.toml allow, found \
         {base}; remove the record, or restore archive.toml"
    )]
    NotAllowed {
        /// The slot of the diff.
        slot: Slot,
        /// The base that they name.
        base: Slot,
    },
    /// The base is another state than the one from which the diff was made.
    #[error(
        "slot {slot}: its diff in bsd was made from another state of slot {base}: wanted a root that \
         begins with {wanted}, found {found} in bsr; `coldstore verify --deep` shows which column is damaged"
    )]
    WrongBase {
        /// The slot of the diff.
        slot: Slot,
        /// The slot of their base.
        base: Slot,
        /// The first 8 bytes of the base's root by the value.
        wanted: String,
        /// Those of the root in `bsr`.
        found: String,
    },
    /// The chain is longer than any that layers give.
    #[error(
        "slot {slot}: its chain of diffs in bsd has more than {MAX_STEPS} records; restore archive.toml"
    )]
    TooLong {
        /// The slot of the state.
        slot: Slot,
    },
    /// The whole state at the chain's end is wrong.
    #[error("{error}")]
    Whole {
        /// Its slot.
        slot: Slot,
        /// What is wrong.
        error: Box<ReplayError>,
    },
}

impl PathFault {
    /// The slot whose record is missing or wrong. States above it may depend on it.
    #[must_use]
    pub fn slot(&self) -> Slot {
        match self {
            Self::Missing { base, .. } => *base,
            Self::Value(fault) => fault.slot,
            Self::Storage { slot, .. }
            | Self::Foreign { slot, .. }
            | Self::NotAllowed { slot, .. }
            | Self::WrongBase { slot, .. }
            | Self::TooLong { slot }
            | Self::Whole { slot, .. } => *slot,
        }
    }
}

/// The records of a state: those to be applied, and what they are applied to.
#[derive(Debug)]
pub(super) struct Path<'s> {
    /// The whole state.
    pub(super) whole: Slot,
    pub(super) base: Cow<'s, [u8]>,
    /// A decoded state on it to which the records are applied; `None` for the whole state itself.
    pub(super) from: Option<CachedState>,
    /// By ascending slot; each is based on the one before.
    pub(super) records: Vec<Record<'s>>,
}

/// A value of `bsd`.
#[derive(Debug)]
pub(super) struct Record<'s> {
    pub(super) slot: Slot,
    pub(super) value: Cow<'s, [u8]>,
}

impl<S: Snapshot> States<S> {
    /// The path of a slot; `None` if its state is not stored.
    ///
    /// 1. A decoded state in the cache ends it, or a whole one in `bss`.
    /// 2. Otherwise the value in `bsd` names the next slot, which is below, and allowed by the manifest's layers.
    pub(super) fn path(&self, slot: Slot) -> Result<Option<Path<'_>>, PathFault> {
        let (mut at, mut records) = (slot, Vec::new());
        loop {
            // 1.
            if let Some(from) = self.decoded.state(at) {
                let base = self
                    .whole(from.whole)?
                    .ok_or(PathFault::Missing { slot: at, base: from.whole })?;
                records.reverse();
                return Ok(Some(Path { whole: from.whole, base, from: Some(from), records }));
            }
            if let Some(base) = self.whole(at)? {
                records.reverse();
                return Ok(Some(Path { whole: at, base, from: None, records }));
            }
            // 2.
            let Some(value) = self.diff(at)? else {
                return match records.last() {
                    None => Ok(None),
                    Some(Record { slot, .. }) => Err(PathFault::Missing { slot: *slot, base: at }),
                };
            };
            let base = self.base_of(at, &DiffValue::parse(at, &value)?)?;
            records.push(Record { slot: at, value });
            if records.len() as u64 > MAX_STEPS {
                return Err(PathFault::TooLong { slot });
            }
            at = base;
        }
    }

    /// The slot of the state on which the diff of a slot builds: the layers allow it, its root is the one that
    /// the diff names, and it is stored. `None` if `bsd` has no diff of the slot. Nothing is rebuilt.
    ///
    /// # Errors
    /// [`PathFault`]
    pub fn base_at(&self, slot: Slot) -> Result<Option<Slot>, PathFault> {
        let Some(value) = self.diff(slot)? else { return Ok(None) };
        let base = self.base_of(slot, &DiffValue::parse(slot, &value)?)?;
        match self.source.stored().contains(base) {
            Ok(true) => Ok(Some(base)),
            Ok(false) => Err(PathFault::Missing { slot, base }),
            Err(error) => Err(PathFault::Storage { slot: base, error }),
        }
    }

    /// The base that a value names, which the layers must allow and `bsr` must not contradict.
    pub(super) fn base_of(&self, slot: Slot, value: &DiffValue<'_>) -> Result<Slot, PathFault> {
        let base = value.base_slot();
        if base >= slot || !self.hierarchy.allows(slot, base) {
            return Err(PathFault::NotAllowed { slot, base });
        }
        let root = self.source.state_root(base).map_err(|error| whole(base, error))?;
        let (wanted, found) =
            (value.base_tag(), root.and_then(|root| root.0.first_chunk().copied()));
        match found {
            Some(found) if found != wanted => {
                let (wanted, found) = (const_hex::encode(wanted), const_hex::encode(found));
                Err(PathFault::WrongBase { slot, base, wanted, found })
            }
            _ => Ok(base),
        }
    }

    /// The whole state of a slot.
    pub(super) fn whole(&self, slot: Slot) -> Result<Option<Cow<'_, [u8]>>, PathFault> {
        let value = self.source.snapshots.get(slot).map_err(|error| whole(slot, error.into()))?;
        match value {
            // Anything else is told apart when it is decoded.
            Some(value) if ValueKind::of(slot, &value) == ValueKind::LighthouseState => {
                whole_state(slot, value, MAX_STATE_BYTES)
                    .map(Some)
                    .map_err(|error| foreign(slot, error))
            }
            value => Ok(value),
        }
    }

    /// The value of a slot in `bsd`.
    pub(super) fn diff(&self, slot: Slot) -> Result<Option<Cow<'_, [u8]>>, PathFault> {
        let Some(view) = &self.source.diffs else { return Ok(None) };
        let value = view.get(slot).map_err(|error| PathFault::Storage { slot, error })?;
        if let Some(value) = &value
            && ValueKind::of(slot, value) == ValueKind::LighthouseDiff
        {
            check_diff(slot, value).map_err(|error| foreign(slot, error))?;
        }
        Ok(value)
    }
}

fn foreign(slot: Slot, error: Foreign) -> PathFault {
    PathFault::Foreign { slot, error: Box::new(error) }
}

/// What is wrong with the whole state of a slot, or with its root.
pub(super) fn whole(slot: Slot, error: ReplayError) -> PathFault {
    PathFault::Whole { slot, error: Box::new(error) }
}
