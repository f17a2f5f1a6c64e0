//! Counts the states of all slots of each column into the cells of a map.

pub(crate) mod axis;
pub(crate) mod svg;
pub(crate) mod terminal;

use std::ops::AddAssign;

use anyhow::Result;
use coldstore::{Column, Error, FileId, PreadView, Slot};
use coldstore_history::occupancy::{Expected, SlotState, lowest_slot, slots_of_file};

pub(crate) use self::axis::Axis;
use crate::absence::is_of_states;
use crate::failure;
use crate::layers::Layers;

/// Number of slots by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts([u64; SlotState::ALL.len()]);

impl Counts {
    pub(crate) fn of(&self, state: SlotState) -> u64 {
        self.0[state as usize]
    }

    pub(crate) fn count(&mut self, state: SlotState, slots: u64) {
        self.0[state as usize] += slots;
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Slots with a record.
    pub(crate) fn records(&self) -> u64 {
        self.of(SlotState::Present) + self.of(SlotState::Backfilled)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

/// The shade of a cell, by the worst state of its slots, even of a single one: damaged, unreadable,
/// missing; then records, in four shades by the share of slots with a record; then pruned and skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shade {
    Empty,
    Skipped,
    Pruned,
    /// 0 to 3.
    Present(u8),
    /// 0 to 3.
    Backfilled(u8),
    Missing,
    Unreadable,
    Damaged,
}

impl Shade {
    pub(crate) fn of(counts: &Counts) -> Self {
        let (records, total) = (counts.records(), counts.total());
        if counts.of(SlotState::Damaged) > 0 {
            return Shade::Damaged;
        }
        if counts.of(SlotState::Unreadable) > 0 {
            return Shade::Unreadable;
        }
        if counts.of(SlotState::Missing) > 0 {
            return Shade::Missing;
        }
        let level = match records * 8 {
            0 if counts.of(SlotState::Pruned) > 0 => return Shade::Pruned,
            0 if counts.of(SlotState::Skipped) > 0 => return Shade::Skipped,
            0 => return Shade::Empty,
            eighths if eighths >= total * 7 => 3,
            eighths if eighths >= total * 4 => 2,
            eighths if eighths >= total => 1,
            _ => 0,
        };
        if counts.of(SlotState::Backfilled) > counts.of(SlotState::Present) {
            Shade::Backfilled(level)
        } else {
            Shade::Present(level)
        }
    }
}

/// Consecutive slots that are missing or damaged; skipped slots do not separate them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotRange {
    pub(crate) state: SlotState,
    pub(crate) first: Slot,
    pub(crate) last: Slot,
    /// The error of the first unreadable file.
    pub(crate) why: Option<String>,
}

/// One column of the archive.
#[derive(Debug)]
pub(crate) struct ColumnMap {
    pub(crate) column: Column,
    pub(crate) lowest: Option<Slot>,
    pub(crate) highest: Option<Slot>,
    pub(crate) totals: Counts,
    pub(crate) files: Vec<(FileId, Counts)>,
    pub(crate) findings: Vec<SlotRange>,
    /// Records below this slot were pruned.
    pruned_before: Slot,
    /// Counts by cell of the axis.
    pub(crate) cells: Vec<Counts>,
    /// The records shown by layer, in the columns of states of an archive with layers.
    pub(crate) layers: Option<Layers>,
    /// The slot at which the last finding may continue.
    open_end: Option<Slot>,
}

impl ColumnMap {
    /// Counts the slots of a column on the axis. `begin` is the archive's first slot, if recorded.
    pub(crate) fn draw(
        column: Column,
        view: &PreadView,
        roots: Option<&PreadView>,
        (begin, pruned_before): (Option<Slot>, Option<Slot>),
        layers: Option<Layers>,
        axis: &Axis,
    ) -> Result<Self> {
        let mut map = Self {
            column,
            lowest: lowest_slot(view)?,
            highest: view.highest_written_slot(),
            totals: Counts::default(),
            files: Vec::new(),
            findings: Vec::new(),
            pruned_before: pruned_before.unwrap_or(Slot(0)),
            cells: vec![Counts::default(); axis.cells()],
            layers: layers.filter(|_| is_of_states(column)),
            open_end: None,
        };
        let expected = Expected::of(column, view, roots, begin)?;
        let shown = axis.first.file_id()..=axis.last.file_id();
        let mut next = axis.first;
        for file_id in expected.file_ids(view)?.into_iter().filter(|id| shown.contains(id)) {
            map.skip_to(file_id.first_slot(), &mut next, view, &expected, axis);
            map.look_at(file_id, view, &expected, axis)?;
            next = file_id.last_slot().next().unwrap_or(Slot::MAX);
        }
        let behind = axis.last.next().unwrap_or(Slot::MAX);
        map.skip_to(behind, &mut next, view, &expected, axis);
        Ok(map)
    }

