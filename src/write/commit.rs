//! The commit protocol: `FORMAT.md`, section 5.2, step by step.
//!
//! # Atomicity: after a crash, all of a batch is committed or none of it
//! Readers and healing trust only the conf. Until step 6 renames the new conf, the old one is in
//! force. Everything that steps 3 and 4 wrote then lies past a length that the old conf names: past
//! the length of the current file, past the length of the backfill file (step 1 ensures that the conf
//! names it), or in files above the current one. Healing removes whatever part of it reached the
//! medium. By the time the rename reaches the medium, everything that the new conf names is durable:
//! step 5 has flushed the records, the entries, the names of new files, and the new conf itself.
//!
//! The order within step 5 is irrelevant. An entry points past the length in force whether or not its
//! record is on disk yet, so all files are flushed concurrently.
//!
//! Step 7 is not part of this argument. It records, for later, that the records are this writer's
//! (`FORMAT.md`, section 12).
//!
//! Healing consults the witness before it removes data that may also be rot. So step 2 fills the
//! witness slot that does not hold the conf in force before any other file is changed.

use std::borrow::Cow;
use std::io::{self, Read};

use crate::error::{Error, Result};
use crate::files::disk::{Access, CHUNK_BYTES};
use crate::format::conf::{BackfillTarget, Conf};
use crate::format::corruption::{missing, offset_file_too_short};
use crate::format::offsets::{TABLE_BYTES, entry_offset};
use crate::format::record::{HEADER_BYTES, RecordHeader};
use crate::format::sums::{RecordSum, SUMS_BYTES, SUMS_HEADER_BYTES, sum_entry_offset};
use crate::slot::{FileId, Slot};
use crate::sync::{Arc, Mutex, PoisonError};
use crate::write::append_buffer::AppendBuffer;
use crate::write::column_dir::ColumnDir;
use crate::write::conf_file::{self, CommitError, poisoning};
use crate::write::file_state::{FileState, FileStates};
use crate::write::fsync_pool::Flush;
use crate::write::named_file::NamedFile;
use crate::write::open_column::OpenColumn;
use crate::write::rules::check_stored_len;

/// Maximum number of runs of adjacent entries that are written one by one.
const MAX_RUNS: usize = 4;

/// The operation that an error names when a caller's stream fails.
pub(super) const READ_SOURCE: &str = "read the value to append to";

/// A slot and its payload in stored form.
pub(super) type Record<'a> = (Slot, Cow<'a, [u8]>);

/// The new records of one file.
pub(super) struct FileBatch<'a> {
    pub(super) file_id: FileId,
    pub(super) records: &'a [Record<'a>],
    /// The last record of the file, after `records`.
    pub(super) stream: Option<Stream<'a>>,
}

/// A record whose payload is read from a stream while it is written.
pub(super) struct Stream<'a> {
    pub(super) slot: Slot,
    pub(super) byte_len: u64,
    pub(super) source: &'a mut dyn Read,
}

impl FileBatch<'_> {
    fn slots(&self) -> impl DoubleEndedIterator<Item = Slot> {
        let last = self.stream.as_ref().map(|stream| stream.slot);
        self.records.iter().map(|(slot, _)| *slot).chain(last)
    }
}

/// A file of the commit, with everything that will be written to it.
struct Staged<'a> {
    file_id: FileId,
    /// The committed state; [`Staged::committed`] advances it.
    state: FileState,
    /// The existing files of this id; `None` for each one that the commit creates.
    data: Option<NamedFile>,
    offsets: Option<NamedFile>,
    sums: Option<NamedFile>,
    bytes: AppendBuffer<'a>,
    /// First and last index of the entries to be written.
    runs: Vec<(usize, usize)>,
    stream: Option<(Stream<'a>, RecordHeader)>,
}

/// A commit before its rename: invisible to readers and to healing.
#[derive(Debug)]
pub(super) struct Written {
    conf: Conf,
    check: Arc<Mutex<NamedFile>>,
    files: Vec<(FileId, FileState)>,
    /// The flushes of step 5.
    flushes: Vec<Flush>,
}

