//! Frees the disk space of unreferenced bytes: bytes that no slot refers to.
//!
//! This crate's writer leaves none, but other software does, and so does a lost entry. To free them, a
//! sparse copy replaces the data file. No length, no offset and no byte of a record changes. The file that
//! readers have mapped does not change at all: a reader may hold a slice of a record whose entry was lost
//! since.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{CorruptItem, Error, Result};
use crate::files::disk::{Access, Disk, OsDisk};
use crate::format::conf::Conf;
use crate::format::corruption::missing;
use crate::format::offsets::ENTRIES;
use crate::format::record::FIRST_RECORD_OFFSET;
use crate::slot::FileId;
use crate::write::column_dir::{ColumnDir, Sums};
use crate::write::heal;
use crate::write::heal_action::HealReport;
use crate::write::named_file::chunks;
use crate::write::options::WriterOptions;
use crate::write::writer::Writer;

/// File systems free whole blocks of this size in bytes. Unreferenced bytes around them stay.
const BLOCK_BYTES: u64 = 4096;

/// Name of the copy while it is being written. No other software uses this name.
const TMP: &str = "reclaim.tmp";

/// A span of whole blocks that no slot refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reclaimed {
    /// The data file.
    pub file: PathBuf,
    /// Offset of the first block in the file.
    pub offset: u64,
    /// Length of the span in bytes.
    pub byte_len: u64,
    /// Number of bytes that were freed: fewer than `byte_len` if there was a hole before. `None` if the
    /// column was only inspected.
    pub freed: Option<u64>,
}

impl fmt::Display for Reclaimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, byte_len, freed } = self;
        let file = file.display();
        write!(f, "{file}: {byte_len} bytes from {offset} on that no slot refers to")?;
        match freed {
            Some(freed) => write!(f, ": {freed} freed"),
            None => Ok(()),
        }
    }
}

/// The spans that were freed, or would be.
#[derive(Debug, Default)]
pub struct ReclaimReport {
    /// Ordered by file and offset.
    pub spans: Vec<Reclaimed>,
    /// The corruption of each damaged file. Such a file is skipped, because it is unknown which bytes its
    /// slots refer to.
    pub left_alone: Vec<Error>,
}

/// Heals a column as opening it for writing does, then frees its unreferenced bytes:
///
/// 1. Open the column for writing, which keeps other writers out until the end.
/// 2. For each file, find the spans between its records. Skip the file if a record is damaged.
/// 3. Copy the file without the spans, which leaves holes. Flush the copy and rename it over the file.
///
/// Readers continue meanwhile. A view keeps the file that it has mapped, whose space is free once the last
/// such view is dropped. The next call removes the copy that a crash leaves.
///
/// # Errors
/// As [`Writer::open`]; [`Error::Io`] if a file cannot be read or there is no room for its copy. Records
/// are never changed, so the call can be repeated after an error.
pub fn reclaim(directory: impl AsRef<Path>) -> Result<(HealReport, ReclaimReport)> {
    reclaim_on(Arc::new(OsDisk), directory)
}

/// As [`reclaim`], on another disk than the operating system's.
///
/// # Errors
/// As [`reclaim`].
pub fn reclaim_on(
    disk: Arc<dyn Disk>,
    directory: impl AsRef<Path>,
) -> Result<(HealReport, ReclaimReport)> {
    // 1.
    let writer = Writer::open_on(Arc::clone(&disk), &directory, WriterOptions::default())?;
    let column = ColumnDir::new(disk, directory.as_ref());
    // 2.
    let mut report = examine(&column, writer.conf())?;
    // 3.
    for spans in report.spans.chunk_by_mut(|a, b| a.file == b.file) {
        if let [Reclaimed { file, .. }, ..] = spans {
            make_sparse(&column, &file.clone(), spans)?;
        }
    }
    Ok((writer.heal_report().clone(), report))
}

