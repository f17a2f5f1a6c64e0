//! A snapshot of one commit: its conf, and the maps of its files.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::column::Compression;
use crate::error::Result;
use crate::files::directory::OpenConf;
use crate::files::map::{Leaf, MapIndex, Part, SlotMap};
use crate::format::conf::Conf;
use crate::format::names::SlotFile;
use crate::format::record::{BoundedTag, FIRST_RECORD_OFFSET};
use crate::read::commit::Commit;
use crate::read::fd_cache::OpenFile;
use crate::read::files::{Found, MAX_ATTEMPTS};
use crate::read::options::Access;
use crate::read::pread_record::{Place, to_usize};
use crate::read::prefetch;
use crate::read::record::{OwnedRecord, Record};
use crate::slot::{FileId, Slot};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Arc, OnceLock};

/// One commit of a column, and the maps of its files. Shows everything committed by then, and nothing
/// uncommitted.
pub(super) struct MappedSnapshot {
    pub(super) commit: Commit,
    /// Whether point reads prefetch their records.
    pub(super) prefetches: bool,
    pub(super) index: MapIndex,
    /// Number of maps in `index`.
    mapped: AtomicUsize,
    /// The files past the end of `index` that were in the directory when one of them was first read.
    far: OnceLock<Far>,
}

/// The direction of a scan.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Forward,
    Backward,
}

struct Far {
    maps: BTreeMap<FileId, OnceLock<SlotMap>>,
    absent: SlotMap,
}

impl MappedSnapshot {
    pub(super) fn new(commit: Commit) -> Self {
        let index = MapIndex::new(commit.end);
        Self::with_index(commit, index)
    }

    /// The snapshot of a later commit. Takes over the maps of unchanged files.
    pub(super) fn next(&self, seen: OpenConf) -> Self {
        let Commit { files, options, .. } = &self.commit;
        // The files that may have changed since this snapshot; `None` if any may have.
        let changed = files.take_changes(&seen.conf);
        let (before, conf) = (self.commit.conf(), &seen.conf);
        // Files that never change under V2 may change with backfill.
        let is_same_rule = before.allows_backfill() == conf.allows_backfill();
        let changed = changed.filter(|_| is_same_rule).map(|mut changed| {
            changed.extend(named_files(before).chain(named_files(conf)));
            changed
        });
        let commit = Commit::new(Arc::clone(files), Arc::new(seen), *options);
        let index = self.index.next(commit.end, changed.as_deref());
        Self::with_index(commit, index)
    }

    fn with_index(commit: Commit, index: MapIndex) -> Self {
        Self {
            prefetches: commit.options.access.prefetches(commit.conf().spec.max_value_bytes),
            mapped: AtomicUsize::new(index.len()),
            far: OnceLock::new(),
            commit,
            index,
        }
    }

    /// The headers of records that can be returned without further checks.
    pub(super) fn bounded_tag(&self) -> BoundedTag {
        self.commit.tag.up_to(u32::try_from(self.commit.max_stored_len).unwrap_or(u32::MAX))
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
        let is_named = named_files(self.commit.conf()).any(|named| named == file_id);
        for _ in 0..MAX_ATTEMPTS {
            let Commit { files, seen, .. } = &self.commit;
            let taken = files.changes().taken;
            let found = files.map(seen, file_id, leaf.earlier(file_id))?;
            if let Some(map) = self.put(leaf, file_id, found, taken, is_named) {
                return Ok(map);
            }
        }
        Err(self.commit.files.not_settled())
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
        let mut log = self.commit.files.changes();
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
        let found = self.commit.files.map(&self.commit.seen, file_id, None)?;
        self.mapped.fetch_add(1, Ordering::Relaxed);
        Ok(cell.get_or_init(|| found.map))
    }

    fn far(&self) -> Result<&Far> {
        if let Some(far) = self.far.get() {
            return Ok(far);
        }
        let ids =
            self.commit.list()?.into_iter().filter(|file_id| self.index.leaf(*file_id).is_none());
        let maps = ids.map(|file_id| (file_id, OnceLock::new())).collect();
        Ok(self.far.get_or_init(|| Far { maps, absent: SlotMap::absent() }))
    }

    /// Lists the directory into the index. A file that is not listed has no record in this snapshot.
    fn ensure_listed(&self) -> Result<()> {
        if !self.index.is_listed() {
            // Under the lock, so that a map is inserted either before the listing or according to it.
            let _log = self.commit.files.changes();
            self.index.set_listed(&self.commit.list()?);
        }
        Ok(())
    }

