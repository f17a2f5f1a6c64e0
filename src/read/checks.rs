//! What is checked of a file before a reader trusts it, and the errors that say so.

use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::error::{CorruptItem, Error, Result};
use crate::files::map::SlotMap;
use crate::format::conf::Conf;
use crate::format::conf_check;
use crate::format::corruption::{data_file_too_short, missing, no_record, offset_file_too_long};
use crate::format::names;
use crate::format::offsets::{TABLE_BYTES, entry_offset};
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES, RecordFault, RecordTag};
use crate::read::fd_cache::OpenFile;
use crate::read::files::{Files, Opened};
use crate::slot::{FileId, Slot};

impl Files {
    /// Checks that data and offset file are long enough for the bound.
    pub(super) fn check_lengths(&self, file_id: FileId, opened: &Opened) -> Result<()> {
        let bound = opened.bound;
        let data_path = self.data_path(file_id);
        match &opened.data {
            Some(OpenFile { status, .. }) if status.byte_len < bound => {
                return Err(data_file_too_short(data_path, status.byte_len, bound));
            }
            None if bound > 0 => return Err(missing(data_path, "data file", bound)),
            _ => {}
        }
        let path = self.offset_path(file_id);
        match &opened.offsets {
            Some(OpenFile { status, .. }) if status.byte_len > TABLE_BYTES as u64 => {
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

    /// Checks that the conf fits the current file.
    pub(crate) fn check_fit(&self, conf: &Conf, map: &SlotMap) -> Result<()> {
        let tag = RecordTag::new(conf.spec.record_type);
        let end_of = |entry: u64| {
            let payload = tag.payload(map.records(), entry);
            Ok(payload.ok().map(|payload| entry + HEADER_BYTES + payload.len() as u64))
        };
        self.check_fit_of(conf, map.entries(), end_of)
    }

    /// As [`Self::check_fit`], from the entries of the current file and a function that returns the end of
    /// the whole record at an entry.
    pub(crate) fn check_fit_of(
        &self,
        conf: &Conf,
        entries: impl Iterator<Item = u64>,
        end_of: impl FnOnce(u64) -> Result<Option<u64>>,
    ) -> Result<()> {
        let Some(highest) = conf.highest else { return Ok(()) };
        let (file_id, data_len) = (highest.file_id(), conf.current_data_len);
        let path = self.offset_path(file_id);
        let largest = conf_check::check_entries(path, highest, data_len, entries)?;
        let end = end_of(largest)?;
        conf_check::check_last_record(self.data_path(file_id), data_len, largest, end)
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
        no_record(self.data_path(file_id), tag, slot, (entry, bound), fault)
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
}
