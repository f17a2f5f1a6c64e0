//! Cuts a column down to a part: everything up to a slot, or everything from a file on.
//!
//! The part is built as the column's new content ([`crate::write::replace`]). Files that stay whole get a
//! second name (a hard link) there. A file of which only some records stay is rewritten by ordinary puts
//! of their stored payloads. Each record with a checksum is compared with it first; a record without one
//! stays without one.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::{CorruptItem, Error, Result};
use crate::files::disk::{Access, OsDisk};
use crate::format::conf::Conf;
use crate::format::conf_check;
use crate::format::names::SlotFile;
use crate::format::record::HEADER_BYTES;
use crate::format::sums::{SumEntry, SumVerdict};
use crate::format::witness::Witness;
use crate::slot::{FileId, Slot};
use crate::write::column_dir::{ColumnDir, Sums};
use crate::write::compare::StoredReader;
use crate::write::conf_file;
use crate::write::file_state::{FileState, FileStates};
use crate::write::heal;
use crate::write::named_file::NamedFile;
use crate::write::open_column::OpenColumn;
use crate::write::options::{Checksums, WriterOptions};
use crate::write::rebuild::Content;
use crate::write::replace::{Replacement, replace};
use crate::write::writer::Writer;

/// The part of a column that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The records of all slots up to this one.
    UpTo(Slot),
    /// The files with this id or a higher one, and in any case the current file.
    From(FileId),
    /// No record: the column becomes empty.
    Nothing,
}

/// The effect of a cut on a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutReport {
    /// Whether anything is removed; if not, the column stays unchanged.
    pub changes: bool,
    /// The column's highest slot afterwards.
    pub highest: Option<Slot>,
    /// Number of records that are removed.
    pub records: u64,
    /// Number of data files that are removed.
    pub files: u64,
    /// Number of bytes that are freed: the lengths of the removed files, and of the records removed from
    /// the rewritten file.
    pub bytes: u64,
    /// The file that is rewritten, if any.
    pub rewritten: Option<FileId>,
}

/// The steps of a cut.
struct Plan {
    kept: Vec<SlotFile>,
    /// The current file of `conf`, if it keeps only some of its records.
    rewritten: Option<Arc<FileState>>,
    conf: Conf,
    report: CutReport,
}

/// Reports what [`Writer::cut`] would do to the column in `directory`. Changes nothing, needs no write
/// permission, and does not keep writers out.
///
/// # Errors
/// [`Error::NoSuchColumn`]; [`Error::Corrupt`] if a file that the cut depends on is damaged;
/// [`Error::Io`], also if the column has to be healed first.
pub fn inspect_cut(directory: impl AsRef<Path>, keep: Keep) -> Result<CutReport> {
    let directory = ColumnDir::new(Arc::new(OsDisk), directory.as_ref());
    let (conf, actions) = heal::plan(&directory, &WriterOptions::default())?;
    if let Some(action) = actions.first() {
        let source = io::Error::other(format!("heal it first ({action})"));
        return Err(Error::io(directory.path(), "inspect a cut of", source));
    }
    Ok(plan(&directory, &conf, &FileStates::new(directory.clone(), false), keep)?.report)
}

impl Writer {
    /// Reports what [`Self::cut`] would do.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a file that the cut depends on is damaged; [`Error::Io`].
    pub fn plan_cut(&self, keep: Keep) -> Result<CutReport> {
        let OpenColumn { directory, conf, files, .. } = &self.column;
        Ok(plan(directory, conf, files, keep)?.report)
    }

    /// Replaces the column by a part of it. Readers that have the column open keep the files that their
    /// views have mapped, and get [`Error::Replaced`] for anything they touch or refresh afterwards.
    ///
    /// After a crash the column is either unchanged or cut; the next opening removes the leftovers.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a file that the cut depends on, or a record to rewrite, is damaged;
    /// [`Error::Io`], also if the column's directory contains another directory or is a mount point. The
    /// column is then unchanged.
    pub fn cut(mut self, keep: Keep) -> Result<CutReport> {
        self.column.check_writable()?;
        self.settle()?;
        let OpenColumn { directory, conf, files, lock, .. } = self.column;
        let lock = lock.ok_or_else(|| heal::no_conf(&directory))?;
        let plan = plan(&directory, &conf, &files, keep)?;
        if plan.report.changes {
            replace(&directory, lock, |replacement| build(replacement, &plan))?;
        }
        Ok(plan.report)
    }
}