/// Steps 1 to 4. All records are new, and they are either all above the highest slot or all at or below
/// it. `next` is the sealed file that the following batch fills, if the caller knows it.
pub(super) fn write(
    column: &mut OpenColumn,
    batch: Vec<FileBatch<'_>>,
    next: Option<FileId>,
) -> Result<Written, CommitError> {
    let highest = batch.last().and_then(|file| file.slots().next_back());
    let mut staged = Vec::with_capacity(batch.len());
    for file in batch {
        staged.push(stage(column, file)?);
    }
    let OpenColumn { directory, conf, witness, files, fsync_pool, .. } = column;
    // A file of this batch is named anyway, with its new length.
    let next = next.filter(|next| staged.iter().all(|file| file.file_id != *next));
    let next = match next.map(|file_id| target(files, conf, file_id)) {
        // The next commit reports the corruption.
        Some(Err(Error::Corrupt(_))) | None => None,
        Some(target) => Some(target?),
    };

    // 1. intent
    let sealed = staged.iter().find(|file| Some(file.file_id) < conf.current_file());
    let intent = sealed
        .filter(|file| conf.backfill_target().map(|t| t.file_id) != Some(file.file_id))
        .map(|file| BackfillTarget { file_id: file.file_id, data_len: file.state.data_len })
        .map(|target| conf.with_target(Some(target)));
    if let Some(intent) = intent {
        let flush = |flushes| fsync_pool.flush_all(directory, flushes);
        conf_file::replace(directory, witness, Some(conf), intent, flush)?;
        *conf = intent;
    }

    let mut flushes = Vec::with_capacity(3 * staged.len() + 3);
    // 2. witness
    let committed = conf_after(conf, &staged, highest, next);
    let check = conf_file::announce(directory, witness, Some(conf), committed);
    let check = Arc::new(Mutex::new(match intent {
        Some(_) => check.map_err(|failed| poisoning(failed.error))?,
        None => check?,
    }));
    flushes.push(Flush::Kept(Arc::clone(&check)));
    // 3. data, then offsets, and checksums if they are kept
    for file in &mut staged {
        match write_data(directory, file) {
            Ok(()) => flushes.extend(file.data.take().map(Flush::File)),
            Err(AppendError::Disk(error)) => return Err(poisoning(error)),
            Err(AppendError::Source(error)) => {
                conf_file::settle(directory, witness, conf).map_err(poisoning)?;
                return Err(take_back(directory, file, error));
            }
        }
    }
    for file in &mut staged {
        flushes.push(Flush::File(write_entries(directory, file).map_err(poisoning)?));
        if file.state.sums.is_some() {
            flushes.push(Flush::File(write_sums(directory, file).map_err(poisoning)?));
        }
    }
    // 4. conf
    flushes.push(Flush::File(directory.write_tmp(&committed).map_err(poisoning)?));
    if staged.iter().any(Staged::makes_files) {
        flushes.push(Flush::Names(directory.clone()));
    }
    let files = staged.into_iter().map(|file| (file.file_id, file.committed())).collect();
    Ok(Written { conf: committed, check, files, flushes })
}

impl Written {
    /// Step 5, unless it is done already.
    pub(super) fn flush(&mut self, column: &mut OpenColumn) -> Result<(), CommitError> {
        let OpenColumn { directory, fsync_pool, .. } = column;
        match std::mem::take(&mut self.flushes) {
            flushes if flushes.is_empty() => Ok(()),
            flushes => fsync_pool.flush_all(directory, flushes).map_err(poisoning),
        }
    }

    /// Steps 6 and 7, after step 5 if it is still to be done. The column's conf and file states advance
    /// once the rename is durable.
    pub(super) fn commit(mut self, column: &mut OpenColumn) -> Result<(), CommitError> {
        self.flush(column)?;
        column.directory.rename_tmp().map_err(poisoning)?;
        column.conf = self.conf;
        // 7. mark
        let mut check = self.check.lock().unwrap_or_else(PoisonError::into_inner);
        conf_file::finish(&mut check, &mut column.witness, &column.conf);
        drop(check);
        for (file_id, state) in self.files {
            column.files.put(file_id, state);
        }
        Ok(())
    }
}

impl Staged<'_> {
    /// The state of the file once the new conf is in force.
    fn committed(mut self) -> FileState {
        self.state.data_len = self.bytes.end();
        self.state.has_data = true;
        self.state.has_offsets = true;
        self.state.offsets_len = TABLE_BYTES as u64;
        if let Some(sums) = &mut self.state.sums {
            sums.has_file = true;
        }
        self.state
    }

    fn makes_files(&self) -> bool {
        let state = &self.state;
        !state.has_data
            || !state.has_offsets
            || state.sums.as_ref().is_some_and(|sums| !sums.has_file)
    }
}

/// A sealed file as the next backfill file, with its current length.
fn target(files: &FileStates, conf: &Conf, file_id: FileId) -> Result<BackfillTarget> {
    let data_len = files.get_flushed(conf, file_id)?.data_len;
    Ok(BackfillTarget { file_id, data_len })
}

