//! Constructors of the corruption errors that readers and the writer share.

use std::path::PathBuf;

use crate::column::ColumnSpec;
use crate::error::{CorruptItem, Error, Result};
use crate::format::offsets::TABLE_BYTES;
use crate::format::record::{RecordFault, RecordTag};
use crate::slot::Slot;

/// Checks that a column has the record type and compression that the caller requested.
pub(crate) fn check_spec(path: PathBuf, wanted: ColumnSpec, found: ColumnSpec) -> Result<()> {
    let mismatch = |setting, wanted: String, found: String| Error::ConfMismatch {
        file: path.into(),
        setting,
        wanted: wanted.into(),
        found: found.into(),
    };
    if wanted.record_type != found.record_type {
        let hex = |[first, second]: [u8; 2]| format!("{first:02x} {second:02x}");
        let (wanted, found) = (hex(wanted.record_type), hex(found.record_type));
        return Err(mismatch("record type", wanted, found));
    }
    if wanted.compression != found.compression {
        let (wanted, found) = (wanted.compression.to_string(), found.compression.to_string());
        return Err(mismatch("compression", wanted, found));
    }
    Ok(())
}

/// The error for an entry below the bound that points to no whole record of the column.
pub(crate) fn no_record(
    data_path: PathBuf,
    tag: RecordTag,
    slot: Slot,
    (entry, bound): (u64, u64),
    fault: RecordFault,
) -> Error {
    let wanted = format!("{} for slot {slot}, that ends by {bound}", tag.describe());
    Error::corrupt(data_path, entry, CorruptItem::RecordHeader, wanted, fault.describe(bound))
}

/// The error for a data file that is shorter than its committed length.
pub(crate) fn data_file_too_short(path: PathBuf, byte_len: u64, bound: u64) -> Error {
    let (wanted, found) =
        (format!("at least the committed {bound} bytes"), format!("{byte_len} bytes"));
    Error::corrupt(path, None, CorruptItem::DataLength, wanted, found)
}

/// The error for an offset file that was truncated after it was read.
pub(crate) fn offset_file_too_short(path: PathBuf, byte_len: u64, before: u64) -> Error {
    let (wanted, found) = (format!("the earlier {before} bytes"), format!("{byte_len} bytes"));
    Error::corrupt(path, None, CorruptItem::OffsetLength, wanted, found)
}

/// The error for an offset file with too many bytes.
pub(crate) fn offset_file_too_long(path: PathBuf, byte_len: u64) -> Error {
    let (wanted, found) = (format!("{TABLE_BYTES} bytes"), format!("{byte_len} bytes"));
    Error::corrupt(path, None, CorruptItem::OffsetLength, wanted, found)
}

/// The error for a missing file that holds committed records.
pub(crate) fn missing(path: PathBuf, wanted: &'static str, bound: u64) -> Error {
    let found = format!("no file, although {bound} bytes are committed");
    Error::corrupt(path, None, CorruptItem::Column, wanted, found)
}