fn build(replacement: &Replacement, plan: &Plan) -> Result<()> {
    match &plan.rewritten {
        Some(file) => rewrite(replacement, &plan.conf, file)?,
        None => {
            let new = &replacement.new;
            conf_file::replace_alone(new, &mut Witness::default(), None, plan.conf)?;
        }
    }
    plan.kept.iter().try_for_each(|file| replacement.keep(&file.name()))
}

fn plan(directory: &ColumnDir, conf: &Conf, states: &FileStates, keep: Keep) -> Result<Plan> {
    let files = directory.slot_files()?;
    let first = match (keep, conf.current_file()) {
        (Keep::From(first), Some(current)) => first.min(current),
        _ => FileId(0),
    };
    let highest = match keep {
        Keep::UpTo(to) if Some(to) < conf.highest => highest_up_to(&files, states, conf, to)?,
        Keep::Nothing => None,
        Keep::UpTo(_) | Keep::From(_) => conf.highest,
    };
    let mut new = Conf { highest, ..*conf };
    let is_shorter = highest != conf.highest;
    let target = new.backfill.and_then(|backfill| backfill.target);
    new = new.with_target(target.filter(|target| !is_shorter && target.file_id >= first));
    let mut cut = None;
    if is_shorter {
        let state = new.current_file().map(|file_id| states.get(conf, file_id));
        let state = state.transpose()?;
        new.current_data_len = state.as_ref().map_or(0, |state| state.data_len);
        if let Some(state) = state
            && !stays_whole(directory, &new, &state)?
        {
            cut = Some(state);
        }
    }
    let (rewritten, last) = (cut.as_ref().and(new.current_file()), new.current_file());
    let is_kept =
        |id: FileId| first <= id && (!is_shorter || Some(id) <= last) && Some(id) != rewritten;
    let (kept, gone): (Vec<_>, Vec<_>) = files.into_iter().partition(|f| is_kept(f.file_id()));
    let gone = gone.into_iter().filter(|file| Some(file.file_id()) != rewritten);
    let mut report = report(directory, &new, gone)?;
    if let (Some(state), Some(file_id)) = (&cut, rewritten) {
        let data = directory.open_data(file_id, Access::Read, state.data_len)?;
        let records = state.table.records().map(|(index, entry)| (file_id.slot_at(index), entry));
        for (slot, entry) in records.filter(|(slot, _)| Some(*slot) > highest) {
            let end = data.end_of(conf.spec.record_type, slot, entry, state.data_len)?;
            report.bytes = report.bytes.saturating_add(end - entry);
            report.records = report.records.saturating_add(1);
        }
        report.changes = true;
        report.rewritten = rewritten;
    }
    Ok(Plan { kept, rewritten: cut, conf: new, report })
}

/// The highest slot with a record at or below `to`.
fn highest_up_to(
    files: &[SlotFile],
    states: &FileStates,
    conf: &Conf,
    to: Slot,
) -> Result<Option<Slot>> {
    let mut ids: Vec<_> = files.iter().map(|file| file.file_id()).collect();
    ids.dedup();
    for file_id in ids.into_iter().rev().filter(|file_id| *file_id <= to.file_id()) {
        let state = states.get(conf, file_id)?;
        let slots = state.table.records().map(|(index, _)| file_id.slot_at(index));
        if let Some(highest) = slots.rev().find(|slot| *slot <= to) {
            return Ok(Some(highest));
        }
    }
    Ok(None)
}

