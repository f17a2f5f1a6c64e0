//! One consistent moment of a column.

use std::borrow::Cow;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::column::Compression;
use crate::error::Result;
use crate::files::directory::OpenConf;
use crate::files::map::{MapTable, Quick, QuickReads, SlotMap};
use crate::format::conf::Conf;
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES, RecordFault, RecordTag};
use crate::read::ask;
use crate::read::files::{Files, Found};
use crate::read::reader::ReaderOptions;
use crate::read::record::{OwnedRecord, Record};
use crate::read::scan::Range;
use crate::slot::{FileId, Slot};

/// A consistent moment of a column: everything that was committed when it was taken, and nothing
/// that was not.
///
/// A view stays valid for as long as it is held, and nothing that it has shown changes or goes
/// away, whatever the writer does meanwhile. Its sequential part is exactly that of its moment. A
/// sealed file that it touches for the first time later may show what was backfilled and committed
/// there since. Cloning it costs one atomic increment; clones share what has been mapped.
///
/// A read that hits an uncompressed column costs no system call, no allocation, no lock and no
/// copy once its file has been touched in this view, or in the one before and has not changed
/// since. The first touch of a file maps it. In a column whose values may be larger than a page,
/// the first touch of a record asks the system for it, and one in some seconds finds out whether
/// memory is short ([`Access`](crate::Access)).
///
/// All reads fail with [`Error::Corrupt`] where the bytes on disk contradict the format, with
/// [`Error::Io`] where a file cannot be opened or mapped, and with [`Error::Replaced`] where a file
/// is touched for the first time after the column was replaced as a whole.
///
/// [`Error::Corrupt`]: crate::Error::Corrupt
/// [`Error::Io`]: crate::Error::Io
/// [`Error::Replaced`]: crate::Error::Replaced
#[derive(Clone)]
pub struct View {
    quick: Quick<Moment>,
}

pub(super) struct Moment {
    /// One past the highest slot, 0 in an empty column.
    end: u64,
    tag: RecordTag,
    /// The longest payload that a record may have, as far as this moment's conf knows.
    max_stored_len: usize,
    /// Reads may do without the path that looks at everything.
    is_quick: bool,
    /// The first touch of a record asks for it.
    asks: bool,
    table: MapTable,
    pub(super) seen: Arc<OpenConf>,
    pub(super) files: Arc<Files>,
    pub(super) options: ReaderOptions,
    /// Ids of the files in the directory, for scans over gaps. A file that it does not have has
    /// no record in this moment, even when it is made later.
    listing: OnceLock<Vec<FileId>>,
    /// Taken while the listing or the table is filled, so that they agree.
    filling: Mutex<()>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("directory", &self.moment().files.directory.path())
            .field("conf", self.conf())
            .finish_non_exhaustive()
    }
}

impl View {
    pub(super) fn new(files: Arc<Files>, seen: Arc<OpenConf>, options: ReaderOptions) -> Self {
        let table = MapTable::new(end_of(&seen.conf));
        Self::with_table(files, seen, options, table)
    }

    /// The view of a later commit, which takes over the maps of those sealed files that stay as they
    /// are. `changed`: those that may have changed since this view was taken; `None` when any may.
    pub(super) fn next(&self, seen: OpenConf, changed: Option<Vec<FileId>>) -> Self {
        let Moment { files, options, seen: before, table, .. } = self.moment();
        let conf = &seen.conf;
        // What lasts under V2 lasts as long as there is no backfill at all.
        let same_rule = before.conf.backfill.is_some() == conf.backfill.is_some();
        let table = match changed.filter(|_| same_rule) {
            None => MapTable::new(end_of(conf)),
            Some(changed) => {
                let target = conf.backfill_target().map(|target| target.file_id);
                let named = conf.current_file().into_iter().chain(target);
                MapTable::after(table, end_of(conf), changed.into_iter().chain(named))
            }
        };
        Self::with_table(Arc::clone(files), Arc::new(seen), *options, table)
    }

