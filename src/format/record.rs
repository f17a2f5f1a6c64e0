//! e2store records: `type[2] | length u32 | reserved 00 00 | payload[length]`.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The header of a record, as it lies on disk.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct RecordHeader {
    /// The e2store type.
    pub record_type: [u8; 2],
    /// Bytes of payload that follow.
    pub length: U32,
    /// Zero.
    pub reserved: [u8; 2],
}

/// Bytes of a [`RecordHeader`].
pub const HEADER_BYTES: u64 = 8;
const _: () = assert!(size_of::<RecordHeader>() == 8 && HEADER_BYTES == 8);

/// The record that every data file begins with: type `65 32`, no payload.
pub const VERSION_RECORD: [u8; 8] = [0x65, 0x32, 0, 0, 0, 0, 0, 0];

/// The offset of the first record that can hold a value: behind the version record.
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

    /// Reads a header; the caller checks its fields.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        zerocopy::transmute!(bytes)
    }

    /// The offset behind a record that starts at `offset`, or `None` past `u64::MAX`.
    #[must_use]
    pub fn end(self, offset: u64) -> Option<u64> {
        offset.checked_add(HEADER_BYTES + u64::from(self.length.get()))
    }
}

/// Why there is no record at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// The offset lies at or behind the bound, or the header reaches past it.
    HeaderPastBound,
    /// The payload ends behind the bound, at this offset.
    PayloadPastBound(u64),
    /// The offset lies within the version record.
    InVersionRecord,
    /// These bytes are no header of the wanted type.
    Header([u8; 8]),
}

/// A record type as it is looked for: what the type and the reserved bytes of a header must be. They
/// are the upper half of the number that the header is when its length is turned to the lower half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordTag(u64);

/// A record type and the longest payload that is looked for: the header of such a record, turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundedTag(u64);

/// Bits of the type, which stands in front of the length.
const TYPE_BITS: u32 = 16;

impl RecordTag {
    /// The tag of records of this type.
    #[must_use]
    pub const fn new(record_type: [u8; 2]) -> Self {
        Self((u16::from_le_bytes(record_type) as u64).rotate_right(TYPE_BITS))
    }

    /// The payload of the record at `offset`, an offset in the data file. `records` are the file's
    /// bytes behind its version record, from [`FIRST_RECORD_OFFSET`] up to its bound.
    ///
    /// # Errors
    /// The record must have this type, zero reserved bytes, and end at or before the bound.
    #[inline]
    pub fn payload(self, records: &[u8], offset: u64) -> Result<&[u8], RecordFault> {
        // An offset inside the version record becomes an enormous one.
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

    /// Bytes of payload behind a header, or `None` when it is none of this type.
    #[inline]
    #[must_use]
    pub fn payload_bytes(self, header: [u8; 8]) -> Option<usize> {
        self.up_to(u32::MAX).payload_bytes(header)
    }

    /// This type, with payloads of no more than so many bytes.
    #[must_use]
    pub const fn up_to(self, longest: u32) -> BoundedTag {
        BoundedTag(self.0 | longest as u64)
    }

    /// What a header of this type looks like, for people.
    #[must_use]
    pub fn describe(self) -> String {
        let [.., first, second] = self.0.to_le_bytes();
        format!("a record of type {first:02x} {second:02x} with zero reserved bytes")
    }
}

impl BoundedTag {
    /// Bytes of payload behind a header; `None` when it is none of this type, or longer.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the length is the lower half")]
    pub const fn payload_bytes(self, header: [u8; 8]) -> Option<usize> {
        let (longest, number) = (self.0 as u32, u64::from_le_bytes(header).rotate_right(TYPE_BITS));
        // One comparison tells both. With equal upper halves this is `longest` less the length, which
        // is at most `longest` just when the length is. Otherwise it is that and a multiple of 2^32
        // that is not 0, modulo 2^64: at least `longest + 1`, since a length is below 2^32.
        if self.0.wrapping_sub(number) <= longest as u64 {
            Some(number as u32 as usize)
        } else {
            None
        }
    }
}

impl RecordFault {
    /// What was found instead of the record, for people.
    #[must_use]
    pub fn describe(self, bound: u64) -> String {
        match self {
            RecordFault::HeaderPastBound => format!("the end of the committed bytes at {bound}"),
            RecordFault::PayloadPastBound(end) => {
                format!("a record that ends at {end}, behind the committed {bound} bytes")
            }
            RecordFault::InVersionRecord => "an offset inside the version record".to_owned(),
            RecordFault::Header(bytes) => {
                let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                hex.join(" ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_eight_bytes_little_endian() {
        let header = RecordHeader::new([4, 0], 0x0102_0304);
        assert_eq!(header.to_bytes(), [4, 0, 4, 3, 2, 1, 0, 0]);
        assert_eq!(RecordHeader::from_bytes(header.to_bytes()), header);
        assert_eq!(RecordHeader::new(*b"e2", 0).to_bytes(), VERSION_RECORD);
    }

    #[test]
    fn a_payload_is_found_only_where_a_whole_record_of_the_type_lies() {
        let mut records = RecordHeader::new([4, 0], 3).to_bytes().to_vec();
        records.extend_from_slice(b"abc");
        let tag = RecordTag::new([4, 0]);
        assert_eq!(tag.payload(&records, 8), Ok(&b"abc"[..]));
        assert_eq!(tag.payload(&records[..10], 8), Err(RecordFault::PayloadPastBound(19)));
        assert_eq!(tag.payload(&records[..7], 8), Err(RecordFault::HeaderPastBound));
        for past in [19, 20, u64::MAX] {
            assert_eq!(tag.payload(&records, past), Err(RecordFault::HeaderPastBound));
        }
        for inside in 0..8 {
            assert_eq!(tag.payload(&records, inside), Err(RecordFault::InVersionRecord));
        }
        assert!(matches!(tag.payload(&records, 9), Err(RecordFault::Header(_))));
        records[7] = 1;
        assert!(matches!(tag.payload(&records, 8), Err(RecordFault::Header(_))), "reserved byte");
    }

    /// One comparison stands for three; this is what it must come to.
    #[test]
    fn a_bounded_tag_tells_type_reserved_bytes_and_length() {
        let lengths = [0, 32, 33, 0x1_0000, u32::MAX - 1, u32::MAX];
        let types = [0_u16, 1, 2, 0x8000, 0xFFFF];
        let all_reserved = [0_u16, 1, 0x8000, 0xFFFF];
        for wanted in types {
            for longest in lengths {
                let tag = RecordTag::new(wanted.to_le_bytes()).up_to(longest);
                for (record_type, length) in
                    types.iter().flat_map(|found| lengths.map(|length| (*found, length)))
                {
                    for reserved in all_reserved {
                        let mut header = [0; 8];
                        header[..2].copy_from_slice(&record_type.to_le_bytes());
                        header[2..6].copy_from_slice(&length.to_le_bytes());
                        header[6..].copy_from_slice(&reserved.to_le_bytes());
                        let is_one = record_type == wanted && reserved == 0 && length <= longest;
                        let found = tag.payload_bytes(header);
                        assert_eq!(found, is_one.then_some(length as usize), "{header:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn end_of_a_record_does_not_overflow() {
        let header = RecordHeader::new([4, 0], u32::MAX);
        assert_eq!(header.end(8), Some(16 + u64::from(u32::MAX)));
        assert_eq!(header.end(u64::MAX - 8), None);
    }
}
