//! What the manifest learns when an import has ended.

use std::path::Path;

use coldstore::era::import::States;
use coldstore::era::{EraReport, ImportReport, StateOutcome};
use coldstore::occupancy::{Expected, SlotState, slots_of_file};
use coldstore::{Archive, Column, Error, Manifest, Result, Slot, View};

use super::proof::Proof;
use crate::open;

/// What was asked for, as far as it decides what is known afterwards.
pub(super) struct Known<'a> {
    pub(super) done: &'a ImportReport,
    pub(super) proof: Option<&'a Proof>,
    /// Which states a refill brings back, and how many slots an era has. `None` without a refill.
    pub(super) refilled: Option<(States, Option<u64>)>,
}

impl Known<'_> {
    /// Records it.
    pub(super) fn record(&self, root: &Path) -> Result<Manifest> {
        // A newest state is called unproved there, until it is known better.
        coldstore::archive::record(root)?;
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
                    // No .era file has state differences.
                    (Column::StateDiffs, _) | (Column::StateSnapshots, None) => Some(pruned),
                    (Column::StateSnapshots, Some(slots)) => {
                        let boundaries = Boundaries { first, slots, states };
                        boundaries.lacking_before(view_of(&archive, column)?.as_ref(), pruned)?
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

fn view_of(archive: &Archive, column: Column) -> Result<Option<View>> {
    match archive.column(column) {
        Ok(reader) => Ok(Some(reader.view())),
        Err(Error::NoSuchColumn { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Down to which slot a column of blocks or roots has again everything from `first` on that was
/// pruned; `None` when it has all of it.
fn lacking_before(
    archive: &Archive,
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

/// The slots whose states an import keeps.
struct Boundaries {
    first: Slot,
    slots: u64,
    states: States,
}

impl Boundaries {
    /// As [`lacking_before`].
    fn lacking_before(&self, view: Option<&View>, pruned: Slot) -> Result<Option<Slot>> {
        let Some(view) = view else { return Ok(Some(pruned)) };
        // The state that an era begins with belongs to the era before it.
        let first_era = match self.first.0 {
            0 => 0,
            first => first / self.slots + 1,
        };
        for era in (first_era..pruned.0.div_ceil(self.slots)).rev() {
            let slot = Slot(era * self.slots);
            if self.states.selects(era) && !view.contains(slot)? {
                return Ok(slot.next());
            }
        }
        Ok(None)
    }
}
