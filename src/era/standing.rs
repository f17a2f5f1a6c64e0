//! Where an era stands to what an archive holds already.

use std::path::Path;

use super::error::{AnotherChain, ImportError};
use super::group::{EraSlots, Group};
use super::import::ImportColumns;
use super::reader::EraState;
use super::ssz::Root;
use super::verify::Verified;
use crate::column::Column;
use crate::error::Error;
use crate::slot::Slot;

/// Where an era stands to what the archive holds.
pub(super) enum Standing {
    /// The archive has it.
    Present(EraSlots),
    /// It comes next.
    Next,
}

/// Decides where the era of a group stands. `before` are the slots of the era before it, if that is
/// still to be committed.
pub(super) fn of(
    columns: &mut ImportColumns<'_>,
    path: &Path,
    group: &Group,
    before: Option<EraSlots>,
) -> Result<Standing, ImportError> {
    let era = group.era;
    let Some(slots) = group.slots else { return Ok(Standing::Next) };
    let present = columns.block_roots.contains(slots.last);
    if present.map_err(|source| refused(path, era, source))? {
        return Ok(Standing::Present(slots));
    }
    let held = columns.block_roots.highest_written_slot();
    let end = before.map(|slots| slots.last).or(held);
    let not_consecutive =
        |why| Err(ImportError::NotConsecutive { file: path.to_path_buf(), era, slots, why });
    if let Some(why) = unfinished(columns, slots, end) {
        return not_consecutive(why);
    }
    let Some(end) = end else { return Ok(Standing::Next) };
    let next = end.0.saturating_add(1);
    if end >= slots.last {
        return not_consecutive(format!(
            "the archive ends with slot {end} and has no block root of slot {}; eras are only \
             added at its end",
            slots.last
        ));
    }
    if next >= slots.first.0 {
        return Ok(Standing::Next);
    }
    if !next.is_multiple_of(slots.count()) {
        return not_consecutive(format!(
            "the archive ends with slot {end}, which is not the end of an era of {} slots",
            slots.count()
        ));
    }
    Err(ImportError::MissingEras {
        first: next.checked_div(slots.count()).unwrap_or_default().saturating_add(1),
        last: era.saturating_sub(1),
        archive_last: end,
        era,
        file: path.to_path_buf(),
    })
}

/// An import that was interrupted leaves blocks and state roots of an era without its block
/// roots. Another era must not be put behind that torn one.
fn unfinished(columns: &ImportColumns<'_>, slots: EraSlots, end: Option<Slot>) -> Option<String> {
    let highest = [
        (Column::Blocks, columns.blocks.highest_written_slot()),
        (Column::StateRoots, columns.state_roots.highest_written_slot()),
    ];
    highest.into_iter().find_map(|(column, highest)| {
        let highest = highest.filter(|highest| Some(*highest) > end)?;
        if slots.index_of(highest).is_some() {
            return None;
        }
        let block_roots = match end {
            Some(end) => format!("bbr ends with slot {end}"),
            None => "bbr is empty".to_owned(),
        };
        Some(format!(
            "{column} holds slots up to {highest} but {block_roots}: the era of slot {highest} is \
             unfinished and has to be imported first"
        ))
    })
}

/// The last block root before an era is the one that the era before it has, in these files or in
/// the archive. An archive that begins with this era has none.
pub(super) fn check_link(
    columns: &mut ImportColumns<'_>,
    path: &Path,
    era: &Verified,
    verified: Option<&Verified>,
) -> Result<(), ImportError> {
    let Some((slot, root)) = era.before else { return Ok(()) };
    let Some(wanted) = verified.and_then(|era| era.last_root) else {
        return check_root(columns, path, era.group.era, slot, &root);
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

/// Somebody else may have written the first block roots of an era: then they must be its own. The
/// last of them, when the archive ends with `held`, and the root that the era has there.
pub(super) fn overlap(group: &Group, state: &EraState, held: Option<Slot>) -> Option<(Slot, Root)> {
    let (held, place) = held.and_then(|held| Some((held, group.slots?.index_of(held)?)))?;
    Some((held, *state.roots.as_ref()?.block_roots.get(place)?))
}

/// Refuses an era whose block root of a slot is not the one in `bbr`, where that has one.
pub(super) fn check_root(
    columns: &mut ImportColumns<'_>,
    path: &Path,
    era: u64,
    slot: Slot,
    root: &Root,
) -> Result<(), ImportError> {
    let held = columns.block_roots.contains(slot);
    if !held.map_err(|source| refused(path, era, source))? {
        return Ok(());
    }
    // Putting what is there already compares, and writes nothing.
    match columns.block_roots.put(slot, root) {
        Ok(_) => Ok(()),
        Err(Error::Conflict { .. }) => {
            let mismatch = AnotherChain {
                file: path.to_path_buf(),
                era,
                slot,
                what: "block root",
                found: *root,
                other: "the archive".to_owned(),
                wanted: None,
            };
            Err(mismatch.into())
        }
        Err(source) => Err(refused(path, era, source)),
    }
}

fn refused(path: &Path, era: u64, source: Error) -> ImportError {
    ImportError::Column { file: path.to_path_buf(), era, column: Column::BlockRoots, source }
}
