//! Classifies every slot of a column: present, skipped, missing, pruned …
//!
//! Reads the offset tables, and the block roots of slots without a block; no other data. A whole
//! archive therefore takes seconds. Damage that only data files show (a corrupt header, a value
//! that does not decode) is left to [`verify`](coldstore::verify).

use std::fmt;
use std::ops::RangeInclusive;

use coldstore::files::pread::is_of_the_process;
use coldstore::format::offsets::ENTRIES;
use coldstore::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES};
pub use coldstore::occupancy::{first_slot_was_skipped, lowest_slot};
use coldstore::read::{SlotTable, Snapshot};
use coldstore::{Column, Error, FileId, Result, Slot};

/// The state of a slot in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotState {
    /// There is no record, and none is known to be expected: the slot is above the highest or below
    /// the lowest, or the column need not have every slot.
    Empty,
    /// There is a record.
    Present,
    /// There is a record, which lies in its file after the record of a later slot.
    Backfilled,
    /// There is no block, and the repeated block root proves that there never was one.
    Skipped,
    /// A record is expected, because of the block roots or because the column has every slot, but
    /// it was never written or its file is gone.
    Missing,
    /// The slot's file, or its entry in the offset table, contradicts the format.
    Damaged,
    /// The entry cannot be read (a bad sector, a permission).
    Unreadable,
    /// There is no record, because it was removed on purpose according to the archive's manifest:
    /// see [`SlotState::below_pruned`].
    Pruned,
}

impl SlotState {
    /// All states, in the order of their discriminants.
    pub const ALL: [SlotState; 8] = [
        SlotState::Empty,
        SlotState::Present,
        SlotState::Backfilled,
        SlotState::Skipped,
        SlotState::Missing,
        SlotState::Damaged,
        SlotState::Unreadable,
        SlotState::Pruned,
    ];

    /// Maps the states without a record to `Pruned`, for slots below the column's `pruned_before`.
    /// [`slots_of_file`] knows only the columns, and never returns `Pruned` itself.
    #[must_use]
    pub fn below_pruned(self) -> Self {
        match self {
            SlotState::Empty | SlotState::Skipped | SlotState::Missing => SlotState::Pruned,
            other => other,
        }
    }
}

/// Writes the state as one lower-case word.
impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SlotState::Empty => "empty",
            SlotState::Present => "present",
            SlotState::Backfilled => "backfilled",
            SlotState::Skipped => "skipped",
            SlotState::Missing => "missing",
            SlotState::Damaged => "damaged",
            SlotState::Unreadable => "unreadable",
            SlotState::Pruned => "pruned",
        })
    }
}

/// How to decide whether a slot without a record should have one.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// No record is expected.
    Nothing,
    /// Every slot from this one to the column's highest has a record.
    EverySlotFrom(Slot),
    /// A slot has a block if its block root differs from the preceding slot's.
    ByRoots(&'a dyn Snapshot),
}

impl<'a> Expected<'a> {
    /// The rule for a column of an archive. `roots` is a view of the archive's `bbr`, if it has that
    /// column; `begin` is the archive's first slot, if its manifest records it.
    ///
    /// # Errors
    /// As [`lowest_slot`].
    pub fn of<L: Snapshot>(
        column: Column,
        view: &L,
        roots: Option<&'a L>,
        begin: Option<Slot>,
    ) -> Result<Self> {
        Ok(match (column, roots) {
            (Column::Blocks, Some(roots)) => Expected::ByRoots(roots),
            (Column::BlockRoots | Column::StateRoots, _) => {
                let lowest = lowest_slot(view)?;
                let first = lowest.map(|lowest| lowest.min(begin.unwrap_or(lowest)));
                first.map_or(Expected::Nothing, Expected::EverySlotFrom)
            }
            _ => Expected::Nothing,
        })
    }
}

impl Expected<'_> {
    /// Ids of the files to examine, ascending: those of the column itself and, for
    /// [`Expected::ByRoots`], those of the block roots. They come from the directory, because the
    /// conf of a damaged column may claim too many files to examine one by one.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be listed.
    pub fn file_ids(&self, view: &impl Snapshot) -> Result<Vec<FileId>> {
        let mut ids = view.file_ids()?;
        if let Expected::ByRoots(roots) = self {
            ids.extend(roots.file_ids()?);
            ids.sort_unstable();
            ids.dedup();
        }
        Ok(ids)
    }

    /// The part of `slots` that is missing, if no file exists for any of them.
    #[must_use]
    pub fn missing_without_files(
        &self,
        view: &impl Snapshot,
        slots: RangeInclusive<Slot>,
    ) -> Option<RangeInclusive<Slot>> {
        let (Expected::EverySlotFrom(first), Some(highest)) = (self, view.conf().highest) else {
            return None;
        };
        let missing = (*slots.start()).max(*first)..=(*slots.end()).min(highest);
        (!missing.is_empty()).then_some(missing)
    }
}

