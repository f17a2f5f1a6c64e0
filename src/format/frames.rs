//! A decoder for snappy frames in memory.
//!
//! The format is <https://github.com/google/snappy/blob/main/framing_format.txt>. This decoder accepts
//! exactly what `snap::read::FrameDecoder` accepts. It exists because `FrameDecoder` allocates and
//! zeroes 140 KB per stream, which costs more than decoding a block of that size; this one decodes
//! chunks directly into the caller's buffer.

/// The first chunk of every stream: type, length and the text "sNaPpY".
const IDENTIFIER: [u8; 10] = *b"\xff\x06\x00\x00sNaPpY";
const IDENTIFIER_TYPE: u8 = 0xff;
const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;
/// Unskippable chunk types that the format reserves: an error.
const RESERVED: std::ops::RangeInclusive<u8> = 0x02..=0x7f;

/// Maximum decoded length of one chunk, in bytes.
pub const MAX_CHUNK_BYTES: usize = 65_536;
/// Maximum length of a chunk's body, in bytes: the worst case of compressing [`MAX_CHUNK_BYTES`].
const MAX_BODY_BYTES: usize = 76_490;

/// Maximum length of the frames of a value of `value_len` bytes, in bytes, if its encoder fills the chunks.
/// Frames of incompressible bytes are slightly longer than their value.
pub fn max_encoded_len(value_len: u64) -> u64 {
    value_len.saturating_add(value_len / 8).saturating_add(1024)
}

/// Why bytes are not valid snappy frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// The bytes end within a chunk.
    #[error("frames that end within a chunk")]
    Cut,
    /// The first chunk is not a stream identifier.
    #[error("a chunk of type {0:02x} instead of the stream identifier")]
    NoIdentifier(u8),
    /// A stream identifier with a text other than "sNaPpY".
    #[error("a stream identifier other than 'sNaPpY'")]
    Identifier,
    /// A chunk of a type that the format reserves.
    #[error("a chunk of the reserved type {0:02x}")]
    ChunkType(u8),
    /// A chunk that is too short or too long, with the length in bytes.
    #[error("a chunk with the invalid length {0}")]
    ChunkLength(usize),
    /// The decoded bytes do not match the chunk's checksum.
    #[error("a chunk with checksum {wanted:08x} whose bytes have checksum {found:08x}")]
    Checksum {
        /// The checksum in the chunk.
        wanted: u32,
        /// The checksum of the decoded bytes.
        found: u32,
    },
    /// A compressed chunk that does not decode.
    #[error(transparent)]
    Snappy(snap::Error),
}

/// Length of a chunk's header (type and length), in bytes.
pub const CHUNK_HEADER_BYTES: usize = 4;

/// Length in bytes of the body that follows a chunk header.
///
/// # Errors
/// [`FrameFault::ChunkLength`] if the length exceeds that of any valid chunk.
pub fn body_len(header: [u8; CHUNK_HEADER_BYTES]) -> Result<usize, FrameFault> {
    let [_, low, middle, high] = header;
    let byte_len = u32::from_le_bytes([low, middle, high, 0]) as usize;
    if byte_len > MAX_BODY_BYTES { Err(FrameFault::ChunkLength(byte_len)) } else { Ok(byte_len) }
}

/// The chunks of one stream.
#[derive(Debug)]
pub struct Chunks<'a> {
    rest: &'a [u8],
    is_identified: bool,
    decoder: snap::raw::Decoder,
}

impl<'a> Chunks<'a> {
    /// The chunks of a whole stream. An empty `stored` is a valid stream without chunks.
    #[must_use]
    pub fn new(stored: &'a [u8]) -> Self {
        Self { rest: stored, is_identified: false, decoder: snap::raw::Decoder::new() }
    }

    /// Number of bytes of the stream that have not been consumed.
    #[must_use]
    pub fn bytes_left(&self) -> usize {
        self.rest.len()
    }

    /// The remaining chunks of a stream whose identifier was already read; `stored` starts at a chunk.
    #[must_use]
    pub fn continued(stored: &'a [u8]) -> Self {
        Self { is_identified: true, ..Self::new(stored) }
    }

    /// Decodes the next data chunk and appends at most [`MAX_CHUNK_BYTES`] to `value`; `false` at the end.
    ///
    /// # Errors
    /// [`FrameFault`]; `value` is then unchanged.
    pub fn next_into(&mut self, value: &mut Vec<u8>) -> Result<bool, FrameFault> {
        while !self.rest.is_empty() {
            let (chunk_type, body) = self.take_chunk()?;
            match chunk_type {
                COMPRESSED | UNCOMPRESSED => {
                    let start = value.len();
                    let appended = self.append(chunk_type == COMPRESSED, body, value);
                    if appended.is_err() {
                        value.truncate(start);
                    }
                    return appended.map(|()| true);
                }
                reserved if RESERVED.contains(&reserved) => {
                    return Err(FrameFault::ChunkType(reserved));
                }
                IDENTIFIER_TYPE if body != &IDENTIFIER[CHUNK_HEADER_BYTES..] => {
                    return Err(FrameFault::Identifier);
                }
                // Repeated identifiers, padding and skippable chunks are skipped.
                _ => {}
            }
        }
        Ok(false)
    }

    fn append(
        &mut self,
        is_compressed: bool,
        body: &[u8],
        value: &mut Vec<u8>,
    ) -> Result<(), FrameFault> {
        let start = value.len();
        let too_short = FrameFault::ChunkLength(body.len());
        let (sum, bytes) = body.split_first_chunk().ok_or(too_short)?;
        let byte_len = match is_compressed {
            true => snap::raw::decompress_len(bytes).map_err(FrameFault::Snappy)?,
            false => bytes.len(),
        };
        if byte_len > MAX_CHUNK_BYTES {
            return Err(FrameFault::ChunkLength(byte_len));
        }
        if is_compressed {
            value.resize(start.saturating_add(byte_len), 0);
            let decoded = self.decoder.decompress(bytes, &mut value[start..]);
            decoded.map_err(FrameFault::Snappy)?;
        } else {
            value.extend_from_slice(bytes);
        }
        check_sum(u32::from_le_bytes(*sum), &value[start..])
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

fn check_sum(wanted: u32, value: &[u8]) -> Result<(), FrameFault> {
    let found = masked_crc(value);
    if wanted == found { Ok(()) } else { Err(FrameFault::Checksum { wanted, found }) }
}

/// The masked CRC-32C of the framing format. The mask keeps it distinct from a plain CRC-32C that the
/// value may itself contain.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Encodes a value as snappy frames, for tests.
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
    fn each_kind_of_chunk_is_accepted_or_refused_by_the_format() {
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
    fn large_values_round_trip_compressed_and_uncompressed() {
        let noise: Vec<u8> =
            (0..200_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
        for value in [vec![0; 200_000], noise, vec![1; MAX_CHUNK_BYTES]] {
            assert_eq!(ours(&frames(&value)), Some(value));
        }
    }

    proptest! {
        #[test]
        fn damaged_frames_are_accepted_exactly_if_the_snap_crate_accepts_them(
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
