//! Decodes snappy frames: in memory, or as they arrive in pieces of any size.
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
    /// A compressed chunk that does not decode: the decoder's message.
    #[error("{0}")]
    Snappy(Box<str>),
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
            true => snap::raw::decompress_len(bytes).map_err(|error| not_snappy(&error))?,
            false => bytes.len(),
        };
        if byte_len > MAX_CHUNK_BYTES {
            return Err(FrameFault::ChunkLength(byte_len));
        }
        if is_compressed {
            value.resize(start.saturating_add(byte_len), 0);
            let decoded = self.decoder.decompress(bytes, &mut value[start..]);
            decoded.map_err(|error| not_snappy(&error))?;
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

fn not_snappy(error: &snap::Error) -> FrameFault {
    FrameFault::Snappy(error.to_string().into())
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

/// A decoder for the frames of one value.
#[derive(Debug, Default)]
pub struct FrameStream {
    /// The start of a chunk that is not complete yet.
    pending: Vec<u8>,
    is_identified: bool,
    /// The decoded bytes of one chunk.
    decoded: Vec<u8>,
}

impl FrameStream {
    /// Takes the next bytes, and passes on the decoded bytes of every chunk that is now complete.
    ///
    /// # Errors
    /// [`FrameFault`]; the stream must not be fed again then.
    pub fn feed(&mut self, stored: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), FrameFault> {
        self.pending.extend_from_slice(stored);
        let whole = whole_chunks(&self.pending)?;
        if whole == 0 {
            return Ok(());
        }
        let stored = &self.pending[..whole];
        let mut chunks =
            if self.is_identified { Chunks::continued(stored) } else { Chunks::new(stored) };
        loop {
            self.decoded.clear();
            if !chunks.next_into(&mut self.decoded)? {
                break;
            }
            sink(&self.decoded);
        }
        self.is_identified = true;
        self.pending.drain(..whole);
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// [`FrameFault::Cut`] within a chunk.
    pub fn finish(&self) -> Result<(), FrameFault> {
        if self.pending.is_empty() { Ok(()) } else { Err(FrameFault::Cut) }
    }
}

/// Total length of the complete chunks at the start.
fn whole_chunks(stored: &[u8]) -> Result<usize, FrameFault> {
    let mut rest = stored;
    while let Some((header, body)) = rest.split_first_chunk() {
        let Some(next) = body.get(body_len(*header)?..) else { break };
        rest = next;
    }
    Ok(stored.len().saturating_sub(rest.len()))
}