/// The slots of one file.
#[derive(Debug)]
pub struct FileSlots {
    /// The file.
    pub file_id: FileId,
    /// The state of each slot of the file: 8192 entries.
    pub states: Vec<SlotState>,
    /// Why the file cannot be read, or not all of it.
    pub fault: Option<Error>,
}

/// Classifies the slots of one file. An unreadable file is not an error: the slots that should have a
/// record are then `Missing` if the data or the offset file does not exist, `Unreadable` after an I/O
/// error, and `Damaged` otherwise.
///
/// # Errors
/// [`Error::Io`] if the process is out of file descriptors or memory, and [`Error::Corrupt`] if the
/// block roots are damaged.
pub fn slots_of_file(
    view: &impl Snapshot,
    file_id: FileId,
    expected: &Expected<'_>,
) -> Result<FileSlots> {
    let mut states = vec![SlotState::Empty; ENTRIES];
    let (marked, unknown) = match mark_records(view, file_id, &mut states) {
        Ok(unknown) => (None, unknown),
        Err(Error::Io(error)) if is_of_the_process(&error.source) => return Err(Error::Io(error)),
        Err(error) => (Some(error), None),
    };
    let without = match marked {
        Some(Error::Io(_)) => SlotState::Unreadable,
        Some(_) if view.has_both_files(file_id) => SlotState::Damaged,
        _ => SlotState::Missing,
    };
    let is_lost = marked.is_some();
    let fault = marked.or(unknown);
    let highest = view.conf().highest;
    let mut previous = None;
    for (index, state) in states.iter_mut().enumerate() {
        if *state != SlotState::Empty {
            previous = None;
            continue;
        }
        let slot = file_id.slot_at(index);
        *state = match expected {
            // Any slot of a lost file may have had a record.
            Expected::Nothing if is_lost && Some(slot) <= highest => without,
            Expected::Nothing => SlotState::Empty,
            Expected::EverySlotFrom(first) if slot < *first || Some(slot) > highest => {
                SlotState::Empty
            }
            Expected::EverySlotFrom(_) => without,
            Expected::ByRoots(roots) => {
                match by_roots(view, *roots, slot, &mut previous, without) {
                    Err(Error::Io(error)) if !is_of_the_process(&error.source) => {
                        previous = None;
                        SlotState::Unreadable
                    }
                    by_roots => by_roots?,
                }
            }
        };
    }
    Ok(FileSlots { file_id, states, fault })
}

/// Marks the slots with a record, with an entry that cannot point to one, and with an unreadable entry.
/// Returns the error that made entries unreadable.
fn mark_records(
    view: &impl Snapshot,
    file_id: FileId,
    states: &mut [SlotState],
) -> Result<Option<Error>> {
    let conf = view.conf();
    let Some(highest) = conf.highest.filter(|highest| file_id <= highest.file_id()) else {
        return Ok(None);
    };
    let SlotTable { entries, is_known, bound, fault } = view.table(file_id)?;
    // From the last slot down: a record that lies after the record of a later slot was backfilled.
    let mut lowest_behind = u64::MAX;
    for (index, state) in states.iter_mut().enumerate().rev() {
        let entry = entries[index];
        if file_id.slot_at(index) > highest {
            continue;
        }
        if !is_known[index] {
            *state = SlotState::Unreadable;
            continue;
        }
        if entry == 0 {
            continue;
        }
        *state = match entry {
            _ if entry < FIRST_RECORD_OFFSET => SlotState::Damaged,
            // With backfill, this may be the entry of a commit in flight.
            _ if entry >= bound && conf.allows_backfill() => SlotState::Empty,
            // No header fits below the bound.
            _ if entry.saturating_add(HEADER_BYTES) > bound => SlotState::Damaged,
            _ if entry > lowest_behind => SlotState::Backfilled,
            _ => {
                lowest_behind = entry;
                SlotState::Present
            }
        };
    }
    Ok(fault)
}

/// Classifies a slot without a block by the block roots. `previous` caches the root of the preceding
/// slot between calls.
fn by_roots(
    blocks: &impl Snapshot,
    roots: &dyn Snapshot,
    slot: Slot,
    previous: &mut Option<Vec<u8>>,
    without: SlotState,
) -> Result<SlotState> {
    if Some(slot) > roots.conf().highest {
        return Ok(SlotState::Empty);
    }
    let before = match (previous.take(), slot.previous()) {
        (Some(root), _) => Some(root),
        (None, Some(before)) => roots.value(before)?,
        (None, None) => None,
    };
    let root = roots.value(slot)?;
    previous.clone_from(&root);
    Ok(match (before, root) {
        (_, None) => SlotState::Empty,
        (Some(before), Some(root)) if before == root => SlotState::Skipped,
        (Some(_), Some(_)) => without,
        // The genesis block is always there.
        (None, Some(_)) if slot == Slot(0) => without,
        (None, Some(_)) if first_slot_was_skipped(blocks, roots, slot)? => SlotState::Skipped,
        (None, Some(_)) => SlotState::Empty,
    })
}

#[cfg(test)]
mod tests;