    fn look_at(
        &mut self,
        file_id: FileId,
        view: &PreadView,
        expected: &Expected<'_>,
        axis: &Axis,
    ) -> Result<()> {
        let file = slots_of_file(view, file_id, expected)?;
        let mut counts = Counts::default();
        for (index, state) in file.states.into_iter().enumerate() {
            let slot = file_id.slot_at(index);
            let state = if slot < self.pruned_before { state.below_pruned() } else { state };
            if let Some(cell) = axis.cell_of(slot) {
                self.cells[cell].count(state, 1);
                counts.count(state, 1);
                if matches!(state, SlotState::Present | SlotState::Backfilled)
                    && let Some(layers) = &mut self.layers
                {
                    layers.count(self.column, slot, 0);
                }
                self.find(slot, slot, state, file.fault.as_ref());
            }
        }
        self.totals += counts;
        self.files.push((file_id, counts));
        Ok(())
    }

    /// Counts slots without a file, from `next` to before `end`.
    fn skip_to(
        &mut self,
        end: Slot,
        next: &mut Slot,
        view: &PreadView,
        expected: &Expected<'_>,
        axis: &Axis,
    ) {
        let Some(last) = end.previous().filter(|last| *last >= *next) else { return };
        let slots = *next..=last;
        let pruned_before = self.pruned_before;
        let missing = expected.missing_without_files(view, slots.clone());
        let missing = missing.map(|missing| (*missing.start()).max(pruned_before)..=*missing.end());
        let missing = missing.filter(|missing| !missing.is_empty());
        let mut counts = Counts::default();
        for (range, cell) in axis.cells_in(slots) {
            let total = range.end().0 - range.start().0 + 1;
            let missing = missing.as_ref().map_or(0, |missing| {
                let (first, last) =
                    (*missing.start().max(range.start()), *missing.end().min(range.end()));
                if first <= last { last.0 - first.0 + 1 } else { 0 }
            });
            let pruned = pruned_before.0.min(range.end().0 + 1).saturating_sub(range.start().0);
            for (state, count) in [
                (SlotState::Missing, missing),
                (SlotState::Pruned, pruned),
                (SlotState::Empty, total - missing - pruned),
            ] {
                self.cells[cell].count(state, count);
                counts.count(state, count);
            }
        }
        self.totals += counts;
        if let Some(missing) = missing {
            self.find(*missing.start(), *missing.end(), SlotState::Missing, None);
        }
    }

    /// Adds missing or damaged slots to the findings.
    fn find(&mut self, first: Slot, end: Slot, state: SlotState, fault: Option<&Error>) {
        let goes_on = self.open_end == Some(first);
        if state == SlotState::Skipped && goes_on {
            self.open_end = end.next();
        }
        let is_bad =
            [SlotState::Missing, SlotState::Damaged, SlotState::Unreadable].contains(&state);
        if !is_bad {
            return;
        }
        self.open_end = end.next();
        // An unreadable file starts a new finding.
        let is_new_fault = fault.is_some() && first.index_in_file() == 0;
        match self.findings.last_mut() {
            Some(last) if last.state == state && goes_on && !is_new_fault => last.last = end,
            _ => {
                let why = fault.map(|fault| failure::sentence(&fault.clone().into()));
                self.findings.push(SlotRange { state, first, last: end, why });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(SlotState, u64)]) -> Counts {
        let mut counts = Counts::default();
        for (state, count) in of {
            counts.0[*state as usize] = *count;
        }
        counts
    }

    #[test]
    fn a_cell_shows_the_worst_of_its_slots_and_how_many_are_there() {
        use SlotState::{
            Backfilled, Damaged, Empty, Missing, Present, Pruned, Skipped, Unreadable,
        };
        for (of, shade) in [
            (&[(Empty, 9)][..], Shade::Empty),
            (&[(Skipped, 1), (Empty, 9)], Shade::Skipped),
            (&[(Skipped, 9), (Pruned, 1)], Shade::Pruned),
            (&[(Present, 1), (Pruned, 9)], Shade::Present(0)),
            (&[(Missing, 1), (Pruned, 9)], Shade::Missing),
            (&[(Present, 1), (Empty, 9)], Shade::Present(0)),
            (&[(Present, 2), (Empty, 9)], Shade::Present(1)),
            (&[(Present, 5), (Skipped, 5)], Shade::Present(2)),
            (&[(Present, 99), (Skipped, 1)], Shade::Present(3)),
            (&[(Present, 3), (Backfilled, 4)], Shade::Backfilled(3)),
            (&[(Present, 8191), (Missing, 1)], Shade::Missing),
            (&[(Present, 8190), (Missing, 1), (Unreadable, 1)], Shade::Unreadable),
            (&[(Unreadable, 8190), (Missing, 1), (Damaged, 1)], Shade::Damaged),
        ] {
            assert_eq!(Shade::of(&counts(of)), shade, "{of:?}");
        }
    }
}
