//! Establishes which bytes of a file a snapshot may show (its bound), and maps files.
//!
//! `FORMAT.md`, section 7, has the rule and the reason for each step.

use std::io::Read;
use std::path::PathBuf;

use memmap2::Advice;

use crate::error::{Error, Result};
use crate::files::directory::{Directory, FileStatus, Inode, OpenConf};
use crate::files::map::{MappedData, MappedTable, SlotMap};
use crate::files::pread::Pread;
use crate::files::watch::{Changes, Watch};
use crate::format::conf::Conf;
use crate::format::names::{self, SlotFile};
use crate::format::offsets::{OffsetTable, TABLE_BYTES};
use crate::read::fd_cache::{FdCache, OpenFile};
use crate::read::options::Access;
use crate::slot::FileId;
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

/// Both files of an id, as they were opened, and how far a snapshot may show them.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) data: Option<OpenFile>,
    pub(super) offsets: Option<OpenFile>,
    pub(super) bound: u64,
    /// A conf names the file, so entries without a data file may belong to a commit in flight.
    pub(super) is_named: bool,
}

impl Opened {
    /// Of the data file, and of the offset file.
    pub(super) fn inodes(&self) -> [Option<Inode>; 2] {
        [&self.data, &self.offsets].map(|file| file.as_ref().map(|file| file.status.inode))
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
    fn establish(&self, seen: &OpenConf, file_id: FileId) -> Result<Found> {
        let is_named_by_seen = seen.conf.named_len(file_id).is_some();
        self.settle(seen, file_id, |opened| {
            let is_named_by_later = opened.is_named && !is_named_by_seen;
            let map = self.map_files(&seen.conf, file_id, &opened)?;
            Ok(Found { map, is_named_by_later })
        })
    }

    /// Opens the files of an id for a snapshot of `seen`, establishes their bound, and takes what the
    /// snapshot needs of them before the bound is confirmed: if no conf names the file, no commit was in
    /// flight meanwhile.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one of the files is missing, too short or too long; [`Error::Io`]; those of
    /// `take`.
    pub(super) fn settle<T>(
        &self,
        seen: &OpenConf,
        file_id: FileId,
        mut take: impl FnMut(Opened) -> Result<T>,
    ) -> Result<T> {
        let named = seen.conf.named_len(file_id);
        if named == Some(0) {
            return take(Opened { is_named: true, ..Opened::default() });
        }
        self.settled(|before| {
            let mut opened = self.open_both(file_id)?;
            let status = opened.data.as_ref().map(|data| data.status);
            (opened.bound, opened.is_named) = match named {
                Some(bound) => (bound, true),
                None => sealed_bound(&before.conf, file_id, status),
            };
            self.check_lengths(file_id, &opened)?;
            let taken = take(opened);
            if named.is_none() && !self.directory.is_latest(before)? {
                return Ok(None);
            }
            taken.map(Some)
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
    fn settled<T>(&self, mut attempt: impl FnMut(&OpenConf) -> Result<Option<T>>) -> Result<T> {
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
        Err(self.not_settled())
    }

    /// The error after [`MAX_ATTEMPTS`].
    pub(super) fn not_settled(&self) -> Error {
        let path = self.directory.file_path(names::CONF);
        let source = std::io::ErrorKind::TimedOut.into();
        Error::io(path, "read a conf that is not replaced at once", source)
    }

    /// Opens both files of an id. The bound is still to be established.
    pub(super) fn open_both(&self, file_id: FileId) -> Result<Opened> {
        let data = self.open_file(SlotFile::Data(file_id))?;
        let offsets = self.open_file(SlotFile::Offsets(file_id))?;
        Ok(Opened { data, offsets, ..Opened::default() })
    }

    /// Opens a file and caches it; `None` if there is no such file.
    pub(super) fn open_cached(&self, name: SlotFile) -> Result<Option<Arc<OpenFile>>> {
        Ok(self.open_file(name)?.map(|file| self.open.put(name, file)))
    }

    /// The file with this inode, from the cache or opened by its name; `None` if the name leads to another
    /// file.
    pub(super) fn cached(&self, name: SlotFile, inode: Inode) -> Result<Option<Arc<OpenFile>>> {
        let is_same = |file: &Arc<OpenFile>| file.status.inode == inode;
        let held = self.open.get(name).filter(is_same);
        let found = if held.is_some() { held } else { self.open_cached(name)? };
        Ok(found.filter(is_same))
    }

    /// `None` if there is no such file.
    pub(super) fn open_file(&self, name: SlotFile) -> Result<Option<OpenFile>> {
        let Some(file) = self.directory.open_file(&name.name())? else { return Ok(None) };
        let status = self.directory.open_status(&name.name(), &file)?;
        Ok(Some(OpenFile { path: self.directory.file_path(&name.name()), file, status }))
    }

    fn map_files(&self, conf: &Conf, file_id: FileId, opened: &Opened) -> Result<SlotMap> {
        let Opened { data, offsets, bound, is_named } = opened;
        let mapped = match data {
            Some(file) if *bound > 0 => self.map_data(file_id, file, *bound, *is_named)?,
            _ => MappedData::nothing(),
        };
        let table = match offsets {
            Some(file) => {
                self.map_table(file, self.access.table_advice(conf.spec.max_value_bytes))?
            }
            None => return Ok(SlotMap::absent()),
        };
        let bound = usize::try_from(*bound).map_err(|_| self.too_large(file_id))?;
        let map = SlotMap::new(mapped, table, bound);
        if data.is_none() && !is_named && map.entries().any(|entry| entry != 0) {
            return Err(self.no_data_file(file_id));
        }
        Ok(map)
    }

    fn map_data(
        &self,
        file_id: FileId,
        OpenFile { path, file, status }: &OpenFile,
        bound: u64,
        grows: bool,
    ) -> Result<MappedData> {
        let map = |len: u64| {
            let len = usize::try_from(len).map_err(|_| self.too_large(file_id))?;
            MappedData::map(file, status.inode, len, self.access.data_advice())
                .map_err(|error| Error::io(path, "map", error))
        };
        // If address space is scarce, map the file without room to grow.
        let room = if grows { GROWTH_BYTES } else { 0 };
        map(bound.saturating_add(room)).or_else(|_| map(bound))
    }

    fn map_table(
        &self,
        OpenFile { path, file, status }: &OpenFile,
        advice: Option<Advice>,
    ) -> Result<MappedTable> {
        if status.byte_len == TABLE_BYTES as u64 {
            return MappedTable::map(file, status.inode, advice)
                .map_err(|error| Error::io(path, "map", error));
        }
        let mut bytes = Vec::with_capacity(TABLE_BYTES);
        let read = file.take(TABLE_BYTES as u64).read_to_end(&mut bytes);
        read.map_err(|error| Error::io(path, "read", error))?;
        let table = OffsetTable::from_prefix(&bytes);
        Ok(table.map_or_else(MappedTable::nothing, |table| MappedTable::copy(&table)))
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
fn sealed_bound(latest: &Conf, file_id: FileId, data: Option<FileStatus>) -> (u64, bool) {
    match latest.named_len(file_id) {
        Some(bound) => (bound, true),
        None => (data.map_or(0, |status| status.byte_len), false),
    }
}
