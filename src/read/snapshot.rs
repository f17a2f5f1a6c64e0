//! A snapshot of one commit: its conf, and the maps of its files.

use std::collections::BTreeMap;

use crate::column::Compression;
use crate::error::{Error, Result};
use crate::files::directory::OpenConf;
use crate::files::map::{Leaf, MapIndex, Part, SlotMap};
use crate::format::conf::Conf;
use crate::format::names;
use crate::format::record::{BoundedTag, HEADER_BYTES, RecordFault, RecordTag};
use crate::read::files::{Files, Found, MAX_ATTEMPTS};
use crate::read::options::{Access, ReaderOptions};
use crate::slot::{FileId, Slot};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Arc, OnceLock};

/// One commit of a column. Shows everything committed by then, and nothing uncommitted.
pub(super) struct Snapshot {
    pub(super) seen: Arc<OpenConf>,
    pub(super) files: Arc<Files>,
    pub(super) options: ReaderOptions,
    /// One past the highest slot; 0 in an empty column.
    pub(super) end: u64,
    pub(super) tag: RecordTag,
    /// Maximum length of a payload by this conf; a later conf may allow more.
    pub(super) max_stored_len: usize,
    /// Whether point reads prefetch their records.
    pub(super) prefetches: bool,
    pub(super) index: MapIndex,
    /// Number of maps in `index`.
    mapped: AtomicUsize,
    /// The files past the end of `index` that were in the directory when one of them was first read.
    far: OnceLock<Far>,
}

struct Far {
    maps: BTreeMap<FileId, OnceLock<SlotMap>>,
    absent: SlotMap,
}

impl Snapshot {
    pub(super) fn new(files: Arc<Files>, seen: Arc<OpenConf>, options: ReaderOptions) -> Self {
        let index = MapIndex::new(end_of(&seen.conf));
        Self::with_index(files, seen, options, index)
    }

    /// The snapshot of a later commit. Takes over the maps of unchanged files. `changed` lists the files
    /// that may have changed since this snapshot; `None` if any may have.
    pub(super) fn next(&self, seen: OpenConf, changed: Option<Vec<FileId>>) -> Self {
        let (before, conf) = (&self.seen.conf, &seen.conf);
        // Files that never change under V2 may change with backfill.
        let is_same_rule = before.backfill.is_some() == conf.backfill.is_some();
        let changed = changed.filter(|_| is_same_rule).map(|mut changed| {
            changed.extend(named_files(before).chain(named_files(conf)));
            changed
        });
        let index = self.index.next(end_of(conf), changed.as_deref());
        Self::with_index(Arc::clone(&self.files), Arc::new(seen), self.options, index)
    }

    /// Another snapshot of the same commit, without maps.
    pub(super) fn afresh(&self) -> Self {
        Self::new(Arc::clone(&self.files), Arc::clone(&self.seen), self.options)
    }

    fn with_index(
        files: Arc<Files>,
        seen: Arc<OpenConf>,
        options: ReaderOptions,
        index: MapIndex,
    ) -> Self {
        let spec = seen.conf.spec;
        let max_stored_len = match spec.compression {
            Compression::None => usize::try_from(spec.max_value_bytes).unwrap_or(usize::MAX),
            Compression::Snappy => usize::MAX,
        };
        Self {
            end: end_of(&seen.conf),
            tag: RecordTag::new(spec.record_type),
            max_stored_len,
            prefetches: options.access.prefetches(spec.max_value_bytes),
            mapped: AtomicUsize::new(index.len()),
            far: OnceLock::new(),
            seen,
            files,
            options,
            index,
        }
    }

    /// The headers of records that can be returned without further checks.
    pub(super) fn bounded_tag(&self) -> BoundedTag {
        self.tag.up_to(u32::try_from(self.max_stored_len).unwrap_or(u32::MAX))
    }

    /// How many files have a map.
    pub(super) fn mapped_files(&self) -> usize {
        self.mapped.load(Ordering::Relaxed)
    }

    /// The map of a file at or below the current one.
    pub(super) fn file(&self, file_id: FileId) -> Result<&SlotMap> {
        match self.index.get(file_id) {
            Some(map) => Ok(map),
            None => self.first_touch(file_id),
        }
    }

    #[cold]
    fn first_touch(&self, file_id: FileId) -> Result<&SlotMap> {
        let Some(leaf) = self.index.leaf(file_id) else {
            return self.far_file(file_id);
        };
        let is_named = named_files(&self.seen.conf).any(|named| named == file_id);
        for _ in 0..MAX_ATTEMPTS {
            let taken = self.files.changes().taken;
            let found = self.files.map(&self.seen, file_id, leaf.earlier(file_id))?;
            if let Some(map) = self.put(leaf, file_id, found, taken, is_named) {
                return Ok(map);
            }
        }
        let source = std::io::ErrorKind::TimedOut.into();
        let path = self.files.directory.file_path(names::CONF);
        Err(Error::io(path, "read a conf that is not replaced at once", source))
    }