fn conf_after(
    conf: &Conf,
    staged: &[Staged<'_>],
    highest: Option<Slot>,
    next: Option<BackfillTarget>,
) -> Conf {
    let mut after = *conf;
    let mut target = conf.backfill_target();
    after.highest = conf.highest.max(highest);
    for file in staged {
        let data_len = file.bytes.end();
        if Some(file.file_id) == after.current_file() {
            after.current_data_len = data_len;
        } else if Some(file.file_id) < conf.current_file() {
            target = Some(BackfillTarget { file_id: file.file_id, data_len });
        }
    }
    after.with_target(next.or(target))
}

/// Lays out the records of one file after its committed length. Changes nothing.
fn stage<'a>(column: &OpenColumn, batch: FileBatch<'a>) -> Result<Staged<'a>> {
    let OpenColumn { directory, conf, files, .. } = column;
    let file_id = batch.file_id;
    let exists = Some(file_id) <= conf.current_file();
    let mut state = if exists {
        FileState::clone(&*files.get_flushed(conf, file_id)?)
    } else {
        files.new_file(conf, file_id)
    };
    // Appending to a data file that another tool has truncated would leave a hole.
    let data = || directory.open_data(file_id, Access::Write, state.data_len);
    let data = state.has_data.then(data).transpose()?;
    let offsets =
        state.has_offsets.then(|| open_offsets(directory, file_id, &state)).transpose()?;
    let sums = open_sums(directory, file_id, &mut state)?;
    let runs = few_runs(batch.slots().map(Slot::index_in_file));
    let header = |slot, byte_len| {
        check_stored_len(slot, byte_len)
            .map(|byte_len| RecordHeader::new(conf.spec.record_type, byte_len))
    };
    let too_long = || {
        let source = io::ErrorKind::FileTooLarge.into();
        Error::io(directory.data_path(file_id), "append to", source)
    };
    let copied = batch.records.iter().map(|(_, payload)| payload.len());
    let mut bytes = AppendBuffer::at(state.data_len, copied.chain(batch.stream.iter().map(|_| 0)));
    for (slot, payload) in batch.records {
        let header = header(*slot, payload.len() as u64)?;
        let offset = bytes.push(header, payload).ok_or_else(too_long)?;
        state.table.set(slot.index_in_file(), offset);
        if let Some(sums) = &mut state.sums {
            let mut sum = RecordSum::new(*slot, offset, header.to_bytes());
            sum.update(payload);
            sums.table.set(slot.index_in_file(), sum.entry(*slot, offset));
        }
    }
    let mut stream = None;
    if let Some(last) = batch.stream {
        let header = header(last.slot, last.byte_len)?;
        let offset = bytes.push_header(header).ok_or_else(too_long)?;
        state.table.set(last.slot.index_in_file(), offset);
        stream = Some((last, header));
    }
    Ok(Staged { file_id, state, data, offsets, sums, bytes, runs, stream })
}

/// Opens an offset file to write entries to. Fails if another tool has truncated it since it was read:
/// entries are lost.
fn open_offsets(directory: &ColumnDir, file_id: FileId, state: &FileState) -> Result<NamedFile> {
    let path = directory.offset_path(file_id);
    let Some(file) = directory.open(path.clone(), Access::Write)? else {
        return Err(missing(path, "offset file", state.data_len));
    };
    match file.byte_len()? {
        byte_len if byte_len < state.offsets_len => {
            Err(offset_file_too_short(path, byte_len, state.offsets_len))
        }
        _ => Ok(file),
    }
}

/// Opens a checksum file to write to. If another tool has removed it, it is created again; if it was
/// truncated, the records get no checksums. Failure to open it is an error before anything is written.
fn open_sums(
    directory: &ColumnDir,
    file_id: FileId,
    state: &mut FileState,
) -> Result<Option<NamedFile>> {
    let Some(sums) = state.sums.as_mut().filter(|sums| sums.has_file) else {
        return Ok(None);
    };
    let Some(file) = directory.open(directory.sums_path(file_id), Access::Write)? else {
        sums.has_file = false;
        return Ok(None);
    };
    if file.byte_len()? < SUMS_BYTES as u64 {
        state.sums = None;
        return Ok(None);
    }
    Ok(Some(file))
}

/// Why records could not be appended.
enum AppendError {
    Disk(Error),
    /// The source of a value failed, not the disk.
    Source(io::Error),
}

impl From<Error> for AppendError {
    fn from(error: Error) -> Self {
        Self::Disk(error)
    }
}

