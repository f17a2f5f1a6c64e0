//! Checks that a conf belongs to the files beside it: `FORMAT.md`, section 6.
//!
//! With a conf that has a flipped bit or was copied from elsewhere, healing would cut off good data and
//! a reader would hide it. Both run these checks before they trust a conf.

use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES, RecordHeader};

/// How the current file's offset table contradicts the conf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfContradiction {
    /// The highest slot's entry does not point to a record below the committed length.
    NoHighest {
        /// The entry of the highest slot.
        entry: u64,
    },
    /// A slot after the highest has a record below the committed length.
    AfterHighest {
        /// The index of the slot in the file.
        index: usize,
        /// Its entry.
        entry: u64,
    },
}

/// Checks the entries of the current file, in order, and returns the largest one below its
/// committed length `data_len`.
///
/// # Errors
/// [`ConfContradiction`] if the conf does not belong to this file.
pub fn check_current_entries(
    entries: impl Iterator<Item = u64>,
    highest_index: usize,
    data_len: u64,
) -> Result<u64, ConfContradiction> {
    let mut largest = 0;
    let mut highest_entry = 0;
    for (index, entry) in entries.enumerate() {
        let committed = entry != 0 && entry < data_len;
        if index == highest_index {
            highest_entry = entry;
        }
        if committed && index > highest_index {
            return Err(ConfContradiction::AfterHighest { index, entry });
        }
        if committed {
            largest = largest.max(entry);
        }
    }
    if highest_entry < FIRST_RECORD_OFFSET || highest_entry >= data_len {
        return Err(ConfContradiction::NoHighest { entry: highest_entry });
    }
    Ok(largest)
}

/// The end offset of the record at `offset`; `None` if `header` is not of the column's type.
#[must_use]
pub fn record_end(header: [u8; 8], record_type: [u8; 2], offset: u64) -> Option<u64> {
    let header = RecordHeader::from_bytes(header);
    let right = header.record_type == record_type && header.reserved == [0, 0];
    right.then(|| header.end(offset)).flatten()
}

/// Whether a header can start at `offset` and end within `data_len`.
#[must_use]
pub fn header_fits(offset: u64, data_len: u64) -> bool {
    offset >= FIRST_RECORD_OFFSET
        && offset.checked_add(HEADER_BYTES).is_some_and(|end| end <= data_len)
}

impl ConfContradiction {
    /// Index of the contradicting entry; `None` if it is the highest slot's.
    #[must_use]
    pub fn index(self) -> Option<usize> {
        match self {
            ConfContradiction::NoHighest { .. } => None,
            ConfContradiction::AfterHighest { index, .. } => Some(index),
        }
    }

    /// Describes what the conf requires, for error messages.
    #[must_use]
    pub fn wanted(self, data_len: u64) -> String {
        match self {
            ConfContradiction::NoHighest { .. } => {
                format!("a record of the conf's highest slot below the committed {data_len} bytes")
            }
            ConfContradiction::AfterHighest { .. } => format!(
                "no slot after the conf's highest with a record below the committed {data_len} bytes"
            ),
        }
    }

    /// Describes what the table has, for error messages.
    #[must_use]
    pub fn found(self) -> String {
        let (ConfContradiction::NoHighest { entry }
        | ConfContradiction::AfterHighest { entry, .. }) = self;
        format!("entry {entry}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conf_fits_if_its_highest_slot_is_the_last_committed_one() {
        let entries = [0, 8, 0, 30, 0, 90];
        let check = |highest, len| check_current_entries(entries.into_iter(), highest, len);
        assert_eq!(check(3, 90), Ok(30));
        assert_eq!(check(3, 91), Err(ConfContradiction::AfterHighest { index: 5, entry: 90 }));
        assert_eq!(check(2, 30), Err(ConfContradiction::NoHighest { entry: 0 }));
        assert_eq!(check(3, 30), Err(ConfContradiction::NoHighest { entry: 30 }));
        assert_eq!(check(1, 90), Err(ConfContradiction::AfterHighest { index: 3, entry: 30 }));
        assert_eq!(
            check_current_entries([5u64].into_iter(), 0, 90),
            Err(ConfContradiction::NoHighest { entry: 5 })
        );
    }
}