/// Whether a file can be the current file of `conf` without being rewritten.
fn stays_whole(directory: &ColumnDir, conf: &Conf, state: &FileState) -> Result<bool> {
    let Some(highest) = conf.highest else { return Ok(false) };
    let (file_id, data_len) = (highest.file_id(), state.data_len);
    let (path, entries) = (directory.offset_path(file_id), state.table.entries());
    let largest = conf_check::check_entries(path, highest, data_len, entries);
    let Some(largest) = largest.ok().filter(|_| state.has_whole_table()) else { return Ok(false) };
    let data = directory.open_data(file_id, Access::Read, data_len)?;
    let ends = data.record_end(conf.spec.record_type, largest, data_len)? == Some(data_len);
    let has_record = |index: usize| state.table.get(index) != 0;
    Ok(ends
        && match directory.read_sums(file_id, conf.spec.record_type)? {
            Sums::Absent => true,
            Sums::Broken(..) => false,
            Sums::Whole(sums) => sums.known().all(has_record),
        })
}

fn report(
    directory: &ColumnDir,
    after: &Conf,
    gone: impl Iterator<Item = SlotFile>,
) -> Result<CutReport> {
    let mut report = CutReport { highest: after.highest, ..CutReport::default() };
    for file in gone {
        report.changes = true;
        let path = directory.slot_file_path(file);
        let Some(found) = directory.open(path, Access::Read)? else { continue };
        report.bytes = report.bytes.saturating_add(found.byte_len()?);
        match file {
            SlotFile::Data(_) => report.files += 1,
            // A damaged offset file is removed like any other; its records are not counted.
            SlotFile::Offsets(_) => match found.read_table() {
                Ok(table) => report.records += table.records().count() as u64,
                Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            },
            SlotFile::Sums(_) => {}
        }
    }
    Ok(report)
}

/// Puts the staying records of the current file of `conf` into the new content, in slot order.
fn rewrite(replacement: &Replacement, conf: &Conf, file: &FileState) -> Result<()> {
    let Replacement { column: old, new, .. } = replacement;
    let (record_type, data_len) = (conf.spec.record_type, file.data_len);
    let Some(highest) = conf.highest else { return Ok(()) };
    let file_id = highest.file_id();
    let sums = match old.read_sums(file_id, record_type)? {
        Sums::Whole(sums) => Some(sums),
        Sums::Absent | Sums::Broken(..) => None,
    };
    if let Some(sums) = &sums {
        old.check_no_entry_is_lost(file_id, sums, &file.table, highest.index_in_file())?;
    }
    let checksums = if sums.is_some() { Checksums::On } else { Checksums::Off };
    let options = WriterOptions::create(conf.spec)
        .allow_backfill(conf.backfill.is_some())
        .checksums(checksums);
    let mut content = Content::create(replacement, options)?;
    let data = old.open_data(file_id, Access::Read, data_len)?;
    let mut without_sum = Vec::new();
    let records = file.table.records().map(|(index, entry)| (file_id.slot_at(index), entry));
    for (slot, entry) in records.take_while(|(slot, _)| *slot <= highest) {
        let end = data.end_of(record_type, slot, entry, data_len)?;
        let kept = sums.as_ref().map_or(SumEntry::default(), |s| s.get(slot.index_in_file()));
        match kept == SumEntry::default() {
            true => without_sum.push(slot),
            false => check(&data, slot, entry, end, kept)?,
        }
        let mut stored = StoredReader { data: &data, offset: entry + HEADER_BYTES, end };
        content.put(slot, end - entry - HEADER_BYTES, &mut stored)?;
    }
    let committed = content.finish()?;
    // Records without a checksum get none: one computed now would make damage look intact.
    heal::rewrite_sums(new, conf, file_id, &without_sum)?;
    let wanted = Conf { current_data_len: committed.current_data_len, ..*conf };
    if wanted == committed {
        return Ok(());
    }
    conf_file::replace_alone(new, &mut new.read_witness()?, Some(&committed), wanted)
}

/// Compares a record with its checksum.
fn check(data: &NamedFile, slot: Slot, entry: u64, end: u64, kept: SumEntry) -> Result<()> {
    let found = match kept.compare(slot, entry, data.record_sum(slot, entry, end)?) {
        SumVerdict::Unknown | SumVerdict::Intact | SumVerdict::EntryDamaged => return Ok(()),
        SumVerdict::Damaged { .. } => "bytes that differ from what was written",
        SumVerdict::Misplaced => "another record: the offset entry was changed",
    };
    let wanted = format!("the record of slot {slot} that matches its checksum");
    Err(Error::corrupt(data.path(), entry, CorruptItem::RecordChecksum, wanted, found))
}