/// Appends the records of one file. The caller flushes it.
fn write_data(directory: &ColumnDir, file: &mut Staged<'_>) -> Result<(), AppendError> {
    let data = match &mut file.data {
        Some(data) => data,
        none => none.insert(directory.create(directory.data_path(file.file_id))?),
    };
    data.write_all_at(&mut file.bytes.slices(), file.bytes.start())?;
    if let Some((Stream { slot, byte_len, source }, header)) = file.stream.take() {
        let payload_offset = file.bytes.end() - byte_len;
        let offset = payload_offset - HEADER_BYTES;
        let mut sum = RecordSum::new(slot, offset, header.to_bytes());
        let keeps_sums = file.state.sums.is_some();
        let mut watch = |piece: &[u8]| {
            if keeps_sums {
                sum.update(piece);
            }
        };
        write_stream(data, payload_offset, byte_len, source, &mut watch)?;
        if let Some(sums) = &mut file.state.sums {
            sums.table.set(slot.index_in_file(), sum.entry(slot, offset));
        }
    }
    Ok(())
}

/// Copies a stream into the file in chunks, and passes each one to `watch`.
fn write_stream(
    data: &mut NamedFile,
    mut offset: u64,
    byte_len: u64,
    source: &mut dyn Read,
    watch: &mut dyn FnMut(&[u8]),
) -> Result<(), AppendError> {
    let end = offset + byte_len;
    let mut chunk = vec![0; usize::try_from(byte_len).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES)];
    while offset < end {
        let to_boundary = CHUNK_BYTES as u64 - offset % CHUNK_BYTES as u64;
        let count = to_boundary.min(end - offset).min(chunk.len() as u64);
        let piece = &mut chunk[..usize::try_from(count).unwrap_or(CHUNK_BYTES)];
        source.read_exact(piece).map_err(AppendError::Source)?;
        watch(piece);
        data.write_at(piece, offset)?;
        offset += count;
    }
    Ok(())
}

/// Undoes the append after the source of a value failed: truncates the data file as healing would, and
/// flushes it. The disk did not fail, so the writer stays usable.
fn take_back(directory: &ColumnDir, file: &mut Staged<'_>, error: io::Error) -> CommitError {
    let path = directory.data_path(file.file_id);
    let cut = if let Some(data) = file.data.as_mut().filter(|_| file.state.has_data) {
        data.set_len(file.bytes.start()).and_then(|()| data.sync())
    } else {
        directory.remove(&path).and_then(|()| directory.sync())
    };
    match cut {
        Ok(()) => Error::io(path, READ_SOURCE, error).into(),
        Err(error) => poisoning(error),
    }
}

/// Writes the entries of one file. The caller flushes it.
fn write_entries(directory: &ColumnDir, file: &mut Staged<'_>) -> Result<NamedFile> {
    let mut offsets = match file.offsets.take() {
        Some(offsets) => offsets,
        None => directory.create(directory.offset_path(file.file_id))?,
    };
    let table = &file.state.table;
    if file.state.has_whole_table() {
        for &(first, last) in &file.runs {
            offsets.write_at(table.bytes_of(first..=last), entry_offset(first))?;
        }
    } else {
        offsets.write_at(table.as_bytes(), 0)?;
    }
    Ok(offsets)
}

/// Writes the checksums of the records of one file. The caller flushes it.
fn write_sums(directory: &ColumnDir, file: &mut Staged<'_>) -> Result<NamedFile> {
    let path = directory.sums_path(file.file_id);
    let table = file.state.sums.as_ref().map(|sums| &sums.table);
    match (file.sums.take(), table) {
        (Some(mut sums), Some(table)) => {
            for &(first, last) in &file.runs {
                sums.write_at(table.bytes_of(first..=last), sum_entry_offset(first))?;
            }
            Ok(sums)
        }
        (_, table) => {
            let mut sums = directory.create(path)?;
            let bytes = table.map_or(&[][..], |table| table.as_bytes());
            let (header, entries) = bytes.split_at_checked(SUMS_HEADER_BYTES).unwrap_or_default();
            sums.write_at(entries, SUMS_HEADER_BYTES as u64)?;
            // Once the header is valid, the entries count for records that are already committed.
            // So no garbage may follow the header: the entries are flushed first.
            if file.state.data_len > 0 {
                sums.sync()?;
            }
            sums.write_at(header, 0)?;
            Ok(sums)
        }
    }
}

/// First and last index of each run of adjacent entries. Above [`MAX_RUNS`], returns a single run that
/// spans them all, because many small writes cost more than one large one; the entries in between are
/// rewritten unchanged.
fn few_runs(indices: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for index in indices {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => runs.push((index, index)),
        }
    }
    match runs.as_slice() {
        [first, .., last] if runs.len() > MAX_RUNS => vec![(first.0, last.1)],
        _ => runs,
    }
}
