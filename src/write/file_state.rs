//! Caches the state of the files that the writer appends to.

use std::collections::HashMap;

use crate::error::{CorruptItem, Error, Result};
use crate::files::disk::Access;
use crate::format::conf::Conf;
use crate::format::corruption::missing;
use crate::format::names::SlotFile;
use crate::format::offsets::{OffsetTable, TABLE_BYTES, entry_offset};
use crate::format::record::FIRST_RECORD_OFFSET;
use crate::format::sums::SumTable;
use crate::slot::FileId;
use crate::sync::{Arc, Mutex, PoisonError};
use crate::write::column_dir::{ColumnDir, Sums};
use crate::write::foreign;
use crate::write::named_file::NamedFile;

/// Maximum number of cached files: 1 MiB of tables.
const MAX_FILES: usize = 16;

/// The committed state of the files of one id.
#[derive(Clone, Debug)]
pub(super) struct FileState {
    pub(super) table: Box<OffsetTable>,
    /// Committed bytes of the data file; 0 if there is none.
    pub(super) data_len: u64,
    pub(super) has_data: bool,
    /// Bytes of the offset file; 0 if it is missing or empty.
    pub(super) offsets_len: u64,
    pub(super) has_offsets: bool,
    /// `None` if no checksums are kept.
    pub(super) sums: Option<FileSums>,
}

/// The checksums of a file's records.
#[derive(Clone, Debug)]
pub(super) struct FileSums {
    pub(super) table: Box<SumTable>,
    pub(super) has_file: bool,
}

impl FileSums {
    fn new(conf: &Conf, file_id: FileId) -> Self {
        Self { table: SumTable::new(file_id, conf.spec.record_type), has_file: false }
    }
}

impl FileState {
    /// Whether the offset file has its full length, so that entries can be written in place.
    pub(super) fn has_whole_table(&self) -> bool {
        self.offsets_len == TABLE_BYTES as u64
    }
}

/// The states of a column's files, loaded on first use.
#[derive(Debug)]
pub(super) struct FileStates {
    directory: ColumnDir,
    /// Whether checksums of new records are kept.
    keeps_sums: bool,
    cache: Mutex<HashMap<FileId, Arc<FileState>>>,
    /// Results of flushing sealed files. A failed flush is never retried: a later success would prove
    /// nothing about pages that the kernel has dropped.
    flushed: Mutex<HashMap<FileId, Result<()>>>,
}

impl FileStates {
    pub(super) fn new(directory: ColumnDir, keeps_sums: bool) -> Self {
        Self { directory, keeps_sums, cache: Mutex::default(), flushed: Mutex::default() }
    }

    /// The state of a file above the current one, which does not exist.
    pub(super) fn new_file(&self, conf: &Conf, file_id: FileId) -> FileState {
        FileState {
            table: OffsetTable::zeroed(),
            data_len: 0,
            has_data: false,
            offsets_len: 0,
            has_offsets: false,
            sums: self.keeps_sums.then(|| FileSums::new(conf, file_id)),
        }
    }

