//! One commit of a column, as its readers see it.

use std::borrow::Cow;
use std::ops::RangeBounds;
use std::sync::Arc;

use crate::column::Compression;
use crate::error::Result;
use crate::files::directory::OpenConf;
use crate::files::map::{MapIndex, Part, SlotMap};
use crate::format::conf::Conf;
use crate::format::record::{BoundedTag, FIRST_RECORD_OFFSET};
use crate::read::files::Files;
use crate::read::options::ReaderOptions;
use crate::read::read_into::WHOLE;
use crate::read::record::{OwnedRecord, Record};
use crate::read::scan::Range;
use crate::read::snapshot::Snapshot;
use crate::slot::{FileId, Slot};

/// A snapshot of a column: everything that was committed when it was taken, and nothing that was
/// not.
///
/// A view stays valid for as long as it is held. Nothing that it has shown changes or goes away,
/// whatever the writer does meanwhile. Its sequential part is exactly that of its commit. A sealed
/// file that it first reads later may show what was backfilled and committed there since. Cloning
/// it costs two atomic increments; clones share their maps.
///
/// A read that hits an uncompressed column costs no system call, no allocation, no lock and no
/// copy once its file has been mapped, in this view, or in an earlier one if the file has not
/// changed since. The first read of a file maps it. In a column whose values may be larger than a
/// page, the first read of a record prefetches it, which costs a system call
/// ([`Access`](crate::Access)).
///
/// All reads fail with [`Error::Corrupt`] where the bytes on disk contradict the format, with
/// [`Error::Io`] where a file cannot be opened or mapped, and with [`Error::Replaced`] where a file
/// is first read after the column was replaced as a whole.
///
/// [`Error::Corrupt`]: crate::Error::Corrupt
/// [`Error::Io`]: crate::Error::Io
/// [`Error::Replaced`]: crate::Error::Replaced
#[derive(Clone)]
pub struct View {
    /// The snapshot's index and tag, one load nearer, for reads that need nothing else; an index
    /// without slots where every read has more to do.
    plain: MapIndex,
    tag: BoundedTag,
    snapshot: Arc<Snapshot>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("directory", &self.snapshot.files.directory.path())
            .field("conf", self.conf())
            .finish_non_exhaustive()
    }
}

impl View {
    pub(super) fn new(files: Arc<Files>, seen: Arc<OpenConf>, options: ReaderOptions) -> Self {
        Self::of(Snapshot::new(files, seen, options))
    }

    /// The view of a later commit, see [`Snapshot::next`].
    pub(super) fn next(&self, seen: OpenConf, changed: Option<Vec<FileId>>) -> Self {
        Self::of(self.snapshot.next(seen, changed))
    }

    /// Another view of the same commit, which maps no file yet.
    pub(super) fn afresh(&self) -> Self {
        Self::of(self.snapshot.afresh())
    }

    fn of(snapshot: Snapshot) -> Self {
        let is_plain = !snapshot.prefetches && !snapshot.options.checks_sums;
        Self {
            plain: if is_plain { snapshot.index.clone() } else { snapshot.index.without_slots() },
            tag: snapshot.bounded_tag(),
            snapshot: Arc::new(snapshot),
        }
    }

    /// The highest slot with a record, `None` in an empty column.
    #[must_use]
    pub fn highest_written_slot(&self) -> Option<Slot> {
        self.conf().highest
    }

    /// The commit marker of this view.
    #[must_use]
    pub fn conf(&self) -> &Conf {
        &self.snapshot.seen.conf
    }

    /// The payload stored for a slot: the value itself in an uncompressed column, snappy frames
    /// in a compressed one. `None` where the slot has no record.
    ///
    /// # Errors
    /// See [`View`].
    #[inline]
    pub fn get_stored(&self, slot: Slot) -> Result<Option<&[u8]>> {
        match self.get_plainly(slot) {
            Some(payload) => Ok(Some(payload)),
            None => self.snapshot.stored(slot, Part::Whole),
        }
    }

    /// The payload of a slot whose file is mapped, where there is nothing special about it.
    #[inline]
    fn get_plainly(&self, slot: Slot) -> Option<&[u8]> {
        self.plain.payload(slot, self.tag)
    }

