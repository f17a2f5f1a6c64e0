//! Updates the manifest at the end of an import.

use std::path::Path;

use coldstore::era::{EraReport, ImportReport, StateOutcome};
use coldstore::{Column, Error, Manifest, MappedArchive, Result, Slot, StatesPolicy, View};
use coldstore_history::occupancy::{Expected, SlotState, slots_of_file};
use coldstore_history::states::stored::Stored;

use super::proof::Proof;
use crate::open;

/// The inputs of the update.
pub(super) struct Known<'a> {
    pub(super) done: &'a ImportReport,
    pub(super) proof: Option<&'a Proof>,
    /// The states restored by a refill, and the slots per era; `None` without a refill.
    pub(super) refilled: Option<(StatesPolicy, Option<u64>)>,
}

impl Known<'_> {
    /// Writes the manifest.
    pub(super) fn record(&self, root: &Path) -> Result<Manifest> {
        // This marks the newest state as unproved; below, a proof clears the mark.
        coldstore::archive::record(root, &Column::ALL)?;
        let archive = open::archive(root)?;
        Manifest::update(root, |manifest| {
            manifest.unproved_state =
                manifest.unproved_state.filter(|newest| !self.vouches_for(*newest));
            manifest.first_slot = manifest.first_slot.or(self.done.first_slot);
            let Some((states, slots_per_era)) = self.refilled else { return Ok(()) };
            let first = manifest.first_slot.unwrap_or_default();
            for column in Column::ALL {
                let Some(pruned) = manifest.column(column).pruned_before else { continue };
                let left = match (column, slots_per_era) {
                    // Era files have no states but those at their ends, of which some may be diffs.
                    (Column::StateSnapshots | Column::StateDiffs, None) => Some(pruned),
                    (Column::StateDiffs, _) if states != StatesPolicy::Layered => Some(pruned),
                    (Column::StateSnapshots | Column::StateDiffs, Some(slots)) => {
                        let boundaries = Boundaries { first, slots, states };
                        let snapshots = view_of(&archive, Column::StateSnapshots)?;
                        let diffs = view_of(&archive, Column::StateDiffs)?;
                        let stored = Stored::new(snapshots.as_ref(), diffs.as_ref());
                        boundaries.lacking_before(stored, pruned)?
                    }
                    _ => lacking_before(&archive, column, first, pruned)?,
                };
                manifest.column_mut(column).pruned_before = left;
            }
            Ok(())
        })
    }

    /// Whether a trusted root vouches for the archive's newest state.
    fn vouches_for(&self, newest: Slot) -> bool {
        let is_stored =
            |era: &EraReport| era.state_slot == newest && era.state == StateOutcome::Stored;
        let stored = self.done.eras.iter().any(is_stored);
        self.proof.is_some_and(|proof| proof.vouches_for(newest, stored))
    }
}

fn view_of(archive: &MappedArchive, column: Column) -> Result<Option<View>> {
    match archive.column(column) {
        Ok(reader) => Ok(Some(reader.view())),
        Err(Error::NoSuchColumn { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The slot below which a column of blocks or roots still lacks pruned records from `first` on; `None`
/// if it has all of them.
fn lacking_before(
    archive: &MappedArchive,
    column: Column,
    first: Slot,
    pruned: Slot,
) -> Result<Option<Slot>> {
    let Some(view) = view_of(archive, column)? else { return Ok(Some(pruned)) };
    let roots = view_of(archive, Column::BlockRoots)?;
    let expected = Expected::of(column, &view, roots.as_ref(), Some(first))?;
    let is_there = |state: &SlotState| {
        matches!(state, SlotState::Present | SlotState::Backfilled | SlotState::Skipped)
    };
    let mut left = pruned;
    while let Some(last) = left.previous().filter(|last| *last >= first) {
        let file = slots_of_file(&view, last.file_id(), &expected)?;
        let below = file.states.get(..=last.index_in_file()).unwrap_or_default();
        let again = below.iter().rev().take_while(|state| is_there(state)).count() as u64;
        left = Slot(left.0 - again);
        if again == 0 || !left.0.is_multiple_of(coldstore::SLOTS_PER_FILE) {
            break;
        }
    }
    Ok(Some(left).filter(|left| *left > first))
}

/// The boundary states that an import keeps.
struct Boundaries {
    first: Slot,
    slots: u64,
    states: StatesPolicy,
}

impl Boundaries {
    /// Like the function [`lacking_before`], for states.
    fn lacking_before(&self, stored: Stored<'_, View>, pruned: Slot) -> Result<Option<Slot>> {
        // The state at the start of an era belongs to the era before it.
        let first_era = match self.first.0 {
            0 => 0,
            first => first / self.slots + 1,
        };
        for era in (first_era..pruned.0.div_ceil(self.slots)).rev() {
            let slot = Slot(era * self.slots);
            if self.states.selects(era) && !stored.contains(slot)? {
                return Ok(slot.next());
            }
        }
        Ok(None)
    }
}