    /// The state of a file at or below the current one.
    pub(super) fn get(&self, conf: &Conf, file_id: FileId) -> Result<Arc<FileState>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = cache.get(&file_id) {
            return Ok(Arc::clone(state));
        }
        let mut state = load(&self.directory, conf, file_id)?;
        state.sums = self.load_sums(conf, file_id, &state.table)?;
        Ok(insert(&mut cache, file_id, state))
    }

    /// [`Self::get`] for a file that is about to be extended, or whose records are about to be
    /// acknowledged. Opening flushes only the files that the conf names. A sealed file may hold unflushed
    /// data of a writer that died, so it is flushed here first.
    pub(super) fn get_flushed(&self, conf: &Conf, file_id: FileId) -> Result<Arc<FileState>> {
        if conf.named_len(file_id).is_none() {
            let mut flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
            let flushed = match flushed.get(&file_id) {
                Some(outcome) => outcome.clone(),
                None => {
                    // An error from opening is not cached: nothing was flushed yet.
                    let files = self.open_sealed(file_id)?;
                    let outcome = files.into_iter().try_for_each(|mut file| file.sync());
                    flushed.insert(file_id, outcome.clone());
                    outcome
                }
            };
            flushed?;
        }
        self.get(conf, file_id)
    }

    /// Loads the checksums of a file; `None` if none are kept or the file is broken. Healing has already
    /// removed every remnant of a crash, so a broken file is damaged and gets no further checksums.
    fn load_sums(
        &self,
        conf: &Conf,
        file_id: FileId,
        offsets: &OffsetTable,
    ) -> Result<Option<FileSums>> {
        // Even a writer without checksums must replace the checksum of a lost record: beside a new record
        // it would report a misplaced one.
        let know_lost = |sums: &SumTable| sums.known().any(|index| offsets.get(index) == 0);
        Ok(match self.directory.read_sums(file_id, conf.spec.record_type)? {
            Sums::Whole(table) if self.keeps_sums || know_lost(&table) => {
                Some(FileSums { table, has_file: true })
            }
            Sums::Absent if self.keeps_sums => Some(FileSums::new(conf, file_id)),
            Sums::Broken(..) if self.keeps_sums => {
                let file = self.directory.sums_path(file_id);
                tracing::warn!(file = %file.display(), "damaged checksum file left unchanged");
                None
            }
            _ => None,
        })
    }

    /// Opens the existing data and offset file of an id for reading, which is enough to flush them. A caller
    /// that only compares with a sealed file may lack write permission.
    fn open_sealed(&self, file_id: FileId) -> Result<Vec<NamedFile>> {
        let files = [SlotFile::Data(file_id), SlotFile::Offsets(file_id)];
        let open = |file| self.directory.open(self.directory.slot_file_path(file), Access::Read);
        files.into_iter().filter_map(|file| open(file).transpose()).collect()
    }

    /// Clears the cache after the files have changed.
    pub(super) fn clear(&self) {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn put(&self, file_id: FileId, state: FileState) {
        insert(&mut self.cache.lock().unwrap_or_else(PoisonError::into_inner), file_id, state);
    }
}

/// Caches a state. A full cache is cleared first, since reloading is cheap.
fn insert(
    cache: &mut HashMap<FileId, Arc<FileState>>,
    file_id: FileId,
    state: FileState,
) -> Arc<FileState> {
    if cache.len() >= MAX_FILES && !cache.contains_key(&file_id) {
        cache.clear();
    }
    let state = Arc::new(state);
    cache.insert(file_id, Arc::clone(&state));
    state
}

fn load(directory: &ColumnDir, conf: &Conf, file_id: FileId) -> Result<FileState> {
    let named = conf.named_len(file_id);
    let data = directory.open(directory.data_path(file_id), Access::Read)?;
    let file_len = data.as_ref().map(NamedFile::byte_len).transpose()?;
    let data_len = named.unwrap_or(file_len.unwrap_or(0));
    if data_len > file_len.unwrap_or(0) {
        // Fails.
        directory.open_data(file_id, Access::Read, data_len)?;
    }
    let table = directory.read_table(file_id)?;
    if table.is_none() && data_len > FIRST_RECORD_OFFSET {
        return Err(match named {
            Some(_) => missing(directory.offset_path(file_id), "offset file", data_len),
            None => foreign::in_the_way(directory, file_id, data_len),
        });
    }
    let has_offsets = table.is_some();
    let (table, offsets_len) = table.unwrap_or_else(|| (OffsetTable::zeroed(), 0));
    let has_data = file_len.is_some();
    let state = FileState { table, data_len, has_data, offsets_len, has_offsets, sums: None };
    // Every entry must point into the committed bytes. Healing ensures this for the files that the conf
    // names. An entry past the end of a sealed file was not written by this writer, and appending
    // there could turn it into a valid reference.
    if let Some((index, entry)) = state.table.records().find(|(_, entry)| *entry >= data_len) {
        let slot = file_id.slot_at(index);
        let wanted = format!("an offset below the data file's {data_len} bytes (slot {slot})");
        let (path, item) = (directory.offset_path(file_id), CorruptItem::OffsetEntry);
        return Err(Error::corrupt(path, entry_offset(index), item, wanted, entry.to_string()));
    }
    if state.has_data && data_len < FIRST_RECORD_OFFSET && named.is_none() {
        let way_out = match state.has_offsets {
            true => "",
            false => "; `coldstore heal` puts the file aside",
        };
        let found = format!("{data_len} bytes{way_out}");
        let path = directory.data_path(file_id);
        return Err(Error::corrupt(path, None, "sealed data file", "at least 8 bytes", found));
    }
    Ok(state)
}
