//! Sections by chunk of validators: packed bytes whose context is kept, and positions that are not listed first.

use std::fmt::Display;

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

use super::fault::{Decoded, Wrong};
use super::packed::{Cursor, put_count, put_varint, unzigzag, zigzag};

/// Level of compression: those below 10 make 4 to 8 % more of an epoch, in about the same time.
const LEVEL: i32 = 12;

/// An error for something of the wrong size or value.
pub(crate) fn wrong<T>(wanted: impl Display, found: impl Display) -> Decoded<T> {
    Err(Wrong::new(wanted, found))
}

/// A gap's byte that says that the gap goes on.
pub(crate) const GOES_ON: u8 = u8::MAX;

/// Packed bytes of a section, still packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed<'v> {
    bytes: &'v [u8],
    is_raw: bool,
    /// When unpacked.
    byte_len: usize,
}

impl<'v> Packed<'v> {
    /// Takes packed bytes that are `byte_len` long when unpacked.
    pub(crate) fn read(cursor: &mut Cursor<'v>, byte_len: usize) -> Decoded<Self> {
        if byte_len == 0 {
            return Ok(Self { bytes: &[], is_raw: true, byte_len });
        }
        let packed = cursor.count("bytes in the section", u32::MAX as usize)?;
        let is_raw = packed == 0;
        let bytes = cursor.bytes(if is_raw { byte_len } else { packed })?;
        Ok(Self { bytes, is_raw, byte_len })
    }

    /// Takes a length of at most `limit`, and packed bytes that are so long when unpacked.
    pub(crate) fn read_with_len(
        cursor: &mut Cursor<'v>,
        what: &str,
        limit: usize,
    ) -> Decoded<Self> {
        let byte_len = cursor.count(what, limit)?;
        Self::read(cursor, byte_len)
    }

    /// Unpacks into `out`, whose content is replaced.
    pub(crate) fn unpack(&self, context: &mut DCtx<'static>, out: &mut Vec<u8>) -> Decoded<()> {
        out.clear();
        if self.is_raw {
            out.extend_from_slice(self.bytes);
            return Ok(());
        }
        out.reserve(self.byte_len);
        match context.decompress(out, self.bytes) {
            Ok(found) if found == self.byte_len => Ok(()),
            Ok(found) => wrong(format_args!("zstd of {} bytes", self.byte_len), found),
            Err(code) => wrong(
                format_args!("zstd of {} bytes", self.byte_len),
                zstd_safe::get_error_name(code),
            ),
        }
    }
}

/// Packs bytes; the context is kept, since making one costs more than packing a chunk.
pub(crate) struct Packer {
    context: CCtx<'static>,
    packed: Vec<u8>,
}

impl Packer {
    pub(crate) fn new() -> Self {
        let mut context = CCtx::create();
        // Parameters that zstd did not know would only make the packed bytes longer.
        let _ = context.set_parameter(CParameter::CompressionLevel(LEVEL));
        let _ = context.set_parameter(CParameter::ContentSizeFlag(false));
        Self { context, packed: Vec::new() }
    }

    /// Appends the packed bytes.
    pub(crate) fn pack(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        self.packed.clear();
        self.packed.reserve(zstd_safe::compress_bound(bytes.len()));
        let is_packed = self.context.compress2(&mut self.packed, bytes).is_ok();
        if is_packed && self.packed.len() < bytes.len() {
            put_count(out, self.packed.len());
            out.extend_from_slice(&self.packed);
        } else {
            out.push(0);
            out.extend_from_slice(bytes);
        }
    }

    /// Appends the length of the bytes, and the packed bytes.
    pub(crate) fn pack_with_len(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        put_count(out, bytes.len());
        self.pack(bytes, out);
    }
}

/// Appends the lengths of all chunks, and the chunks.
pub(crate) fn put_chunks(out: &mut Vec<u8>, chunks: &[Vec<u8>]) {
    for chunk in chunks {
        put_count(out, chunk.len());
    }
    out.extend(chunks.iter().flatten());
}

/// The chunks of a section, which end it: their lengths come first.
pub(crate) fn read_chunks<'v>(cursor: &mut Cursor<'v>, count: usize) -> Decoded<Vec<&'v [u8]>> {
    let mut lengths = cursor.clone();
    for _ in 0..count {
        cursor.varint()?;
    }
    let chunks = (0..count).map(|_| {
        let byte_len = lengths.count("bytes of a chunk", u32::MAX as usize)?;
        cursor.bytes(byte_len)
    });
    let chunks = chunks.collect::<Decoded<_>>()?;
    cursor.end()?;
    Ok(chunks)
}

pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

pub(crate) fn read_signed(cursor: &mut Cursor<'_>) -> Decoded<i64> {
    cursor.varint().map(unzigzag)
}

/// Appends the gap before a position: the number of positions passed over.
pub(crate) fn put_gap(gaps: &mut Vec<u8>, mut gap: usize) {
    while gap >= usize::from(GOES_ON) {
        gaps.push(GOES_ON);
        gap -= usize::from(GOES_ON);
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 255")]
    gaps.push(gap as u8);
}

/// Most bytes that the gaps of `count` positions below `end` take.
pub(crate) fn max_gap_bytes(count: usize, end: usize) -> usize {
    count + end / usize::from(GOES_ON)
}

/// Calls `visit` with each of `count` ascending positions below `end`.
#[inline]
pub(crate) fn each_position(
    gaps: &[u8],
    count: usize,
    end: usize,
    mut visit: impl FnMut(usize) -> Decoded<()>,
) -> Decoded<()> {
    let (mut position, mut seen) = (0, 0);
    for gap in gaps {
        position += usize::from(*gap);
        if *gap == GOES_ON {
            continue;
        }
        if position >= end {
            return wrong(format_args!("positions below {end}"), position);
        }
        seen += 1;
        if seen > count {
            break;
        }
        visit(position)?;
        position += 1;
    }
    if seen != count || gaps.last() == Some(&GOES_ON) {
        return wrong(format_args!("gaps of {count} positions"), "others");
    }
    Ok(())
}

/// The rank of a position among those of the gaps.
pub(crate) fn rank_of(gaps: &[u8], wanted: usize) -> Option<usize> {
    let (mut position, mut rank) = (0, 0);
    for gap in gaps {
        position += usize::from(*gap);
        if position > wanted {
            return None;
        }
        if *gap == GOES_ON {
            continue;
        }
        if position == wanted {
            return Some(rank);
        }
        position += 1;
        rank += 1;
    }
    None
}
