//! Errors of a slot stream.

use std::io;

use coldstore::Slot;
use coldstore::format::record::RecordHeader;

/// An error in a stream, with its byte offset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The stream has no bytes.
    #[error("slot stream: wanted a version record, found no byte")]
    Empty,
    /// A record header other than the expected one.
    #[error("{}slot stream at byte {at}: wanted {}, found {}", of_slot(*slot), described(*wanted), described(*found))]
    Record {
        /// Byte offset of the record's header.
        at: u64,
        /// The slot whose value was expected.
        slot: Option<Slot>,
        /// The expected header.
        wanted: RecordHeader,
        /// The header found.
        found: RecordHeader,
    },
    /// `u64::MAX` is not a valid slot.
    #[error("slot stream at byte {at}: {} is not a slot", u64::MAX)]
    InvalidSlot {
        /// Byte offset of the slot.
        at: u64,
    },
    /// The slots do not strictly ascend.
    #[error("slot stream at byte {at}: slots must ascend: {slot} follows {previous}")]
    NotAscending {
        /// Byte offset of the slot.
        at: u64,
        /// The previous slot.
        previous: Slot,
        /// The slot that is not above it.
        slot: Slot,
    },
    /// A value exceeds the column's bound.
    #[error(
        "slot stream at byte {at}: the value of slot {slot} has {byte_len} bytes, more than the \
         {limit} that the column allows"
    )]
    TooLarge {
        /// Byte offset of the value's header.
        at: u64,
        /// The slot.
        slot: Slot,
        /// Length of the value in bytes, from its header.
        byte_len: u64,
        /// The column's bound in bytes.
        limit: u64,
    },
    /// The stream ends between a slot and its value.
    #[error("slot stream at byte {at}: it ends before the value of slot {slot}")]
    NoValue {
        /// Byte offset of the end.
        at: u64,
        /// The slot.
        slot: Slot,
    },
    /// The stream ends within a record.
    #[error("{}slot stream at byte {at}: it ends within a record", of_slot(*slot))]
    Cut {
        /// Byte offset of the end.
        at: u64,
        /// The slot of the truncated value.
        slot: Option<Slot>,
    },
    /// The stream cannot be read.
    #[error("slot stream at byte {at}: cannot read")]
    Read {
        /// Number of bytes read before the error.
        at: u64,
        /// The error of the underlying reader.
        source: io::Error,
    },
}

fn of_slot(slot: Option<Slot>) -> String {
    slot.map_or_else(String::new, |slot| format!("slot {slot}: "))
}

fn described(header: RecordHeader) -> String {
    let [first, second] = header.record_type;
    let reserved = if header.reserved == [0, 0] { "" } else { " and reserved bytes set" };
    format!(
        "a record of type {first:02x} {second:02x} with {} bytes{reserved}",
        header.length.get()
    )
}
