//! Slots, and the ids of the files that hold them.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// Slots covered by one data file and its offset file.
pub const SLOTS_PER_FILE: u64 = 8192;

/// An Ethereum consensus slot.
///
/// `u64::MAX` marks an empty column on disk and is refused as a slot ([`Error::InvalidSlot`]).
///
/// [`Error::InvalidSlot`]: crate::Error::InvalidSlot
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u64);

impl Slot {
    /// The largest slot that a column can hold.
    pub const MAX: Slot = Slot(u64::MAX - 1);

    /// The file that holds this slot.
    #[must_use]
    #[inline]
    pub const fn file_id(self) -> FileId {
        FileId(self.0 / SLOTS_PER_FILE)
    }

    /// The index of this slot's entry in its offset file, below [`SLOTS_PER_FILE`].
    #[must_use]
    #[inline]
    pub const fn index_in_file(self) -> usize {
        (self.0 % SLOTS_PER_FILE) as usize
    }

    /// The slot after this one, or `None` after [`Slot::MAX`].
    #[must_use]
    pub const fn next(self) -> Option<Slot> {
        if self.0 >= Self::MAX.0 { None } else { Some(Slot(self.0 + 1)) }
    }

    /// The slot before this one, or `None` before slot 0.
    #[must_use]
    pub const fn previous(self) -> Option<Slot> {
        if self.0 == 0 { None } else { Some(Slot(self.0 - 1)) }
    }
}

impl From<u64> for Slot {
    fn from(slot: u64) -> Self {
        Slot(slot)
    }
}

impl From<Slot> for u64 {
    fn from(slot: Slot) -> Self {
        slot.0
    }
}

impl FromStr for Slot {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Slot)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a data file and its offset file. They hold the slots
/// `id * 8192 ..= id * 8192 + 8191`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

impl FileId {
    /// The id of the file that holds [`Slot::MAX`]; no file has a higher id.
    pub const MAX: FileId = Slot::MAX.file_id();

    /// The first slot of the file. The id must be at most [`FileId::MAX`].
    #[must_use]
    pub const fn first_slot(self) -> Slot {
        Slot(self.0.saturating_mul(SLOTS_PER_FILE))
    }

    /// The last slot of the file.
    #[must_use]
    pub const fn last_slot(self) -> Slot {
        let last = self.first_slot().0.saturating_add(SLOTS_PER_FILE - 1);
        if last > Slot::MAX.0 { Slot::MAX } else { Slot(last) }
    }

    /// The slot of the entry at `index` in the file's offset table.
    #[must_use]
    pub const fn slot_at(self, index: usize) -> Slot {
        Slot(self.first_slot().0.saturating_add(index as u64))
    }
}

/// Writes the id as in a file name: with at least five decimal digits.
impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}", self.0)
    }
}
