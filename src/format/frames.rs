//! Snappy frames, decoded from memory.
//!
//! The framing format of
//! <https://github.com/google/snappy/blob/main/framing_format.txt>, read as strictly as
//! `snap::read::FrameDecoder` reads it. That decoder allocates and zeroes 140 KB for every stream,
//! which for a block of that size costs more than decoding it; here chunks are decoded straight into
//! the caller's buffer.

/// The first chunk of every stream: type, length and the bytes "sNaPpY".
const IDENTIFIER: [u8; 10] = *b"\xff\x06\x00\x00sNaPpY";
const IDENTIFIER_TYPE: u8 = 0xff;
const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;
/// Chunks of these types must be understood, and are not.
const RESERVED: std::ops::RangeInclusive<u8> = 0x02..=0x7f;

/// Bytes that one chunk may decode to.
pub const MAX_CHUNK_BYTES: usize = 65_536;
/// Bytes that the body of one chunk may have: what the largest one can be compressed to at worst.
const MAX_BODY_BYTES: usize = 76_490;

/// Why bytes are no snappy frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// The bytes end within a chunk.
    #[error("the end of the frames within a chunk")]
    Cut,
    /// The first chunk is no stream identifier.
    #[error("a chunk of type {0:02x} in place of the stream identifier")]
    NoIdentifier(u8),
    /// A stream identifier with another text.
    #[error("a stream identifier other than 'sNaPpY'")]
    Identifier,
    /// A chunk of a type that the format reserves.
    #[error("a chunk of the reserved type {0:02x}")]
    ChunkType(u8),
    /// A chunk that is too short or too long.
    #[error("a chunk of {0} bytes")]
    ChunkLength(usize),
    /// The bytes are not those that the checksum was made of.
    #[error("the checksum {found:08x} in place of {wanted:08x}")]
    Checksum {
        /// What the chunk says.
        wanted: u32,
        /// What its bytes have.
        found: u32,
    },
    /// A compressed chunk that does not decode.
    #[error(transparent)]
    Snappy(snap::Error),
}

/// Bytes of the type and the length in front of each chunk.
pub const CHUNK_HEADER_BYTES: usize = 4;

/// Bytes that follow the header of a chunk.
///
/// # Errors
/// [`FrameFault::ChunkLength`] for more than any chunk needs.
pub fn body_len(header: [u8; CHUNK_HEADER_BYTES]) -> Result<usize, FrameFault> {
    let [_, low, middle, high] = header;
    let byte_len = u32::from_le_bytes([low, middle, high, 0]) as usize;
    if byte_len > MAX_BODY_BYTES { Err(FrameFault::ChunkLength(byte_len)) } else { Ok(byte_len) }
}

/// A chunk with a part of the value.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    is_compressed: bool,
    body: &'a [u8],
}

/// The chunks of one stream.
#[derive(Debug)]
pub struct Chunks<'a> {
    rest: &'a [u8],
    is_identified: bool,
    decoder: snap::raw::Decoder,
}

impl<'a> Chunks<'a> {
    /// The chunks of a whole stream; one of no bytes at all is empty.
    #[must_use]
    pub fn new(stored: &'a [u8]) -> Self {
        Self { rest: stored, is_identified: false, decoder: snap::raw::Decoder::new() }
    }

    /// Bytes of the stream that are still to be decoded.
    #[must_use]
    pub fn bytes_left(&self) -> usize {
        self.rest.len()
    }

    /// The chunks of a stream whose beginning was seen before; `stored` starts with a whole one.
    #[must_use]
    pub fn continued(stored: &'a [u8]) -> Self {
        Self { is_identified: true, ..Self::new(stored) }
    }

    /// Appends what the next chunk decodes to, at most [`MAX_CHUNK_BYTES`]; `false` at the end.
    ///
    /// # Errors
    /// [`FrameFault`]; nothing is appended then.
    pub fn next_into(&mut self, value: &mut Vec<u8>) -> Result<bool, FrameFault> {
        match self.next_chunk()? {
            Some(chunk) => chunk.append_to(value, &mut self.decoder).map(|()| true),
            None => Ok(false),
        }
    }

