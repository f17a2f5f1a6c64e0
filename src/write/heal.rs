//! Bringing a column back to its last commit: `FORMAT.md`, section 6.
//!
//! First everything is looked at and nothing is touched: what does not fit together is
//! [`Error::Corrupt`]. What is left to do is then a list, which [`apply`] works off. It may be
//! interrupted anywhere and done again: each action takes away what the conf does not name, and
//! nothing that it names.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::files::disk::{Access, LockAttempt, OsDisk};
use crate::format::conf::Conf;
use crate::format::faults::{
    data_file_too_short, last_record_error, misfit_error, missing, no_record,
};
use crate::format::fit;
use crate::format::names::{self, SlotFile};
use crate::format::offsets::{OffsetTable, TABLE_BYTES};
use crate::format::record::FIRST_RECORD_OFFSET;
use crate::format::sums::SumEntry;
use crate::slot::{FileId, Slot};
use crate::write::column_dir::{ColumnDir, NamedFile, Sums};
use crate::write::replace;

/// One thing that healing changed, or would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealAction {
    /// Offset entries of uncommitted records were set to 0.
    ClearedEntries {
        /// The offset file.
        file: PathBuf,
        /// The slots, ascending.
        slots: Vec<Slot>,
    },
    /// Checksums of uncommitted records were set to 0.
    ClearedSums {
        /// The checksum file.
        file: PathBuf,
        /// The slots, ascending.
        slots: Vec<Slot>,
    },
    /// An offset file that was cut short was extended by zeros to its 65,536 bytes.
    ExtendedOffsets {
        /// The offset file.
        file: PathBuf,
        /// Its length in bytes before.
        from: u64,
    },
    /// Uncommitted bytes were cut off a data file.
    Truncated {
        /// The data file.
        file: PathBuf,
        /// Its length in bytes before.
        from: u64,
        /// The committed length in bytes.
        to: u64,
    },
    /// A file that no commit names was removed.
    RemovedFile {
        /// The data or offset file.
        file: PathBuf,
        /// Its length in bytes.
        byte_len: u64,
    },
    /// A directory beside the column was removed, which an interrupted replacement of the column had
    /// left.
    RemovedLeftover {
        /// The directory.
        directory: PathBuf,
    },
    /// The conf of a commit that did not happen was removed.
    RemovedTmp {
        /// `column.conf.tmp`
        file: PathBuf,
    },
}

impl HealAction {
    /// The file that was changed, or the directory that was removed.
    #[must_use]
    pub fn file(&self) -> &Path {
        match self {
            HealAction::ClearedEntries { file, .. }
            | HealAction::ClearedSums { file, .. }
            | HealAction::ExtendedOffsets { file, .. }
            | HealAction::Truncated { file, .. }
            | HealAction::RemovedFile { file, .. }
            | HealAction::RemovedTmp { file } => file,
            HealAction::RemovedLeftover { directory } => directory,
        }
    }
}

impl fmt::Display for HealAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file().display())?;
        match self {
            HealAction::ClearedEntries { slots, .. } => {
                write_cleared(f, ["entry", "entries"], slots)
            }
            HealAction::ClearedSums { slots, .. } => {
                write_cleared(f, ["checksum", "checksums"], slots)
            }
            HealAction::ExtendedOffsets { from, .. } => {
                write!(f, "extended from {from} to {TABLE_BYTES} bytes")
            }
            HealAction::Truncated { from, to, .. } => {
                write!(f, "{} uncommitted bytes cut, length now {to}", from - to)
            }
            HealAction::RemovedFile { byte_len, .. } => {
                write!(f, "uncommitted file of {byte_len} bytes removed")
            }
            HealAction::RemovedTmp { .. } => write!(f, "conf of an unfinished commit removed"),
            HealAction::RemovedLeftover { .. } => {
                write!(f, "removed: left by an interrupted replacement of the column")
            }
        }
    }
}

fn write_cleared(f: &mut fmt::Formatter<'_>, what: [&str; 2], slots: &[Slot]) -> fmt::Result {
    let [one, many] = what;
    match slots {
        [slot] => write!(f, "uncommitted {one} of slot {slot} cleared"),
        [first, .., last] => {
            let count = slots.len();
            write!(f, "{count} uncommitted {many} cleared, slots {first} to {last}")
        }
        [] => write!(f, "no {one} cleared"),
    }
}

/// What healing changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealReport {
    /// In the order in which it was done.
    pub actions: Vec<HealAction>,
}

impl HealReport {
    /// True when there was nothing to heal.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.actions.is_empty()
    }
}

