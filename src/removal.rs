//! Removes records of an archive on purpose: rewind removes the newest records, prune the oldest
//! files.
//!
//! # Steps
//! 1. Lock and heal the columns, in the order of [`Column::ALL`].
//! 2. Plan the cut of each column. Nothing has changed so far.
//! 3. Record in the manifest: the intent, upper bounds on the new highest slots, and what is pruned.
//! 4. Replace each column by the part that stays ([`Writer::cut`]).
//! 5. Remove the intent from the manifest.
//!
//! A crash before step 3 leaves the archive unchanged. After step 3 the intent stays, and the next
//! opening of the archive for writing repeats steps 1, 2 and 4 for all of its columns
//! ([`finish_intents`]). A column that was already cut has nothing left to cut.

use std::path::Path;
use std::sync::Arc;

use crate::archive::{self, held};
use crate::column::Column;
use crate::error::{Error, Result};
use crate::files::disk::{Disk, OsDisk};
use crate::manifest::{self, Intent, Manifest};
use crate::read::{PreadView, Reader, ReaderOptions, Snapshot as _};
use crate::slot::{FileId, Slot};
use crate::write::copy;
use crate::write::{CutReport, Keep, Writer, WriterOptions, inspect_cut};

/// The records to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// All records above a slot; `None` removes all records.
    Rewind(Option<Slot>),
    /// Whole files below a slot. The file that holds a column's highest slot stays. If `bsd` has
    /// diffs at or above the slot, `bss` and `bsd` are pruned only below the newest snapshot at
    /// or below the slot, because the diffs may build on it.
    Prune(Slot),
}

/// What was, or would be, removed from a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The column.
    pub column: Column,
    /// How the column was cut.
    pub cut: CutReport,
    /// Records below this slot were removed on purpose; `None` if the column was never pruned.
    pub pruned_before: Option<Slot>,
}

impl Removal {
    fn intent(self, columns: &[Column]) -> Intent {
        let (kind, slot) = match self {
            Removal::Rewind(to) => (Intent::REWIND, to),
            Removal::Prune(before) => (Intent::PRUNE, Some(before)),
        };
        let columns = columns.iter().map(|column| column.dir_name().to_owned()).collect();
        Intent { kind: kind.to_owned(), columns, slot, path: None }
    }

    /// The removal that an intent records, and its columns; `None` for another operation.
    #[must_use]
    pub fn of(intent: &Intent) -> Option<(Self, Vec<Column>)> {
        let removal = match (intent.kind.as_str(), intent.slot) {
            (Intent::REWIND, to) => Removal::Rewind(to),
            (Intent::PRUNE, Some(before)) => Removal::Prune(before),
            _ => return None,
        };
        let columns = intent.columns.iter().map(|name| name.parse());
        Some((removal, columns.collect::<Result<_, _>>().ok()?))
    }
}

/// Reports what [`remove`] would do. Changes nothing and takes no lock.
///
/// # Errors
/// As [`inspect_cut`], for those of `columns` that exist.
pub fn inspect(
    root: impl AsRef<Path>,
    removal: Removal,
    columns: &[Column],
) -> Result<Vec<Removed>> {
    let root = root.as_ref();
    let keeps = keeps(root, removal, &present(root, columns)?)?;
    let manifest = Manifest::read(root)?.unwrap_or_default();
    let inspect = |(column, keep): &(Column, Keep)| {
        let cut = inspect_cut(root.join(column.dir_name()), *keep)?;
        Ok(removed(&manifest, *column, cut, *keep))
    };
    keeps.iter().map(inspect).collect()
}

/// Removes records from those of `columns` that exist.
///
/// Readers that have a column open keep the files that their views have mapped, and get
/// [`Error::Replaced`] for everything else. After a crash or an error after step 3, the next opening
/// of the archive for writing finishes the removal.
///
/// # Errors
/// [`Error::AlreadyOpen`], and as [`Writer::open`], [`Writer::cut`] and [`Manifest::update`].
pub fn remove(
    root: impl AsRef<Path>,
    removal: Removal,
    columns: &[Column],
) -> Result<Vec<Removed>> {
    remove_on(&(Arc::new(OsDisk) as Arc<dyn Disk>), root.as_ref(), removal, columns)
}

/// [`remove`] on another disk than the operating system's.
pub fn remove_on(
    disk: &Arc<dyn Disk>,
    root: &Path,
    removal: Removal,
    columns: &[Column],
) -> Result<Vec<Removed>> {
    finish_on(disk, root)?;
    // 1.
    let columns = present(root, columns)?;
    let mut writers = open_all(disk, root, &columns)?;
    // 2.
    let keeps = keeps(root, removal, &columns)?;
    let mut cuts = Vec::with_capacity(keeps.len());
    for ((column, keep), writer) in keeps.iter().zip(&mut writers) {
        cuts.push((*column, *keep, writer.plan_cut(*keep)?));
    }
    // 3.
    let intent = removal.intent(&columns);
    let is_known = Manifest::read_on(&**disk, root)?.is_some();
    let recorded = Manifest::update_on(&**disk, root, |manifest| {
        if !is_known {
            *manifest = archive::rebuilt(root)?.unwrap_or_default();
        }
        for (column, keep, cut) in &cuts {
            record(manifest, *column, *keep, cut);
        }
        if let Removal::Rewind(to) = removal
            && columns.contains(&Column::StateSnapshots)
        {
            manifest.unproved_state = manifest.unproved_state.filter(|state| Some(*state) <= to);
        }
        if cuts.iter().any(|(_, _, cut)| cut.changes) {
            manifest.push_intent(intent.clone());
        }
        Ok(())
    })?;
    // 4.
    for (writer, (_, keep)) in writers.into_iter().zip(&keeps) {
        writer.cut(*keep)?;
    }
    // 5.
    end(disk, root, &intent)?;
    let removed = |(column, keep, cut)| removed(&recorded, column, cut, keep);
    Ok(cuts.into_iter().map(removed).collect())
}

