//! The links between stored states: whether each diff has the state on which it builds, and what a removal
//! must leave so that it stays so.

use std::path::Path;

use coldstore::format::names;
use coldstore::removal::Removal;
use coldstore::verify::{Finding, Severity};
use coldstore::{
    Column, CorruptItem, Error, Manifest, PreadView, Reader, ReaderOptions, Result, Slot, Snapshot,
};
use coldstore_consensus::Preset;

use super::hierarchy::{Hierarchy, Layer};
use super::kind::Values;
use super::{PathFault, States};

/// Checks the header of every diff in `bsd`, and the state on which it builds: it must be stored, be one that
/// the layers allow, and have in `bsr` the root that the diff names. Nothing is rebuilt. `archive` is the
/// archive's directory; damaged records, which the verification of the column names, are passed over.
///
/// # Errors
/// [`Error::Io`] when the archive cannot be read.
pub fn check<S: Snapshot>(
    archive: &Path,
    states: &States<S>,
    watch: &mut dyn FnMut(Slot),
    report: &mut dyn FnMut(&PathFault, Column, Finding),
) -> Result<u64> {
    let Some(diffs) = &states.source().diffs else { return Ok(0) };
    let (mut next, mut checked) = (Some(Slot(0)), 0);
    while let Some(from) = next {
        let slot = match diffs.first_from(from) {
            Ok(Some(slot)) => slot,
            Ok(None) => break,
            // An unreadable table: the next file.
            Err(Error::Corrupt(_)) => {
                next = from.file_id().last_slot().next();
                next = next.filter(|next| Some(*next) <= diffs.highest_written_slot());
                continue;
            }
            Err(error) => return Err(error),
        };
        watch(slot);
        match states.base_at(slot) {
            Ok(_) | Err(PathFault::Storage { error: Error::Corrupt(_), .. }) => {}
            Err(PathFault::Storage { error, .. }) => return Err(error),
            Err(fault) => {
                let (column, finding) = finding_of(archive, states.layers(), &fault);
                report(&fault, column, finding);
            }
        }
        checked += 1;
        next = slot.next();
    }
    Ok(checked)
}

/// The fault of a chain of diffs as a finding: file, slot, layer, base.
pub(crate) fn finding_of(
    archive: &Path,
    layers: &Hierarchy,
    fault: &PathFault,
) -> (Column, Finding) {
    let (column, slot, wanted, found) = match fault {
        PathFault::Missing { slot, base } => {
            let wanted = format!("the state of slot {base}, on which it builds");
            (Column::StateDiffs, *slot, wanted, "in neither bss nor bsd".to_owned())
        }
        PathFault::NotAllowed { slot, base } => {
            let allowed: Vec<_> =
                layers.bases(*slot).into_iter().map(|base| base.to_string()).collect();
            let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
            let wanted = format!("a base that the layers in archive.toml allow ({allowed})");
            (Column::StateDiffs, *slot, wanted, format!("slot {base}"))
        }
        PathFault::WrongBase { slot, base, wanted, found } => {
            let wanted = format!("a base of slot {base} whose root begins with 0x{wanted}");
            (Column::StateDiffs, *slot, wanted, format!("0x{found} in bsr"))
        }
        PathFault::Value(fault) => {
            let field = fault.field.map_or_else(String::new, |field| format!("{field}: "));
            let base = fault.base.map_or_else(String::new, |base| format!(" (base: slot {base})"));
            let wanted = format!("{field}{}{base}", fault.wanted);
            (Column::StateDiffs, fault.slot, wanted, fault.found.clone())
        }
        PathFault::Whole { slot, error } => {
            let wanted = "a state on which diffs build".to_owned();
            (Column::StateSnapshots, *slot, wanted, error.to_string())
        }
        other => {
            let wanted = "a chain of diffs to a whole state".to_owned();
            (Column::StateDiffs, other.slot(), wanted, other.to_string())
        }
    };
    let (what, wanted) = match column {
        Column::StateDiffs => {
            ("state diff", format!("in the {}: {wanted}", layer_of(layers, slot)))
        }
        _ => ("state snapshot", wanted),
    };
    let file = archive.join(column.dir_name()).join(names::data_file(slot.file_id()));
    let finding = Finding::new(Severity::Damage, file, CorruptItem::from(what), wanted, found);
    (column, finding.of(slot))
}

/// "layer of 512 slots"
fn layer_of(layers: &Hierarchy, slot: Slot) -> String {
    match layers.layer(slot) {
        Layer::Flat(exponent) | Layer::Chained(exponent) => {
            let slots = 1_u64.checked_shl(exponent.into()).unwrap_or(0);
            format!("layer of {slots} slots")
        }
        Layer::Raw | Layer::None => "column, outside the layers".to_owned(),
    }
}

/// Why a removal is refused, or cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum RemovalFault {
    /// A rewind of `bss` without `bsd`.
    #[error(
        "bsd holds diffs up to slot {highest}, which build on states above slot {to} in bss: rewind bsd as \
         well"
    )]
    StrandsDiffs {
        /// The highest slot in `bsd`.
        highest: Slot,
        /// The last slot to keep; 0 if none is kept.
        to: Slot,
    },
    /// A column, or the layers in the manifest, cannot be read.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// The removal to make of `bss` and `bsd` in place of `removal`: a prune ends before the window of the layers that
/// holds the lowest diff that stays, because the path of a diff never leaves its window.
///
/// `columns` are those that the removal names; diffs of other software are left to the engine's rule.
///
/// # Errors
/// [`RemovalFault`]
pub fn removal_of_states(
    archive: &Path,
    manifest: &Manifest,
    preset: Preset,
    removal: Removal,
    columns: &[Column],
) -> Result<Removal, RemovalFault> {
    let is_ours = manifest.state_values.as_deref() == Some(Values::Coldstore.name());
    let highest = match diffs(archive)? {
        Some(diffs) if is_ours => diffs.highest_written_slot(),
        _ => None,
    };
    let Some(highest) = highest else { return Ok(removal) };
    match removal {
        Removal::Prune(before) => {
            // Whole files are removed, and the last one stays.
            let stays_from = before.min(highest).file_id().first_slot();
            let hierarchy = Hierarchy::of_manifest(archive, manifest, preset)?;
            Ok(Removal::Prune(before.min(hierarchy.window(stays_from))))
        }
        Removal::Rewind(to) => {
            let strands = columns.contains(&Column::StateSnapshots)
                && !columns.contains(&Column::StateDiffs)
                && to.is_none_or(|to| to < highest);
            match strands {
                true => Err(RemovalFault::StrandsDiffs { highest, to: to.unwrap_or_default() }),
                false => Ok(removal),
            }
        }
    }
}

fn diffs(archive: &Path) -> Result<Option<PreadView>> {
    let options = ReaderOptions::default().expect(Column::StateDiffs.spec());
    match Reader::open(archive.join(Column::StateDiffs.dir_name()), options) {
        Ok(reader) => Ok(Some(reader.view())),
        Err(Error::NoSuchColumn { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
