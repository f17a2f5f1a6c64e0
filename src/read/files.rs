//! Establishes which bytes of a file a snapshot may show (its bound), and maps files.
//!
//! `FORMAT.md`, section 7, has the rule and the reason for each step.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use memmap2::Advice;

use crate::error::{CorruptItem, Error, Result};
use crate::files::directory::{Directory, FileStatus, OpenConf};
use crate::files::map::{MappedData, MappedTable, SlotMap};
use crate::files::pread::Pread;
use crate::files::watch::{Changes, Watch};
use crate::format::conf::Conf;
use crate::format::conf_check;
use crate::format::corruption::{
    contradicted_conf, data_file_too_short, last_record_error, missing, offset_file_too_long,
};
use crate::format::names;
use crate::format::offsets::{OffsetTable, TABLE_BYTES, entry_offset};
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES, RecordFault, RecordTag};
use crate::read::fd_cache::FdCache;
use crate::read::options::Access;
use crate::slot::{FileId, Slot};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The map of a growing file extends this many bytes past its bound, so that it serves the next commits
/// too.
const GROWTH_BYTES: u64 = 64 << 20;

/// Maximum number of attempts to establish a bound while new commits interfere.
pub(super) const MAX_ATTEMPTS: usize = 1000;

/// The files of one column, shared by its readers.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) directory: Directory,
    access: Access,
    changes: Mutex<ChangeLog>,
    pub(super) pread: Arc<dyn Pread>,
    /// Files open for `pread`.
    pub(super) open: FdCache,
}

/// Tracks which files change from one snapshot to the next. Locked while a map is put into a
/// snapshot.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    /// Number of calls of [`Files::take_changes`].
    pub(super) taken: u64,
    /// Files that count as changed regardless of the watch.
    pub(super) besides: Vec<FileId>,
    /// The outer `None`: no snapshot has needed a watch yet. The inner `None`: the system does not report
    /// all changes.
    watch: Option<Option<Watch>>,
}

/// Both files of an id, as they were opened.
pub(super) struct OpenFiles {
    pub(super) data: Option<(File, FileStatus)>,
    pub(super) offsets: Option<(File, FileStatus)>,
}

impl OpenFiles {
    /// Of the data file, and of the offset file.
    pub(super) fn statuses(&self) -> [Option<FileStatus>; 2] {
        [&self.data, &self.offsets].map(|file| file.as_ref().map(|(_, status)| *status))
    }
}

/// The map of a file, as established for a snapshot.
pub(super) struct Found {
    pub(super) map: SlotMap,
    /// A conf newer than the snapshot's names the file and determines its bound. The next commit may
    /// change the bound without changing the file.
    pub(super) is_named_by_later: bool,
}

impl Files {
    pub(super) fn new(directory: Directory, pread: Arc<dyn Pread>, access: Access) -> Self {
        let (changes, open) = (Mutex::default(), FdCache::default());
        Self { directory, pread, access, changes, open }
    }

    /// Returns the sealed files that may have changed since the last call; `None` if any may have.
    ///
    /// Call it after reading a newer conf: a writer changes a file before it commits, so the watch has then
    /// seen all changes up to that commit.
    pub(super) fn take_changes(&self, conf: &Conf) -> Option<Vec<FileId>> {
        let mut log = self.changes();
        log.taken += 1;
        let mut changes = Changes { files: std::mem::take(&mut log.besides), ..Changes::default() };
        // Under V2 sealed files never change.
        if conf.backfill.is_some() {
            // Changes before the start of the watch are unknown.
            changes.incomplete = log.watch.is_none();
            let watch = log.watch.get_or_insert_with(|| Watch::all_changes(&self.directory));
            watch.as_ref()?.take(&mut changes);
        }
        (!changes.incomplete).then_some(changes.files)
    }

    pub(super) fn changes(&self) -> MutexGuard<'_, ChangeLog> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The map of a file for a snapshot of `seen`: the map of an earlier snapshot if it is still valid,
    /// otherwise a new one. Fails if the conf does not fit the current file.
    pub(super) fn map(
        &self,
        seen: &OpenConf,
        file_id: FileId,
        earlier: Option<&SlotMap>,
    ) -> Result<Found> {
        let is_current = seen.conf.current_file() == Some(file_id);
        let earlier = earlier.map(|map| self.still_serves(&seen.conf, file_id, map)).transpose()?;
        if let Some(map) = earlier.flatten()
            && (!is_current || self.check_fit(&seen.conf, &map).is_ok())
        {
            return Ok(Found { map, is_named_by_later: false });
        }
        let found = self.establish(seen, file_id)?;
        if is_current {
            self.check_fit(&seen.conf, &found.map)?;
        }
        Ok(found)
    }