/// What opening the column for writing would heal. Changes nothing and needs no permission to
/// write; where there is a lock file, writers are kept out meanwhile.
///
/// # Errors
/// [`Error::NoSuchColumn`], [`Error::AlreadyOpen`] while a writer is at work, and what opening for
/// writing would fail with: [`Error::Corrupt`], [`Error::Unsupported`], [`Error::Io`].
pub fn inspect(directory: impl AsRef<Path>) -> Result<HealReport> {
    let directory = ColumnDir::new(Arc::new(OsDisk), directory.as_ref());
    let lock = directory.file_path(names::LOCK);
    let attempt = directory.disk().lock_shared(&lock);
    let held = match attempt.map_err(|error| Error::io(lock, "lock", error))? {
        Some(LockAttempt::Busy(pid)) => {
            return Err(Error::AlreadyOpen { directory: directory.path().into(), pid });
        }
        Some(LockAttempt::Held(lock)) => Some(lock),
        None => None,
    };
    let conf = directory.read_conf()?.ok_or_else(|| no_conf(&directory))?;
    let leftovers = match &held {
        Some(lock) => replace::leftovers(&directory, &**lock)?,
        None => Vec::new(),
    };
    let leftover =
        |found: ColumnDir| HealAction::RemovedLeftover { directory: found.path().into() };
    let mut actions: Vec<_> = leftovers.into_iter().map(leftover).collect();
    actions.extend(examine(&directory, &conf)?);
    Ok(HealReport { actions })
}

/// The error for a directory without a conf: no column, or one that has lost it.
pub(super) fn no_conf(directory: &ColumnDir) -> Error {
    let files = match directory.slot_files_if_there() {
        Ok(files) => files,
        Err(error) => return error,
    };
    match files.first() {
        None => Error::NoSuchColumn { directory: directory.path().into() },
        Some(file) => {
            let found = format!("none, but {}", directory.slot_file_path(*file).display());
            Error::corrupt(directory.file_path(names::CONF), None, "column", "a conf", found)
        }
    }
}

/// Finds out what there is to heal, or that the conf does not belong to the files. Touches nothing.
pub(super) fn examine(directory: &ColumnDir, conf: &Conf) -> Result<Vec<HealAction>> {
    let mut actions = Vec::new();
    if let Some(highest) = conf.highest {
        examine_current(directory, conf, highest, &mut actions)?;
    }
    if let Some(target) = conf.backfill_target() {
        let (file_id, data_len) = (target.file_id, target.data_len);
        if data_len == 0 {
            remove_if_there(directory, SlotFile::Sums(file_id), &mut actions)?;
            remove_if_there(directory, SlotFile::Offsets(file_id), &mut actions)?;
            remove_if_there(directory, SlotFile::Data(file_id), &mut actions)?;
        } else {
            examine_backfill(directory, conf, file_id, data_len, &mut actions)?;
        }
    }
    for file in directory.slot_files()? {
        if Some(file.file_id()) > conf.current_file() {
            remove_if_there(directory, file, &mut actions)?;
        }
    }
    let tmp = directory.file_path(names::CONF_TMP);
    if directory.open(tmp.clone(), Access::Read)?.is_some() {
        actions.push(HealAction::RemovedTmp { file: tmp });
    }
    Ok(actions)
}

fn examine_current(
    directory: &ColumnDir,
    conf: &Conf,
    highest: Slot,
    actions: &mut Vec<HealAction>,
) -> Result<()> {
    let file_id = highest.file_id();
    let data_len = conf.current_data_len;
    let data = open_data(directory, file_id, data_len)?;
    let Some((table, offsets_len)) = directory.read_table(file_id)? else {
        return Err(missing(directory.offset_path(file_id), "offset file", data_len));
    };
    let largest = fit::check_current_entries(table.entries(), highest.index_in_file(), data_len)
        .map_err(|misfit| {
            misfit_error(directory.offset_path(file_id), highest, misfit, data_len)
        })?;
    let end = data.record_end(conf.spec.record_type, largest, data_len)?;
    if end != Some(data_len) {
        return Err(last_record_error(directory.data_path(file_id), largest, data_len, end));
    }
    // At and below the highest slot a checksum without a record can only be one of a backfill; else it
    // is all that is left of a record whose entry was lost, and stays.
    let sums_from = if conf.backfill.is_some() { 0 } else { highest.index_in_file() + 1 };
    // The conf fits, so whatever lies after the highest slot is uncommitted too.
    let file = Looked { file_id, data, table, offsets_len, data_len, sums_from };
    heal_file(directory, conf, &file, actions)
}

