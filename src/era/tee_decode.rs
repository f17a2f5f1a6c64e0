//! Decodes a value fully while a reader consumes it.

use std::io::{self, Read, Seek};

use super::e2store::{RecordAt, RecordFile};
use super::frames::{Decoded, Fault, Stream, stream, too_large};
use crate::error::{Error, Result};

/// Decodes a record to its end, as [`frames::decode`](super::frames::decode) does, and passes the value to
/// `reader`. Decodes also the part that `reader` does not consume.
pub(super) fn decode_for<R: Read + Seek, T>(
    file: &mut RecordFile<R>,
    record: &RecordAt,
    head_len: usize,
    limit: u64,
    reader: impl FnOnce(&mut dyn Read) -> Result<T>,
) -> Result<(Decoded, T), Fault> {
    let path = file.path().to_path_buf();
    let stream = stream(file, record).map_err(Fault::File)?;
    let decoded = Decoded { head: Vec::new(), byte_len: 0 };
    let mut source = TeeDecoder { stream, decoded, head_len, limit, fault: None };
    let read = reader(&mut source);
    let read = read.and_then(|read| {
        let rest = io::copy(&mut source, &mut io::sink());
        rest.map(|_| read).map_err(|error| Error::io(path, "read", error))
    });
    match source.fault {
        // The reader may have failed because of the fault, but its error says less.
        Some(fault) => Err(fault),
        None => read.map(|read| (source.decoded, read)).map_err(Fault::File),
    }
}

/// A stream that keeps the head of the value, enforces its size limit, and records its fault.
struct TeeDecoder<'f, R> {
    stream: Stream<'f, R>,
    decoded: Decoded,
    head_len: usize,
    limit: u64,
    fault: Option<Fault>,
}

impl<R: Read> Read for TeeDecoder<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.fault.is_none() {
            match self.stream.read_some(buffer) {
                Ok(read) => {
                    let bytes = buffer.get(..read).unwrap_or_default();
                    let Decoded { head, byte_len } = &mut self.decoded;
                    let missing = self.head_len.saturating_sub(head.len());
                    head.extend_from_slice(bytes.get(..read.min(missing)).unwrap_or_default());
                    *byte_len = byte_len.saturating_add(read as u64);
                    if *byte_len <= self.limit {
                        return Ok(read);
                    }
                    self.fault = Some(too_large(self.limit, self.stream.position));
                }
                Err(fault) => self.fault = Some(self.stream.describe(fault)),
            }
        }
        Err(io::Error::other("the record has no more of its value"))
    }
}
