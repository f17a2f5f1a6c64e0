//! e2store records: `type[2] | length u32 | reserved 00 00 | payload[length]`.

use std::ops::Range;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The header of a record, laid out as on disk.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct RecordHeader {
    /// The e2store type.
    pub record_type: [u8; 2],
    /// Length in bytes of the payload that follows.
    pub length: U32,
    /// Zero.
    pub reserved: [u8; 2],
}

/// Bytes of a [`RecordHeader`].
pub const HEADER_BYTES: u64 = 8;
const _: () = assert!(size_of::<RecordHeader>() == 8 && HEADER_BYTES == 8);

/// The first record of every data file: type `65 32`, no payload.
pub const VERSION_RECORD: [u8; 8] = [0x65, 0x32, 0, 0, 0, 0, 0, 0];

/// The offset of the first record that can hold a value: the end of the version record.
pub const FIRST_RECORD_OFFSET: u64 = VERSION_RECORD.len() as u64;

impl RecordHeader {
    /// The header of a record with `length` bytes of payload.
    #[must_use]
    pub const fn new(record_type: [u8; 2], length: u32) -> Self {
        Self { record_type, length: U32::new(length), reserved: [0, 0] }
    }

    /// The header's bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        zerocopy::transmute!(self)
    }

    /// Parses a header; the caller checks its fields.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        zerocopy::transmute!(bytes)
    }

    /// The end offset of a record that starts at `offset`; `None` if it exceeds `u64::MAX`.
    #[must_use]
    pub fn end(self, offset: u64) -> Option<u64> {
        offset.checked_add(HEADER_BYTES + u64::from(self.length.get()))
    }
}

/// Why there is no valid record at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// The offset lies at or past the bound, or the header crosses it.
    HeaderPastBound,
    /// The payload ends past the bound, at this offset.
    PayloadPastBound(u64),
    /// The offset lies within the version record.
    InVersionRecord,
    /// These bytes are not a header of the wanted type.
    Header([u8; 8]),
}

/// The expected type and reserved bytes of a record header. A header read as a little-endian `u64` and
/// rotated right by `TYPE_BITS` has the length in its lower half, and these bytes in its upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordTag(u64);

/// The rotated header (see [`RecordTag`]) of a record with the longest acceptable payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundedTag(u64);

/// Number of bits of the type, which precedes the length.
const TYPE_BITS: u32 = 16;

impl RecordTag {
    /// The tag of records of this type.
    #[must_use]
    pub const fn new(record_type: [u8; 2]) -> Self {
        Self((u16::from_le_bytes(record_type) as u64).rotate_right(TYPE_BITS))
    }

    /// The payload of the record at `offset` in the data file. `records` holds the file's bytes from
    /// [`FIRST_RECORD_OFFSET`] up to its bound.
    ///
    /// # Errors
    /// [`RecordFault`] unless the record has this type and zero reserved bytes, and ends at or before the
    /// bound.
    #[inline]
    pub fn payload(self, records: &[u8], offset: u64) -> Result<&[u8], RecordFault> {
        // An offset inside the version record wraps around to one past the end.
        let start = usize::try_from(offset.wrapping_sub(FIRST_RECORD_OFFSET));
        let (header, rest) = start
            .ok()
            .and_then(|start| records.get(start..))
            .and_then(<[u8]>::split_first_chunk)
            .ok_or(if offset < FIRST_RECORD_OFFSET {
                RecordFault::InVersionRecord
            } else {
                RecordFault::HeaderPastBound
            })?;
        let length = self.payload_bytes(*header).ok_or(RecordFault::Header(*header))?;
        rest.get(..length).ok_or_else(|| {
            let payload_offset = offset.saturating_add(HEADER_BYTES);
            RecordFault::PayloadPastBound(payload_offset.saturating_add(length as u64))
        })
    }

    /// The offsets of the payload of the record at `offset`, by its header.
    ///
    /// # Errors
    /// As [`Self::payload`].
    pub fn span(self, offset: u64, header: [u8; 8], bound: u64) -> Result<Range<u64>, RecordFault> {
        if offset < FIRST_RECORD_OFFSET {
            return Err(RecordFault::InVersionRecord);
        }
        let start = offset.checked_add(HEADER_BYTES).filter(|start| *start <= bound);
        let start = start.ok_or(RecordFault::HeaderPastBound)?;
        let length = self.payload_bytes(header).ok_or(RecordFault::Header(header))?;
        let end = start.saturating_add(length as u64);
        if end <= bound { Ok(start..end) } else { Err(RecordFault::PayloadPastBound(end)) }
    }

    /// The end offset of the record at `offset`, by its header; `None` if the header is not of this type.
    #[must_use]
    pub fn end(self, offset: u64, header: [u8; 8]) -> Option<u64> {
        let byte_len = self.payload_bytes(header)?;
        offset.checked_add(HEADER_BYTES)?.checked_add(byte_len as u64)
    }

    /// The payload length in a header; `None` if the header is not of this type.
    #[inline]
    #[must_use]
    pub fn payload_bytes(self, header: [u8; 8]) -> Option<usize> {
        self.up_to(u32::MAX).payload_bytes(header)
    }

    /// This type, with payloads of at most `longest` bytes.
    #[must_use]
    pub const fn up_to(self, longest: u32) -> BoundedTag {
        BoundedTag(self.0 | longest as u64)
    }

    /// Describes a header of this type, for error messages.
    #[must_use]
    pub fn describe(self) -> String {
        let [.., first, second] = self.0.to_le_bytes();
        format!("a record of type {first:02x} {second:02x} with zero reserved bytes")
    }
}

impl BoundedTag {
    /// As [`RecordTag::payload`], with the bound on lengths and without a reason for `None`.
    #[inline]
    #[must_use]
    pub fn payload(self, records: &[u8], offset: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset.wrapping_sub(FIRST_RECORD_OFFSET)).ok()?;
        let (header, rest) = records.get(start..)?.split_first_chunk()?;
        rest.get(..self.payload_bytes(*header)?)
    }

    /// The payload length in a header; `None` if the header is not of this type or the payload is too
    /// long.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the length is the lower half")]
    pub const fn payload_bytes(self, header: [u8; 8]) -> Option<usize> {
        let (longest, number) = (self.0 as u32, u64::from_le_bytes(header).rotate_right(TYPE_BITS));
        // One comparison checks both. With equal upper halves the difference is `longest - length`,
        // which wraps above `longest` exactly if `length > longest`. Otherwise a non-zero multiple of
        // 2^32 is added to it, modulo 2^64. Since both lengths are below 2^32, the result is then at
        // least `longest + 1`.
        if self.0.wrapping_sub(number) <= longest as u64 {
            Some(number as u32 as usize)
        } else {
            None
        }
    }
}

impl RecordFault {
    /// Describes what was found instead of the record, for error messages.
    #[must_use]
    pub fn describe(self, bound: u64) -> String {
        match self {
            RecordFault::HeaderPastBound => format!("the end of the committed bytes at {bound}"),
            RecordFault::PayloadPastBound(end) => {
                format!("a record that ends at {end}, past the committed {bound} bytes")
            }
            RecordFault::InVersionRecord => "an offset inside the version record".to_owned(),
            RecordFault::Header(bytes) => {
                let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                hex.join(" ")
            }
        }
    }
}
