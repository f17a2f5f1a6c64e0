//! Classifies every slot of a column: present, skipped, missing, pruned …
//!
//! Reads the offset tables, and the block roots of slots without a block; no other data. A whole
//! archive therefore takes seconds. Damage that only data files show (a corrupt header, a value
//! that does not decode) is left to [`verify`](crate::verify).

use std::fmt;
use std::ops::RangeInclusive;

use crate::column::Column;
use crate::error::{Error, Result};
use crate::files::pread::is_of_the_process;
use crate::format::offsets::ENTRIES;
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES};
use crate::format::ssz::BlockHead;
use crate::read::{SlotTable, Snapshot};
use crate::slot::{FileId, Slot};

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

/// The lowest slot with a record. An unreadable file, or one that has lost its entries, may have held
/// records from its first slot on, so that slot counts.
///
/// # Errors
/// [`Error::Io`] if the directory cannot be listed, or the process is out of file descriptors or memory.
pub fn lowest_slot<L: Snapshot + ?Sized>(view: &L) -> Result<Option<Slot>> {
    let Some(highest) = view.conf().highest else { return Ok(None) };
    for file_id in view.file_ids()?.into_iter().take_while(|id| *id <= highest.file_id()) {
        let SlotTable { entries, is_known, bound, .. } = match view.table(file_id) {
            Ok(table) => table,
            Err(Error::Io(error)) if is_of_the_process(&error.source) => {
                return Err(Error::Io(error));
            }
            Err(_) => return Ok(Some(file_id.first_slot())),
        };
        // With backfill, an entry past the bound may belong to a commit in flight.
        let bound_of_entries = if view.conf().allows_backfill() { bound } else { u64::MAX };
        let is_record = |entry: u64| entry >= FIRST_RECORD_OFFSET && entry < bound_of_entries;
        let mut entries = entries.into_iter().zip(is_known);
        let lowest = entries.position(|(entry, is_known)| !is_known || is_record(entry));
        let lowest = lowest.map(|index| file_id.slot_at(index));
        let lost = (bound > FIRST_RECORD_OFFSET).then(|| file_id.first_slot());
        if let Some(lowest) = lowest.or(lost).filter(|slot| *slot <= highest) {
            return Ok(Some(lowest));
        }
    }
    Ok(None)
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

/// True if `slot`, which has no block, is the first with a block root and was skipped: the next block
/// names that root as its parent. A block at `slot` itself would be the parent too, so this proves only
/// that no block is missing after `slot`; the import has seen that `slot` itself has none.
///
/// # Errors
/// [`Error::Io`] if a column cannot be read. Damage yields `false`.
pub fn first_slot_was_skipped(
    blocks: &impl Snapshot,
    roots: &(impl Snapshot + ?Sized),
    slot: Slot,
) -> Result<bool> {
    let parent_is_root = || {
        let is_first = roots.first_from(Slot(0))? == Some(slot);
        let next = slot.next().filter(|_| is_first);
        let next = next.map(|next| blocks.first_from(next)).transpose()?.flatten();
        let Some(next) = next.map(|next| blocks.value(next)).transpose()?.flatten() else {
            return Ok(false);
        };
        let head = BlockHead::parse(&next);
        let root = roots.value(slot)?;
        Ok(head.is_ok_and(|head| root.is_some_and(|root| head.parent_root[..] == root)))
    };
    match parent_is_root() {
        Err(error @ Error::Io(_)) => Err(error),
        outcome => Ok(outcome.unwrap_or(false)),
    }
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
mod tests {
    use super::*;
    use crate::column::ColumnSpec;
    use crate::read::{MappedReader, ReaderOptions, View};
    use crate::write::{Writer, WriterOptions};

    struct Made {
        directory: tempfile::TempDir,
    }

    impl Made {
        fn with(column: ColumnSpec, backfill: bool, puts: &[(u64, u8)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let options = WriterOptions::create(column).allow_backfill(backfill);
            let mut writer = Writer::open(directory.path(), options).unwrap();
            for (slot, byte) in puts {
                writer.put(Slot(*slot), &[*byte; 32]).unwrap();
            }
            Self { directory }
        }

        fn view(&self) -> View {
            MappedReader::open_trusted(self.directory.path(), ReaderOptions::default())
                .unwrap()
                .view()
        }
    }

    /// The first letter of each of the first `count` states.
    fn letters(slots: &FileSlots, count: usize) -> String {
        slots.states[..count].iter().map(|state| state.to_string().remove(0)).collect()
    }

    #[test]
    fn records_that_lie_after_those_of_later_slots_are_backfilled() {
        let puts = [(1, 0), (4, 0), (7, 0), (5, 0), (2, 0), (3, 0)];
        let made = Made::with(Column::StateSnapshots.spec(), true, &puts);
        let view = made.view();
        let slots = slots_of_file(&view, FileId(0), &Expected::Nothing).unwrap();
        assert_eq!(letters(&slots, 10), "epbbpbepee");
        assert!(slots.fault.is_none());
    }

    #[test]
    fn a_slot_without_a_root_is_missing_between_the_first_and_the_highest() {
        let made = Made::with(Column::BlockRoots.spec(), false, &[(2, 0), (3, 0), (6, 0)]);
        let view = made.view();
        let expected = Expected::of(Column::BlockRoots, &view, None, None).unwrap();
        let slots = slots_of_file(&view, FileId(0), &expected).unwrap();
        assert_eq!(letters(&slots, 9), "eeppmmpee");
        let slots = slots_of_file(&view, FileId(1), &expected).unwrap();
        assert!(slots.states.iter().all(|state| *state == SlotState::Empty));
        assert_eq!(expected.file_ids(&view).unwrap(), [FileId(0)]);
        let missing = |first, last| expected.missing_without_files(&view, Slot(first)..=Slot(last));
        assert_eq!(missing(0, 9000), Some(Slot(2)..=Slot(6)));
        assert_eq!((missing(0, 1), missing(7, 9000)), (None, None));
    }

    #[test]
    fn a_repeated_root_proves_a_skipped_slot_and_a_new_root_a_missing_block() {
        let of_slots = [1, 1, 2, 3, 3, 3, 4, 5];
        let roots: Vec<(u64, u8)> = (0..).zip(of_slots).collect();
        let roots = Made::with(Column::BlockRoots.spec(), false, &roots);
        let blocks = Made::with(Column::Blocks.spec(), false, &[(0, 0), (3, 0)]);
        let (roots, blocks) = (roots.view(), blocks.view());
        let expected = Expected::of(Column::Blocks, &blocks, Some(&roots), None).unwrap();
        let slots = slots_of_file(&blocks, FileId(0), &expected).unwrap();
        assert_eq!(letters(&slots, 10), "psmpssmmee");
    }

    /// The start of a signed block whose parent has the root `parent`.
    fn block(slot: u64, parent: u8) -> Vec<u8> {
        let mut block = vec![0; 184];
        block[..4].copy_from_slice(&100_u32.to_le_bytes());
        block[100..108].copy_from_slice(&slot.to_le_bytes());
        block[116..148].fill(parent);
        block[180..].copy_from_slice(&84_u32.to_le_bytes());
        block
    }

    #[test]
    fn the_first_slot_of_a_late_archive_was_skipped_if_the_next_block_names_its_root_as_parent() {
        let roots = Made::with(Column::BlockRoots.spec(), false, &[(8, 1), (9, 1), (10, 2)]);
        for (parent, wanted) in [(1, "eeeeeeeesspe"), (3, "eeeeeeeeespe")] {
            let directory = tempfile::tempdir().unwrap();
            let options = WriterOptions::create(Column::Blocks.spec());
            let mut writer = Writer::open(directory.path(), options).unwrap();
            writer.put(Slot(10), &block(10, parent)).unwrap();
            let blocks = Made { directory };
            let (roots, blocks) = (roots.view(), blocks.view());
            let expected = Expected::of(Column::Blocks, &blocks, Some(&roots), None).unwrap();
            let slots = slots_of_file(&blocks, FileId(0), &expected).unwrap();
            assert_eq!(letters(&slots, 12), wanted, "its parent is the block {parent}");
        }
    }

    /// Guards against an archive that seems to begin after its damage.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "the test damages files by hand")]
    fn a_first_file_that_is_lost_or_damaged_counts_from_its_first_slot() {
        let puts = [(3, 0), (4, 0), (8192, 0), (8193, 0)];
        for (name, is_removed, wanted) in [
            ("data_00000", true, "mmmmmm"),
            ("data_00000", false, "eeeddm"),
            ("data_00000.off", true, "mmmmmm"),
            ("data_00000.off", false, "mmmmmm"),
        ] {
            let made = Made::with(Column::BlockRoots.spec(), false, &puts);
            assert_eq!(lowest_slot(&made.view()).unwrap(), Some(Slot(3)));
            let path = made.directory.path().join(name);
            std::fs::remove_file(&path).unwrap();
            if !is_removed {
                std::fs::write(&path, b"").unwrap();
            }
            let view = made.view();
            let expected = Expected::of(Column::BlockRoots, &view, None, None).unwrap();
            let slots = slots_of_file(&view, FileId(0), &expected).unwrap();
            assert_eq!(letters(&slots, 6), wanted, "{name}, removed: {is_removed}");
        }
        let made = Made::with(Column::BlockRoots.spec(), false, &puts);
        for name in ["data_00000", "data_00000.off"] {
            std::fs::remove_file(made.directory.path().join(name)).unwrap();
        }
        let view = made.view();
        let missing = |begin| {
            let expected = Expected::of(Column::BlockRoots, &view, None, begin).unwrap();
            expected.missing_without_files(&view, Slot(0)..=Slot(8191))
        };
        assert_eq!(missing(None), None, "nothing tells of what was there");
        assert_eq!(missing(Some(Slot(3))), Some(Slot(3)..=Slot(8191)));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the test damages files by hand")]
    fn slots_of_a_removed_file_are_missing_and_of_a_truncated_one_damaged() {
        let puts = [(0, 0), (1, 0), (8192, 0), (8193, 0), (16384, 0)];
        let made = Made::with(Column::BlockRoots.spec(), false, &puts);
        let path = |name: &str| made.directory.path().join(name);
        let data = std::fs::read(path("data_00001")).unwrap();
        let of_second = || {
            let view = made.view();
            let expected = Expected::of(Column::BlockRoots, &view, None, None).unwrap();
            slots_of_file(&view, FileId(1), &expected).unwrap()
        };
        assert_eq!(letters(&of_second(), 3), "ppm");
        std::fs::write(path("data_00001"), &data[..50]).unwrap();
        assert_eq!(letters(&of_second(), 3), "pdm", "the entry is past the end");
        std::fs::remove_file(path("data_00001")).unwrap();
        let gone = of_second();
        assert_eq!(letters(&gone, 3), "mmm");
        assert!(gone.fault.unwrap().is_corrupt());
        std::fs::write(path("data_00001"), &data).unwrap();
        std::fs::write(path("data_00001.off"), vec![0; 70_000]).unwrap();
        assert_eq!(letters(&of_second(), 3), "ddd");
    }
}
