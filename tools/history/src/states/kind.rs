//! Whose a value in `bss` or `bsd` is.
//!
//! This software stores states as plain SSZ in `bss`, and diffs that begin with `CSD1` in `bsd`.
//! Lighthouse stores zstd frames of states in `bss`, and its own diffs in `bsd`, an SSZ union. Neither
//! reads the other's. An archive holds the values of one of the two.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use coldstore::{Column, Error, Manifest, PreadView, Slot, Snapshot};

/// How many bytes of a value suffice for [`ValueKind::of`].
pub const START_BYTES: usize = 48;

const MAGIC: [u8; 4] = *b"CSD1";
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const SLOT_AT: usize = 40;
/// Of a union: the selector, and the first offset of the container in it.
const UNION_START_BYTES: usize = 5;
/// The most fields of a diff of Lighthouse, with room for later ones.
const MOST_FIELDS: u32 = 32;

/// What a value is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A state as plain SSZ.
    State,
    /// A diff of this software.
    Diff,
    /// A state that Lighthouse compressed.
    LighthouseState,
    /// A diff of Lighthouse.
    LighthouseDiff,
    /// None of these.
    Unknown,
}

impl ValueKind {
    /// What the value of a slot is. `start` is the value, or at least its first [`START_BYTES`].
    #[must_use]
    pub fn of(slot: Slot, start: &[u8]) -> Self {
        let slot_in = start.get(SLOT_AT..).and_then(|rest| rest.first_chunk());
        if slot_in.is_some_and(|bytes| u64::from_le_bytes(*bytes) == slot.0) {
            return Self::State;
        }
        if start.starts_with(&MAGIC) {
            return Self::Diff;
        }
        if start.starts_with(&ZSTD_MAGIC) {
            return Self::LighthouseState;
        }
        match start.first_chunk::<UNION_START_BYTES>() {
            // The first field of the container begins after the offsets of all.
            Some([0, offset @ ..]) => match u32::from_le_bytes(*offset) {
                first if first > 0 && first % 4 == 0 && first <= 4 * MOST_FIELDS => {
                    Self::LighthouseDiff
                }
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    /// Whose values they are; `None` for an unknown kind.
    #[must_use]
    pub fn values(self) -> Option<Values> {
        match self {
            Self::State | Self::Diff => Some(Values::Coldstore),
            Self::LighthouseState | Self::LighthouseDiff => Some(Values::Lighthouse),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::State => "a state as plain SSZ",
            Self::Diff => "a diff of coldstore (CSD1)",
            Self::LighthouseState => "a state that Lighthouse compressed",
            Self::LighthouseDiff => "a diff of Lighthouse",
            Self::Unknown => "a value of unknown form",
        })
    }
}

/// Whose values the columns of states hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// This software's.
    Coldstore,
    /// Lighthouse's.
    Lighthouse,
}

impl Values {
    /// The word in the manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Coldstore => "coldstore",
            Self::Lighthouse => "lighthouse",
        }
    }
}

/// Why a column takes no diffs of this software, or a value cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Foreign {
    /// The manifest says that the values are another's.
    #[error(
        "{archive}: archive.toml says that bss and bsd hold the values of {whose}: diffs of coldstore \
         are not mixed with them, because {whose} cannot read them; use --states all, none or every:N, or \
         another archive"
    )]
    Named {
        /// The archive.
        archive: String,
        /// Whose.
        whose: String,
    },
    /// The first value of a column is another's.
    #[error(
        "{column} holds {kind} at slot {slot}: diffs of coldstore are not mixed with such values, because \
         their software cannot read them; use --states all, none or every:N, or another archive"
    )]
    Held {
        /// The column.
        column: Column,
        /// The slot of its first value.
        slot: Slot,
        /// What it is.
        kind: ValueKind,
    },
    /// A value that this software does not read.
    #[error("{column}, slot {slot}: unsupported: {kind}; wanted {wanted}")]
    Unsupported {
        /// The column.
        column: Column,
        /// The slot.
        slot: Slot,
        /// What it is.
        kind: ValueKind,
        /// What it should be.
        wanted: &'static str,
    },
    /// A state that Lighthouse compressed, and that does not decompress.
    #[error(
        "bss, slot {slot}: wanted a zstd frame of a state of at most {limit} bytes, found {found}"
    )]
    Damaged {
        /// The slot.
        slot: Slot,
        /// The longest state.
        limit: u64,
        /// What is wrong.
        found: String,
    },
    /// A column cannot be read.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// Checks that diffs of this software may be written: `bss` and `bsd` hold no other's values, by the