    fn with_table(
        files: Arc<Files>,
        seen: Arc<OpenConf>,
        options: ReaderOptions,
        table: MapTable,
    ) -> Self {
        let conf = &seen.conf;
        let max_stored_len = match conf.spec.compression {
            Compression::None => usize::try_from(conf.spec.max_value_bytes).unwrap_or(usize::MAX),
            Compression::Snappy => usize::MAX,
        };
        let end = end_of(conf);
        let tag = RecordTag::new(conf.spec.record_type);
        let quick_tag = tag.up_to(u32::try_from(max_stored_len).unwrap_or(u32::MAX));
        let asks = options.access.asks(conf.spec.max_value_bytes);
        let moment = Moment {
            end,
            tag,
            max_stored_len,
            // Where checksums are compared, all do.
            is_quick: !options.checks_sums(),
            asks,
            table,
            seen,
            files,
            options,
            listing: OnceLock::new(),
            filling: Mutex::new(()),
        };
        let reads = match (moment.is_quick, asks) {
            (false, _) => QuickReads::None,
            // The others find out what is in memory.
            (true, true) => QuickReads::Most,
            (true, false) => QuickReads::All,
        };
        Self { quick: Quick::new(Arc::new(moment), |moment| &moment.table, quick_tag, reads) }
    }

    /// The highest slot with a record, `None` in an empty column.
    #[must_use]
    pub fn highest_written_slot(&self) -> Option<Slot> {
        self.conf().highest
    }

    /// The commit marker of this moment.
    #[must_use]
    pub fn conf(&self) -> &Conf {
        &self.moment().seen.conf
    }

    /// The payload stored for a slot: the value itself in an uncompressed column, snappy frames
    /// in a compressed one. `None` where the slot has no record.
    ///
    /// # Errors
    /// See [`View`].
    #[inline]
    pub fn get_stored(&self, slot: Slot) -> Result<Option<&[u8]>> {
        match self.quick.get(slot) {
            Some(payload) => Ok(Some(payload)),
            None => self.get_slowly(slot),
        }
    }

    /// Out of the way of the reads that are quick at once.
    #[cold]
    #[inline(never)]
    fn get_slowly(&self, slot: Slot) -> Result<Option<&[u8]>> {
        match self.quick.get_most(slot) {
            Some(payload) => Ok(Some(payload)),
            None => self.moment().get_stored(slot),
        }
    }

