//! The interface of code that needs to know which slots of a column have records, and little else.

use std::fmt::Debug;

use crate::error::{CorruptItem, Error, Result};
use crate::format::conf::Conf;
use crate::format::names;
use crate::format::offsets::ENTRIES;
use crate::format::record::{HEADER_BYTES, RecordFault, RecordTag};
use crate::read::decode;
use crate::read::snapshot::visible;
use crate::read::unmapped::{Unmapped, UnmappedFile};
use crate::read::view::View;
use crate::slot::{FileId, Slot};

/// The offset table of a file.
#[derive(Debug)]
pub struct SlotTable {
    /// By index: the offset of the record; 0 if there is none.
    pub entries: Vec<u64>,
    /// Whether each entry could be read.
    pub is_known: Vec<bool>,
    /// Bytes at or after this offset are not committed.
    pub bound: u64,
    /// Why some entries could not be read.
    pub fault: Option<Error>,
}

impl SlotTable {
    /// The committed records, in the order of their slots, with their offsets.
    pub fn records(
        &self,
        file_id: FileId,
        highest: Slot,
    ) -> impl Iterator<Item = (Slot, u64)> + '_ {
        visible(self.entries.iter().copied(), file_id, self.bound, Some(highest))
    }
}

/// One commit of a column: mapped ([`View`]), or read with `pread` ([`Unmapped`]).
pub trait Look: Debug + Sync {
    /// The commit marker.
    fn conf(&self) -> &Conf;

    /// Ids of the files that may hold records, ascending.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be listed.
    fn file_ids(&self) -> Result<Vec<FileId>>;

    /// The offset table of a file at or below the current one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one of the two files contradicts the format; [`Error::Io`].
    fn table(&self, file_id: FileId) -> Result<SlotTable>;

    /// The value of a slot; `None` if it has no record. The value is copied, so use this for small ones.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Io`], for example for a bad sector.
    fn value(&self, slot: Slot) -> Result<Option<Vec<u8>>>;

    /// Whether both the data file and the offset file of an id exist.
    fn has_both_files(&self, file_id: FileId) -> bool;

