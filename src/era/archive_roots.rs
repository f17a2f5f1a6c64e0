//! Compares the roots of an era with the roots in the archive.

use std::ops::RangeInclusive;
use std::path::Path;

use super::group::{EraGroup, EraState};
use super::import_error::{ImportError, another_chain, refused};
use super::import_options::ImportColumns;
use super::verified_era::VerifiedEra;
use crate::column::Column;
use crate::error::Result;
use crate::format::ssz::{STATE_HEAD_BYTES, StateHead};
use crate::read::{PreadView, ReaderOptions, Snapshot as _};
use crate::slot::Slot;
use crate::write::Writer;

/// A view of the writer's column; `None` if the column is still to be created.
pub(super) fn view_of(writer: &Writer) -> Result<Option<PreadView>> {
    if writer.is_to_be_created() {
        return Ok(None);
    }
    Ok(Some(writer.reader(ReaderOptions::default())?.view()))
}

/// The slot up to which no block is missing after the last one: every later slot up to it repeats the
/// root of the last block, so it was skipped.
pub(super) fn complete_blocks(
    end: Option<Slot>,
    roots: Option<&PreadView>,
) -> Result<Option<Slot>> {
    let Some(roots) = roots else { return Ok(end) };
    let (Some(end), Some(highest)) = (end, roots.highest_written_slot()) else { return Ok(end) };
    if highest <= end {
        return Ok(Some(end));
    }
    let root = roots.get(end)?;
    let repeats = root.is_some() && roots.get(highest).is_ok_and(|last| last == root);
    Ok(Some(if repeats { highest } else { end }))
}

/// The genesis validators root in the first state of `bss`; `None` if it does not parse as a state.
pub(super) fn genesis_of(snapshots: &Writer) -> Result<Option<[u8; 32]>> {
    let Some(view) = view_of(snapshots)? else { return Ok(None) };
    let Some(slot) = view.first_from(Slot(0))? else { return Ok(None) };
    let mut head = Vec::new();
    view.get_range_into(slot, 0..STATE_HEAD_BYTES as u64, &mut head)?;
    let head = StateHead::parse(&head).ok().filter(|head| head.slot == slot);
    Ok(head.map(|head| head.genesis_validators_root))
}

/// Refuses an era whose roots differ from the roots in `bbr` and `bsr`, as far as these have them.
/// `held` has the highest slot of the era in each.
pub(super) fn check_held(
    columns: &ImportColumns<'_>,
    path: &Path,
    group: &EraGroup,
    state: &EraState,
    held: [Option<Slot>; 2],
) -> Result<(), ImportError> {
    let (Some(slots), Some(roots)) = (group.slots, &state.roots) else { return Ok(()) };
    let of_columns =
        [(Column::BlockRoots, &roots.block_roots), (Column::StateRoots, &roots.state_roots)];
    for ((column, roots), highest) in of_columns.into_iter().zip(held) {
        let Some(highest) = highest else { continue };
        let root_of = |slot| roots.get(slots.index_of(slot)?);
        // The highest first: it reveals another chain, whatever else is wrong.
        for held in [highest..=highest, slots.first..=highest] {
            check_roots(columns, column, path, group, held, root_of)?;
        }
    }
    Ok(())
}

/// Checks that the block root before an era equals the last block root of the preceding era, which is in
/// the same file (`verified`) or in the archive. An archive that begins with this era has none.
pub(super) fn check_link(
    columns: &ImportColumns<'_>,
    path: &Path,
    era: &VerifiedEra,
    verified: Option<&VerifiedEra>,
) -> Result<(), ImportError> {
    let Some((slot, root)) = era.before else { return Ok(()) };
    let group = &era.group;
    let verified = verified.filter(|before| before.group.era.checked_add(1) == Some(group.era));
    match verified.and_then(|before| before.last_root) {
        None => check_roots(columns, Column::BlockRoots, path, group, slot..=slot, |_| Some(&root)),
        Some(wanted) if wanted == root => Ok(()),
        Some(wanted) => {
            let other = "the era before it in this file";
            Err(another_chain(path, group.era, slot, "block root", &root, other, &wanted))
        }
    }
}

/// Refuses an era whose roots differ from those of a range of slots in the column, as far as the column has
/// them.
fn check_roots<'r>(
    columns: &ImportColumns<'_>,
    column: Column,
    path: &Path,
    group: &EraGroup,
    slots: RangeInclusive<Slot>,
    root_of: impl Fn(Slot) -> Option<&'r [u8; 32]>,
) -> Result<(), ImportError> {
    let view = view_of(columns.history(column)).map_err(refused(path, group, column))?;
    let Some(view) = view else { return Ok(()) };
    for record in view.range(slots) {
        let held = record.map_err(refused(path, group, column))?;
        let slot = held.slot();
        if let Some(root) = root_of(slot).filter(|root| held[..] != root[..]) {
            let what = if column == Column::BlockRoots { "block root" } else { "state root" };
            return Err(another_chain(path, group.era, slot, what, root, "the archive", &held));
        }
    }
    Ok(())
}