    /// The value of a slot: borrowed from the map in an uncompressed column, decoded in a
    /// compressed one. `None` where the slot has no record.
    ///
    /// # Errors
    /// See [`View`]; [`Error::TooLarge`] when a decoded value exceeds the reader's ceiling.
    ///
    /// [`Error::TooLarge`]: crate::Error::TooLarge
    pub fn get(&self, slot: Slot) -> Result<Option<Cow<'_, [u8]>>> {
        self.whole_record(slot)?.map(|record| record.value()).transpose()
    }

    /// Puts the value of a slot into `buffer`, in place of what was there. `false` where the slot
    /// has no record.
    ///
    /// # Errors
    /// See [`View`]; [`Error::TooLarge`] when the value exceeds the reader's ceiling.
    ///
    /// [`Error::TooLarge`]: crate::Error::TooLarge
    pub fn get_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        match self.whole_record(slot)? {
            Some(record) => record.read_into(buffer).map(|()| true),
            None => {
                buffer.clear();
                Ok(false)
            }
        }
    }

    /// The record of a slot, or `None`. Only its header is read until its bytes are:
    /// [`Record::stored`] prefetches all of them, [`Record::range`] those that are asked for.
    ///
    /// # Errors
    /// See [`View`].
    pub fn record(&self, slot: Slot) -> Result<Option<Record<'_>>> {
        let stored = match self.get_plainly(slot) {
            Some(stored) => Some(stored),
            None => self.snapshot.stored(slot, Part::Header)?,
        };
        Ok(stored.map(|stored| Record::with_header(&self.snapshot, slot, stored)))
    }

    /// A record that is about to be read as a whole.
    fn whole_record(&self, slot: Slot) -> Result<Option<Record<'_>>> {
        let stored = self.get_stored(slot)?;
        Ok(stored.map(|stored| Record::new(&self.snapshot, slot, stored)))
    }

    /// The value of a slot as a buffer of its own that may outlive view and reader: it holds the
    /// map, or the decoded bytes.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn owned(&self, slot: Slot) -> Result<Option<OwnedRecord>> {
        let Some(record) = self.whole_record(slot)? else {
            return Ok(None);
        };
        if self.conf().spec.compression == Compression::Snappy {
            let mut value = Vec::new();
            record.read_into(&mut value)?;
            return Ok(Some(OwnedRecord::decoded(slot, value)));
        }
        let map = self.snapshot.file(slot.file_id())?;
        let start = record.stored().as_ptr() as usize - map.records().as_ptr() as usize;
        let span = start..start + record.stored().len();
        Ok(Some(OwnedRecord::mapped(slot, map.clone(), span)))
    }

    /// Whether a slot has a record. Only the offset table is looked at, not the record.
    ///
    /// # Errors
    /// See [`View`].
    pub fn contains(&self, slot: Slot) -> Result<bool> {
        let snapshot = &self.snapshot;
        if slot.0 >= snapshot.end {
            return Ok(false);
        }
        let map = snapshot.file(slot.file_id())?;
        let entry = map.entry(slot.index_in_file());
        if entry >= FIRST_RECORD_OFFSET && entry < map.bound() {
            return Ok(true);
        }
        Ok(snapshot.payload(map, slot, entry)?.is_some())
    }

    /// Reads the payload stored for a slot into `buffer`, in place of what was there: the value
    /// itself in an uncompressed column, snappy frames in a compressed one. `false` where the slot
    /// has no record.
    ///
    /// For callers that copy anyway: the record is not mapped but read (`pread`), which takes
    /// exactly its bytes from the medium, in one request wherever the offset table tells the
    /// length. A resident record costs about what copying out of [`View::get_stored`] costs. The
    /// files read last in this way stay open, at most 32 of them.
    ///
    /// # Errors
    /// See [`View`].
    pub fn read_stored_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        self.snapshot.read(slot, WHOLE, u64::MAX, buffer)
    }

    /// Reads some bytes of the payload stored for a slot into `buffer`, in place of what was there:
    /// those of [`View::read_stored_into`], cut at the end of the payload as `pread(2)` does. No
    /// more is read than the record's header and the pages that these bytes lie in. `false` where
    /// the slot has no record.
    ///
    /// # Errors
    /// See [`View`].
    pub fn read_range_into(
        &self,
        slot: Slot,
        bytes: std::ops::Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        self.snapshot.read(slot, bytes, u64::MAX, buffer)
    }

    /// Reads the value of a slot into `buffer`, in place of what was there, as
    /// [`View::read_stored_into`] does; what is stored compressed is decoded. `false` where the
    /// slot has no record.
    ///
    /// # Errors
    /// See [`View`]; [`Error::TooLarge`] when the value exceeds the reader's ceiling.
    ///
    /// [`Error::TooLarge`]: crate::Error::TooLarge
    pub fn read_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        let snapshot = &self.snapshot;
        if self.conf().spec.compression == Compression::None {
            return snapshot.read(slot, WHOLE, snapshot.options.ceiling, buffer);
        }
        let mut stored = Vec::new();
        if !snapshot.read(slot, WHOLE, u64::MAX, &mut stored)? {
            buffer.clear();
            return Ok(false);
        }
        Record::new(snapshot, slot, &stored).read_into(buffer)?;
        Ok(true)
    }

    /// Prefetches the records of these slots, many at once, while the caller does something else.
    /// It is advice: nothing depends on it, and it may wait for the header of a record whose length
    /// the offset table does not tell.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Io`] when a file cannot be mapped.
    ///
    /// [`Error::Corrupt`]: crate::Error::Corrupt
    /// [`Error::Io`]: crate::Error::Io
    pub fn prefetch(&self, slots: impl IntoIterator<Item = Slot>) -> Result<()> {
        let snapshot = &self.snapshot;
        for slot in slots.into_iter().filter(|slot| slot.0 < snapshot.end) {
            let map = snapshot.file(slot.file_id())?;
            snapshot.touch(map, slot, map.entry(slot.index_in_file()), Part::Whole);
        }
        Ok(())
    }

    /// Prefetches some bytes of the payload of a slot's record, as they lie on disk.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Io`] when the file cannot be mapped.
    ///
    /// [`Error::Corrupt`]: crate::Error::Corrupt
    /// [`Error::Io`]: crate::Error::Io
    pub fn prefetch_range(&self, slot: Slot, bytes: std::ops::Range<u64>) -> Result<()> {
        if slot.0 < self.snapshot.end {
            let map = self.snapshot.file(slot.file_id())?;
            self.snapshot.prefetch_range(map, slot, bytes);
        }
        Ok(())
    }

    /// The records of a range of slots, in either direction. Slots without a record are left
    /// out; after an error the iterator resumes after what was damaged.
    #[must_use]
    pub fn range(&self, slots: impl RangeBounds<Slot>) -> Range<'_> {
        Range::new(&self.snapshot, slots)
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

    /// Ids of the files that may hold records, ascending: those in the directory, and those that the
    /// conf names.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the directory cannot be listed.
    pub(crate) fn file_ids(&self) -> Result<Vec<FileId>> {
        self.snapshot.file_ids()
    }

    /// The committed part of a file, mapped and checked.
    pub(crate) fn file(&self, file_id: FileId) -> Result<&SlotMap> {
        self.snapshot.file(file_id)
    }

    /// The records of a file, in the order of their slots, with their offsets in the data file.
    pub(crate) fn entries(
        &self,
        file_id: FileId,
    ) -> Result<impl Iterator<Item = (Slot, u64)> + '_> {
        self.snapshot.entries(file_id)
    }

    pub(crate) fn files(&self) -> &Files {
        &self.snapshot.files
    }

    /// Finds out at once whether the conf fits its current file.
    pub(super) fn check_current(&self) -> Result<()> {
        match self.conf().current_file() {
            Some(file_id) => self.snapshot.file(file_id).map(drop),
            None => Ok(()),
        }
    }

    /// The committed length of a file, without mapping it.
    pub(crate) fn bound(&self, file_id: FileId) -> Result<u64> {
        self.snapshot.files.bound(&self.snapshot.seen, file_id)
    }

    /// Whether both are of one commit.
    pub(super) fn is_same_commit(&self, other: &View) -> bool {
        Arc::ptr_eq(&self.snapshot.seen, &other.snapshot.seen)
    }

    /// How many files this view holds.
    pub(super) fn mapped_files(&self) -> usize {
        self.snapshot.mapped_files()
    }

    pub(super) fn is_latest(&self) -> Result<bool> {
        self.snapshot.files.directory.is_latest(&self.snapshot.seen)
    }
}