    /// Inserts a map that was established after the `taken`th call of [`Files::take_changes`]. Returns
    /// `None` if the map must be established again.
    fn put<'s>(
        &'s self,
        leaf: &'s Leaf,
        file_id: FileId,
        found: Found,
        taken: u64,
        is_named: bool,
    ) -> Option<&'s SlotMap> {
        let mut log = self.files.changes();
        if let Some(map) = leaf.get(file_id) {
            return Some(map);
        }
        // A file that was not listed has no record in this snapshot, even if it exists by now.
        let is_passed = leaf.is_unlisted(file_id) && !is_named;
        if found.is_named_by_later && !is_passed {
            // Later snapshots may share this leaf. The next one must check this map, but one taken in
            // the meantime would use it unchecked.
            if log.taken != taken {
                return None;
            }
            log.besides.push(file_id);
        }
        if leaf.earlier(file_id).is_none() {
            self.mapped.fetch_add(1, Ordering::Relaxed);
        }
        Some(leaf.put(file_id, if is_passed { SlotMap::absent() } else { found.map }))
    }

    fn far_file(&self, file_id: FileId) -> Result<&SlotMap> {
        let far = self.far()?;
        let Some(cell) = far.maps.get(&file_id) else {
            return Ok(&far.absent);
        };
        if let Some(map) = cell.get() {
            return Ok(map);
        }
        let found = self.files.map(&self.seen, file_id, None)?;
        self.mapped.fetch_add(1, Ordering::Relaxed);
        Ok(cell.get_or_init(|| found.map))
    }

    fn far(&self) -> Result<&Far> {
        if let Some(far) = self.far.get() {
            return Ok(far);
        }
        let ids = self.list()?.into_iter().filter(|file_id| self.index.leaf(*file_id).is_none());
        let maps = ids.map(|file_id| (file_id, OnceLock::new())).collect();
        Ok(self.far.get_or_init(|| Far { maps, absent: SlotMap::absent() }))
    }

    /// Ids of the files in the directory, and of those that the conf names: a missing file with committed
    /// bytes is corrupt, not skipped.
    fn list(&self) -> Result<Vec<FileId>> {
        let mut ids = self.files.directory.file_ids()?;
        self.files.directory.check_conf()?;
        let conf = &self.seen.conf;
        let target = conf.backfill_target().filter(|target| target.data_len > 0);
        ids.extend(conf.current_file().into_iter().chain(target.map(|target| target.file_id)));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Lists the directory into the index. A file that is not listed has no record in this snapshot.
    fn ensure_listed(&self) -> Result<()> {
        if !self.index.is_listed() {
            // Under the lock, so that a map is inserted either before the listing or according to it.
            let _log = self.files.changes();
            self.index.set_listed(&self.list()?);
        }
        Ok(())
    }

    fn has_far_files(&self) -> bool {
        self.end > 0 && self.index.leaf(Slot(self.end - 1).file_id()).is_none()
    }

    /// Ids of the files that may hold records, ascending: those in the directory, and those that the
    /// conf names.
    pub(super) fn file_ids(&self) -> Result<Vec<FileId>> {
        self.ensure_listed()?;
        let mut ids: Vec<FileId> = self.index.listed(FileId(0)..FileId(u64::MAX)).collect();
        if self.has_far_files() {
            ids.extend(self.far()?.maps.keys());
        }
        Ok(ids)
    }

    /// The first file after another that may hold records.
    pub(super) fn file_after(&self, file_id: FileId) -> Result<Option<FileId>> {
        self.ensure_listed()?;
        let next = FileId(file_id.0 + 1);
        match self.index.listed(next..FileId(u64::MAX)).next() {
            None if self.has_far_files() => {
                Ok(self.far()?.maps.range(next..).next().map(|(file_id, _)| *file_id))
            }
            found => Ok(found),
        }
    }

    /// The last file before another that may hold records.
    pub(super) fn file_before(&self, file_id: FileId) -> Result<Option<FileId>> {
        self.ensure_listed()?;
        if self.index.leaf(file_id).is_none()
            && let Some((found, _)) = self.far()?.maps.range(..file_id).next_back()
        {
            return Ok(Some(*found));
        }
        Ok(self.index.listed(FileId(0)..file_id).next_back())
    }

    /// The payload stored for a slot; `part` is about to be read.
    #[inline(never)]
    pub(super) fn stored(&self, slot: Slot, part: Part) -> Result<Option<&[u8]>> {
        if slot.0 >= self.end {
            return Ok(None);
        }
        let map = self.file(slot.file_id())?;
        let entry = map.entry(slot.index_in_file());
        if self.prefetches {
            self.touch(map, slot, entry, part);
        }
        self.payload(map, slot, entry)
    }

    /// The payload of the record at `entry`, if it is visible.
    #[inline]
    pub(super) fn payload<'m>(
        &self,
        map: &'m SlotMap,
        slot: Slot,
        entry: u64,
    ) -> Result<Option<&'m [u8]>> {
        let payload = match self.tag.payload(map.records(), entry) {
            Ok(payload) if payload.len() <= self.max_stored_len => Some(payload),
            Ok(payload) => Some(self.long_payload(slot, entry, payload)?),
            Err(_) if entry == 0 => None,
            Err(_) => self.second_look(map, slot, entry)?,
        };
        if self.options.checks_sums
            && let Some(payload) = payload
        {
            let Files { directory, sums, .. } = &*self.files;
            sums.check(directory, self.seen.conf.spec.record_type, (slot, entry), payload)?;
        }
        Ok(payload)
    }

    /// Handles an entry that points to no record here: it is not committed yet, or the file is corrupt.
    /// Before it reports corruption, reads the conf, establishes the bound and loads the entry again.
    #[cold]
    fn second_look<'m>(
        &self,
        map: &'m SlotMap,
        slot: Slot,
        entry: u64,
    ) -> Result<Option<&'m [u8]>> {
        let bound = map.bound();
        if entry >= bound && self.seen.conf.backfill.is_some() {
            return Ok(None);
        }
        let latest = self.files.latest_conf()?;
        let entry = map.entry(slot.index_in_file());
        let fault = match self.tag.payload(map.records(), entry) {
            _ if entry == 0 => return Ok(None),
            Ok(payload) if payload.len() <= self.max_stored_len => return Ok(Some(payload)),
            Ok(payload) => return self.long_payload(slot, entry, payload).map(Some),
            Err(fault) => fault,
        };
        // The column was upgraded from V2 after this snapshot: the record was backfilled.
        if entry >= bound && latest.conf.backfill.is_some() {
            return Ok(None);
        }
        // A writer without the intent step lets a sealed file grow unannounced. Records past the
        // bound were not committed with this snapshot.
        if matches!(fault, RecordFault::HeaderPastBound | RecordFault::PayloadPastBound(_)) {
            let again = self.files.establish(&latest, slot.file_id())?.map;
            if again.bound() > bound && self.tag.payload(again.records(), entry).is_ok() {
                return Ok(None);
            }
        }
        Err(self.files.no_record(self.tag, slot, (entry, bound), fault))
    }

    #[cold]
    fn long_payload<'m>(&self, slot: Slot, entry: u64, payload: &'m [u8]) -> Result<&'m [u8]> {
        self.files.check_len(slot, entry, payload.len() as u64).map(|()| payload)
    }

    /// The offset of a payload that this snapshot returned, for an error about it.
    pub(super) fn place_of(&self, slot: Slot) -> Option<u64> {
        let map = self.file(slot.file_id()).ok()?;
        Some(map.entry(slot.index_in_file()).saturating_add(HEADER_BYTES))
    }

    /// The visible records of a file, in the order of their slots, with their offsets.
    pub(super) fn entries(
        &self,
        file_id: FileId,
    ) -> Result<impl Iterator<Item = (Slot, u64)> + '_> {
        let map = self.file(file_id)?;
        Ok(visible(map.entries(), file_id, map.bound(), self.seen.conf.highest))
    }

    /// Whether scans must prefetch because the kernel does not read ahead.
    pub(super) fn reads_ahead(&self) -> bool {
        self.options.access == Access::Random
    }
}

/// The entries of a file, by index, that are visible with this bound and highest slot.
pub(crate) fn visible(
    entries: impl Iterator<Item = u64>,
    file_id: FileId,
    bound: u64,
    highest: Option<Slot>,
) -> impl Iterator<Item = (Slot, u64)> {
    let slots = entries.enumerate().map(move |(index, entry)| (file_id.slot_at(index), entry));
    slots.filter(move |(slot, entry)| (1..bound).contains(entry) && Some(*slot) <= highest)
}

/// One past the highest slot; 0 in an empty column.
fn end_of(conf: &Conf) -> u64 {
    conf.highest.map_or(0, |slot| slot.0 + 1)
}

/// The files whose bounds the conf names.
fn named_files(conf: &Conf) -> impl Iterator<Item = FileId> {
    let target = conf.backfill_target().map(|target| target.file_id);
    conf.current_file().into_iter().chain(target)
}