    /// The map of an earlier snapshot with the file's bound under this conf; `None` if a new map is needed.
    fn still_serves(
        &self,
        conf: &Conf,
        file_id: FileId,
        earlier: &SlotMap,
    ) -> Result<Option<SlotMap>> {
        let data = self.directory.status(&names::data_file(file_id))?;
        let offsets = self.directory.status(&names::offset_file(file_id))?;
        let (Some(data), Some(offsets)) = (data, offsets) else {
            return Ok(None);
        };
        let is_same = Some(data.inode) == earlier.data_inode()
            && Some(offsets.inode) == earlier.table_inode();
        // No writer truncates an offset file. If another tool did, the map must not be read.
        if !is_same || offsets.byte_len < TABLE_BYTES as u64 {
            return Ok(None);
        }
        Ok(match conf.named_len(file_id) {
            None => (data.byte_len == earlier.bound()).then(|| earlier.clone()),
            Some(bound) if data.byte_len >= bound => {
                usize::try_from(bound).ok().and_then(|bound| earlier.rebound(bound))
            }
            Some(_) => None,
        })
    }

    /// Establishes the bound of a file and maps it.
    pub(super) fn establish(&self, seen: &OpenConf, file_id: FileId) -> Result<Found> {
        let named = seen.conf.named_len(file_id);
        if named == Some(0) {
            return Ok(Found { map: SlotMap::absent(), is_named_by_later: false });
        }
        self.settled(|before| {
            let files = self.open_files(file_id)?;
            let (bound, is_named) = match named {
                Some(bound) => (bound, true),
                None if !self.directory.is_latest(before)? => return Ok(None),
                None => sealed_bound(&before.conf, file_id, files.statuses()[0]),
            };
            let map = self.map_files(&seen.conf, file_id, &files, bound, is_named)?;
            Ok(Some(Found { map, is_named_by_later: is_named && named.is_none() }))
        })
    }

    /// The bound of a file, without mapping it.
    pub(super) fn bound(&self, seen: &OpenConf, file_id: FileId) -> Result<u64> {
        if let Some(named) = seen.conf.named_len(file_id) {
            return Ok(named);
        }
        self.settled(|before| {
            let data = self.directory.status(&names::data_file(file_id))?;
            let latest = self.directory.is_latest(before)?;
            Ok(latest.then(|| sealed_bound(&before.conf, file_id, data).0))
        })
    }

    /// Repeats an attempt with the latest conf until the conf was not replaced during it; the attempt
    /// returns `None` if it was. An attempt that finds corruption is repeated once, and again as long as
    /// confs are replaced.
    pub(super) fn settled<T>(
        &self,
        mut attempt: impl FnMut(&OpenConf) -> Result<Option<T>>,
    ) -> Result<T> {
        let mut looked_twice = false;
        for _ in 0..MAX_ATTEMPTS {
            let before = self.latest_conf()?;
            match attempt(&before) {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {}
                Err(error) if !error.is_corrupt() => return Err(error),
                Err(error) if looked_twice && self.directory.is_latest(&before)? => {
                    return Err(error);
                }
                Err(_) => looked_twice = true,
            }
        }
        let path = self.directory.file_path(names::CONF);
        let source = std::io::ErrorKind::TimedOut.into();
        Err(Error::io(path, "read a conf that is not replaced at once", source))
    }

    pub(super) fn open_files(&self, file_id: FileId) -> Result<OpenFiles> {
        let open = |name: String| -> Result<Option<(File, FileStatus)>> {
            let Some(file) = self.directory.open_file(&name)? else {
                return Ok(None);
            };
            let status = self.directory.open_status(&name, &file)?;
            Ok(Some((file, status)))
        };
        let data = open(names::data_file(file_id))?;
        let offsets = open(names::offset_file(file_id))?;
        Ok(OpenFiles { data, offsets })
    }