/// A file that the conf names, and fits.
struct Looked {
    file_id: FileId,
    data: NamedFile,
    table: Box<OffsetTable>,
    offsets_len: u64,
    data_len: u64,
    /// The first index at which a checksum without a record is one of an uncommitted record.
    sums_from: usize,
}

fn examine_sums(
    directory: &ColumnDir,
    conf: &Conf,
    looked: &Looked,
    actions: &mut Vec<HealAction>,
) -> Result<()> {
    let file_id = looked.file_id;
    let file = directory.sums_path(file_id);
    match directory.read_sums(file_id, conf.spec.record_type)? {
        Sums::Absent => {}
        // It was being made, whole, by a commit that did not happen.
        Sums::Broken(byte_len) => actions.push(HealAction::RemovedFile { file, byte_len }),
        Sums::Whole(sums) => {
            let is_committed =
                |index: &usize| (1..looked.data_len).contains(&looked.table.get(*index));
            let known = sums.known().filter(|index| *index >= looked.sums_from);
            let stray = known.filter(|index| !is_committed(index));
            let slots: Vec<Slot> = stray.map(|index| file_id.slot_at(index)).collect();
            if !slots.is_empty() {
                actions.push(HealAction::ClearedSums { file, slots });
            }
        }
    }
    Ok(())
}

fn examine_backfill(
    directory: &ColumnDir,
    conf: &Conf,
    file_id: FileId,
    data_len: u64,
    actions: &mut Vec<HealAction>,
) -> Result<()> {
    let data = open_data(directory, file_id, data_len)?;
    let (table, offsets_len) = match directory.read_table(file_id)? {
        Some(table) => table,
        None if data_len > FIRST_RECORD_OFFSET => {
            return Err(missing(directory.offset_path(file_id), "offset file", data_len));
        }
        // There is nothing to extend, either.
        None => (OffsetTable::zeroed(), TABLE_BYTES as u64),
    };
    for (index, entry) in table.records().filter(|(_, entry)| *entry < data_len) {
        let end = data.record_end(conf.spec.record_type, entry, data_len)?;
        if end.is_none_or(|end| end > data_len) {
            let (path, slot) = (data.path().to_owned(), file_id.slot_at(index));
            return Err(no_record(path, slot, entry, end, data_len));
        }
    }
    let file = Looked { file_id, data, table, offsets_len, data_len, sums_from: 0 };
    heal_file(directory, conf, &file, actions)
}

/// Opens a data file that must be there with at least the committed bytes.
fn open_data(directory: &ColumnDir, file_id: FileId, data_len: u64) -> Result<NamedFile> {
    let path = directory.data_path(file_id);
    let Some(data) = directory.open(path.clone(), Access::Read)? else {
        return Err(missing(path, "data file", data_len));
    };
    let byte_len = data.byte_len()?;
    if byte_len < data_len {
        return Err(data_file_too_short(path, byte_len, data_len));
    }
    Ok(data)
}

fn heal_file(
    directory: &ColumnDir,
    conf: &Conf,
    looked: &Looked,
    actions: &mut Vec<HealAction>,
) -> Result<()> {
    let Looked { file_id, data, table, offsets_len, data_len, .. } = looked;
    let before = actions.len();
    let stray = table.records().filter(|(_, entry)| entry >= data_len);
    let slots: Vec<Slot> = stray.map(|(index, _)| file_id.slot_at(index)).collect();
    let file = directory.offset_path(*file_id);
    if !slots.is_empty() {
        actions.push(HealAction::ClearedEntries { file: file.clone(), slots });
    }
    if *offsets_len < TABLE_BYTES as u64 {
        actions.push(HealAction::ExtendedOffsets { file, from: *offsets_len });
    }
    examine_sums(directory, conf, looked, actions)?;
    let (from, to) = (data.byte_len()?, *data_len);
    if from > to {
        actions.push(HealAction::Truncated { file: data.path().to_owned(), from, to });
    }
    if actions.len() > before {
        let sums = directory.sums_path(*file_id);
        for path in [data.path().to_owned(), directory.offset_path(*file_id), sums] {
            check_has_one_name(directory, path)?;
        }
    }
    Ok(())
}

