//! Reads a record with `pread` into the caller's buffer.

use std::io;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::files::pread::read_exact;
use crate::format::corruption::data_file_too_short;
use crate::format::record::HEADER_BYTES;
use crate::read::commit::Commit;
use crate::read::fd_cache::OpenFile;
use crate::read::options::Access;
use crate::read::prefetch::PIECE_BYTES;
use crate::slot::Slot;
use crate::sync::Arc;

/// Bytes read together with a record's header if the offset table does not reveal its end.
const FIRST_READ_BYTES: u64 = 4096;

/// Maximum bytes of a record that are read in one call.
#[allow(clippy::cast_possible_truncation, reason = "4 MiB")]
const PIECE_LEN: usize = PIECE_BYTES as usize;

/// All bytes of a payload.
pub(super) const WHOLE: Range<u64> = 0..u64::MAX;

/// Where the offset table says that a record is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) data: Arc<OpenFile>,
    pub(super) slot: Slot,
    pub(super) entry: u64,
    /// An upper bound on the record's end, if the table reveals one.
    pub(super) end: Option<u64>,
    /// Bytes of the file at or after this offset are not committed.
    pub(super) bound: u64,
}

impl Commit {
    /// Replaces the content of `buffer` with a range of a record's payload, clipped to its end. Returns
    /// `false` if there is no visible record. A payload longer than `ceiling` is an error.
    pub(super) fn pread(
        &self,
        place: &Place,
        bytes: &Range<u64>,
        ceiling: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        let read = self.pread_range(place, bytes, ceiling, buffer);
        if !matches!(read, Ok(true)) {
            buffer.clear();
        }
        read
    }

    fn pread_range(
        &self,
        place: &Place,
        bytes: &Range<u64>,
        ceiling: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        let Place { data, slot, entry, end, bound } = place;
        let (slot, entry, bound) = (*slot, *entry, *bound);
        let start = entry.saturating_add(HEADER_BYTES);
        // For a whole record, read header and payload together as far as the length is known.
        let first_end = match end {
            _ if *bytes != WHOLE => start,
            Some(end) => *end,
            None => bound.min(entry.saturating_add(FIRST_READ_BYTES)),
        };
        let first_end = first_end.min(start.saturating_add(ceiling));
        let first_len = to_usize(first_end.saturating_sub(start));
        ensure_len(buffer, 0, first_len);
        let (header, mut filled) = self.header(place, &mut buffer[..first_len])?;
        let Some(span) = self.span(slot, (entry, bound), header)? else { return Ok(false) };
        let byte_len = span.end - span.start;
        self.check_len(slot, entry, to_usize(byte_len))?;
        if byte_len > ceiling {
            return Err(self.over_the_ceiling(slot));
        }
        let wanted_end = bytes.end.min(byte_len);
        let wanted = bytes.start.min(wanted_end)..wanted_end;
        let wanted_len = to_usize(wanted.end - wanted.start);
        // The second look at an entry may have found the record elsewhere.
        filled = if span.start == start { filled.min(wanted_len) } else { 0 };
        ensure_len(buffer, filled, wanted_len);
        let is_long = wanted_len > PIECE_LEN && self.options.access != Access::Unadvised;
        let wanted = span.start + wanted.start..span.start + wanted.end;
        while filled < wanted_len {
            let piece_end = wanted_len.min(filled.saturating_add(PIECE_LEN));
            if is_long {
                // Prefetch the next piece while this one is copied.
                let next = wanted.start + piece_end as u64;
                data.prefetch(next..wanted.end.min(next.saturating_add(PIECE_BYTES)));
            }
            let (at, piece) = (wanted.start + filled as u64, &mut buffer[filled..piece_end]);
            let piece_len = piece.len();
            self.read_at(place, at, (piece, &mut []), piece_len)?;
            filled = piece_end;
        }
        buffer.truncate(wanted_len);
        Ok(true)
    }

    /// Length in bytes of a record's payload; `None` if there is no visible record.
    pub(super) fn pread_len(&self, place: &Place) -> Result<Option<u64>> {
        let (header, _) = self.header(place, &mut [])?;
        let span = self.span(place.slot, (place.entry, place.bound), header)?;
        let Some(byte_len) = span.map(|span| span.end - span.start) else { return Ok(None) };
        self.check_len(place.slot, place.entry, to_usize(byte_len))?;
        Ok(Some(byte_len))
    }

    /// Reads the header at an entry, and whatever comes with it of the payload. Returns the header, and
    /// how many bytes of `payload` were filled. Reads nothing if no header fits below the bound.
    fn header(&self, place: &Place, payload: &mut [u8]) -> Result<([u8; 8], usize)> {
        let mut header = [0; 8];
        if place.entry.checked_add(HEADER_BYTES).is_none_or(|start| start > place.bound) {
            return Ok((header, 0));
        }
        let buffers = (&mut header[..], payload);
        let filled = self.read_at(place, place.entry, buffers, size_of::<[u8; 8]>())?;
        Ok((header, filled - size_of::<[u8; 8]>()))
    }

    /// Reads at least `least` bytes from an offset into two buffers, one after the other. Returns how many.
    fn read_at(
        &self,
        place: &Place,
        offset: u64,
        buffers: (&mut [u8], &mut [u8]),
        least: usize,
    ) -> Result<usize> {
        let OpenFile { path, file, .. } = &*place.data;
        let read = read_exact(&*self.files.pread, (path, file), offset, buffers, least);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let byte_len = file.metadata().map_or(0, |data| data.len());
                data_file_too_short(path.clone(), byte_len, place.bound)
            }
            _ => Error::io(path, "read", error),
        })
    }

    /// The offsets of the payload of the record at `entry`, by its header; `None` if there is no visible
    /// record.
    pub(super) fn span(
        &self,
        slot: Slot,
        (entry, bound): (u64, u64),
        header: [u8; 8],
    ) -> Result<Option<Range<u64>>> {
        if let Ok(span) = self.tag.span(entry, header, bound) {
            return Ok(Some(span));
        }
        let load = || {
            let entry = self.files.entry_on_disk(slot).unwrap_or(entry);
            Ok((entry, self.files.span_on_disk(self.tag, (slot, entry), bound)?))
        };
        self.second_look(slot, (entry, bound), load)
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

pub(super) fn to_usize(byte_len: u64) -> usize {
    usize::try_from(byte_len).unwrap_or(usize::MAX)
}
