//! Which bytes of a file a view may show: its bound is established here, and its maps are made.
//!
//! `FORMAT.md`, section 7, has the rule and the reason for each step.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::files::directory::{Directory, FileStatus, OpenConf};
use crate::files::map::{MappedData, MappedTable, SlotMap};
use crate::files::watch::{Changes, Watch};
use crate::format::conf::Conf;
use crate::format::faults::{
    data_file_too_short, last_record_error, misfit_error, missing, offset_file_too_long,
};
use crate::format::fit;
use crate::format::names;
use crate::format::offsets::{OffsetTable, TABLE_BYTES, entry_offset};
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES, RecordFault, RecordTag};
use crate::read::access::Access;
use crate::read::descriptors::Descriptors;
use crate::read::map_cache::{Cached, MapCache, Moment};
use crate::read::sums::SumFiles;
use crate::slot::{FileId, Slot};

/// A map of a file that still grows reaches this many bytes further than the file, so that it
/// serves the next commits too.
const GROWTH_BYTES: u64 = 64 << 20;

/// How often a bound is established anew while commits keep coming in between.
const MAX_ATTEMPTS: usize = 1000;

/// The files of one column, as its readers share them.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) directory: Directory,
    access: Access,
    cache: Mutex<MapCache>,
    /// Tells which files change, from the first commit on that was seen: the outer `None`. The inner
    /// one: it cannot be told.
    watch: Mutex<Option<Option<Watch>>>,
    descriptors: Descriptors,
    pub(super) sums: SumFiles,
}

/// Both files of an id, as they were opened.
pub(super) struct OpenFiles {
    pub(super) data: Option<(File, FileStatus)>,
    pub(super) offsets: Option<(File, FileStatus)>,
}

/// The map of a file, as it was found for a view.
pub(super) struct Found {
    pub(super) map: Arc<SlotMap>,
    /// It is right for the views to come, as long as nothing tells that its files have changed and no
    /// conf names it.
    pub(super) lasts: bool,
}

impl Found {
    /// For this view alone.
    pub(super) fn for_now(map: Arc<SlotMap>) -> Self {
        Self { map, lasts: false }
    }
}

impl Files {
    /// Keeps the maps of at most `max_files` files that no view holds.
    pub(super) fn new(directory: Directory, access: Access, max_files: usize) -> Self {
        let cache = Mutex::new(MapCache::new(max_files));
        let (watch, descriptors) = (Mutex::default(), Descriptors::default());
        let sums = SumFiles::default();
        Self { directory, access, cache, watch, descriptors, sums }
    }

    /// A newer conf was read. What changed under it, and under all before, has changed by now: a
    /// writer writes to a file before it commits. All other files stay as they are known, and need
    /// not be looked at for a view of this conf.
    ///
    /// Returns the sealed files that may have changed since the last call; `None` when any may.
    pub(super) fn note_changes(&self, conf: &Conf) -> Option<Vec<FileId>> {
        // Under V2 sealed files never change.
        if conf.backfill.is_none() {
            return Some(Vec::new());
        }
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = watch.is_none();
        let watch = watch.get_or_insert_with(|| Watch::all_changes(&self.directory)).as_ref()?;
        let mut changes = Changes { incomplete: begins, ..Changes::default() };
        watch.take(&mut changes);
        self.cache().note(&changes);
        (!changes.incomplete).then_some(changes.files)
    }

    fn cache(&self) -> MutexGuard<'_, MapCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The data file that is mapped here, for reads past the map; `None` when it cannot be opened,
    /// or its name leads to another file by now: then there is the map.
    pub(super) fn descriptor(&self, file_id: FileId, map: &SlotMap) -> Option<Arc<File>> {
        self.descriptors.get(&self.directory, file_id, map.data_inode()?)
    }

    /// The map of a file for a view of `seen`: an earlier one where it still serves, else a new
    /// one with a bound established now.
    /// It is an error when the conf does not fit the current file.
    pub(super) fn map(&self, seen: &OpenConf, file_id: FileId) -> Result<Found> {
        let found = match self.inherited(&seen.conf, file_id)? {
            Some(found) => found,
            None => self.establish(seen, file_id)?,
        };
        let is_current = seen.conf.current_file() == Some(file_id);
        if !is_current || self.check_fit(&seen.conf, &found.map).is_ok() {
            return Ok(found);
        }
        let again = self.establish(seen, file_id)?;
        self.check_fit(&seen.conf, &again.map)?;
        Ok(again)
    }

