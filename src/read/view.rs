//! A view: the handle with which callers read one commit of a column.

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

/// A snapshot of a column: everything that was committed when it was taken, and nothing else.
///
/// A view stays valid as long as it is held. Nothing that it has shown changes or disappears, whatever
/// the writer does. Slots appended after its commit are never shown. But a sealed file that it first
/// reads later may show slots that were backfilled and committed since. Cloning a view costs two atomic
/// increments; clones share their maps.
///
/// A read of a record in an uncompressed column costs no system call, no allocation, no lock and no copy
/// once its file has been mapped, in this view, or in an earlier one if the file has not changed since.
/// The first read of a file maps it. In a column whose values may be larger than a page, the first read
/// of a record prefetches it, which costs a system call ([`Access`](crate::Access)).
///
/// All reads fail with [`Error::Corrupt`] if the bytes on disk contradict the format, with [`Error::Io`]
/// if a file cannot be opened or mapped, and with [`Error::Replaced`] if a file is first read after the
/// column was replaced as a whole.
///
/// [`Error::Corrupt`]: crate::Error::Corrupt
/// [`Error::Io`]: crate::Error::Io
/// [`Error::Replaced`]: crate::Error::Replaced
#[derive(Clone)]
pub struct View {
    /// The snapshot's index and tag, one load nearer, for reads that need nothing else. If every read needs
    /// more work, an index without slots.
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

    /// Another view of the same commit, without maps.
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

    /// The payload stored for a slot: the value itself in an uncompressed column, snappy frames in a
    /// compressed one. `None` if the slot has no record.
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

    /// The payload of a slot, if its file is mapped and it needs no special handling.
    #[inline]
    fn get_plainly(&self, slot: Slot) -> Option<&[u8]> {
        self.plain.payload(slot, self.tag)
    }

    /// The value of a slot: borrowed from the map in an uncompressed column, decoded in a compressed one.
    /// `None` if the slot has no record.
    ///
    /// # Errors
    /// See [`View`]; [`Error::TooLarge`] when a decoded value exceeds the reader's ceiling.
    ///
    /// [`Error::TooLarge`]: crate::Error::TooLarge
    pub fn get(&self, slot: Slot) -> Result<Option<Cow<'_, [u8]>>> {
        self.whole_record(slot)?.map(|record| record.value()).transpose()
    }

    /// Replaces the content of `buffer` with the value of a slot. Returns `false` if the slot has no
    /// record.
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

    /// The record of a slot, or `None`. Reads only its header; [`Record::stored`] then prefetches the whole
    /// payload, [`Record::range`] the requested range.
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

    /// The value of a slot as an owned buffer, which may outlive view and reader: it holds the map, or the
    /// decoded bytes.
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

    /// Whether a slot has a record. Reads only the offset table, not the record.
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

    /// Replaces the content of `buffer` with the payload stored for a slot: the value itself in an
    /// uncompressed column, snappy frames in a compressed one. Returns `false` if the slot has no record.
    ///
    /// For callers that copy anyway: the record is read with `pread`, bypassing the mapping. That transfers
    /// exactly its bytes from the medium, in one request if the offset table reveals the length. A resident
    /// record costs about as much as copying from [`View::get_stored`]. Up to 32 files that were read last
    /// in this way stay open.
    ///
    /// # Errors
    /// See [`View`].
    pub fn read_stored_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        self.snapshot.read(slot, WHOLE, u64::MAX, buffer)
    }

    /// Replaces the content of `buffer` with a range of the payload stored for a slot, as
    /// [`View::read_stored_into`] does, clipped to the payload's end as in `pread(2)`. Reads only the
    /// record's header and the pages of the range. Returns `false` if the slot has no record.
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

    /// Replaces the content of `buffer` with the value of a slot, read as by [`View::read_stored_into`] and
    /// decoded in a compressed column. Returns `false` if the slot has no record.
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

    /// Prefetches the records of these slots, many at once, while the caller continues. It is only advice,
    /// and may wait for the header of a record whose length the offset table does not reveal.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Io`] if a file cannot be mapped.
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

    /// Prefetches a range of the payload stored for a slot.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Io`] if the file cannot be mapped.
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

    /// The records of a range of slots, in either direction. Slots without a record are skipped; after an
    /// error the iterator resumes after the damage.
    #[must_use]
    pub fn range(&self, slots: impl RangeBounds<Slot>) -> Range<'_> {
        Range::new(&self.snapshot, slots)
    }

    /// The records at or after a slot.
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
    /// [`Error::Io`](crate::Error::Io) if the directory cannot be listed.
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

    /// Checks now that the conf fits its current file.
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

    /// Whether both views show the same commit.
    pub(super) fn is_same_commit(&self, other: &View) -> bool {
        Arc::ptr_eq(&self.snapshot.seen, &other.snapshot.seen)
    }

    /// Number of files that this view maps.
    pub(super) fn mapped_files(&self) -> usize {
        self.snapshot.mapped_files()
    }

    pub(super) fn is_latest(&self) -> Result<bool> {
        self.snapshot.files.directory.is_latest(&self.snapshot.seen)
    }
}