/// What is going to be cut or cleared must not be a file with other names as well: under those it
/// may be committed.
fn check_has_one_name(directory: &ColumnDir, path: PathBuf) -> Result<()> {
    let Some(file) = directory.open(path.clone(), Access::Read)? else {
        return Ok(());
    };
    match file.names()? {
        0 | 1 => Ok(()),
        names => {
            let wanted = "one name (put a copy in its place: what is uncommitted here may be \
                          committed there)";
            let found = format!("{names} names (hard links)");
            Err(Error::corrupt(path, None, "file that is to be healed", wanted, found))
        }
    }
}

fn remove_if_there(
    directory: &ColumnDir,
    file: SlotFile,
    actions: &mut Vec<HealAction>,
) -> Result<()> {
    let path = directory.slot_file_path(file);
    if let Some(found) = directory.open(path.clone(), Access::Read)? {
        actions.push(HealAction::RemovedFile { file: path, byte_len: found.byte_len()? });
    }
    Ok(())
}

/// Flushes what opening is going to trust: the process before may have died between a rename and
/// its flush, so that what is visible is not on disk yet.
pub(super) fn flush_trusted(directory: &ColumnDir, conf: &Conf) -> Result<()> {
    let target = conf.backfill_target().map(|target| target.file_id);
    for file_id in conf.current_file().into_iter().chain(target) {
        let sums = directory.sums_path(file_id);
        for path in [directory.data_path(file_id), directory.offset_path(file_id), sums] {
            if let Some(mut file) = directory.open(path, Access::Read)? {
                file.sync()?;
            }
        }
    }
    directory.sync()?;
    directory.sync_parent()
}

/// Does what [`examine`] found, and flushes every file that it changed, then the directory.
///
/// An offset file is written whole, and before its data file is cut: where an earlier attempt
/// failed to flush it, the page cache may show entries as cleared that are still on the medium,
/// and a data file that is too long is what tells of such an attempt.
pub(super) fn apply(directory: &ColumnDir, conf: &Conf, actions: &[HealAction]) -> Result<()> {
    for action in actions {
        tracing::info!(column = %directory.path().display(), "healing: {action}");
        match action {
            HealAction::ClearedEntries { file, slots } => rewrite_table(directory, file, slots)?,
            HealAction::ClearedSums { file, slots } => {
                if let Some(file_id) = file_id_of(file) {
                    rewrite_sums(directory, conf, file_id, slots)?;
                }
            }
            HealAction::ExtendedOffsets { file, .. } => rewrite_table(directory, file, &[])?,
            HealAction::Truncated { file, to, .. } => {
                if let Some(file_id) = file_id_of(file) {
                    rewrite_table(directory, &directory.offset_path(file_id), &[])?;
                    rewrite_sums(directory, conf, file_id, &[])?;
                }
                let mut data = must_open(directory, file)?;
                data.set_len(*to)?;
                data.sync()?;
            }
            HealAction::RemovedFile { file, .. } | HealAction::RemovedTmp { file } => {
                directory.remove(file)?;
            }
            // Opening has done it, before it looked at the column.
            HealAction::RemovedLeftover { .. } => {}
        }
    }
    if actions.is_empty() { Ok(()) } else { directory.sync() }
}

fn file_id_of(path: &Path) -> Option<FileId> {
    Some(SlotFile::parse(path.file_name()?.to_str()?)?.file_id())
}

/// Writes a whole checksum file with those of `cleared` set to 0; one that is not whole is left.
pub(super) fn rewrite_sums(
    directory: &ColumnDir,
    conf: &Conf,
    file_id: FileId,
    cleared: &[Slot],
) -> Result<()> {
    let Sums::Whole(mut table) = directory.read_sums(file_id, conf.spec.record_type)? else {
        return Ok(());
    };
    for slot in cleared {
        table.set(slot.index_in_file(), SumEntry::default());
    }
    let mut sums = must_open(directory, &directory.sums_path(file_id))?;
    sums.write_at(table.as_bytes(), 0)?;
    sums.sync()
}

/// Writes a whole offset file with the entries of `cleared` set to 0. One that is not there stays
/// away: there is no record then.
fn rewrite_table(directory: &ColumnDir, path: &Path, cleared: &[Slot]) -> Result<()> {
    let Some(mut offsets) = directory.open(path.to_owned(), Access::Write)? else {
        return Ok(());
    };
    let mut table = offsets.read_table()?;
    for slot in cleared {
        table.set(slot.index_in_file(), 0);
    }
    offsets.write_at(table.as_bytes(), 0)?;
    offsets.sync()
}

fn must_open(directory: &ColumnDir, path: &Path) -> Result<NamedFile> {
    directory
        .open(path.to_owned(), Access::Write)?
        .ok_or_else(|| Error::io(path, "open", std::io::ErrorKind::NotFound.into()))
}
