//! Cuts a column down to a part: everything up to a slot, or everything from a file on.
//!
//! The part is built as the column's new content ([`crate::write::replace`]). Files that stay whole get a
//! second name (a hard link) there. A file of which only some records stay is rewritten by ordinary puts
//! of their stored payloads. Each record with a checksum is compared with it first; a record without one
//! stays without one.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::column::Compression;
use crate::error::{CorruptItem, Error, Result};
use crate::files::disk::{Access, Lock, OsDisk};
use crate::format::conf::{Backfill, Conf};
use crate::format::conf_check;
use crate::format::corruption::{missing, no_record};
use crate::format::names::SlotFile;
use crate::format::offsets::{TABLE_BYTES, entry_offset};
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES, RecordHeader};
use crate::format::sums::{RecordSum, SumEntry, SumTable, SumVerdict};
use crate::format::witness::Witness;
use crate::slot::{FileId, Slot};
use crate::write::column_dir::{ColumnDir, NamedFile, Sums};
use crate::write::compare::StoredReader;
use crate::write::conf_file;
use crate::write::file_state::{FileState, FileStates};
use crate::write::heal;
use crate::write::open_column::OpenColumn;
use crate::write::opening;
use crate::write::options::{Checksums, WriterOptions};
use crate::write::replace::{HeldForIt, Replacement};
use crate::write::writer::Writer;

/// Maximum total length in bytes of the payloads of one batch. A longer payload of an uncompressed column
/// is streamed.
const BATCH_BYTES: usize = 16 << 20;

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    rewritten: Option<Rewritten>,
    conf: Conf,
    report: CutReport,
}

/// A file that keeps only some of its records.
struct Rewritten {
    file_id: FileId,
    /// The slots that stay, ascending, with the offsets of their records.
    records: Vec<(Slot, u64)>,
    data_len: u64,
}

/// Reports what [`Writer::cut`] would do to the column in `directory`. Changes nothing, needs no write
/// permission, and does not keep writers out.
///
/// # Errors
/// [`Error::NoSuchColumn`]; [`Error::Corrupt`] if a file that the cut depends on is damaged;
/// [`Error::Io`], also if the column has to be healed first.
pub fn inspect_cut(directory: impl AsRef<Path>, keep: Keep) -> Result<CutReport> {
    let directory = ColumnDir::new(Arc::new(OsDisk), directory.as_ref());
    let conf = directory.read_conf()?.ok_or_else(|| heal::no_conf(&directory))?;
    if let Some(action) = heal::examine_witnessed(
        &directory,
        &conf,
        &directory.read_witness()?,
        &WriterOptions::existing(),
    )?
    .first()
    {
        let source = io::Error::other(format!("heal it first ({action})"));
        return Err(Error::io(directory.path(), "inspect a cut of", source));
    }
    Ok(plan(&directory, &conf, &FileStates::default(), keep)?.report)
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
            replace(&directory, lock, &plan)?;
        }
        Ok(plan.report)
    }
}

fn replace(directory: &ColumnDir, lock: Box<dyn Lock>, plan: &Plan) -> Result<()> {
    let replacement = Replacement::begin(directory, lock)?;
    match build(&replacement, plan) {
        Ok(()) => replacement.finish(),
        Err(error) => Err(replacement.give_up(error)),
    }
}

fn build(replacement: &Replacement, plan: &Plan) -> Result<()> {
    let (old, new) = (replacement.column(), replacement.new_directory());
    match &plan.rewritten {
        Some(rewritten) => write_anew(old, new, &plan.conf, rewritten)?,
        None => conf_file::replace_alone(new, &mut Witness::default(), None, plan.conf)?,
    }
    for file in &plan.kept {
        replacement.keep(&file.name())?;
    }
    replacement.keep_others()
}

fn plan(directory: &ColumnDir, conf: &Conf, states: &FileStates, keep: Keep) -> Result<Plan> {
    let files = directory.slot_files()?;
    match (keep, conf.highest) {
        (Keep::UpTo(to), Some(highest)) if to < highest => {
            plan_up_to(directory, conf, states, files, to)
        }
        (Keep::Nothing, Some(_)) => plan_nothing(directory, conf, &files),
        (Keep::From(first), Some(highest)) => {
            let first = first.min(highest.file_id());
            let (kept, gone): (Vec<_>, _) =
                files.into_iter().partition(|file| file.file_id() >= first);
            let target = conf.backfill_target().filter(|target| target.file_id >= first);
            let backfill = conf.backfill.map(|backfill| Backfill { target, ..backfill });
            let conf = Conf { backfill, ..*conf };
            Ok(Plan { kept, rewritten: None, conf, report: report(directory, &conf, &gone)? })
        }
        _ => Ok(Plan {
            kept: files,
            rewritten: None,
            conf: *conf,
            report: report(directory, conf, &[])?,
        }),
    }
}