/// Finishes the operations that an earlier process left unfinished in the archive's manifest. Returns
/// their intents.
///
/// # Errors
/// [`Error::UnfinishedCopy`]; [`Error::Unsupported`] for an intent that another command or a later
/// version has to finish; [`Error::AlreadyOpen`] while that process still runs; as [`remove`].
pub fn finish_intents(root: impl AsRef<Path>) -> Result<Vec<Intent>> {
    finish_on(&(Arc::new(OsDisk) as Arc<dyn Disk>), root.as_ref())
}

fn finish_on(disk: &Arc<dyn Disk>, root: &Path) -> Result<Vec<Intent>> {
    copy::check_finished(root)?;
    let intents = Manifest::read(root)?.map_or_else(Vec::new, |found| found.intents().to_vec());
    for intent in &intents {
        let Some((removal, columns)) = Removal::of(intent) else {
            return Err(Error::Unsupported {
                file: root.join(manifest::FILE_NAME).into(),
                what: "unfinished operation (run the command that began it again)",
                found: intent.kind.clone().into(),
            });
        };
        tracing::info!(archive = %root.display(), ?removal, ?columns, "finishing");
        let columns = present(root, &columns)?;
        let writers = open_all(disk, root, &columns)?;
        for (writer, (_, keep)) in writers.into_iter().zip(keeps(root, removal, &columns)?) {
            writer.cut(keep)?;
        }
        end(disk, root, intent)?;
    }
    Ok(intents)
}

fn end(disk: &Arc<dyn Disk>, root: &Path, intent: &Intent) -> Result<()> {
    Manifest::update_on(&**disk, root, |manifest| {
        manifest.end_intent(intent);
        Ok(())
    })?;
    Ok(())
}

fn present(root: &Path, columns: &[Column]) -> Result<Vec<Column>> {
    let mut present = held::columns(root)?;
    present.retain(|column| columns.contains(column));
    Ok(present)
}

fn open_all(disk: &Arc<dyn Disk>, root: &Path, columns: &[Column]) -> Result<Vec<Writer>> {
    let open = |column: &Column| {
        let directory = root.join(column.dir_name());
        Writer::open_on(Arc::clone(disk), directory, WriterOptions::default())
    };
    columns.iter().map(open).collect()
}

/// The part of each column that stays.
fn keeps(root: &Path, removal: Removal, columns: &[Column]) -> Result<Vec<(Column, Keep)>> {
    let keep_of = |column: &Column| {
        let keep = match removal {
            Removal::Rewind(Some(to)) => Keep::UpTo(to),
            Removal::Rewind(None) => Keep::Nothing,
            Removal::Prune(before) => {
                let is_of_states = matches!(column, Column::StateSnapshots | Column::StateDiffs);
                let limit = if is_of_states { states_limit(root, before)? } else { before };
                Keep::From(limit.file_id())
            }
        };
        Ok((*column, keep))
    };
    columns.iter().map(keep_of).collect()
}

/// The slot below which snapshots and diffs may be removed, when `before` is requested. Reads offset
/// tables only: the values may be large, or damaged. Unreadable entries keep everything.
fn states_limit(root: &Path, before: Slot) -> Result<Slot> {
    let highest = view_of(root, Column::StateDiffs)?.and_then(|view| view.highest_written_slot());
    if highest < Some(before) {
        return Ok(before);
    }
    let Some(snapshots) = view_of(root, Column::StateSnapshots)? else { return Ok(Slot(0)) };
    match snapshots.last_to(before) {
        Err(Error::Io(_)) => Ok(Slot(0)),
        last => Ok(last?.unwrap_or(Slot(0))),
    }
}

/// Step 3, for one column.
fn record(manifest: &mut Manifest, column: Column, keep: Keep, cut: &CutReport) {
    let pruned_before = pruned_before(manifest, column, cut, keep);
    let entry = manifest.column_mut(column);
    entry.pruned_before = pruned_before;
    if !matches!(keep, Keep::From(_)) {
        entry.highest = entry.highest.min(cut.highest);
    }
}

fn view_of(root: &Path, column: Column) -> Result<Option<PreadView>> {
    let options = ReaderOptions::default().expect(column.spec());
    match Reader::open(root.join(column.dir_name()), options) {
        Ok(reader) => Ok(Some(reader.view())),
        Err(Error::NoSuchColumn { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn removed(manifest: &Manifest, column: Column, cut: CutReport, keep: Keep) -> Removed {
    let pruned_before = pruned_before(manifest, column, &cut, keep);
    Removed { column, cut, pruned_before }
}

fn pruned_before(manifest: &Manifest, column: Column, cut: &CutReport, keep: Keep) -> Option<Slot> {
    let before = manifest.column(column).pruned_before;
    match keep {
        Keep::From(first) if cut.changes => {
            let current = cut.highest.map_or(FileId(0), Slot::file_id);
            before.max(Some(first.min(current).first_slot()))
        }
        // A column that a rewind empties starts again where the prune ended.
        Keep::From(_) | Keep::UpTo(_) => before,
        Keep::Nothing => None,
    }
}