    /// The next chunk of the value, still to be decoded; `None` at the end.
    ///
    /// # Errors
    /// [`FrameFault`], except those that decoding comes upon.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk<'a>>, FrameFault> {
        while !self.rest.is_empty() {
            let (chunk_type, body) = self.take_chunk()?;
            match chunk_type {
                COMPRESSED | UNCOMPRESSED => {
                    return Ok(Some(Chunk { is_compressed: chunk_type == COMPRESSED, body }));
                }
                reserved if RESERVED.contains(&reserved) => {
                    return Err(FrameFault::ChunkType(reserved));
                }
                IDENTIFIER_TYPE if body != &IDENTIFIER[CHUNK_HEADER_BYTES..] => {
                    return Err(FrameFault::Identifier);
                }
                // Identifiers may be repeated; padding and what may be skipped is skipped.
                _ => {}
            }
        }
        Ok(None)
    }

    fn take_chunk(&mut self) -> Result<(u8, &'a [u8]), FrameFault> {
        let (header, rest) = self.rest.split_first_chunk().ok_or(FrameFault::Cut)?;
        let chunk_type = header[0];
        if !self.is_identified && chunk_type != IDENTIFIER_TYPE {
            return Err(FrameFault::NoIdentifier(chunk_type));
        }
        self.is_identified = true;
        let (body, rest) = rest.split_at_checked(body_len(*header)?).ok_or(FrameFault::Cut)?;
        self.rest = rest;
        Ok((chunk_type, body))
    }
}

impl Chunk<'_> {
    /// Appends what it decodes to, at most [`MAX_CHUNK_BYTES`].
    ///
    /// # Errors
    /// [`FrameFault`]; nothing is appended then.
    pub fn append_to(
        &self,
        value: &mut Vec<u8>,
        decoder: &mut snap::raw::Decoder,
    ) -> Result<(), FrameFault> {
        let start = value.len();
        let (sum, encoding, byte_len) = self.parts()?;
        let appended = match encoding {
            Encoding::Plain(bytes) => {
                value.extend_from_slice(bytes);
                Ok(())
            }
            Encoding::Snappy(bytes) => {
                value.resize(start.saturating_add(byte_len), 0);
                let decoded = decoder.decompress(bytes, &mut value[start..]);
                decoded.map(drop).map_err(FrameFault::Snappy)
            }
        };
        let checked = appended.and_then(|()| check_sum(sum, &value[start..]));
        if checked.is_err() {
            value.truncate(start);
        }
        checked
    }

    /// What it decodes to; `scratch` is overwritten where it has to be decompressed.
    ///
    /// # Errors
    /// [`FrameFault`].
    pub fn value<'s>(
        &'s self,
        scratch: &'s mut [u8; MAX_CHUNK_BYTES],
        decoder: &mut snap::raw::Decoder,
    ) -> Result<&'s [u8], FrameFault> {
        let (sum, encoding, byte_len) = self.parts()?;
        let value = match encoding {
            Encoding::Plain(bytes) => bytes,
            Encoding::Snappy(bytes) => {
                let value = scratch.get_mut(..byte_len);
                let value = value.ok_or(FrameFault::ChunkLength(byte_len))?;
                decoder.decompress(bytes, value).map_err(FrameFault::Snappy)?;
                value
            }
        };
        check_sum(sum, value).map(|()| value)
    }

    /// The checksum, the bytes behind it, and how many they decode to: at most
    /// [`MAX_CHUNK_BYTES`].
    fn parts(&self) -> Result<(u32, Encoding<'_>, usize), FrameFault> {
        let too_short = FrameFault::ChunkLength(self.body.len());
        let (sum, bytes) = self.body.split_first_chunk().ok_or(too_short)?;
        let (encoding, byte_len) = if self.is_compressed {
            let byte_len = snap::raw::decompress_len(bytes).map_err(FrameFault::Snappy)?;
            (Encoding::Snappy(bytes), byte_len)
        } else {
            (Encoding::Plain(bytes), bytes.len())
        };
        if byte_len > MAX_CHUNK_BYTES {
            return Err(FrameFault::ChunkLength(byte_len));
        }
        Ok((u32::from_le_bytes(*sum), encoding, byte_len))
    }
}