    fn map_files(
        &self,
        conf: &Conf,
        file_id: FileId,
        files: &OpenFiles,
        bound: u64,
        is_named: bool,
    ) -> Result<SlotMap> {
        self.check_lengths(file_id, files.statuses(), bound)?;
        let data = match &files.data {
            Some(file) if bound > 0 => self.map_data(file_id, file, bound, is_named)?,
            _ => MappedData::nothing(),
        };
        let table = match &files.offsets {
            Some((file, status)) => {
                let advice = self.access.table_advice(conf.spec.max_value_bytes);
                self.map_table(file_id, file, *status, advice)?
            }
            None => return Ok(SlotMap::absent()),
        };
        let bound = usize::try_from(bound).map_err(|_| self.too_large(file_id))?;
        let map = SlotMap::new(data, table, bound);
        if files.data.is_none() && !is_named && map.entries().any(|entry| entry != 0) {
            return Err(self.no_data_file(file_id));
        }
        Ok(map)
    }

    /// Checks that data and offset file are long enough for this bound.
    pub(super) fn check_lengths(
        &self,
        file_id: FileId,
        [data, offsets]: [Option<FileStatus>; 2],
        bound: u64,
    ) -> Result<()> {
        let data_path = self.data_path(file_id);
        match data {
            Some(status) if status.byte_len < bound => {
                return Err(data_file_too_short(data_path, status.byte_len, bound));
            }
            None if bound > 0 => return Err(missing(data_path, "data file", bound)),
            _ => {}
        }
        let path = self.offset_path(file_id);
        match offsets {
            Some(status) if status.byte_len > TABLE_BYTES as u64 => {
                Err(offset_file_too_long(path, status.byte_len))
            }
            None if bound > FIRST_RECORD_OFFSET => Err(missing(path, "offset file", bound)),
            _ => Ok(()),
        }
    }

    /// The error for an offset file whose data file is missing.
    pub(super) fn no_data_file(&self, file_id: FileId) -> Error {
        let found = "none, though its offset file has entries";
        Error::corrupt(self.data_path(file_id), None, CorruptItem::Column, "a data file", found)
    }

    fn map_data(
        &self,
        file_id: FileId,
        (file, status): &(File, FileStatus),
        bound: u64,
        grows: bool,
    ) -> Result<MappedData> {
        let map = |len: u64| {
            let len = usize::try_from(len).map_err(|_| self.too_large(file_id))?;
            MappedData::map(file, status.inode, len, self.access.data_advice())
                .map_err(|error| Error::io(self.data_path(file_id), "map", error))
        };
        // If address space is scarce, map the file without room to grow.
        let room = if grows { GROWTH_BYTES } else { 0 };
        map(bound.saturating_add(room)).or_else(|_| map(bound))
    }

    fn map_table(
        &self,
        file_id: FileId,
        file: &File,
        status: FileStatus,
        advice: Option<Advice>,
    ) -> Result<MappedTable> {
        let failed = |what, error| Error::io(self.offset_path(file_id), what, error);
        if status.byte_len == TABLE_BYTES as u64 {
            return MappedTable::map(file, status.inode, advice)
                .map_err(|error| failed("map", error));
        }
        let mut bytes = Vec::with_capacity(TABLE_BYTES);
        let read = file.take(TABLE_BYTES as u64).read_to_end(&mut bytes);
        read.map_err(|error| failed("read", error))?;
        let table = OffsetTable::from_prefix(&bytes);
        Ok(table.map_or_else(MappedTable::nothing, |table| MappedTable::copy(&table)))
    }

    /// Checks that the conf fits the current file.
    pub(crate) fn check_fit(&self, conf: &Conf, map: &SlotMap) -> Result<()> {
        let Some(largest) = self.check_fit_of_entries(conf, map.entries())? else {
            return Ok(());
        };
        let payload = RecordTag::new(conf.spec.record_type).payload(map.records(), largest);
        let end = payload.ok().map(|payload| largest + HEADER_BYTES + payload.len() as u64);
        self.check_last_record(conf, largest, end)
    }

    /// The first half of [`Self::check_fit`]: returns the largest committed entry of the current file.
    pub(crate) fn check_fit_of_entries(
        &self,
        conf: &Conf,
        entries: impl Iterator<Item = u64>,
    ) -> Result<Option<u64>> {
        let Some(highest) = conf.highest else {
            return Ok(None);
        };
        let data_len = conf.current_data_len;
        conf_check::check_current_entries(entries, highest.index_in_file(), data_len)
            .map(Some)
            .map_err(|contradiction| {
                contradicted_conf(
                    self.offset_path(highest.file_id()),
                    highest,
                    contradiction,
                    data_len,
                )
            })
    }

