//! A view: the handle with which callers read one commit of a column.

use std::borrow::Cow;
use std::iter::FusedIterator;
use std::ops::RangeBounds;

use crate::error::Result;
use crate::files::directory::OpenConf;
use crate::files::map::{MapIndex, Part, SlotMap};
use crate::format::conf::Conf;
use crate::format::offsets::ENTRIES;
use crate::format::record::{BoundedTag, FIRST_RECORD_OFFSET};
use crate::read::commit::Commit;
use crate::read::files::Files;
use crate::read::mapped::MappedSnapshot;
use crate::read::owned_range::{Held, OwnedRange};
use crate::read::pread_record::WHOLE;
use crate::read::range::Range;
use crate::read::record::{OwnedRecord, Record};
use crate::read::snapshot::{SlotTable, Snapshot, Taken};
use crate::slot::{FileId, Slot};
use crate::sync::Arc;

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
    snapshot: Arc<MappedSnapshot>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("directory", &self.files().directory.path())
            .field("conf", self.conf())
            .finish_non_exhaustive()
    }
}

impl View {
    fn of(snapshot: MappedSnapshot) -> Self {
        let is_plain = !snapshot.prefetches && !snapshot.commit.options.checks_sums;
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
    #[doc(hidden)]
    #[must_use]
    pub fn conf(&self) -> &Conf {
        self.commit().conf()
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
            Some(record) => record.value_into(buffer).map(|()| true),
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
        let Some(stored) = self.get_stored(slot)? else { return Ok(None) };
        self.snapshot.own(self.file(slot.file_id())?, slot, stored).map(Some)
    }

    /// Whether a slot has a record. Reads only the offset table, not the record.
    ///
    /// # Errors
    /// See [`View`].
    pub fn contains(&self, slot: Slot) -> Result<bool> {
        let snapshot = &self.snapshot;
        if slot.0 >= snapshot.commit.end {
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
    /// record costs about as much as copying from [`View::get_stored`]. The 64 data
    /// files that were read last in this way stay open.
    ///
    /// # Errors
    /// See [`View`].
    pub fn pread_stored_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        self.snapshot.pread(slot, &WHOLE, u64::MAX, buffer)
    }

    /// Replaces the content of `buffer` with a range of the payload stored for a slot, as
    /// [`View::pread_stored_into`] does, clipped to the payload's end as in `pread(2)`. Reads only the
    /// record's header and the pages of the range. Returns `false` if the slot has no record.
    ///
    /// # Errors
    /// See [`View`].
    pub fn pread_range_into(
        &self,
        slot: Slot,
        bytes: std::ops::Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        self.snapshot.pread(slot, &bytes, u64::MAX, buffer)
    }

    /// Replaces the content of `buffer` with the value of a slot, read as by [`View::pread_stored_into`] and
    /// decoded in a compressed column. Returns `false` if the slot has no record.
    ///
    /// # Errors
    /// See [`View`]; [`Error::TooLarge`] when the value exceeds the reader's ceiling.
    ///
    /// [`Error::TooLarge`]: crate::Error::TooLarge
    pub fn pread_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        let read =
            |ceiling, buffer: &mut Vec<u8>| self.snapshot.pread(slot, &WHOLE, ceiling, buffer);
        self.commit().value_by(slot, buffer, read)
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
        for slot in slots.into_iter().filter(|slot| slot.0 < snapshot.commit.end) {
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
        if slot.0 < self.commit().end {
            let map = self.snapshot.file(slot.file_id())?;
            self.snapshot.prefetch_range(map, slot, bytes);
        }
        Ok(())
    }

    /// The records of a range of slots, in either direction. Slots without a record are skipped; after an
    /// error the iterator resumes after the damage.
    #[must_use]
    pub fn range(
        &self,
        slots: impl RangeBounds<Slot>,
    ) -> impl DoubleEndedIterator<Item = Result<Record<'_>>> + FusedIterator {
        Range::new(&self.snapshot, slots)
    }

    /// As [`Self::range`], with an iterator that holds the view and may be stored, and owned records.
    #[must_use]
    pub fn owned_range(&self, slots: impl RangeBounds<Slot>) -> OwnedRange {
        OwnedRange::new(Held::Mapped(self.clone()), slots)
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

    /// The committed part of a file, mapped and checked.
    pub(crate) fn file(&self, file_id: FileId) -> Result<&SlotMap> {
        self.snapshot.file(file_id)
    }

    pub(super) fn snapshot(&self) -> &MappedSnapshot {
        &self.snapshot
    }

    pub(crate) fn files(&self) -> &Files {
        &self.commit().files
    }
}

impl Snapshot for View {
    fn commit(&self) -> &Commit {
        &self.snapshot.commit
    }

    fn contains(&self, slot: Slot) -> Result<bool> {
        self.contains(slot)
    }

    fn get(&self, slot: Slot) -> Result<Option<Cow<'_, [u8]>>> {
        self.get(slot)
    }

    fn get_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        self.get_into(slot, buffer)
    }

    fn owned_range(&self, slots: impl RangeBounds<Slot>) -> OwnedRange {
        self.owned_range(slots)
    }

    fn file_ids(&self) -> Result<Vec<FileId>> {
        self.snapshot.file_ids()
    }

    fn table(&self, file_id: FileId) -> Result<SlotTable> {
        let map = self.file(file_id)?;
        let entries = if map.has_files() { map.entries().collect() } else { vec![0; ENTRIES] };
        Ok(SlotTable { entries, is_known: vec![true; ENTRIES], bound: map.bound(), fault: None })
    }
}

impl Taken for View {
    fn first(commit: Commit) -> Self {
        Self::of(MappedSnapshot::new(commit))
    }

    /// Takes over the maps of unchanged files.
    fn next(&self, seen: OpenConf) -> Self {
        Self::of(self.snapshot.next(seen))
    }

    fn holds_too_much(&self) -> bool {
        self.snapshot.mapped_files() > self.commit().options.max_mapped_files
    }

    fn check_current(&self) -> Result<()> {
        let current = self.conf().current_file();
        current.map_or(Ok(()), |file_id| self.file(file_id).map(drop))
    }

    fn bound(&self, file_id: FileId) -> Result<u64> {
        self.file(file_id).map(SlotMap::bound)
    }

    fn committed_len(&self, file_id: FileId) -> Result<u64> {
        self.files().bound(&self.commit().seen, file_id)
    }
}
