//! Writes e2store records.

use std::io::{self, Seek, SeekFrom, Write};

use super::e2store::record_type;
use crate::format::record::{HEADER_BYTES, RecordHeader};
use crate::slot::Slot;

/// A file of records that is being written.
pub(super) struct RecordSink<'s, S> {
    pub(super) sink: &'s mut S,
    /// Bytes written so far.
    pub(super) position: u64,
}

impl<S: Write> Write for RecordSink<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl<S: Write + Seek> RecordSink<'_, S> {
    pub(super) fn record(&mut self, kind: [u8; 2], payload: &[u8]) -> io::Result<()> {
        let header = header(kind, payload.len() as u64)?;
        self.write_all(&header)?;
        self.write_all(payload)
    }

    pub(super) fn skip(&mut self, byte_len: u64) -> io::Result<()> {
        self.position = self.position.saturating_add(byte_len);
        self.sink.seek(SeekFrom::Current(byte_len.cast_signed())).map(drop)
    }

    /// Writes the header of the record whose payload of `byte_len` bytes was written last.
    pub(super) fn header_before(&mut self, kind: [u8; 2], byte_len: u64) -> io::Result<()> {
        let header = header(kind, byte_len)?;
        let back = byte_len.saturating_add(HEADER_BYTES).cast_signed();
        self.sink.seek(SeekFrom::Current(back.saturating_neg()))?;
        self.sink.write_all(&header)?;
        self.sink.seek(SeekFrom::Current(byte_len.cast_signed())).map(drop)
    }

    /// Writes an index. Entries are distances from the index's header to the record's header; the entry of
    /// an empty slot points to byte 0 of the file.
    pub(super) fn index(
        &mut self,
        first: Slot,
        places: impl IntoIterator<Item = Option<u64>>,
    ) -> io::Result<()> {
        let mut payload = first.0.to_le_bytes().to_vec();
        let mut count = 0_u64;
        for place in places {
            payload.extend(place.unwrap_or(0).wrapping_sub(self.position).to_le_bytes());
            count = count.saturating_add(1);
        }
        payload.extend(count.to_le_bytes());
        self.record(record_type::SLOT_INDEX, &payload)
    }
}

fn header(kind: [u8; 2], byte_len: u64) -> io::Result<[u8; 8]> {
    let byte_len = u32::try_from(byte_len).map_err(|_| {
        let message = format!("a record of {byte_len} bytes exceeds the format's limit of 4 GiB");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })?;
    Ok(RecordHeader::new(kind, byte_len).to_bytes())
}
