//! The checksum file of a data file: a CRC-32C of each record as it was written.
//!
//! `FORMAT.md`, section 8. Reading records does not require it.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::format::offsets::ENTRIES;
use crate::slot::{FileId, Slot};

/// Magic bytes at the start of every checksum file.
pub const MAGIC: [u8; 8] = *b"CSTSUM01";

/// The header of a checksum file.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SumsHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// The id of the data file.
    pub file_id: U64,
    /// The e2store type of the column's records.
    pub record_type: [u8; 2],
    /// Zero.
    pub reserved: [u8; 10],
    /// CRC-32C of all preceding bytes of the header.
    pub checksum: U32,
}

/// Bytes of a [`SumsHeader`].
pub const SUMS_HEADER_BYTES: usize = 32;
const _: () = assert!(size_of::<SumsHeader>() == SUMS_HEADER_BYTES);
/// Bytes covered by the header's own checksum: all that precede it.
const SUMMED_HEADER_BYTES: usize = SUMS_HEADER_BYTES - size_of::<U32>();

/// The checksums of one record.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SumEntry {
    /// CRC-32C of slot, offset, record header and payload.
    pub record: U32,
    /// CRC-32C of slot, offset and `record`: it distinguishes a damaged or misplaced entry from a
    /// damaged record.
    pub entry: U32,
}

/// Bytes of a [`SumEntry`].
pub const SUM_ENTRY_BYTES: usize = 8;
const _: () = assert!(size_of::<SumEntry>() == SUM_ENTRY_BYTES);

/// Bytes of a whole checksum file.
pub const SUMS_BYTES: usize = SUMS_HEADER_BYTES + ENTRIES * SUM_ENTRY_BYTES;

impl SumsHeader {
    /// The header of the checksum file of a data file.
    #[must_use]
    pub fn new(file_id: FileId, record_type: [u8; 2]) -> Self {
        let mut header = Self {
            magic: MAGIC,
            file_id: U64::new(file_id.0),
            record_type,
            reserved: [0; 10],
            checksum: U32::ZERO,
        };
        header.checksum = U32::new(header.own_sum());
        header
    }

    fn own_sum(&self) -> u32 {
        let (bytes, _) = self.as_bytes().split_at(SUMMED_HEADER_BYTES);
        crc32c::crc32c(bytes)
    }
}

/// A record checksum computed incrementally.
#[derive(Clone, Copy, Debug)]
pub struct RecordSum(u32);

impl RecordSum {
    /// Starts the checksum of the record at `offset` in the data file.
    #[must_use]
    pub fn new(slot: Slot, offset: u64, header: [u8; 8]) -> Self {
        let mut bytes = [0; 24];
        let (place, rest) = bytes.split_at_mut(16);
        place.copy_from_slice(&place_of(slot, offset));
        rest.copy_from_slice(&header);
        Self(crc32c::crc32c(&bytes))
    }

    /// Adds the next bytes of the payload.
    pub fn update(&mut self, payload: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, payload);
    }

    /// The finished entry.
    #[must_use]
    pub fn entry(self, slot: Slot, offset: u64) -> SumEntry {
        let entry =
            crc32c::crc32c_append(crc32c::crc32c(&place_of(slot, offset)), &self.0.to_le_bytes());
        SumEntry { record: U32::new(self.0), entry: U32::new(entry) }
    }
}

fn place_of(slot: Slot, offset: u64) -> [u8; 16] {
    let mut place = [0; 16];
    let (of_slot, of_offset) = place.split_at_mut(8);
    of_slot.copy_from_slice(&slot.0.to_le_bytes());
    of_offset.copy_from_slice(&offset.to_le_bytes());
    place
}

/// The result of comparing a record with its checksum entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SumVerdict {
    /// The entry is empty.
    Unknown,
    /// The record matches.
    Intact,
    /// The entry is intact, and the record does not match.
    Damaged {
        /// The record checksum in the entry.
        wanted: u32,
        /// The checksum of the record on disk.
        found: u32,
    },
    /// Neither checksum matches, and the entry does not belong to a record at this offset: the offset
    /// or the entry was changed.
    Misplaced,
    /// One of the entry's two checksums matches, so the record is intact and the entry is damaged.
    EntryDamaged,
}

impl SumEntry {
    /// Compares the record at `offset` with this entry.
    #[must_use]
    pub fn check(self, slot: Slot, offset: u64, header: [u8; 8], payload: &[u8]) -> SumVerdict {
        if self == Self::default() {
            // Skips computing the checksum.
            return SumVerdict::Unknown;
        }
        let mut sum = RecordSum::new(slot, offset, header);
        sum.update(payload);
        self.compare(slot, offset, sum)
    }