    /// The value of a slot: borrowed from the map in an uncompressed column, decoded in a
    /// compressed one. `None` where the slot has no record.
    ///
    /// # Errors
    /// See [`View`]; [`Error::TooLarge`] when a decoded value exceeds the reader's ceiling.
    ///
    /// [`Error::TooLarge`]: crate::Error::TooLarge
    pub fn get(&self, slot: Slot) -> Result<Option<Cow<'_, [u8]>>> {
        self.record(slot)?.map(|record| record.value()).transpose()
    }

    /// Puts the value of a slot into `buffer`, in place of what was there. `false` where the slot
    /// has no record.
    ///
    /// # Errors
    /// See [`View`]; [`Error::TooLarge`] when the value exceeds the reader's ceiling.
    ///
    /// [`Error::TooLarge`]: crate::Error::TooLarge
    pub fn get_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        match self.record(slot)? {
            Some(record) => record.read_into(buffer).map(|()| true),
            None => {
                buffer.clear();
                Ok(false)
            }
        }
    }

    /// The record of a slot, or `None`.
    ///
    /// # Errors
    /// See [`View`].
    pub fn record(&self, slot: Slot) -> Result<Option<Record<'_>>> {
        let stored = self.get_stored(slot)?;
        Ok(stored.map(|stored| Record::new(self.moment(), slot, stored)))
    }

    /// The value of a slot as a buffer of its own that may outlive view and reader: it holds the
    /// map, or the decoded bytes.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn owned(&self, slot: Slot) -> Result<Option<OwnedRecord>> {
        let Some(record) = self.record(slot)? else {
            return Ok(None);
        };
        if self.conf().spec.compression == Compression::Snappy {
            let mut value = Vec::new();
            record.read_into(&mut value)?;
            return Ok(Some(OwnedRecord::decoded(slot, value)));
        }
        let map = self.moment().file(slot.file_id())?;
        let start = record.stored().as_ptr() as usize - map.records().as_ptr() as usize;
        let span = start..start + record.stored().len();
        Ok(Some(OwnedRecord::mapped(slot, map.clone(), span)))
    }

    /// Whether a slot has a record. Only the offset table is looked at, not the record.
    ///
    /// # Errors
    /// See [`View`].
    pub fn contains(&self, slot: Slot) -> Result<bool> {
        let moment = self.moment();
        if slot.0 >= moment.end {
            return Ok(false);
        }
        let map = moment.file(slot.file_id())?;
        let entry = map.entry(slot.index_in_file());
        if entry >= FIRST_RECORD_OFFSET && entry < map.bound() {
            return Ok(true);
        }
        Ok(moment.payload(map, slot, entry)?.is_some())
    }

    /// The records of a range of slots, in either direction. Slots without a record are left out;
    /// after an error the iterator goes on behind what was damaged.
    #[must_use]
    pub fn range(&self, slots: impl RangeBounds<Slot>) -> Range<'_> {
        Range::new(self.moment(), slots)
    }

    /// The records from a slot on.
    #[must_use]
    pub fn iter_from(&self, slot: Slot) -> Range<'_> {
        self.range(slot..)
    }

    /// The last record at or before a slot.
    ///
    /// # Errors
    /// See [`View`].
    pub fn at_or_before(&self, slot: Slot) -> Result<Option<Record<'_>>> {
        self.range(..=slot).next_back().transpose()
    }

    /// The first record at or after a slot.
    ///
    /// # Errors
    /// See [`View`].
    pub fn at_or_after(&self, slot: Slot) -> Result<Option<Record<'_>>> {
        self.range(slot..).next().transpose()
    }

    /// Ids of the files that may hold records of this moment, ascending: those in the directory,
    /// and those that the conf names.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be listed.
    pub(crate) fn file_ids(&self) -> Result<&[FileId]> {
        self.moment().file_ids()
    }

    /// The committed part of a file, mapped and checked.
    pub(crate) fn file(&self, file_id: FileId) -> Result<&SlotMap> {
        self.moment().file(file_id)
    }

    pub(crate) fn files(&self) -> &Files {
        &self.moment().files
    }

    /// Finds out at once whether the conf fits its current file.
    pub(super) fn check_current(&self) -> Result<()> {
        match self.conf().current_file() {
            Some(file_id) => self.moment().file(file_id).map(|_| ()),
            None => Ok(()),
        }
    }

    /// The committed length of a file, without mapping it.
    pub(crate) fn bound(&self, file_id: FileId) -> Result<u64> {
        self.moment().files.bound(&self.moment().seen, file_id)
    }

    pub(super) fn moment(&self) -> &Moment {
        self.quick.owner()
    }

    /// Whether both are of one commit.
    pub(super) fn is_same_moment(&self, other: &View) -> bool {
        Arc::ptr_eq(&self.moment().seen, &other.moment().seen)
    }

    /// How many files this view holds.
    pub(super) fn mapped_files(&self) -> usize {
        self.moment().table.len()
    }

    /// Another view of the same commit, which holds no file yet.
    pub(super) fn afresh(&self) -> Self {
        let Moment { files, seen, options, .. } = self.moment();
        Self::new(Arc::clone(files), Arc::clone(seen), *options)
    }

    pub(super) fn is_latest(&self) -> Result<bool> {
        self.moment().files.directory.is_latest(&self.moment().seen)
    }
}

/// One past the highest slot, 0 in an empty column.
fn end_of(conf: &Conf) -> u64 {
    conf.highest.map_or(0, |slot| slot.0 + 1)
}

