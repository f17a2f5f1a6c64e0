//! Gathers consecutive records for a few large writes. Small payloads are copied next to their headers;
//! large ones are borrowed from the caller.

use std::io::IoSlice;

use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES, RecordHeader, VERSION_RECORD};

/// Maximum length in bytes of a payload that is copied.
const COPIED_BYTES: usize = 4096;

/// Consecutive records that start at offset `start`.
pub(super) struct AppendBuffer<'a> {
    copied: Vec<u8>,
    /// Large payloads, each with the number of copied bytes before it.
    borrowed: Vec<(usize, &'a [u8])>,
    start: u64,
    end: u64,
}

impl<'a> AppendBuffer<'a> {
    /// A buffer for a data file of `data_len` bytes, with capacity for records whose payloads have these
    /// lengths in bytes. A new file starts with its version record.
    pub(super) fn at(data_len: u64, payloads: impl Iterator<Item = usize>) -> Self {
        let copied = payloads.map(|byte_len| {
            let payload = if byte_len <= COPIED_BYTES { byte_len } else { 0 };
            size_of::<RecordHeader>() + payload
        });
        let copied = Vec::with_capacity(VERSION_RECORD.len() + copied.sum::<usize>());
        let mut buffer = Self { copied, borrowed: Vec::new(), start: data_len, end: data_len };
        if data_len == 0 {
            buffer.copied.extend_from_slice(&VERSION_RECORD);
            buffer.end = FIRST_RECORD_OFFSET;
        }
        buffer
    }

    /// Adds a record and returns its offset; `None` if the file would exceed the maximum file offset.
    pub(super) fn push(&mut self, header: RecordHeader, payload: &'a [u8]) -> Option<u64> {
        let offset = self.push_header(header)?;
        if payload.len() <= COPIED_BYTES {
            self.copied.extend_from_slice(payload);
        } else {
            self.borrowed.push((self.copied.len(), payload));
        }
        Some(offset)
    }

    /// Adds the last record, whose payload the caller writes itself.
    pub(super) fn push_header(&mut self, header: RecordHeader) -> Option<u64> {
        let offset = self.end;
        // The system's file offsets are signed.
        self.end = header.end(offset).filter(|end| i64::try_from(*end).is_ok())?;
        self.copied.extend_from_slice(&header.to_bytes());
        Some(offset)
    }

    /// File offset of the first byte.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Length of the file after the write.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The bytes in order.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(2 * self.borrowed.len() + 1);
        let (mut rest, mut before) = (self.copied.as_slice(), 0);
        for (at, payload) in &self.borrowed {
            let (copied, behind) = rest.split_at(at - before);
            slices.extend([IoSlice::new(copied), IoSlice::new(payload)]);
            (rest, before) = (behind, *at);
        }
        slices.push(IoSlice::new(rest));
        slices
    }
}

const _: () = assert!(HEADER_BYTES == FIRST_RECORD_OFFSET);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_longer_than_the_system_can_address_is_refused() {
        let mut buffer = AppendBuffer::at(i64::MAX as u64 - 10, [3].into_iter());
        assert_eq!(buffer.push(RecordHeader::new([4, 0], 3), b"abc"), None);
    }
}
