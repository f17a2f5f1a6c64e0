//! Reads past the maps: the record goes from the file straight into the caller's buffer.

use std::fs::File;
use std::io::{self, IoSliceMut};

use crate::column::Compression;
use crate::error::{Error, Result};
use crate::files::map::SlotMap;
use crate::format::faults::data_file_too_short;
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES};
use crate::read::ask;
use crate::read::record::Record;
use crate::read::view::{Moment, View};
use crate::slot::Slot;

/// Bytes of a record in which its end is looked for together with its beginning, where the offset
/// table does not tell.
const FIRST_READ_BYTES: u64 = 4096;

/// What is read at a time of a long record.
const PIECE_BYTES: usize = 16 << 20;

impl View {
    /// Reads the payload stored for a slot into `buffer`, in place of what was there: the value
    /// itself in an uncompressed column, snappy frames in a compressed one. `false` where the slot
    /// has no record.
    ///
    /// For callers that copy anyway: the record is not mapped but read (`pread`), which takes
    /// exactly its bytes from the medium, in one request wherever the offset table tells the
    /// length. From memory that costs about what copying out of [`View::get_stored`] costs. The
    /// latest files read in this way stay open, at most 32 of them.
    ///
    /// # Errors
    /// See [`View`].
    pub fn read_stored_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        self.moment().read(slot, u64::MAX, buffer)
    }

    /// Reads the value of a slot into `buffer`, in place of what was there, as
    /// [`View::read_stored_into`] does; what is stored compressed is decoded. `false` where the
    /// slot has no record.
    ///
    /// # Errors
    /// See [`View`]; [`Error::TooLarge`] when the value exceeds the reader's ceiling.
    pub fn read_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        let moment = self.moment();
        if self.conf().spec.compression == Compression::None {
            return moment.read(slot, moment.options.ceiling(), buffer);
        }
        let mut stored = Vec::new();
        if !moment.read(slot, u64::MAX, &mut stored)? {
            buffer.clear();
            return Ok(false);
        }
        Record::new(moment, slot, &stored).read_into(buffer)?;
        Ok(true)
    }

    /// Asks for the records of these slots, so that they are being read from the medium, many at
    /// once, while the caller does something else. It returns at once and promises nothing.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Io`] when a file cannot be mapped.
    pub fn prefetch(&self, slots: impl IntoIterator<Item = Slot>) -> Result<()> {
        let moment = self.moment();
        for slot in slots.into_iter().filter(|slot| slot.0 < moment.end()) {
            let map = moment.file(slot.file_id())?;
            let entry = map.entry(slot.index_in_file());
            if entry < map.bound() {
                ask::ask(&moment.files, map, moment.tag(), slot, entry);
            }
        }
        Ok(())
    }
}

impl Moment {
    /// Reads the payload stored for a slot, at most `ceiling` bytes.
    fn read(&self, slot: Slot, ceiling: u64, buffer: &mut Vec<u8>) -> Result<bool> {
        if slot.0 < self.end() && !self.options.checks_sums() {
            let map = self.file(slot.file_id())?;
            let entry = map.entry(slot.index_in_file());
            if (FIRST_RECORD_OFFSET..map.bound()).contains(&entry)
                && self.read_record(map, slot, entry, ceiling, buffer)?
            {
                return Ok(true);
            }
        }
        // There is no record, or it is damaged, or the file is no longer at its name: the one path
        // that all reads share tells, or reads from the map.
        buffer.clear();
        let Some(stored) = self.get_stored(slot)? else {
            return Ok(false);
        };
        if stored.len() as u64 > ceiling {
            return Err(Record::new(self, slot, stored).over_the_ceiling(ceiling));
        }
        buffer.extend_from_slice(stored);
        Ok(true)
    }

    /// Reads a record at an entry below the bound. `false` when there is none that a reader may
    /// show, or the file is to be had through its map alone.
    fn read_record(
        &self,
        map: &SlotMap,
        slot: Slot,
        entry: u64,
        ceiling: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        let (file_id, bound) = (slot.file_id(), map.bound());
        let Some(file) = self.files.descriptor(file_id, map) else {
            return Ok(false);
        };
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let byte_len = file.metadata().map_or(0, |data| data.len());
                data_file_too_short(self.files.data_path(file_id), byte_len, bound)
            }
            _ => Error::io(self.files.data_path(file_id), "read", error),
        };
        let start = entry.saturating_add(HEADER_BYTES);
        let guess = ask::guessed_end(map, slot.index_in_file(), entry);
        let first_end = guess.unwrap_or_else(|| bound.min(entry.saturating_add(FIRST_READ_BYTES)));
        let Some(first_bytes) = first_end.checked_sub(start) else {
            return Ok(false);
        };
        let mut header = [0; 8];
        buffer.resize(usize::try_from(first_bytes).unwrap_or(usize::MAX), 0);
        read_exact(&file, entry, &mut header, buffer).map_err(failed)?;

        let Some(payload_bytes) = self.tag().payload_bytes(header) else {
            return Ok(false);
        };
        let end = start.saturating_add(payload_bytes as u64);
        if end > bound || payload_bytes > self.max_stored_len() || payload_bytes as u64 > ceiling {
            return Ok(false);
        }
        buffer.truncate(payload_bytes);
        // The buffer grows by what the file has, not by what the header promises.
        while buffer.len() < payload_bytes {
            let have = buffer.len();
            buffer.resize(payload_bytes.min(have.saturating_add(PIECE_BYTES)), 0);
            let at = start.saturating_add(have as u64);
            read_exact(&file, at, &mut [], &mut buffer[have..]).map_err(failed)?;
        }
        Ok(true)
    }
}

/// Fills both buffers, one behind the other, from `offset` on.
fn read_exact(file: &File, offset: u64, header: &mut [u8], payload: &mut [u8]) -> io::Result<()> {
    let (mut at, mut filled) = (offset, 0);
    let header_bytes = header.len();
    while filled < header_bytes + payload.len() {
        let split = filled.min(header_bytes);
        let mut buffers = [
            IoSliceMut::new(&mut header[split..]),
            IoSliceMut::new(&mut payload[filled - split..]),
        ];
        match rustix::io::preadv(file, &mut buffers, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                filled += count;
                at += count as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
