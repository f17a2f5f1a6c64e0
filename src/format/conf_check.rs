//! Checks that a conf belongs to the files beside it: `FORMAT.md`, section 6.
//!
//! With a conf that has a flipped bit or was copied from elsewhere, healing would cut off good data and
//! a reader would hide it. Both run these checks before they trust a conf.

use std::path::PathBuf;

use crate::error::{CorruptItem, Error, Result};
use crate::format::offsets::entry_offset;
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES};
use crate::slot::Slot;

const ITEM: CorruptItem = CorruptItem::Conf("conf (it does not fit its current file)");

/// Checks all entries of the offset file of `highest`, the conf's highest slot. Returns the largest one
/// below the committed length `data_len`.
///
/// # Errors
/// [`Error::Corrupt`] if the conf does not belong to this file.
pub fn check_entries(
    offset_path: PathBuf,
    highest: Slot,
    data_len: u64,
    entries: impl Iterator<Item = u64>,
) -> Result<u64> {
    let contradiction = |index: usize, wanted: &str, entry: u64| {
        let wanted = format!("{wanted} below the committed {data_len} bytes (slot {highest})");
        let found = format!("entry {entry}");
        Err(Error::corrupt(offset_path, entry_offset(index), ITEM, wanted, found))
    };
    let highest_index = highest.index_in_file();
    let (mut largest, mut highest_entry) = (0, 0);
    for (index, entry) in entries.enumerate() {
        let is_committed = entry != 0 && entry < data_len;
        if index == highest_index {
            highest_entry = entry;
        }
        if is_committed && index > highest_index {
            let wanted = "no slot after the conf's highest with a record";
            return contradiction(index, wanted, entry);
        }
        if is_committed {
            largest = largest.max(entry);
        }
    }
    if highest_entry < FIRST_RECORD_OFFSET || highest_entry >= data_len {
        let wanted = "a record of the conf's highest slot";
        return contradiction(highest_index, wanted, highest_entry);
    }
    Ok(largest)
}

/// Checks that the last record of the current file, at `offset`, ends at the committed length. `end` is
/// where it ends; `None` if there is no whole record.
///
/// # Errors
/// [`Error::Corrupt`] if it ends elsewhere.
pub(crate) fn check_last_record(
    data_path: PathBuf,
    data_len: u64,
    offset: u64,
    end: Option<u64>,
) -> Result<()> {
    if end == Some(data_len) {
        return Ok(());
    }
    let wanted = format!("a last record that ends at the committed {data_len} bytes");
    let found = end
        .map_or_else(|| "no whole record".to_owned(), |end| format!("a record that ends at {end}"));
    Err(Error::corrupt(data_path, offset, ITEM, wanted, found))
}

/// Whether a header can start at `offset` and end within `data_len`.
#[must_use]
pub fn header_fits(offset: u64, data_len: u64) -> bool {
    offset >= FIRST_RECORD_OFFSET
        && offset.checked_add(HEADER_BYTES).is_some_and(|end| end <= data_len)
}
