//! Giving back the space of bytes that no slot refers to.
//!
//! The writer of this crate leaves none; others do, and so does a slot whose entry was lost. The
//! bytes are freed by punching holes: no length changes, no offset, and no byte of a record.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::files::disk::{Access, Disk, LockAttempt, OsDisk};
use crate::format::conf::Conf;
use crate::format::faults::{missing, no_record};
use crate::format::names;
use crate::format::offsets::entry_offset;
use crate::format::record::FIRST_RECORD_OFFSET;
use crate::slot::FileId;
use crate::write::column_dir::{ColumnDir, Sums};
use crate::write::heal::{self, HealReport};
use crate::write::writer::{Writer, WriterOptions};

/// File systems give back whole blocks. The bytes around them are left as they are.
const BLOCK_BYTES: u64 = 4096;

/// Whole blocks of bytes that no slot refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reclaimed {
    /// The data file.
    pub file: PathBuf,
    /// Where the first block begins.
    pub offset: u64,
    /// Bytes of the blocks.
    pub byte_len: u64,
    /// Bytes that the file system has got back: fewer where there was a hole before. `None` when
    /// this was only looked at.
    pub freed: Option<u64>,
}

impl fmt::Display for Reclaimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, byte_len, freed } = self;
        let file = file.display();
        write!(f, "{file}: {byte_len} bytes from {offset} on, that no slot refers to")?;
        match freed {
            Some(freed) => write!(f, ": {freed} freed"),
            None => Ok(()),
        }
    }
}

/// What was freed, or would be.
#[derive(Debug, Default)]
pub struct ReclaimReport {
    /// By file and offset.
    pub spans: Vec<Reclaimed>,
    /// Files that were left alone, for what is in them contradicts the format: there is no telling
    /// which bytes their slots refer to.
    pub left_alone: Vec<Error>,
}

/// Heals a column as opening it for writing does, then frees what no slot refers to:
///
/// 1. open the column for writing, and keep other writers out until the end,
/// 2. for each file, find every record; where one is damaged, leave the file alone,
/// 3. punch holes between the records, flush the file.
///
/// Readers go on meanwhile: they only look at bytes that a slot refers to.
///
/// # Errors
/// As [`Writer::open`]; [`Error::Io`] when a file cannot be read, or the file system has no holes.
/// No record is ever touched, so after an error this can be done again.
pub fn reclaim(directory: impl AsRef<Path>) -> Result<(HealReport, ReclaimReport)> {
    reclaim_on(Arc::new(OsDisk), directory)
}

/// [`reclaim`] on another disk than the operating system's.
///
/// # Errors
/// As [`reclaim`].
pub fn reclaim_on(
    disk: Arc<dyn Disk>,
    directory: impl AsRef<Path>,
) -> Result<(HealReport, ReclaimReport)> {
    // 1.
    let writer = Writer::open_on(Arc::clone(&disk), &directory, WriterOptions::existing())?;
    let column = ColumnDir::new(disk, directory.as_ref());
    // 2.
    let mut report = examine(&column, writer.conf())?;
    // 3.
    for spans in report.spans.chunk_by_mut(|a, b| a.file == b.file) {
        let Some(path) = spans.first().map(|span| span.file.clone()) else { continue };
        let Some(mut data) = column.open(path.clone(), Access::Write)? else {
            return Err(Error::io(path, "open", std::io::ErrorKind::NotFound.into()));
        };
        for span in spans {
            span.freed = Some(data.punch_hole(span.offset, span.byte_len)?);
        }
        data.sync()?;
    }
    Ok((writer.heal_report().clone(), report))
}

/// What [`reclaim`] would free. Changes nothing; writers are kept out meanwhile.
///
/// # Errors
/// As [`inspect`](crate::inspect).
pub fn inspect_reclaim(directory: impl AsRef<Path>) -> Result<ReclaimReport> {
    let column = ColumnDir::new(Arc::new(OsDisk), directory.as_ref());
    let lock = column.file_path(names::LOCK);
    let attempt = column.disk().lock_shared(&lock);
    let _held = match attempt.map_err(|error| Error::io(lock, "lock", error))? {
        Some(LockAttempt::Busy(pid)) => {
            return Err(Error::AlreadyOpen { directory: column.path().into(), pid });
        }
        Some(LockAttempt::Held(lock)) => Some(lock),
        None => None,
    };
    let conf = column.read_conf()?.ok_or_else(|| heal::no_conf(&column))?;
    examine(&column, &conf)
}

fn examine(column: &ColumnDir, conf: &Conf) -> Result<ReclaimReport> {
    let mut report = ReclaimReport::default();
    let mut ids: Vec<FileId> =
        column.slot_files()?.into_iter().map(names::SlotFile::file_id).collect();
    ids.dedup();
    for file_id in ids.into_iter().filter(|id| Some(*id) <= conf.current_file()) {
        match unreferenced(column, conf, file_id) {
            Ok(spans) => report.spans.extend(spans),
            Err(error) if error.is_corrupt() => report.left_alone.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// The whole blocks between the records of a file.
fn unreferenced(column: &ColumnDir, conf: &Conf, file_id: FileId) -> Result<Vec<Reclaimed>> {
    let path = column.data_path(file_id);
    let named = conf.named_len(file_id);
    let Some(data) = column.open(path.clone(), Access::Read)? else {
        return match named {
            Some(1..) => Err(missing(path, "data file", named.unwrap_or_default())),
            _ => Ok(Vec::new()),
        };
    };
    let bound = named.unwrap_or(data.byte_len()?);
    if bound <= FIRST_RECORD_OFFSET {
        return Ok(Vec::new());
    }
    let Some((table, _)) = column.read_table(file_id)? else {
        return Err(missing(column.offset_path(file_id), "offset file", bound));
    };
    // The checksum of a record whose entry is gone: its bytes may still be found.
    if let Sums::Whole(sums) = column.read_sums(file_id, conf.spec.record_type)?
        && let Some(index) = sums.known().find(|index| table.get(*index) == 0)
    {
        let wanted = format!(
            "the offset of a record of slot {}, for its checksum is kept",
            file_id.slot_at(index)
        );
        let path = column.offset_path(file_id);
        return Err(Error::corrupt(path, entry_offset(index), "offset entry", wanted, "0"));
    }
    let mut records = Vec::new();
    // What a crash left in a file that the conf names is not committed, and healing clears it.
    let is_committed = |entry: u64| named.is_none() || entry < bound;
    for (index, entry) in table.records().filter(|(_, entry)| is_committed(*entry)) {
        let end = data.record_end(conf.spec.record_type, entry, bound)?;
        let Some(whole) = end.filter(|end| entry >= FIRST_RECORD_OFFSET && *end <= bound) else {
            return Err(no_record(path, file_id.slot_at(index), entry, end, bound));
        };
        records.push((entry, whole));
    }
    records.sort_unstable();
    let (mut spans, mut at) = (Vec::new(), FIRST_RECORD_OFFSET);
    for (start, end) in records.into_iter().chain([(bound, bound)]) {
        if start < at {
            let wanted = format!("a record that starts behind {at}");
            return Err(Error::corrupt(path, start, "record", wanted, "one that overlaps"));
        }
        let (first, behind) = (at.next_multiple_of(BLOCK_BYTES), start - start % BLOCK_BYTES);
        if first < behind {
            let byte_len = behind - first;
            spans.push(Reclaimed { file: path.clone(), offset: first, byte_len, freed: None });
        }
        at = end;
    }
    Ok(spans)
}