    fn inherited(&self, conf: &Conf, file_id: FileId) -> Result<Option<Found>> {
        let mut cache = self.cache();
        let begun = cache.now();
        let Some((cached, is_unchanged)) = cache.get(file_id) else {
            return Ok(None);
        };
        drop(cache);
        let named = conf.named_len(file_id);
        // Under V2 nobody asks what has changed.
        let serves = if conf.backfill.is_some() { is_unchanged } else { cached.sealed_under_v2 };
        if named.is_none() && serves {
            return Ok(Some(Found { map: cached.map, lasts: true }));
        }
        let data = self.directory.status(&names::data_file(file_id))?;
        let offsets = self.directory.status(&names::offset_file(file_id))?;
        let (Some(data), Some(offsets)) = (data, offsets) else {
            return Ok(None);
        };
        // No writer cuts an offset file. Where somebody did, its map must not be touched.
        let is_cut = offsets.byte_len < TABLE_BYTES as u64;
        if data.inode != cached.data || offsets.inode != cached.offsets || is_cut {
            return Ok(None);
        }
        Ok(match named {
            None if data.byte_len == cached.bound => {
                let lasts = self.cache().confirm(file_id, begun);
                Some(Found { map: cached.map, lasts })
            }
            None => None,
            Some(bound) if data.byte_len >= bound => {
                let bound = usize::try_from(bound).ok();
                let map = bound.and_then(|bound| cached.map.rebound(bound));
                map.map(|map| Found::for_now(Arc::new(map)))
            }
            Some(_) => None,
        })
    }