    /// The first slot with a record at or after `slot`.
    ///
    /// # Errors
    /// As [`Look::table`].
    fn first_from(&self, slot: Slot) -> Result<Option<Slot>> {
        let Some(highest) = self.conf().highest else { return Ok(None) };
        let wanted = slot.file_id()..=highest.file_id();
        for file_id in self.file_ids()?.into_iter().filter(|id| wanted.contains(id)) {
            let table = self.table(file_id)?;
            let mut records = table.records(file_id, highest);
            if let Some((found, _)) = records.find(|(found, _)| *found >= slot) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Look for View {
    fn conf(&self) -> &Conf {
        self.conf()
    }

    fn file_ids(&self) -> Result<Vec<FileId>> {
        self.file_ids()
    }

    fn table(&self, file_id: FileId) -> Result<SlotTable> {
        let map = self.file(file_id)?;
        let entries = if map.has_files() { map.entries().collect() } else { vec![0; ENTRIES] };
        Ok(SlotTable { entries, is_known: vec![true; ENTRIES], bound: map.bound(), fault: None })
    }

    fn value(&self, slot: Slot) -> Result<Option<Vec<u8>>> {
        Ok(self.get(slot)?.map(std::borrow::Cow::into_owned))
    }

    fn has_both_files(&self, file_id: FileId) -> bool {
        let directory = &self.files().directory;
        let names = [names::data_file(file_id), names::offset_file(file_id)];
        names.iter().all(|name| !matches!(directory.status(name), Ok(None)))
    }
}

impl Look for Unmapped {
    fn conf(&self) -> &Conf {
        self.conf()
    }

    fn file_ids(&self) -> Result<Vec<FileId>> {
        self.file_ids()
    }

    fn table(&self, file_id: FileId) -> Result<SlotTable> {
        self.with_file(file_id, |file| {
            Ok(SlotTable {
                entries: file.table.entries().collect(),
                is_known: file.is_known.clone(),
                bound: file.bound,
                fault: file.unreadable.first().map(|lost| lost.error.clone()),
            })
        })
    }

    fn value(&self, slot: Slot) -> Result<Option<Vec<u8>>> {
        if Some(slot) > self.conf().highest {
            return Ok(None);
        }
        self.with_file(slot.file_id(), |file| self.value_in(file, slot))
    }

    fn has_both_files(&self, file_id: FileId) -> bool {
        let directory = &self.files().directory;
        let names = [names::data_file(file_id), names::offset_file(file_id)];
        names.iter().all(|name| !matches!(directory.status(name), Ok(None)))
    }
}

impl Unmapped {
    /// Reads at most `limit` leading bytes of the payload stored for a slot. Returns them with the
    /// payload's length; `None` if the slot has no record.
    ///
    /// # Errors
    /// As [`Look::value`].
    pub fn stored_start(&self, slot: Slot, limit: usize) -> Result<Option<(Vec<u8>, u64)>> {
        if Some(slot) > self.conf().highest {
            return Ok(None);
        }
        let start = |file: &mut UnmappedFile| self.start_in(file, slot, limit);
        let found = self.with_file(slot.file_id(), start)?;
        Ok(found.map(|(_, stored, byte_len)| (stored, byte_len)))
    }

    fn value_in(&self, file: &mut UnmappedFile, slot: Slot) -> Result<Option<Vec<u8>>> {
        let spec = self.conf().spec;
        let Some((start, stored, _)) = self.start_in(file, slot, usize::MAX)? else {
            return Ok(None);
        };
        let mut value = Vec::new();
        decode::decode_into(&stored, spec.compression, spec.max_value_bytes, &mut value).map_err(
            |fault| {
                let path = self.files().data_path(slot.file_id());
                let wanted = format!("the value of slot {slot}");
                Error::corrupt(path, start, CorruptItem::Payload, wanted, format!("{fault:?}"))
            },
        )?;
        Ok(Some(value))
    }

    /// The offset of a slot's payload, at most `limit` leading bytes of it, and its length.
    fn start_in(
        &self,
        file: &mut UnmappedFile,
        slot: Slot,
        limit: usize,
    ) -> Result<Option<(u64, Vec<u8>, u64)>> {
        let (spec, index) = (self.conf().spec, slot.index_in_file());
        let (entry, bound) = (file.table.get(index), file.bound);
        if !file.is_known[index] {
            let lost = file.unreadable.first().map(|lost| lost.error.clone());
            return lost.map_or(Ok(None), Err);
        }
        let is_on_its_way = entry >= bound && self.conf().backfill.is_some();
        if entry == 0 || is_on_its_way {
            return Ok(None);
        }
        let tag = RecordTag::new(spec.record_type);
        let no_record = |fault| self.files().no_record(tag, slot, (entry, bound), fault);
        let fits = entry.checked_add(HEADER_BYTES).is_some_and(|end| end <= bound);
        let Some(data) = file.data.as_mut().filter(|_| fits) else {
            return Err(no_record(RecordFault::HeaderPastBound));
        };
        let Some(header) = data.array(entry)? else { return Err(data.unreadable_error(entry)) };
        let byte_len =
            tag.payload_bytes(header).ok_or_else(|| no_record(RecordFault::Header(header)))?;
        let start = entry.saturating_add(HEADER_BYTES);
        let end = start.saturating_add(byte_len as u64);
        if end > bound {
            return Err(no_record(RecordFault::PayloadPastBound(end)));
        }
        let mut stored = Vec::new();
        while stored.len() < byte_len.min(limit) {
            let at = start.saturating_add(stored.len() as u64);
            match data.piece(at, end)? {
                Ok(piece) => stored.extend_from_slice(piece),
                Err(_) => return Err(data.unreadable_error(at)),
            }
        }
        stored.truncate(limit);
        Ok(Some((start, stored, byte_len as u64)))
    }
}
