//! Compares the roots of an era with the roots in the archive.

use std::path::Path;

use super::columns::ImportColumns;
use super::error::{AnotherChain, ImportError, refused};
use super::group::Group;
use super::group_records::EraState;
use super::ssz::{Root, STATE_HEAD_BYTES, StateHead};
use super::verify::Verified;
use crate::column::Column;
use crate::error::Result;
use crate::read::{Reader, ReaderOptions, View};
use crate::slot::Slot;
use crate::write::Writer;

/// A view of the writer's column; `None` if the column is still to be created.
pub(super) fn view_of(writer: &Writer) -> Result<Option<View>> {
    if writer.is_to_be_created() {
        return Ok(None);
    }
    let reader = Reader::open_mapped(writer.directory(), ReaderOptions::default())?;
    Ok(Some(reader.view()))
}

fn root_at(view: &View, slot: Slot) -> Result<Option<Vec<u8>>> {
    Ok(view.get(slot)?.map(std::borrow::Cow::into_owned))
}

/// The slot up to which no block is missing after the last one: every later slot up to it repeats the
/// root of the last block, so it was skipped.
pub(super) fn complete_blocks(end: Option<Slot>, roots: Option<&View>) -> Result<Option<Slot>> {
    let Some(roots) = roots else { return Ok(end) };
    let (Some(end), Some(highest)) = (end, roots.highest_written_slot()) else { return Ok(end) };
    if highest <= end {
        return Ok(Some(end));
    }
    let repeats = root_at(roots, end)?.is_some_and(|root| {
        root_at(roots, highest).is_ok_and(|last| last.as_deref() == Some(&*root))
    });
    Ok(Some(if repeats { highest } else { end }))
}

/// The genesis validators root in the first state of `bss`; `None` if it does not parse as a state.
pub(super) fn genesis_of(snapshots: &Writer) -> Result<Option<Root>> {
    let Some(view) = view_of(snapshots)? else { return Ok(None) };
    let record = view.at_or_after(Slot(0))?;
    let head = record.as_ref().and_then(|record| {
        let head = StateHead::parse(record.stored().get(..STATE_HEAD_BYTES)?).ok()?;
        (head.slot == record.slot()).then_some(head.genesis_validators_root)
    });
    Ok(head)
}

/// Refuses an era whose roots differ from the roots in `bbr` and `bsr`, as far as these have them.
/// `held` has the highest slot of the era in each.
pub(super) fn check_held(
    columns: &ImportColumns<'_>,
    path: &Path,
    group: &Group,
    state: &EraState,
    held: [Option<Slot>; 2],
) -> Result<(), ImportError> {
    let (Some(slots), Some(roots)) = (group.slots, &state.roots) else { return Ok(()) };
    let of_columns = [
        (Column::BlockRoots, &*columns.block_roots, &roots.block_roots),
        (Column::StateRoots, &*columns.state_roots, &roots.state_roots),
    ];
    for ((column, writer, roots), highest) in of_columns.into_iter().zip(held) {
        let Some(highest) = highest else { continue };
        let view = view_of(writer).map_err(|error| refused(path, group, column, error))?;
        let Some(view) = view else { continue };
        // The highest first: it reveals another chain, whatever else is wrong.
        let every_slot = (slots.first.0..).map(Slot).zip(roots);
        let last = slots.index_of(highest).and_then(|place| Some((highest, roots.get(place)?)));
        let below = every_slot.take_while(|(slot, _)| *slot < highest);
        for (slot, root) in last.into_iter().chain(below) {
            check_root(&view, column, path, group, slot, root)?;
        }
    }
    Ok(())
}

/// Checks that the block root before an era equals the last block root of the preceding era, which may be
/// in these files or in the archive. An archive that begins with this era has none.
pub(super) fn check_link(
    columns: &ImportColumns<'_>,
    path: &Path,
    era: &Verified,
    verified: Option<&Verified>,
) -> Result<(), ImportError> {
    let Some((slot, root)) = era.before else { return Ok(()) };
    let verified =
        verified.filter(|verified| verified.group.era.checked_add(1) == Some(era.group.era));
    let Some(wanted) = verified.and_then(|era| era.last_root) else {
        let (column, group) = (Column::BlockRoots, &era.group);
        let view =
            view_of(columns.block_roots).map_err(|error| refused(path, group, column, error))?;
        return view.map_or(Ok(()), |view| check_root(&view, column, path, group, slot, &root));
    };
    if wanted == root {
        return Ok(());
    }
    let mismatch = AnotherChain {
        file: path.to_path_buf(),
        era: era.group.era,
        slot,
        what: "block root",
        found: root,
        other: "the era before it in these files".to_owned(),
        wanted: Some(wanted),
    };
    Err(mismatch.into())
}

/// Refuses an era whose root of a slot differs from the root in the column, if the column has one.
fn check_root(
    view: &View,
    column: Column,
    path: &Path,
    group: &Group,
    slot: Slot,
    root: &Root,
) -> Result<(), ImportError> {
    let held = view.get(slot);
    let Some(held) = held.map_err(|source| refused(path, group, column, source))? else {
        return Ok(());
    };
    if held[..] == root[..] {
        return Ok(());
    }
    let what = if column == Column::BlockRoots { "block root" } else { "state root" };
    Err(another(path, group, slot, what, *root, held[..].try_into().ok()))
}

fn another(
    path: &Path,
    group: &Group,
    slot: Slot,
    what: &'static str,
    found: Root,
    wanted: Option<Root>,
) -> ImportError {
    let (file, era, other) = (path.to_path_buf(), group.era, "the archive".to_owned());
    AnotherChain { file, era, slot, what, found, other, wanted }.into()
}
