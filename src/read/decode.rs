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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frames::encoded as frames;

    #[test]
    fn an_empty_value_is_no_payload_or_a_bare_stream_identifier() {
        for stored in [&b""[..], b"\xff\x06\x00\x00sNaPpY"] {
            let mut value = vec![1];
            decode_into(stored, Compression::Snappy, 0, &mut value).unwrap();
            assert!(value.is_empty());
            assert_eq!(decoded_len(stored, Compression::Snappy, 0).unwrap(), 0);
        }
    }

    #[test]
    fn a_bomb_is_decoded_up_to_the_limit_and_no_further() {
        let bomb = frames(&vec![0; 10 << 20]);
        let mut value = Vec::new();
        let fault = decode_into(&bomb, Compression::Snappy, 1000, &mut value).unwrap_err();
        assert!(matches!(fault, DecodeFault::TooLarge));
        assert!(value.capacity() < 1 << 20, "{}", value.capacity());
        decode_into(&bomb, Compression::Snappy, 10 << 20, &mut value).unwrap();
        assert_eq!(value.len(), 10 << 20);
    }

    #[test]
    fn cut_or_flipped_frames_are_refused() {
        let stored = frames(&[7; 1000]);
        let mut value = Vec::new();
        for len in 1..stored.len() {
            let cut = decode_into(&stored[..len], Compression::Snappy, 1 << 20, &mut value);
            // The stream identifier alone is an empty value.
            assert_eq!(cut.is_ok(), len == 10, "{len}");
        }
        for at in 0..stored.len() {
            let mut flipped = stored.clone();
            flipped[at] ^= 0x10;
            let result = decode_into(&flipped, Compression::Snappy, 1 << 20, &mut value);
            assert!(result.is_err() || value == [7; 1000], "{at}");
        }
    }
}
