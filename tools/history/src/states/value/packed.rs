//! The parts of a section: varints, packed bytes and gaps.

use std::borrow::Cow;
use std::cell::RefCell;

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

use super::fault::{Decoded, Wrong};

const LEVEL: i32 = 3;
/// A gap byte that another one continues.
const GOES_ON: u8 = 255;

thread_local! {
    // Making a context costs more than a small section.
    static PACKING: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static UNPACKING: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Reads a section from its start to its end.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'s> {
    rest: &'s [u8],
}

impl<'s> Cursor<'s> {
    pub(crate) fn new(section: &'s [u8]) -> Self {
        Self { rest: section }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Decoded<&'s [u8]> {
        match self.rest.split_at_checked(count) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(Wrong::new(
                format_args!("{count} more bytes"),
                format_args!("{} before the section's end", self.rest.len()),
            )),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let bytes = self.bytes(N)?;
        Ok(std::array::from_fn(|index| bytes[index]))
    }

    /// A LEB128 number of at most 10 bytes.
    pub(crate) fn varint(&mut self) -> Decoded<u64> {
        let (value, byte_len) = varint_at(self.rest)?;
        self.rest = &self.rest[byte_len..];
        Ok(value)
    }

    /// A varint that is at most `limit`.
    pub(crate) fn count(&mut self, what: &str, limit: usize) -> Decoded<usize> {
        let found = self.varint()?;
        usize::try_from(found)
            .ok()
            .filter(|found| *found <= limit)
            .ok_or_else(|| Wrong::new(format_args!("at most {limit} {what}"), found))
    }

    /// Packed bytes that are `byte_len` long. The caller has checked that length against what the field may have.
    pub(crate) fn packed(&mut self, byte_len: usize) -> Decoded<Cow<'s, [u8]>> {
        self.packed_after(&[], byte_len)
    }

    /// Passes over packed bytes without unpacking them.
    pub(crate) fn skip_packed(&mut self, byte_len: usize) -> Decoded<()> {
        if byte_len == 0 {
            return Ok(());
        }
        match self.count("bytes in the section", self.rest.len())? {
            0 => self.bytes(byte_len).map(drop),
            packed => self.bytes(packed).map(drop),
        }
    }

    /// As [`Self::packed`], compressed with these bytes before them.
    pub(crate) fn packed_after(
        &mut self,
        prefix: &[u8],
        byte_len: usize,
    ) -> Decoded<Cow<'s, [u8]>> {
        if byte_len == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        match self.count("bytes in the section", self.rest.len())? {
            0 => self.bytes(byte_len).map(Cow::Borrowed),
            packed => unpack(self.bytes(packed)?, prefix, byte_len).map(Cow::Owned),
        }
    }

    /// Ascending indices below `end`.
    pub(crate) fn gaps(&mut self, count: usize, end: usize) -> Decoded<Vec<u32>> {
        if count > end {
            return Err(Wrong::new(format_args!("at most {end} elements"), count));
        }
        let byte_len = self.count("bytes of gaps", count + end / usize::from(GOES_ON))?;
        let bytes = self.packed(byte_len)?;
        let mut indices = Vec::with_capacity(count);
        let (mut next, mut at) = (0u64, bytes.iter());
        while let Some(mut byte) = at.next() {
            while *byte == GOES_ON {
                next += u64::from(GOES_ON);
                byte = at.next().ok_or_else(|| Wrong::new("the rest of a gap", "the end"))?;
            }
            let index = next + u64::from(*byte);
            if index >= end as u64 || indices.len() == count {
                let wanted = format!("{count} elements below {end}");
                return Err(Wrong::new(wanted, format_args!("element {index} as well")));
            }
            indices.push(u32::try_from(index).unwrap_or(u32::MAX));
            next = index + 1;
        }
        match indices.len() {
            found if found == count => Ok(indices),
            found => Err(Wrong::new(format_args!("{count} elements"), found)),
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Decoded<()> {
        match self.rest {
            [] => Ok(()),
            rest => Err(Wrong::new("the section's end", format_args!("{} more bytes", rest.len()))),
        }
    }
}

/// The LEB128 number at the start of some bytes, and its length.
pub(crate) fn varint_at(bytes: &[u8]) -> Decoded<(u64, usize)> {
    let mut value = 0u64;
    for (place, byte) in (0u32..).zip(bytes.iter().take(10)) {
        let bits = u64::from(byte & 0x7f);
        if place == 9 && bits > 1 {
            break;
        }
        value |= bits << (7 * place);
        if byte & 0x80 == 0 {
            return Ok((value, place as usize + 1));
        }
    }
    Err(Wrong::new("a number of at most 10 bytes", "one without an end"))
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    put_varint(out, count as u64);
}

/// Appends packed bytes, compressed where that makes them shorter.
pub(crate) fn put_packed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_packed_after(out, &[], bytes);
}