    /// Maps a file with a bound established now.
    pub(super) fn establish(&self, seen: &OpenConf, file_id: FileId) -> Result<Found> {
        let named = seen.conf.named_len(file_id);
        if named == Some(0) {
            return Ok(Found::for_now(Arc::new(SlotMap::absent())));
        }
        self.settled(|before| {
            let begun = self.cache().now();
            let files = self.open(file_id)?;
            let (bound, is_named) = match named {
                Some(bound) => (bound, true),
                None if !self.directory.is_latest(before)? => return Ok(None),
                None => sealed_bound(&before.conf, file_id, files.data.as_ref().map(|data| data.1)),
            };
            let map = Arc::new(self.map_files(file_id, &files, bound, is_named)?);
            let sealed_under_v2 = !is_named && before.conf.backfill.is_none();
            let is_kept = self.keep(file_id, &files, &map, (bound, sealed_under_v2), begun);
            Ok(Some(Found { map, lasts: is_kept && !is_named }))
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

    /// Tries with the latest conf until that was not replaced meanwhile (`None`). What looks
    /// corrupt is looked at once more, and again as long as confs are being replaced.
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

    /// Keeps a map for later views. True when it is right for all of them as long as the files do
    /// not change.
    fn keep(
        &self,
        file_id: FileId,
        files: &OpenFiles,
        map: &Arc<SlotMap>,
        (bound, sealed_under_v2): (u64, bool),
        begun: Option<Moment>,
    ) -> bool {
        let (true, Some((_, data)), Some((_, offsets))) =
            (map.is_live(), &files.data, &files.offsets)
        else {
            return false;
        };
        let cached = Cached {
            map: Arc::clone(map),
            data: data.inode,
            offsets: offsets.inode,
            bound,
            sealed_under_v2,
            is_whole: data.byte_len == bound,
        };
        self.cache().put(file_id, cached, begun) || sealed_under_v2
    }

    pub(super) fn open(&self, file_id: FileId) -> Result<OpenFiles> {
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
        file_id: FileId,
        files: &OpenFiles,
        bound: u64,
        named: bool,
    ) -> Result<SlotMap> {
        self.check_lengths(file_id, files, bound)?;
        let data = match &files.data {
            Some(file) if bound > 0 => {
                let reserve = if named { GROWTH_BYTES } else { 0 };
                self.map_data(file_id, file, bound, reserve)?
            }
            _ => MappedData::nothing(),
        };
        let table = match &files.offsets {
            Some((file, status)) => self.map_table(file_id, file, status.byte_len)?,
            None => return Ok(SlotMap::absent()),
        };
        let bound = usize::try_from(bound).map_err(|_| self.too_large(file_id))?;
        let map = SlotMap::new(data, table, bound);
        if files.data.is_none() && !named && map.entries().any(|entry| entry != 0) {
            return Err(self.no_data_file(file_id));
        }
        Ok(map)
    }

    /// What a file with this bound must have is there.
    pub(super) fn check_lengths(
        &self,
        file_id: FileId,
        files: &OpenFiles,
        bound: u64,
    ) -> Result<()> {
        let data_path = self.data_path(file_id);
        match &files.data {
            Some((_, status)) if status.byte_len < bound => {
                return Err(data_file_too_short(data_path, status.byte_len, bound));
            }
            None if bound > 0 => return Err(missing(data_path, "data file", bound)),
            _ => {}
        }
        let path = self.offset_path(file_id);
        match &files.offsets {
            Some((_, status)) if status.byte_len > TABLE_BYTES as u64 => {
                Err(offset_file_too_long(path, status.byte_len))
            }
            None if bound > FIRST_RECORD_OFFSET => Err(missing(path, "offset file", bound)),
            _ => Ok(()),
        }
    }

    /// The error for an offset file whose data file is gone.
    pub(super) fn no_data_file(&self, file_id: FileId) -> Error {
        let found = "none, though its offset file has entries";
        Error::corrupt(self.data_path(file_id), None, "column", "a data file", found)
    }

    fn map_data(
        &self,
        file_id: FileId,
        (file, status): &(File, FileStatus),
        bound: u64,
        reserve: u64,
    ) -> Result<MappedData> {
        let too_large = |_| self.too_large(file_id);
        let bound_bytes = usize::try_from(bound).map_err(too_large)?;
        let with_reserve = usize::try_from(bound.saturating_add(reserve)).map_err(too_large)?;
        let map = |len| MappedData::map(file, status.inode, len, self.access.data_advice());
        // Where address space is scarce the room to grow is what can be done without.
        self.with_room(|| map(with_reserve))
            .or_else(|_| map(bound_bytes))
            .map_err(|error| Error::io(self.data_path(file_id), "map", error))
    }

    /// Maps. When the system has no more maps or address space to give, those go first that no
    /// view holds.
    fn with_room<T>(&self, map: impl Fn() -> io::Result<T>) -> io::Result<T> {
        map().or_else(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => {
                self.cache().shrink(0);
                map()
            }
            _ => Err(error),
        })
    }

    fn map_table(&self, file_id: FileId, file: &File, byte_len: u64) -> Result<MappedTable> {
        let path = || self.offset_path(file_id);
        match byte_len == TABLE_BYTES as u64 {
            true => self
                .with_room(|| MappedTable::map(file, self.access.table_advice()))
                .map_err(|error| Error::io(path(), "map", error)),
            false => {
                let mut bytes = Vec::with_capacity(TABLE_BYTES);
                file.take(TABLE_BYTES as u64)
                    .read_to_end(&mut bytes)
                    .map_err(|error| Error::io(path(), "read", error))?;
                let table = OffsetTable::from_prefix(&bytes);
                Ok(table.map_or_else(MappedTable::nothing, |table| MappedTable::copy(&table)))
            }
        }
    }

    /// The conf must be one of the current file's.
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
        fit::check_current_entries(entries, highest.index_in_file(), data_len).map(Some).map_err(
            |misfit| misfit_error(self.offset_path(highest.file_id()), highest, misfit, data_len),
        )
    }

    /// The second half: the record at that entry ends where the conf says.
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

    /// The error for an entry that leads to no record of the file.
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
            return Error::corrupt(path, at, "offset entry", wanted, entry.to_string());
        }
        let wanted = format!("{} for slot {slot}, that ends by {bound}", tag.describe());
        let path = self.data_path(file_id);
        Error::corrupt(path, entry, "record header", wanted, fault.describe(bound))
    }

    /// Whether a value in an uncompressed column may be so long. The column's bound may have been
    /// raised after the moment that is looked at, and a sealed file filled with what it now allows.
    pub(crate) fn check_len(&self, slot: Slot, entry: u64, byte_len: u64) -> Result<()> {
        let limit = self.latest_conf()?.conf.spec.max_value_bytes;
        if byte_len <= limit {
            return Ok(());
        }
        let wanted = format!("at most the column's {limit} bytes for slot {slot}");
        let path = self.data_path(slot.file_id());
        let (at, found) = (entry.saturating_add(HEADER_BYTES), format!("{byte_len} bytes"));
        Err(Error::corrupt(path, at, "length of a value", wanted, found))
    }

    pub(crate) fn data_path(&self, file_id: FileId) -> PathBuf {
        self.directory.file_path(&names::data_file(file_id))
    }

    pub(crate) fn offset_path(&self, file_id: FileId) -> PathBuf {
        self.directory.file_path(&names::offset_file(file_id))
    }

    /// The conf on disk now.
    pub(crate) fn latest_conf(&self) -> Result<OpenConf> {
        self.directory.read_conf()?.ok_or_else(|| self.directory.conf_is_gone())
    }

    fn too_large(&self, file_id: FileId) -> Error {
        let source = std::io::ErrorKind::FileTooLarge.into();
        Error::io(self.data_path(file_id), "map in this address space", source)
    }
}

/// The bound of a file that the view's conf does not name, and whether the latest conf, which was
/// the latest when the file was looked at, names it.
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