/// Replaces a data file by a copy with holes for the spans.
fn make_sparse(column: &ColumnDir, path: &Path, spans: &mut [Reclaimed]) -> Result<()> {
    let tmp = column.file_path(TMP);
    column.remove_if_there(&tmp)?;
    let data = column.must_open(path.to_owned(), Access::Read)?;
    let (byte_len, allocated) = (data.byte_len()?, data.allocated()?);
    let unreferenced: u64 = spans.iter().map(|span| span.byte_len).sum();
    let kept = byte_len.next_multiple_of(BLOCK_BYTES).saturating_sub(unreferenced);
    spans.iter_mut().for_each(|span| span.freed = Some(0));
    // Skips a file that is mostly holes already, and one with a second name, which would keep its space.
    if allocated.saturating_sub(kept) < unreferenced / 2 || data.names()? > 1 {
        return Ok(());
    }
    let mut copy = column.create(tmp.clone())?;
    let ends = spans.iter().map(|span| span.offset).chain([byte_len]);
    let starts = [0].into_iter().chain(spans.iter().map(|span| span.offset + span.byte_len));
    for chunk in starts.zip(ends).flat_map(|(start, end)| chunks(start..end)) {
        let at = chunk.start;
        copy.write_at(&data.read(chunk)?, at)?;
    }
    copy.set_len(byte_len)?;
    copy.sync()?;
    let mut freed = allocated.saturating_sub(copy.allocated()?);
    let renamed = column.disk().rename(&tmp, path);
    renamed.map_err(|error| Error::io(path, "replace by a sparse copy", error))?;
    column.sync()?;
    for span in spans {
        let of_span = freed.min(span.byte_len);
        span.freed = Some(of_span);
        freed -= of_span;
    }
    Ok(())
}

/// Reports what [`reclaim`] would free. Changes nothing; keeps writers out meanwhile.
///
/// # Errors
/// As [`inspect`](crate::inspect).
pub fn inspect_reclaim(directory: impl AsRef<Path>) -> Result<ReclaimReport> {
    let column = ColumnDir::new(Arc::new(OsDisk), directory.as_ref());
    let _held = column.lock_shared()?;
    let conf = column.read_conf()?.ok_or_else(|| heal::no_conf(&column))?;
    examine(&column, &conf)
}

fn examine(column: &ColumnDir, conf: &Conf) -> Result<ReclaimReport> {
    let mut report = ReclaimReport::default();
    for file_id in column.file_ids()?.into_iter().filter(|id| Some(*id) <= conf.current_file()) {
        match unreferenced(column, conf, file_id) {
            Ok(spans) => report.spans.extend(spans),
            Err(error) if error.is_corrupt() => report.left_alone.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// The spans of whole blocks between the records of a file.
fn unreferenced(column: &ColumnDir, conf: &Conf, file_id: FileId) -> Result<Vec<Reclaimed>> {
    let record_type = conf.spec.record_type;
    let path = column.data_path(file_id);
    let named = conf.named_len(file_id);
    let Some(data) = column.open(path.clone(), Access::Read)? else {
        return match named {
            Some(bound @ 1..) => Err(missing(path, "data file", bound)),
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
    if let Sums::Whole(sums) = column.read_sums(file_id, record_type)? {
        column.check_no_entry_is_lost(file_id, &sums, &table, ENTRIES)?;
    }
    let mut records = Vec::new();
    // In files that the conf names, healing clears entries past the committed length.
    let is_committed = |entry: u64| named.is_none() || entry < bound;
    for (index, entry) in table.records().filter(|(_, entry)| is_committed(*entry)) {
        records.push((entry, data.end_of(record_type, file_id.slot_at(index), entry, bound)?));
    }
    records.sort_unstable();
    let (mut spans, mut at) = (Vec::new(), FIRST_RECORD_OFFSET);
    for (start, end) in records.into_iter().chain([(bound, bound)]) {
        if start < at {
            let wanted = format!("a record that starts at or after {at}");
            let found = "a record that overlaps the one before";
            return Err(Error::corrupt(path, start, CorruptItem::Record, wanted, found));
        }
        let (first, after) = (at.next_multiple_of(BLOCK_BYTES), start - start % BLOCK_BYTES);
        if first < after {
            let byte_len = after - first;
            spans.push(Reclaimed { file: path.clone(), offset: first, byte_len, freed: None });
        }
        at = end;
    }
    Ok(spans)
}