/// As [`put_packed`], with these bytes before them.
pub(crate) fn put_packed_after(out: &mut Vec<u8>, prefix: &[u8], bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    match pack(prefix, bytes) {
        Some(packed) if packed.len() < bytes.len() => {
            put_count(out, packed.len());
            out.extend_from_slice(&packed);
        }
        _ => {
            out.push(0);
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends the gaps of ascending indices.
pub(crate) fn put_gaps(out: &mut Vec<u8>, indices: impl IntoIterator<Item = u32>) {
    let (mut next, mut gaps) = (0, Vec::new());
    for index in indices {
        let mut gap = index - next;
        while gap >= u32::from(GOES_ON) {
            gaps.push(GOES_ON);
            gap -= u32::from(GOES_ON);
        }
        gaps.push(gap.to_le_bytes()[0]);
        next = index + 1;
    }
    put_count(out, gaps.len());
    put_packed(out, &gaps);
}

/// A signed difference as a number that is small if the difference is.
pub(crate) fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)).cast_unsigned()
}

pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// A zstd frame, or `None` if zstd does not make one.
fn pack(prefix: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    if prefix.is_empty() {
        return PACKING.with_borrow_mut(|kept| {
            let context = match kept {
                Some(context) => context,
                None => kept.insert(packing_context()?),
            };
            context.compress2(&mut packed, bytes).ok()?;
            Some(packed)
        });
    }
    // Its own context, since the prefix is borrowed. The window reaches from the bytes' end to the prefix's start.
    let mut context = packing_context()?;
    let reach = (prefix.len() + bytes.len()).next_power_of_two().trailing_zeros();
    context.set_parameter(CParameter::WindowLog(reach.clamp(10, 27))).ok()?;
    context.set_parameter(CParameter::EnableLongDistanceMatching(true)).ok()?;
    context.ref_prefix(prefix).ok()?;
    context.compress2(&mut packed, bytes).ok()?;
    Some(packed)
}

fn packing_context<'p>() -> Option<CCtx<'p>> {
    let mut context = CCtx::try_create()?;
    context.set_parameter(CParameter::CompressionLevel(LEVEL)).ok()?;
    context.set_parameter(CParameter::ContentSizeFlag(false)).ok()?;
    Some(context)
}

/// The bytes of zstd frames, which must be `byte_len` long. The output is never longer, whatever a frame says.
fn unpack(packed: &[u8], prefix: &[u8], byte_len: usize) -> Decoded<Vec<u8>> {
    let wanted = || format!("zstd frames of {byte_len} bytes");
    let no_memory = || Wrong::new(wanted(), "no memory");
    let mut bytes = Vec::with_capacity(byte_len);
    let unpacked = if prefix.is_empty() {
        UNPACKING.with_borrow_mut(|kept| {
            let context = match kept {
                Some(context) => context,
                None => kept.insert(DCtx::try_create().ok_or_else(no_memory)?),
            };
            Ok(context.decompress(&mut bytes, packed))
        })?
    } else {
        // Its own context, since the prefix is borrowed.
        let mut context = DCtx::try_create().ok_or_else(no_memory)?;
        context.ref_prefix(prefix).and_then(|_| context.decompress(&mut bytes, packed))
    };
    unpacked.map_err(|code| Wrong::new(wanted(), zstd_safe::get_error_name(code)))?;
    match bytes.len() {
        found if found == byte_len => Ok(bytes),
        found => Err(Wrong::new(wanted(), format_args!("{found} bytes"))),
    }
}
