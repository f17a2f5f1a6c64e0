//! What a reconstruction did, and what it proved by what.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use coldstore::{Error, ErrorKind};

use super::plan::Stretch;
use super::sink::SinkError;
use crate::replay::ReplayError;
use crate::states::hierarchy::Layer;

/// Eras that could not be replayed to their end, or whose stored states are wrong. The chosen states before the
/// failure were proved and are stored, except the last one of the eras: they are not done.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", of_eras(eras))]
pub struct FailedEras {
    /// The eras.
    pub eras: RangeInclusive<u64>,
    /// Why.
    #[source]
    pub error: ReplayError,
}

/// "era 5", "eras 5 to 7"
#[must_use]
pub fn of_eras(eras: &RangeInclusive<u64>) -> String {
    match (eras.start(), eras.end()) {
        (first, last) if first == last => format!("era {first}"),
        (first, last) => format!("eras {first} to {last}"),
    }
}

/// What a reconstruction did, and what it proved by what.
#[derive(Debug, Default)]
pub struct ReconstructReport {
    /// Slots that were replayed.
    pub slots: u64,
    /// States that were stored, unless another producer had stored them before; the root of each equals the one in
    /// `bsr`.
    pub stored_states: u64,
    /// Diffs that were made and stored, unless another producer had stored them before, by layer. Each was made
    /// of a replay that reached the next stored state, or the root at its end.
    pub diffs: BTreeMap<Layer, StoredDiffs>,
    /// States that the [`Check`](crate::replay::Check) was due at; the root of each equals the one in `bsr`.
    pub checked_states: u64,
    /// Eras replayed to their end.
    pub eras: u64,
    /// Eras that were left out: [`Plan::done_eras`](super::Plan::done_eras).
    pub done_eras: u64,
    /// Replays whose last state is equal to the stored one, byte for byte.
    pub equal_ends: u64,
    /// Replays that reach no stored state at their end, since there is none or the archive lacks its block: the
    /// root of the last slot equals the one in `bsr`.
    pub ends_by_root: u64,
    /// Eras that could not be replayed to their end, ascending.
    pub failed: Vec<FailedEras>,
}

/// The diffs of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredDiffs {
    /// Their number.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

impl ReconstructReport {
    /// Counts the end of a replay.
    pub(super) fn count_end(&mut self, stretch: &Stretch) {
        match stretch.ends_with_stored_state {
            true => self.equal_ends += 1,
            false => self.ends_by_root += 1,
        }
    }

    /// Counts a diff.
    pub(super) fn count(&mut self, layer: Layer, byte_len: usize) {
        let of_layer = self.diffs.entry(layer).or_default();
        of_layer.records += 1;
        of_layer.bytes += byte_len as u64;
    }

    /// Adds what another worker did.
    pub(super) fn merge(&mut self, other: Self) {
        self.slots += other.slots;
        self.stored_states += other.stored_states;
        for (layer, StoredDiffs { records, bytes }) in other.diffs {
            let of_layer = self.diffs.entry(layer).or_default();
            of_layer.records += records;
            of_layer.bytes += bytes;
        }
        self.checked_states += other.checked_states;
        self.eras += other.eras;
        self.done_eras += other.done_eras;
        self.equal_ends += other.equal_ends;
        self.ends_by_root += other.ends_by_root;
        self.failed.extend(other.failed);
    }
}

/// Why a reconstruction ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The observer asked for it. What the report counts is durable.
    #[error("stopped")]
    Stopped,
    /// A proved state could not be stored.
    #[error("cannot store a state")]
    Sink(#[source] SinkError),
}

impl Ended {
    /// 0 for a cause; more for what follows from one: an error of a writer that had failed before, and a
    /// worker that was stopped.
    pub(super) fn distance_from_cause(&self) -> u8 {
        match self {
            Self::Sink(error) => {
                let storage = error.downcast_ref::<Error>();
                u8::from(storage.is_some_and(|error| error.kind() == ErrorKind::Poisoned))
            }
            Self::Stopped => 2,
        }
    }
}

/// A reconstruction that ended early; what was stored before stays. After [`Ended::Sink`] the count of stored
/// states may lack some that are durable.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct EndedEarly {
    /// What was done.
    pub done: ReconstructReport,
    /// Why it ended.
    #[source]
    pub why: Ended,
}