impl Moment {
    /// One past the highest slot.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn tag(&self) -> RecordTag {
        self.tag
    }

    pub(super) fn max_stored_len(&self) -> usize {
        self.max_stored_len
    }

    /// The payload stored for a slot: all that the quick look does not settle.
    #[inline(never)]
    pub(super) fn get_stored(&self, slot: Slot) -> Result<Option<&[u8]>> {
        if slot.0 >= self.end {
            return Ok(None);
        }
        let map = self.file(slot.file_id())?;
        let entry = map.entry(slot.index_in_file());
        self.touch(map, slot, entry);
        self.payload(map, slot, entry)
    }

    /// A record is going to be looked at, all alone.
    #[inline]
    pub(super) fn touch(&self, map: &SlotMap, slot: Slot, entry: u64) {
        if self.asks && entry < map.bound() {
            ask::ask(&self.files, map, self.tag, slot, entry);
            // For what is in memory there is nothing to ask.
            let all = map.touched().is_all_in_memory(map.bound());
            self.table.set_quick(slot.file_id(), all);
        }
    }

    /// The map of a file at or below the current one.
    pub(super) fn file(&self, file_id: FileId) -> Result<&SlotMap> {
        match self.table.get(file_id) {
            Some(map) => Ok(map),
            None => self.first_touch(file_id),
        }
    }

    #[cold]
    fn first_touch(&self, file_id: FileId) -> Result<&SlotMap> {
        let mut found = self.files.map(&self.seen, file_id)?;
        let _filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = self.listing.get().is_some_and(|ids| ids.binary_search(&file_id).is_err());
        let named = self.seen.conf.named_len(file_id).is_some();
        if is_new && !named {
            found = Found::for_now(Arc::new(SlotMap::absent()));
        }
        // Where records are asked for, none may be looked at before.
        Ok(self.table.insert(file_id, found.map, !self.asks, found.lasts))
    }

    /// The payload that `entry` leads to, where there is nothing special about it.
    #[inline]
    pub(super) fn quick_payload<'m>(&self, map: &'m SlotMap, entry: u64) -> Option<&'m [u8]> {
        let payload = self.tag.payload(map.records(), entry).ok()?;
        (self.is_quick && payload.len() <= self.max_stored_len).then_some(payload)
    }

    /// The payload that `entry` leads to, where it is visible.
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
        if self.options.checks_sums()
            && let Some(payload) = payload
        {
            let record_type = self.seen.conf.spec.record_type;
            self.files.check_sum(record_type, slot, entry, payload)?;
        }
        Ok(payload)
    }

    /// An entry that leads to no record here: it is not committed yet, or the file is corrupt.
    /// Before anything is called corrupt, the conf is read and the bound is established once more
    /// and the entry is loaded again.
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
        // A V2 column was upgraded under this view: the record is one of a backfill.
        if entry >= bound && latest.conf.backfill.is_some() {
            return Ok(None);
        }
        // A writer that does without the intent step lets a sealed file grow unannounced. What
        // lies behind the bound was not committed at this view's moment.
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

    pub(super) fn file_ids(&self) -> Result<&[FileId]> {
        if let Some(ids) = self.listing.get() {
            return Ok(ids);
        }
        let _filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ids) = self.listing.get() {
            return Ok(ids);
        }
        let mut ids = self.files.directory.file_ids()?;
        self.files.directory.check_conf()?;
        // A file with committed bytes that is gone is corrupt, not skipped.
        let conf = &self.seen.conf;
        let target = conf.backfill_target().filter(|target| target.data_len > 0);
        ids.extend(conf.current_file().into_iter().chain(target.map(|target| target.file_id)));
        ids.sort_unstable();
        ids.dedup();
        Ok(self.listing.get_or_init(|| ids))
    }

    /// The offset of a payload that this moment handed out, for an error about it.
    pub(super) fn place_of(&self, slot: Slot) -> Option<u64> {
        let map = self.table.get(slot.file_id())?;
        Some(map.entry(slot.index_in_file()).saturating_add(HEADER_BYTES))
    }
}