    fn has_far_files(&self) -> bool {
        self.commit.end > 0 && self.index.leaf(Slot(self.commit.end - 1).file_id()).is_none()
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

    /// The next file in a direction that may hold records.
    pub(super) fn next_file(&self, file_id: FileId, way: Way) -> Result<Option<FileId>> {
        self.ensure_listed()?;
        let far = if self.has_far_files() { Some(&self.far()?.maps) } else { None };
        let after = FileId(file_id.0 + 1)..FileId(u64::MAX);
        Ok(match way {
            Way::Forward => {
                let listed = self.index.listed(after.clone()).next();
                listed.or_else(|| Some(*far?.range(after).next()?.0))
            }
            Way::Backward => {
                let in_far = far.and_then(|far| Some(*far.range(..file_id).next_back()?.0));
                in_far.or_else(|| self.index.listed(FileId(0)..file_id).next_back())
            }
        })
    }

    /// The payload stored for a slot; `part` is about to be read.
    #[inline(never)]
    pub(super) fn stored(&self, slot: Slot, part: Part) -> Result<Option<&[u8]>> {
        if slot.0 >= self.commit.end {
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
        let load = |entry| self.commit.tag.payload(map.records(), entry);
        let payload = match load(entry) {
            Ok(payload) => payload,
            Err(_) if entry == 0 => return Ok(None),
            Err(_) => {
                let reload = || {
                    let entry = map.entry(slot.index_in_file());
                    Ok((entry, load(entry)))
                };
                match self.commit.second_look(slot, (entry, map.bound()), reload)? {
                    Some(payload) => payload,
                    None => return Ok(None),
                }
            }
        };
        if payload.len() > self.commit.max_stored_len || self.commit.options.checks_sums {
            self.commit.check_payload(slot, entry, payload)?;
        }
        Ok(Some(payload))
    }

    /// Reads a range of the payload stored for a slot with `pread`, clipped to its end. Returns `false` if
    /// the slot has no record. A payload longer than `ceiling` is an error.
    pub(super) fn pread(
        &self,
        slot: Slot,
        bytes: &Range<u64>,
        ceiling: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        let commit = &self.commit;
        if slot.0 < commit.end && !commit.options.checks_sums {
            let map = self.file(slot.file_id())?;
            let entry = map.entry(slot.index_in_file());
            if (FIRST_RECORD_OFFSET..map.bound()).contains(&entry)
                && let Some(data) = self.open_mapped(map, slot.file_id())
            {
                let end = prefetch::end_by_map(map, slot.index_in_file(), entry);
                let place = Place { data, slot, entry, end, bound: map.bound() };
                return commit.pread(&place, bytes, ceiling, buffer);
            }
        }
        // There is no record, or the file has lost its name and can only be read through its map.
        buffer.clear();
        let Some(stored) = self.stored(slot, Part::Header)? else {
            return Ok(false);
        };
        if stored.len() as u64 > ceiling {
            return Err(commit.over_the_ceiling(slot));
        }
        let record = Record::with_header(self, slot, stored);
        buffer.extend_from_slice(record.range(to_usize(bytes.start)..to_usize(bytes.end)));
        Ok(true)
    }

    /// Opens the mapped data file for `pread`; `None` if it cannot be opened, or its name now leads to
    /// another file.
    fn open_mapped(&self, map: &SlotMap, file_id: FileId) -> Option<Arc<OpenFile>> {
        let found = self.commit.files.cached(SlotFile::Data(file_id), map.data_inode()?);
        found.unwrap_or_else(|error| {
            tracing::debug!(%error, "a mapped file could not be opened");
            None
        })
    }

    /// A payload that this snapshot returned, as an owned value.
    pub(super) fn own(&self, map: &SlotMap, slot: Slot, stored: &[u8]) -> Result<OwnedRecord> {
        if self.commit.compression() == Compression::Snappy {
            let mut value = Vec::new();
            self.commit.value_into(slot, stored, &mut value)?;
            return Ok(OwnedRecord::copied(slot, value));
        }
        let start = stored.as_ptr() as usize - map.records().as_ptr() as usize;
        Ok(OwnedRecord::mapped(slot, map.clone(), start..start + stored.len()))
    }

    /// Whether scans must prefetch because the kernel does not read ahead.
    pub(super) fn reads_ahead(&self) -> bool {
        self.commit.options.access == Access::Random
    }
}

/// The files whose bounds the conf names.
fn named_files(conf: &Conf) -> impl Iterator<Item = FileId> {
    let target = conf.backfill_target().map(|target| target.file_id);
    conf.current_file().into_iter().chain(target)
}
