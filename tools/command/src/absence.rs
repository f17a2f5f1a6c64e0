//! Why a slot has no record. "Skipped", "pruned", "not imported", "missing" and "beyond the end" are
//! distinct answers, because the remedies differ.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use coldstore::{Column, Error, Manifest, MappedArchive, MappedReader, Slot, View};
use coldstore_history::occupancy::{Expected, SlotState, lowest_slot, slots_of_file};
use coldstore_history::replay::ReplayError;

/// A slot without a record in a readable column.
#[derive(Debug)]
pub(crate) struct Absence {
    column: Column,
    slot: Slot,
    why: Why,
    /// The nearest records below and above, in columns that need not have every slot.
    nearest: Option<(Option<Slot>, Option<Slot>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The archive has no such column.
    NoColumn,
    EmptyColumn,
    BeyondEnd {
        end: Slot,
    },
    NotImported {
        first: Slot,
    },
    Pruned {
        before: Slot,
    },
    Skipped,
    /// `bbr` has a new root for the slot, so there was a block.
    LostBlock,
    /// The column has, or should have, every slot up to this one.
    Lost {
        first: Slot,
        last: Slot,
    },
    /// Only some slots have states.
    NotKept,
    /// The other column of states has it.
    InOther(Column),
    /// Without block roots the reason is unknown.
    Unknown,
}

impl Absence {
    /// Finds the reason.
    pub(crate) fn of(
        root: &Path,
        archive: &MappedArchive,
        column: Column,
        slot: Slot,
    ) -> Result<Self> {
        let manifest = Manifest::read(root)?.unwrap_or_default();
        let view = match archive.column(column) {
            Ok(reader) => reader.view(),
            Err(Error::NoSuchColumn { .. })
                if is_of_states(column)
                    && manifest.column(column).highest.is_none()
                    && !archive.columns()?.is_empty() =>
            {
                return Ok(Self { column, slot, why: Why::NoColumn, nearest: None });
            }
            Err(error) => return Err(error.into()),
        };
        let roots = archive.column_if_there(Column::BlockRoots)?.map(MappedReader::view);
        let nearest = if is_of_states(column) {
            let below = view.at_or_before(slot)?.map(|record| record.slot());
            Some((below, view.at_or_after(slot)?.map(|record| record.slot())))
        } else {
            None
        };
        if let Some(other) = other_of_states(column)
            && let Some(reader) = archive.column_if_there(other)?
            && reader.view().contains(slot)?
        {
            return Ok(Self { column, slot, why: Why::InOther(other), nearest: None });
        }
        let look = Look { column, slot, view: &view, roots: roots.as_ref() };
        let why = match manifest.column(column).pruned_before.filter(|before| slot < *before) {
            Some(before) => Why::Pruned { before },
            None => look.why(manifest.first_slot).context("why there is no record")?,
        };
        Ok(Self { column, slot, why, nearest })
    }
}

/// Whether a column is optional and sparse.
pub(crate) fn is_of_states(column: Column) -> bool {
    matches!(column, Column::StateSnapshots | Column::StateDiffs)
}

/// The column that may hold a state in place of this one.
fn other_of_states(column: Column) -> Option<Column> {
    match column {
        Column::StateSnapshots => Some(Column::StateDiffs),
        Column::StateDiffs => Some(Column::StateSnapshots),
        _ => None,
    }
}

/// Says why the archive cannot give the state of a slot.
///
/// # Errors
/// The error itself if it says that something is damaged.
pub(crate) fn of_state(
    root: &Path,
    archive: &MappedArchive,
    slot: Slot,
    error: ReplayError,
) -> Result<String> {
    match error {
        ReplayError::MissingBlock { slot: missing, .. } => {
            let absence = Absence::of(root, archive, Column::Blocks, missing)?;
            Ok(format!("{absence}; the state of slot {slot} cannot be rebuilt without it"))
        }
        ReplayError::NoState { .. } => {
            let manifest = Manifest::read(root)?.unwrap_or_default();
            let pruned = manifest.column(Column::StateSnapshots).pruned_before;
            let why = match (pruned, manifest.first_slot) {
                (Some(before), _) if slot < before => Some(Why::Pruned { before }),
                (_, Some(first)) if slot < first => Some(Why::NotImported { first }),
                _ => None,
            };
            Ok(why.map_or_else(|| error.to_string(), |why| format!("{error}; {why}")))
        }
        ReplayError::BeyondEnd { .. }
        | ReplayError::NoBlockRoot { .. }
        | ReplayError::NoStateRoot { .. } => Ok(error.to_string()),
        error => Err(error.into()),
    }
}

struct Look<'a> {
    column: Column,
    slot: Slot,
    view: &'a View,
    roots: Option<&'a View>,
}