fn plan_up_to(
    directory: &ColumnDir,
    conf: &Conf,
    states: &FileStates,
    files: Vec<SlotFile>,
    to: Slot,
) -> Result<Plan> {
    let backfill = conf.backfill.map(|backfill| Backfill { target: None, ..backfill });
    let Some(highest) = highest_up_to(directory, conf, states, &files, to)? else {
        return plan_nothing(directory, conf, &files);
    };
    let file_id = highest.file_id();
    let state = states.get(directory, conf, file_id)?;
    let data_len = state.data_len;
    let new = Conf { highest: Some(highest), current_data_len: data_len, backfill, ..*conf };
    let whole = stays_whole(directory, &new, &state)?;
    let (kept, rest): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|file| file.file_id() < file_id || whole && file.file_id() == file_id);
    let gone: Vec<_> = rest.into_iter().filter(|file| file.file_id() != file_id).collect();
    let mut report = report(directory, &new, &gone)?;
    if whole {
        return Ok(Plan { kept, rewritten: None, conf: new, report });
    }
    let of_file = |(index, entry)| (file_id.slot_at(index), entry);
    let (records, cut): (Vec<_>, Vec<_>) =
        state.table.records().map(of_file).partition(|(slot, _)| *slot <= highest);
    let data = open_data(directory, file_id, data_len)?;
    for (slot, entry) in &cut {
        let end = record_end(&data, conf, *slot, *entry, data_len)?;
        report.bytes = report.bytes.saturating_add(end - entry);
    }
    report.records = report.records.saturating_add(cut.len() as u64);
    report.changes = true;
    report.rewritten = Some(file_id);
    let rewritten = Some(Rewritten { file_id, records, data_len });
    Ok(Plan { kept, rewritten, conf: new, report })
}

fn plan_nothing(directory: &ColumnDir, conf: &Conf, files: &[SlotFile]) -> Result<Plan> {
    let backfill = conf.backfill.map(|backfill| Backfill { target: None, ..backfill });
    let conf = Conf { backfill, ..Conf::empty(conf.spec, false) };
    let report = report(directory, &conf, files)?;
    Ok(Plan { kept: Vec::new(), rewritten: None, conf, report })
}