    /// The second half: checks that the record at that entry ends at the length in the conf.
    pub(crate) fn check_last_record(
        &self,
        conf: &Conf,
        largest: u64,
        end: Option<u64>,
    ) -> Result<()> {
        match conf.current_file() {
            Some(file_id) if end != Some(conf.current_data_len) => {
                let path = self.data_path(file_id);
                Err(last_record_error(path, largest, conf.current_data_len, end))
            }
            _ => Ok(()),
        }
    }

    /// The error for an entry that points to no record of the file.
    pub(crate) fn no_record(
        &self,
        tag: RecordTag,
        slot: Slot,
        (entry, bound): (u64, u64),
        fault: RecordFault,
    ) -> Error {
        let file_id = slot.file_id();
        if entry >= bound || fault == RecordFault::InVersionRecord {
            let wanted =
                format!("an offset from 8 below the committed {bound} bytes (slot {slot})");
            let at = entry_offset(slot.index_in_file());
            let path = self.offset_path(file_id);
            return Error::corrupt(path, at, CorruptItem::OffsetEntry, wanted, entry.to_string());
        }
        let wanted = format!("{} for slot {slot}, that ends by {bound}", tag.describe());
        let path = self.data_path(file_id);
        Error::corrupt(path, entry, CorruptItem::RecordHeader, wanted, fault.describe(bound))
    }

    /// Checks the length of a value in an uncompressed column against the latest bound. The bound may have
    /// been raised after the snapshot, and a sealed file filled with longer values since.
    pub(crate) fn check_len(&self, slot: Slot, entry: u64, byte_len: u64) -> Result<()> {
        let limit = self.latest_conf()?.conf.spec.max_value_bytes;
        if byte_len <= limit {
            return Ok(());
        }
        let wanted = format!("at most the column's {limit} bytes for slot {slot}");
        let path = self.data_path(slot.file_id());
        let (at, found) = (entry.saturating_add(HEADER_BYTES), format!("{byte_len} bytes"));
        Err(Error::corrupt(path, at, CorruptItem::ValueLength, wanted, found))
    }

    /// The entry of a slot in the offset file, as far as it can be read.
    pub(super) fn entry_on_disk(&self, slot: Slot) -> Option<u64> {
        let file = self.directory.open_file(&names::offset_file(slot.file_id())).ok()??;
        let mut entry = [0; 8];
        let read = file.read_exact_at(&mut entry, entry_offset(slot.index_in_file()));
        read.ok().map(|()| u64::from_le_bytes(entry))
    }

    /// The offsets of the payload of the record at `entry`, read from the data file.
    pub(super) fn span_on_disk(
        &self,
        tag: RecordTag,
        (slot, entry): (Slot, u64),
        bound: u64,
    ) -> Result<Result<Range<u64>, RecordFault>> {
        let name = names::data_file(slot.file_id());
        let file = self.directory.open_file(&name)?;
        let mut header = [0; 8];
        let is_read = file.is_some_and(|file| file.read_exact_at(&mut header, entry).is_ok());
        Ok(if is_read { tag.span(entry, header, bound) } else { Err(RecordFault::HeaderPastBound) })
    }

    pub(crate) fn data_path(&self, file_id: FileId) -> PathBuf {
        self.directory.file_path(&names::data_file(file_id))
    }

    pub(crate) fn offset_path(&self, file_id: FileId) -> PathBuf {
        self.directory.file_path(&names::offset_file(file_id))
    }

    /// Reads the conf on disk.
    pub(crate) fn latest_conf(&self) -> Result<OpenConf> {
        self.directory.read_conf()?.ok_or_else(|| self.directory.conf_is_gone())
    }

    fn too_large(&self, file_id: FileId) -> Error {
        let source = std::io::ErrorKind::FileTooLarge.into();
        Error::io(self.data_path(file_id), "map in this address space", source)
    }
}

/// The bound of a file that the snapshot's conf does not name, and whether `latest` names the file.
/// `latest` was the conf in force when the file's status was read.
pub(super) fn sealed_bound(
    latest: &Conf,
    file_id: FileId,
    data: Option<FileStatus>,
) -> (u64, bool) {
    match latest.named_len(file_id) {
        Some(bound) => (bound, true),
        None => (data.map_or(0, |status| status.byte_len), false),
    }
}
