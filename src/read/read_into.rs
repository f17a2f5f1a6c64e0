//! Reads records with `pread` into the caller's buffer, bypassing the maps.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;

use crate::error::{Error, Result};
use crate::files::map::{Part, SlotMap};
use crate::format::corruption::data_file_too_short;
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES};
use crate::read::options::Access;
use crate::read::prefetch::{self, PIECE_BYTES};
use crate::read::record::Record;
use crate::read::snapshot::Snapshot;
use crate::slot::Slot;

/// Bytes read together with a record's header if the offset table does not reveal its end.
const FIRST_READ_BYTES: u64 = 4096;

/// Maximum bytes of a record that are read in one call.
#[allow(clippy::cast_possible_truncation, reason = "4 MiB")]
const PIECE_LEN: usize = PIECE_BYTES as usize;

/// All bytes of a payload.
pub(super) const WHOLE: Range<u64> = 0..u64::MAX;

impl Snapshot {
    /// Reads a range of the payload stored for a slot, clipped to its end. Returns `false` if the slot has
    /// no record. A payload longer than `ceiling` is an error.
    pub(super) fn read(
        &self,
        slot: Slot,
        bytes: Range<u64>,
        ceiling: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        if slot.0 < self.end && !self.options.checks_sums {
            let map = self.file(slot.file_id())?;
            let entry = map.entry(slot.index_in_file());
            if (FIRST_RECORD_OFFSET..map.bound()).contains(&entry)
                && self.read_record(map, (slot, entry), &bytes, ceiling, buffer)?
            {
                return Ok(true);
            }
        }
        // There is no record, or it is damaged, or the file has lost its name. The path shared by all
        // reads decides which, or reads from the map.
        buffer.clear();
        let Some(stored) = self.stored(slot, Part::Header)? else {
            return Ok(false);
        };
        let record = Record::with_header(self, slot, stored);
        if stored.len() as u64 > ceiling {
            return Err(record.over_the_ceiling(ceiling));
        }
        buffer.extend_from_slice(record.range(to_usize(bytes.start)..to_usize(bytes.end)));
        Ok(true)
    }

    /// Reads a record at an entry below the bound. Returns `false` if there is no visible record, or the
    /// file can only be read through its map.
    fn read_record(
        &self,
        map: &SlotMap,
        (slot, entry): (Slot, u64),
        bytes: &Range<u64>,
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
        // For a whole record, read header and payload together as far as the length is known.
        let first_end = match prefetch::end_by_table(map, slot.index_in_file(), entry) {
            _ if *bytes != WHOLE => start,
            Some(end) => end,
            None => bound.min(entry.saturating_add(FIRST_READ_BYTES)),
        };
        let Some(first_bytes) = first_end.checked_sub(start) else {
            return Ok(false);
        };
        let first_len = to_usize(first_bytes);
        let mut header = [0; 8];
        ensure_len(buffer, 0, first_len);
        read_exact(&file, entry, &mut header, &mut buffer[..first_len]).map_err(failed)?;

        let Some(payload_bytes) = self.tag.payload_bytes(header) else {
            return Ok(false);
        };
        let byte_len = payload_bytes as u64;
        if start.saturating_add(byte_len) > bound
            || payload_bytes > self.max_stored_len
            || byte_len > ceiling
        {
            return Ok(false);
        }
        let end = bytes.end.min(byte_len);
        let wanted = bytes.start.min(end)..end;
        let wanted_len = to_usize(wanted.end - wanted.start);
        let mut filled = first_len.min(wanted_len);
        ensure_len(buffer, filled, wanted_len);
        let is_long = wanted_len > PIECE_LEN && self.options.access != Access::Unadvised;
        while filled < wanted_len {
            let piece_end = wanted_len.min(filled.saturating_add(PIECE_LEN));
            if is_long {
                // Prefetch the next piece while this one is copied.
                let next = wanted.start.saturating_add(piece_end as u64);
                let next = next..wanted.end.min(next.saturating_add(PIECE_BYTES));
                map.prefetch(prefetch::payload_part(entry, next));
            }
            let at = start.saturating_add(wanted.start).saturating_add(filled as u64);
            let piece = &mut buffer[filled..piece_end];
            read_exact(&file, at, &mut [], piece).map_err(failed)?;
            filled = piece_end;
        }
        buffer.truncate(wanted_len);
        Ok(true)
    }
}

/// Grows a buffer to at least `byte_len` bytes and keeps the first `kept`; the caller overwrites the
/// others. Existing bytes are not zeroed again, and new ones come zeroed from the system.
fn ensure_len(buffer: &mut Vec<u8>, kept: usize, byte_len: usize) {
    if buffer.capacity() < byte_len {
        let mut longer = vec![0; byte_len];
        longer[..kept].copy_from_slice(&buffer[..kept]);
        *buffer = longer;
    } else if buffer.len() < byte_len {
        buffer.resize(byte_len, 0);
    }
}

fn to_usize(byte_len: u64) -> usize {
    usize::try_from(byte_len).unwrap_or(usize::MAX)
}

/// Fills both buffers, one after the other, with the bytes from `offset`.
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