/// The highest slot with a record at or below `to`.
fn highest_up_to(
    directory: &ColumnDir,
    conf: &Conf,
    states: &FileStates,
    files: &[SlotFile],
    to: Slot,
) -> Result<Option<Slot>> {
    let mut ids: Vec<FileId> = files.iter().map(|file| file.file_id()).collect();
    ids.dedup();
    for file_id in ids.into_iter().rev().filter(|file_id| *file_id <= to.file_id()) {
        let state = states.get(directory, conf, file_id)?;
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
    let (file_id, data_len) = (highest.file_id(), conf.current_data_len);
    let largest =
        conf_check::check_current_entries(state.table.entries(), highest.index_in_file(), data_len);
    let (Ok(largest), TABLE_BYTES) =
        (largest, usize::try_from(state.offsets_len).unwrap_or(usize::MAX))
    else {
        return Ok(false);
    };
    let data = open_data(directory, file_id, data_len)?;
    let ends = data.record_end(conf.spec.record_type, largest, data_len)? == Some(data_len);
    let has_record = |index: usize| state.table.get(index) != 0;
    Ok(ends
        && match directory.read_sums(file_id, conf.spec.record_type)? {
            Sums::Absent => true,
            Sums::Broken(_) => false,
            Sums::Whole(sums) => sums.known().all(has_record),
        })
}

fn report(directory: &ColumnDir, after: &Conf, gone: &[SlotFile]) -> Result<CutReport> {
    let mut report = CutReport {
        changes: !gone.is_empty(),
        highest: after.highest,
        records: 0,
        files: 0,
        bytes: 0,
        rewritten: None,
    };
    for file in gone {
        let Some(found) = directory.open(directory.slot_file_path(*file), Access::Read)? else {
            continue;
        };
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

/// Puts the staying records of a file into the new column, in slot order.
fn write_anew(old: &ColumnDir, new: &ColumnDir, conf: &Conf, rewritten: &Rewritten) -> Result<()> {
    let sums = match old.read_sums(rewritten.file_id, conf.spec.record_type)? {
        Sums::Whole(sums) => Some(sums),
        Sums::Absent | Sums::Broken(_) => None,
    };
    let checksums = if sums.is_some() { Checksums::On } else { Checksums::Off };
    let options = WriterOptions::create(conf.spec)
        .allow_backfill(conf.backfill.is_some())
        .checksums(checksums);
    let column = opening::open_locked(new.clone(), Box::new(HeldForIt), options)?;
    let mut writer = Writer::new(column, options.door);
    copy(old, conf, rewritten, sums.as_deref(), &mut writer)?;
    let committed = *writer.conf();
    drop(writer);
    if let Some(sums) = sums {
        // Records without a checksum get none: one computed now would make damage look intact.
        let is_unknown = |slot: &Slot| sums.get(slot.index_in_file()) == SumEntry::default();
        let unknown = rewritten.records.iter().map(|(slot, _)| *slot).filter(is_unknown);
        heal::rewrite_sums(new, conf, rewritten.file_id, &unknown.collect::<Vec<_>>())?;
    }
    let wanted = Conf { current_data_len: committed.current_data_len, ..*conf };
    if wanted == committed {
        return Ok(());
    }
    conf_file::replace_alone(new, &mut new.read_witness()?, Some(&committed), wanted)
}

fn copy(
    old: &ColumnDir,
    conf: &Conf,
    rewritten: &Rewritten,
    sums: Option<&SumTable>,
    writer: &mut Writer,
) -> Result<()> {
    let Rewritten { file_id, records, data_len } = rewritten;
    let data = open_data(old, *file_id, *data_len)?;
    let kept = |slot: Slot| sums.map_or(SumEntry::default(), |sums| sums.get(slot.index_in_file()));
    if let Some(sums) = sums
        && let Some(last) = records.last()
    {
        let is_lost =
            |index: &usize| records.iter().all(|(slot, _)| slot.index_in_file() != *index);
        let mut up_to = sums.known().take_while(|index| *index <= last.0.index_in_file());
        if let Some(index) = up_to.find(is_lost) {
            let wanted = format!("the offset of the record of slot {}", file_id.slot_at(index));
            let found = "0, although there is a checksum of that record";
            let path = old.offset_path(*file_id);
            return Err(Error::corrupt(
                path,
                entry_offset(index),
                CorruptItem::OffsetEntry,
                wanted,
                found,
            ));
        }
    }
    let mut batch: Vec<(Slot, Vec<u8>)> = Vec::new();
    let mut batch_bytes = 0;
    for (slot, entry) in records {
        let end = record_end(&data, conf, *slot, *entry, *data_len)?;
        let stored = StoredReader { data: &data, offset: entry + HEADER_BYTES, end };
        let byte_len = end - entry - HEADER_BYTES;
        let mut checked = Checked::new(stored, *slot, *entry, conf.spec.record_type, byte_len);
        let len = usize::try_from(byte_len).unwrap_or(usize::MAX);
        if len > BATCH_BYTES && conf.spec.compression == Compression::None {
            put(writer, &mut batch)?;
            writer.put_from(*slot, byte_len, &mut checked)?;
            checked.check(kept(*slot))?;
            continue;
        }
        if len > BATCH_BYTES.saturating_sub(batch_bytes) {
            put(writer, &mut batch)?;
            batch_bytes = 0;
        }
        let mut payload = Vec::with_capacity(len);
        let read = checked.read_to_end(&mut payload);
        read.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::io(data.path(), "read", error),
        })?;
        checked.check(kept(*slot))?;
        batch_bytes += len;
        batch.push((*slot, payload));
    }
    put(writer, &mut batch)
}

fn put(writer: &mut Writer, batch: &mut Vec<(Slot, Vec<u8>)>) -> Result<()> {
    writer.put_stored_batch(batch)?;
    batch.clear();
    Ok(())
}

/// Reads the payload of a record and computes its checksum on the way.
struct Checked<'a> {
    stored: StoredReader<'a>,
    slot: Slot,
    entry: u64,
    sum: RecordSum,
}

impl<'a> Checked<'a> {
    fn new(
        stored: StoredReader<'a>,
        slot: Slot,
        entry: u64,
        record_type: [u8; 2],
        byte_len: u64,
    ) -> Self {
        let byte_len = u32::try_from(byte_len).unwrap_or(u32::MAX);
        let header = RecordHeader::new(record_type, byte_len).to_bytes();
        Self { stored, slot, entry, sum: RecordSum::new(slot, entry, header) }
    }

    /// Compares the record, which must have been read completely, with its checksum entry.
    fn check(&self, kept: SumEntry) -> Result<()> {
        let found = match kept.compare(self.slot, self.entry, self.sum) {
            SumVerdict::Unknown | SumVerdict::Intact | SumVerdict::EntryDamaged => return Ok(()),
            SumVerdict::Damaged { .. } => "bytes that differ from what was written",
            SumVerdict::Misplaced => "another record: the offset entry was changed",
        };
        let wanted = format!("the record of slot {} that matches its checksum", self.slot);
        let path = self.stored.data.path();
        Err(Error::corrupt(path, self.entry, CorruptItem::RecordChecksum, wanted, found))
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stored.read(buffer)?;
        self.sum.update(&buffer[..count]);
        Ok(count)
    }
}

fn open_data(directory: &ColumnDir, file_id: FileId, data_len: u64) -> Result<NamedFile> {
    let path = directory.data_path(file_id);
    let data = directory.open(path.clone(), Access::Read)?;
    data.ok_or_else(|| missing(path, "data file", data_len))
}

fn record_end(data: &NamedFile, conf: &Conf, slot: Slot, entry: u64, data_len: u64) -> Result<u64> {
    let end = data.record_end(conf.spec.record_type, entry, data_len)?;
    match end.filter(|end| *end <= data_len && entry >= FIRST_RECORD_OFFSET) {
        Some(end) => Ok(end),
        None => Err(no_record(data.path().to_owned(), slot, entry, end, data_len)),
    }
}