/// manifest, or where that does not say it, by the first value of each column.
///
/// # Errors
/// [`Foreign::Named`], [`Foreign::Held`], [`Foreign::Storage`].
pub fn check_ours(
    archive: &std::path::Path,
    manifest: &Manifest,
    columns: [(Column, Option<&PreadView>); 2],
) -> Result<(), Foreign> {
    match manifest.state_values.as_deref() {
        Some(whose) if whose == Values::Coldstore.name() => return Ok(()),
        Some(whose) => {
            let archive = archive.display().to_string();
            return Err(Foreign::Named { archive, whose: whose.to_owned() });
        }
        None => {}
    }
    for (column, view) in columns {
        let Some((view, slot)) = first_of(view)? else { continue };
        let mut start = Vec::new();
        view.get_range_into(slot, 0..START_BYTES as u64, &mut start)?;
        let kind = ValueKind::of(slot, &start);
        let is_ours = match column {
            Column::StateSnapshots => kind == ValueKind::State,
            _ => kind == ValueKind::Diff,
        };
        if !is_ours {
            return Err(Foreign::Held { column, slot, kind });
        }
    }
    Ok(())
}

fn first_of(view: Option<&PreadView>) -> Result<Option<(&PreadView, Slot)>, Error> {
    let Some(view) = view else { return Ok(None) };
    Ok(view.first_from(Slot(0))?.map(|slot| (view, slot)))
}

/// The SSZ of a value in `bss`: the value itself, or what Lighthouse compressed, up to `limit` bytes.
///
/// # Errors
/// [`Foreign::Damaged`]; [`Foreign::Unsupported`] for any other value.
pub fn whole_state(slot: Slot, value: Cow<'_, [u8]>, limit: u64) -> Result<Cow<'_, [u8]>, Foreign> {
    match ValueKind::of(slot, &value) {
        ValueKind::State => Ok(value),
        ValueKind::LighthouseState => {
            let damaged = |found: String| Foreign::Damaged { slot, limit, found };
            let mut state = Vec::new();
            let decoder = zstd::stream::read::Decoder::with_buffer(&value[..]);
            let decoder = decoder.map_err(|error| damaged(error.to_string()))?;
            let read = decoder.take(limit.saturating_add(1)).read_to_end(&mut state);
            read.map_err(|error| damaged(error.to_string()))?;
            if state.len() as u64 > limit {
                return Err(damaged("more".to_owned()));
            }
            match ValueKind::of(slot, &state) {
                ValueKind::State => Ok(Cow::Owned(state)),
                other => Err(damaged(other.to_string())),
            }
        }
        kind => {
            let wanted = "a state as plain SSZ, or one that Lighthouse compressed";
            Err(Foreign::Unsupported { column: Column::StateSnapshots, slot, kind, wanted })
        }
    }
}

/// Refuses a value in `bsd` that is not a diff of this software.
///
/// # Errors
/// [`Foreign::Unsupported`]
pub fn check_diff(slot: Slot, value: &[u8]) -> Result<(), Foreign> {
    match ValueKind::of(slot, value) {
        ValueKind::Diff => Ok(()),
        kind => {
            let wanted = "a diff of coldstore: only Lighthouse reads its own";
            Err(Foreign::Unsupported { column: Column::StateDiffs, slot, kind, wanted })
        }
    }
}

#[cfg(test)]
mod tests;
