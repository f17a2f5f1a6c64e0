//! Decodes stored bytes to values.
//!
//! A buffer grows as bytes are decoded, never by a length in a header.

use std::io::{self, Read};

use crate::column::Compression;
use crate::format::frames::{Chunks, FrameFault, MAX_CHUNK_BYTES};

/// Why stored bytes could not be decoded.
#[derive(Debug)]
pub(crate) enum DecodeFault {
    /// The value exceeds the limit.
    TooLarge,
    /// The stored bytes are not valid snappy frames.
    Frames(FrameFault),
}

impl From<FrameFault> for DecodeFault {
    fn from(fault: FrameFault) -> Self {
        Self::Frames(fault)
    }
}

/// The value of `stored` as a stream, without a size limit.
pub(crate) fn decoder<'a>(stored: &'a [u8], compression: Compression) -> Box<dyn Read + 'a> {
    match compression {
        Compression::None => Box::new(stored),
        Compression::Snappy => Box::new(FrameReader::new(stored)),
    }
}

/// Replaces the content of `buffer` with the value of `stored`. Keeps at most `limit` bytes.
pub(crate) fn decode_into(
    stored: &[u8],
    compression: Compression,
    limit: u64,
    buffer: &mut Vec<u8>,
) -> Result<(), DecodeFault> {
    buffer.clear();
    match compression {
        Compression::None if stored.len() as u64 > limit => return Err(DecodeFault::TooLarge),
        Compression::None => buffer.extend_from_slice(stored),
        Compression::Snappy => {
            let mut chunks = Chunks::new(stored);
            while chunks.next_into(buffer)? {
                if buffer.len() as u64 > limit {
                    return Err(DecodeFault::TooLarge);
                }
            }
        }
    }
    Ok(())
}

/// The length of the value in bytes. Decodes it and discards the bytes.
pub(crate) fn decoded_len(
    stored: &[u8],
    compression: Compression,
    limit: u64,
) -> Result<u64, DecodeFault> {
    let mut byte_len = 0;
    match compression {
        Compression::None => byte_len = stored.len() as u64,
        Compression::Snappy => {
            let mut piece = Vec::with_capacity(MAX_CHUNK_BYTES.min(stored.len().saturating_mul(2)));
            let mut chunks = Chunks::new(stored);
            while byte_len <= limit && chunks.next_into(&mut piece)? {
                byte_len = byte_len.saturating_add(piece.len() as u64);
                piece.clear();
            }
        }
    }
    if byte_len > limit { Err(DecodeFault::TooLarge) } else { Ok(byte_len) }
}

/// The value of snappy frames as a stream.
struct FrameReader<'a> {
    chunks: Chunks<'a>,
    piece: Vec<u8>,
    /// Number of bytes of `piece` that were read.
    taken: usize,
}

impl<'a> FrameReader<'a> {
    fn new(stored: &'a [u8]) -> Self {
        Self { chunks: Chunks::new(stored), piece: Vec::new(), taken: 0 }
    }
}

impl Read for FrameReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.piece.len() {
            self.piece.clear();
            self.taken = 0;
            let next = self.chunks.next_into(&mut self.piece);
            if !next.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))? {
                return Ok(0);
            }
        }
        let rest = &self.piece[self.taken..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        Ok(count)
    }
}
