//! The offset table of a file: `8192 × u64`, the offset of each slot's record, or 0 for none.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::slot::SLOTS_PER_FILE;

/// Number of entries in a table.
#[expect(clippy::cast_possible_truncation, reason = "8192")]
pub const ENTRIES: usize = SLOTS_PER_FILE as usize;
/// Bytes of one entry.
pub const ENTRY_BYTES: u64 = 8;
/// Bytes of a whole offset file.
pub const TABLE_BYTES: usize = 65_536;

/// An offset table in memory, in the byte order of the disk.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct OffsetTable {
    entries: [U64; ENTRIES],
}

const _: () = assert!(size_of::<OffsetTable>() == TABLE_BYTES);

impl std::fmt::Debug for OffsetTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.records()).finish()
    }
}

impl OffsetTable {
    /// A table without records.
    #[must_use]
    pub fn zeroed() -> Box<Self> {
        // As everywhere in the standard library, a failed allocation of this size aborts.
        Self::new_box_zeroed()
            .unwrap_or_else(|_| std::alloc::handle_alloc_error(std::alloc::Layout::new::<Self>()))
    }

    /// Parses an offset file. A short file is padded with zeros; `None` if the file is too long.
    #[must_use]
    pub fn from_prefix(bytes: &[u8]) -> Option<Box<Self>> {
        let mut table = Self::zeroed();
        table.as_mut_bytes().get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(table)
    }

    /// The entry at `index`, which must be below [`ENTRIES`].
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> u64 {
        self.entries[index].get()
    }

    /// Sets the entry at `index`, which must be below [`ENTRIES`].
    pub fn set(&mut self, index: usize, offset: u64) {
        self.entries[index].set(offset);
    }

    /// The non-zero entries with their indices, ascending.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = (usize, u64)> + '_ {
        self.entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (index, entry.get()))
            .filter(|(_, offset)| *offset != 0)
    }

    /// All entries in the order of their indices.
    pub fn entries(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.iter().map(|entry| entry.get())
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

/// The offset in the offset file of the entry at `index`.
#[must_use]
pub fn entry_offset(index: usize) -> u64 {
    (index as u64).saturating_mul(ENTRY_BYTES)
}