    /// As [`Self::check`], for a checksum that was computed incrementally.
    #[must_use]
    pub fn compare(self, slot: Slot, offset: u64, sum: RecordSum) -> SumVerdict {
        if self == Self::default() {
            return SumVerdict::Unknown;
        }
        let found = sum.entry(slot, offset);
        match (self.record == found.record, self.entry == found.entry) {
            (true, true) => SumVerdict::Intact,
            // Either checksum alone proves the record.
            (true, false) | (false, true) => SumVerdict::EntryDamaged,
            (false, false) if self.is_of(slot, offset) => {
                SumVerdict::Damaged { wanted: self.record.get(), found: found.record.get() }
            }
            (false, false) => SumVerdict::Misplaced,
        }
    }

    /// Whether this is an intact entry for a record of `slot` written at `offset`.
    #[must_use]
    pub fn is_of(self, slot: Slot, offset: u64) -> bool {
        RecordSum(self.record.get()).entry(slot, offset) == self
    }
}

/// A checksum file in memory, laid out as on disk.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SumTable {
    header: SumsHeader,
    entries: [SumEntry; ENTRIES],
}

const _: () = assert!(size_of::<SumTable>() == SUMS_BYTES);

impl std::fmt::Debug for SumTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SumTable").field("header", &self.header).finish_non_exhaustive()
    }
}

impl SumTable {
    /// A table of empty entries.
    #[must_use]
    pub fn new(file_id: FileId, record_type: [u8; 2]) -> Box<Self> {
        // As everywhere in the standard library, a failed allocation of this size aborts.
        let mut table = Self::new_box_zeroed()
            .unwrap_or_else(|_| std::alloc::handle_alloc_error(std::alloc::Layout::new::<Self>()));
        table.header = SumsHeader::new(file_id, record_type);
        table
    }

    /// Parses a checksum file. `None` if its length is wrong, or its header is damaged or belongs to
    /// another data file or record type.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], file_id: FileId, record_type: [u8; 2]) -> Option<Box<Self>> {
        let mut table = Self::new(file_id, record_type);
        let header = *table.header.as_bytes().first_chunk::<SUMS_HEADER_BYTES>()?;
        if bytes.len() != SUMS_BYTES || !bytes.starts_with(&header) {
            return None;
        }
        table.as_mut_bytes().copy_from_slice(bytes);
        Some(table)
    }

    /// Parses the entries of a file with a damaged header or a wrong length. Such an entry is evidence
    /// only if it matches a record.
    #[must_use]
    pub fn from_damaged(bytes: &[u8], file_id: FileId, record_type: [u8; 2]) -> Box<Self> {
        let mut table = Self::new(file_id, record_type);
        let entries = bytes.get(SUMS_HEADER_BYTES..).unwrap_or_default();
        for (entry, bytes) in table.entries.iter_mut().zip(entries.chunks_exact(SUM_ENTRY_BYTES)) {
            *entry = SumEntry::read_from_bytes(bytes).unwrap_or_default();
        }
        table
    }

    /// The entry at `index`, which must be below [`ENTRIES`].
    #[must_use]
    pub fn get(&self, index: usize) -> SumEntry {
        self.entries[index]
    }

    /// Sets the entry at `index`, which must be below [`ENTRIES`].
    pub fn set(&mut self, index: usize, entry: SumEntry) {
        self.entries[index] = entry;
    }

    /// The indices of the entries that are not empty, ascending.
    pub fn known(&self) -> impl Iterator<Item = usize> + '_ {
        let is_known = |(_, entry): &(usize, &SumEntry)| **entry != SumEntry::default();
        self.entries.iter().enumerate().filter(is_known).map(|(index, _)| index)
    }

    /// The bytes of a range of entries, as in the file.
    #[must_use]
    pub fn bytes_of(&self, indices: std::ops::RangeInclusive<usize>) -> &[u8] {
        self.entries[indices].as_bytes()
    }

    /// All bytes, as in the file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        IntoBytes::as_bytes(self)
    }
}

/// The offset in the checksum file of the entry at `index`.
#[must_use]
pub fn sum_entry_offset(index: usize) -> u64 {
    (SUMS_HEADER_BYTES as u64).saturating_add((index as u64).saturating_mul(SUM_ENTRY_BYTES as u64))
}