enum Encoding<'a> {
    Plain(&'a [u8]),
    Snappy(&'a [u8]),
}

fn check_sum(wanted: u32, value: &[u8]) -> Result<(), FrameFault> {
    let found = masked_crc(value);
    if wanted == found { Ok(()) } else { Err(FrameFault::Checksum { wanted, found }) }
}

/// The checksum of the framing format: a CRC-32C, rotated and shifted so that it differs from one
/// that a value may itself contain.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The snappy frames of a value, for tests.
#[cfg(test)]
pub(crate) fn encoded(value: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    std::io::Write::write_all(&mut encoder, value).unwrap();
    encoder.into_inner().unwrap()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::{encoded as frames, *};

    fn ours(stored: &[u8]) -> Option<Vec<u8>> {
        let (mut chunks, mut value) = (Chunks::new(stored), Vec::new());
        while chunks.next_into(&mut value).ok()? {}
        assert_eq!(chunks.bytes_left(), 0);
        Some(value)
    }

    fn theirs(stored: &[u8]) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        snap::read::FrameDecoder::new(stored).read_to_end(&mut value).ok()?;
        Some(value)
    }

    fn chunk(chunk_type: u8, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).unwrap().to_le_bytes();
        [&[chunk_type, len[0], len[1], len[2]], body].concat()
    }

    #[test]
    fn each_kind_of_chunk_is_taken_as_the_format_says() {
        let sum = masked_crc(b"abc").to_le_bytes();
        let plain = chunk(UNCOMPRESSED, &[&sum[..], b"abc"].concat());
        let long = vec![7; MAX_CHUNK_BYTES + 1];
        let too_long = [&masked_crc(&long).to_le_bytes()[..], &long].concat();
        type Case = (Vec<Vec<u8>>, Result<&'static [u8], FrameFault>);
        let cases: [Case; 10] = [
            (vec![], Ok(b"")),
            (vec![plain.clone()], Err(FrameFault::NoIdentifier(1))),
            (vec![IDENTIFIER.into()], Ok(b"")),
            (vec![IDENTIFIER.into(), plain.clone(), plain.clone()], Ok(b"abcabc")),
            (vec![IDENTIFIER.into(), plain.clone(), IDENTIFIER.into()], Ok(b"abc")),
            (vec![IDENTIFIER.into(), chunk(0xfe, b"123"), plain.clone()], Ok(b"abc")),
            (vec![IDENTIFIER.into(), chunk(0x80, b""), plain.clone()], Ok(b"abc")),
            (vec![IDENTIFIER.into(), chunk(0x02, b"")], Err(FrameFault::ChunkType(2))),
            (vec![IDENTIFIER.into(), chunk(1, b"abc")], Err(FrameFault::ChunkLength(3))),
            (
                vec![IDENTIFIER.into(), chunk(1, &too_long)],
                Err(FrameFault::ChunkLength(MAX_CHUNK_BYTES + 1)),
            ),
        ];
        for (chunks, wanted) in cases {
            let stored = chunks.concat();
            let (mut chunks, mut value) = (Chunks::new(&stored), Vec::new());
            let outcome = loop {
                match chunks.next_into(&mut value) {
                    Ok(true) => {}
                    Ok(false) => break Ok(value.as_slice()),
                    Err(fault) => break Err(fault),
                }
            };
            assert_eq!(outcome, wanted);
            assert_eq!(ours(&stored), theirs(&stored));
        }
    }

    #[test]
    fn large_values_of_either_kind_come_back() {
        let noise: Vec<u8> =
            (0..200_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
        for value in [vec![0; 200_000], noise, vec![1; MAX_CHUNK_BYTES]] {
            assert_eq!(ours(&frames(&value)), Some(value));
        }
    }

    proptest! {
        #[test]
        fn damaged_frames_are_taken_as_the_snap_crate_takes_them(
            value in proptest::collection::vec(0_u8..4, 0..70_000),
            damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in any::<prop::sample::Index>(),
            cuts in any::<bool>(),
        ) {
            let mut stored = frames(&value);
            for (at, byte) in damages {
                let at = at.index(stored.len().max(1)).min(stored.len().saturating_sub(1));
                if let Some(place) = stored.get_mut(at) {
                    *place = byte;
                }
            }
            if cuts {
                stored.truncate(cut.index(stored.len() + 1));
            }
            prop_assert!(ours(&stored) == theirs(&stored));
        }
    }
}
