//! Writes slot streams.

use std::io::{self, Write};

use coldstore::Slot;
use coldstore::format::record::{RecordHeader, VERSION_RECORD};

use super::{SLOT_BYTES, SLOT_TYPE, WORD_BYTES};

/// Writes the start of a stream.
///
/// # Errors
/// Those of `out`.
pub fn write_start(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&VERSION_RECORD)
}

/// Writes one item.
///
/// # Errors
/// Those of `out`, and [`io::ErrorKind::InvalidInput`] for a value that no record can hold.
pub fn write_item(
    out: &mut impl Write,
    record_type: [u8; 2],
    slot: Slot,
    value: &[u8],
) -> io::Result<()> {
    out.write_all(&item_head(record_type, slot, value.len())?)?;
    out.write_all(value)
}

/// The bytes that precede the value of an item.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a value that no record can hold.
pub fn item_head(
    record_type: [u8; 2],
    slot: Slot,
    byte_len: usize,
) -> io::Result<[u8; 3 * WORD_BYTES]> {
    let too_long = || {
        let message = format!("slot {slot}: a record holds less than 4 GiB");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    };
    let byte_len = u32::try_from(byte_len).map_err(|_| too_long())?;
    let mut head = [0; 3 * WORD_BYTES];
    let words = [
        RecordHeader::new(SLOT_TYPE, SLOT_BYTES).to_bytes(),
        slot.0.to_le_bytes(),
        RecordHeader::new(record_type, byte_len).to_bytes(),
    ];
    for (place, word) in head.chunks_exact_mut(WORD_BYTES).zip(words) {
        place.copy_from_slice(&word);
    }
    Ok(head)
}