impl Look<'_> {
    /// `first` is the archive's first slot, if recorded.
    fn why(&self, first: Option<Slot>) -> Result<Why> {
        let Self { column, slot, view, roots } = *self;
        let Some(highest) = view.highest_written_slot() else { return Ok(Why::EmptyColumn) };
        let is_of_states = is_of_states(column);
        // The state after the last block belongs to the next slot.
        let of_roots = roots.and_then(View::highest_written_slot);
        let behind = of_roots.and_then(|last| if is_of_states { last.next() } else { Some(last) });
        let end = behind.map_or(highest, |behind| behind.max(highest));
        if slot > end {
            return Ok(Why::BeyondEnd { end });
        }
        let mut lowest = lowest_slot(view)?;
        if let Some(roots) = roots {
            lowest = lowest.into_iter().chain(lowest_slot(roots)?).min();
        }
        match (first, lowest) {
            (Some(first), _) if slot < first => return Ok(Why::NotImported { first }),
            (None, Some(lowest)) if slot < lowest => {
                return Ok(Why::NotImported { first: lowest });
            }
            (Some(first), Some(lowest)) if slot < lowest && !is_of_states => {
                return Ok(Why::Lost { first, last: lowest.previous().unwrap_or(lowest) });
            }
            _ => {}
        }
        if is_of_states {
            return Ok(Why::NotKept);
        }
        if column != Column::Blocks {
            return Ok(Why::Lost { first: first.or(lowest).unwrap_or(slot), last: end });
        }
        let expected = Expected::of(column, view, roots, first)?;
        let slots = slots_of_file(view, slot.file_id(), &expected)?;
        Ok(match slots.states.get(slot.index_in_file()) {
            Some(SlotState::Skipped) => Why::Skipped,
            Some(SlotState::Missing | SlotState::Damaged) => Why::LostBlock,
            _ => Why::Unknown,
        })
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, slot, .. } = self;
        write!(f, "{column} has no record of slot {slot}: {}", self.why)?;
        match self.nearest {
            Some((Some(below), Some(above))) => {
                write!(f, "; the nearest are those of slots {below} and {above}")
            }
            Some((Some(nearest), None) | (None, Some(nearest))) => {
                write!(f, "; the nearest is that of slot {nearest}")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NoColumn => f.write_str("the archive was made without this column"),
            Why::EmptyColumn => f.write_str("the column is empty"),
            Why::BeyondEnd { end } => {
                write!(f, "beyond the end: the archive ends with slot {end}")
            }
            Why::NotImported { first } => {
                write!(f, "not imported: the archive begins with slot {first}")
            }
            Why::Pruned { before } => {
                write!(f, "pruned: everything before slot {before} was removed")
            }
            Why::Skipped => f.write_str(
                "skipped: bbr repeats the root of the slot before, so there is no block",
            ),
            Why::LostBlock => {
                f.write_str("missing: by bbr there is a block, which was lost or never written")
            }
            Why::Lost { first, last } => write!(
                f,
                "missing: there should be one for every slot from {first} to {last}; it was lost or \
                 never written"
            ),
            Why::NotKept => f.write_str("none is kept of this slot"),
            Why::InOther(Column::StateDiffs) => {
                f.write_str("the state is kept as a diff in bsd; `coldstore state` rebuilds it")
            }
            Why::InOther(other) => write!(f, "the state is kept whole in {other}"),
            Why::Unknown => f.write_str("bbr does not show whether the slot was skipped"),
        }
    }
}
