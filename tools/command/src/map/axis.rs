//! The slots of a map, in rows of cells.

use std::ops::RangeInclusive;

use coldstore::{SLOTS_PER_FILE, Slot};

use crate::chain::Chain;
use crate::dates;

/// Rows of cells in the order of slots. The slots per row are a power of two, so a row is a part of a
/// file, a file, or several whole files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// The first slot of the map.
    pub(crate) first: Slot,
    /// The last slot of the map.
    pub(crate) last: Slot,
    /// The first slot of the first row: at or before `first`.
    start: u64,
    pub(crate) slots_per_row: u64,
    pub(crate) cells_per_row: u64,
}

impl Axis {
    /// Chooses the smallest number of slots per row that needs at most `max_rows` rows.
    pub(crate) fn new(first: Slot, last: Slot, cells_per_row: u64, max_rows: u64) -> Self {
        let mut slots_per_row = cells_per_row;
        while rows(first, last, slots_per_row) > max_rows && slots_per_row < 1 << 62 {
            slots_per_row *= 2;
        }
        let start = first.0 - first.0 % slots_per_row;
        Self { first, last, start, slots_per_row, cells_per_row }
    }

    /// Switches to one row per file, if rows would hold several files.
    pub(crate) fn by_files(self, max_rows: u64) -> Self {
        if self.slots_per_row <= SLOTS_PER_FILE || self.cells_per_row > SLOTS_PER_FILE {
            return self;
        }
        if rows(self.first, self.last, SLOTS_PER_FILE) > max_rows {
            return Self::new(self.first, self.last, self.cells_per_row, max_rows);
        }
        let start = self.first.0 - self.first.0 % SLOTS_PER_FILE;
        Self { start, slots_per_row: SLOTS_PER_FILE, ..self }
    }

    pub(crate) fn rows(&self) -> u64 {
        rows(self.first, self.last, self.slots_per_row)
    }

    pub(crate) fn cells(&self) -> usize {
        usize::try_from(self.rows() * self.cells_per_row).unwrap_or(usize::MAX)
    }

    pub(crate) fn slots_per_cell(&self) -> u64 {
        self.slots_per_row / self.cells_per_row
    }

    /// The cell of a slot; `None` outside the axis.
    pub(crate) fn cell_of(&self, slot: Slot) -> Option<usize> {
        if slot < self.first || slot > self.last {
            return None;
        }
        usize::try_from((slot.0 - self.start) / self.slots_per_cell()).ok()
    }

    /// Splits a range of slots by cell.
    pub(crate) fn cells_in(
        &self,
        slots: RangeInclusive<Slot>,
    ) -> impl Iterator<Item = (RangeInclusive<Slot>, usize)> + '_ {
        let (mut next, last) = (*slots.start(), (*slots.end()).min(self.last));
        std::iter::from_fn(move || {
            let cell = self.cell_of(next).filter(|_| next <= last)?;
            let in_cell = (next.0 - self.start) % self.slots_per_cell();
            let end = next.0.saturating_add(self.slots_per_cell() - 1 - in_cell).min(last.0);
            let part = next..=Slot(end);
            next = Slot(end.saturating_add(1));
            Some((part, cell))
        })
    }

    /// The cells of a row.
    pub(crate) fn cells_of<'c, T>(&self, row: u64, cells: &'c [T]) -> &'c [T] {
        let width = usize::try_from(self.cells_per_row).unwrap_or(usize::MAX);
        let start = usize::try_from(row).unwrap_or(usize::MAX).saturating_mul(width);
        cells.get(start..start.saturating_add(width)).unwrap_or_default()
    }

    pub(crate) fn row_start(&self, row: u64) -> Slot {
        Slot(self.start + row * self.slots_per_row)
    }
}

/// The label of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowLabel {
    pub(crate) file: String,
    pub(crate) slot: String,
    /// The era whose file holds the slot's block.
    pub(crate) era: Option<String>,
    pub(crate) day: Option<String>,
}

impl RowLabel {
    pub(crate) fn of(slot: Slot, chain: &Chain) -> Self {
        Self {
            file: slot.file_id().to_string(),
            slot: slot.to_string(),
            era: chain.slots_per_era.map(|slots| (slot.0 / slots + 1).to_string()),
            day: chain.time_of(slot).map(dates::day),
        }
    }
}

fn rows(first: Slot, last: Slot, slots_per_row: u64) -> u64 {
    last.0 / slots_per_row - first.0 / slots_per_row + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_short_as_fits_and_never_cross_a_file_in_part() {
        let axis = Axis::new(Slot(0), Slot(575), 32, 32);
        assert_eq!((axis.rows(), axis.slots_per_row, axis.slots_per_cell()), (18, 32, 1));
        let axis = Axis::new(Slot(0), Slot(14_745_599), 32, 32);
        assert_eq!((axis.rows(), axis.slots_per_row), (29, 524_288));
        let axis = Axis::new(Slot(100_000), Slot(116_000), 32, 32);
        assert_eq!((axis.slots_per_row, axis.row_start(0)), (512, Slot(99_840)));
        assert_eq!(axis.cell_of(Slot(100_000)), Some(10));
        assert_eq!((axis.cell_of(Slot(99_999)), axis.cell_of(Slot(116_001))), (None, None));
        let last = axis.cell_of(Slot(116_000)).unwrap();
        assert!(last < axis.cells() && last >= axis.cells() - 32);
        let parts: Vec<_> = axis.cells_in(Slot(100_010)..=Slot(100_050)).collect();
        let wanted = [
            (Slot(100_010)..=Slot(100_015), 10),
            (Slot(100_016)..=Slot(100_031), 11),
            (Slot(100_032)..=Slot(100_047), 12),
            (Slot(100_048)..=Slot(100_050), 13),
        ];
        assert_eq!(parts, wanted);
        assert_eq!(axis.cells_in(Slot(116_000)..=Slot(116_001)).count(), 1);
        let axis = Axis::new(Slot(0), Slot::MAX, 32, 32);
        assert!(axis.rows() <= 32);
        assert_eq!(axis.cells_in(Slot(0)..=Slot::MAX).count(), axis.cells());
    }

    #[test]
    fn every_file_has_a_row_where_there_is_room() {
        let axis = Axis::new(Slot(0), Slot(14_745_599), 64, 64).by_files(4096);
        assert_eq!((axis.rows(), axis.slots_per_row), (1800, 8192));
        let axis = Axis::new(Slot(0), Slot(14_745_599), 64, 64).by_files(1000);
        assert_eq!((axis.rows(), axis.slots_per_row), (900, 16_384));
        let small = Axis::new(Slot(0), Slot(575), 64, 64);
        assert_eq!(small.by_files(4096), small);
    }
}
