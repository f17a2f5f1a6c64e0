//! Any bytes: encodings 0 and 10 (FORMAT.md, section 3).

use super::super::columns::UNKNOWN_PIECE_BYTES;
use super::fault::Decoded;
use super::packed::{Cursor, put_packed, put_packed_after};

/// Encoding 0: the new bytes.
pub(crate) fn put_whole(next: &[u8]) -> Vec<u8> {
    let mut section = Vec::new();
    put_packed(&mut section, next);
    section
}

/// Encoding 10: the new bytes in pieces of 8 MiB, each compressed after the base's bytes of the same place.
pub(crate) fn put_pieces(base: &[u8], next: &[u8]) -> Vec<u8> {
    let mut section = Vec::new();
    for (place, piece) in next.chunks(UNKNOWN_PIECE_BYTES).enumerate() {
        put_packed_after(&mut section, piece_of(base, place), piece);
    }
    section
}

/// Reads encoding 10: a field of `byte_len` bytes.
pub(crate) fn pieces(section: &mut Cursor<'_>, base: &[u8], byte_len: usize) -> Decoded<Vec<u8>> {
    let mut field = Vec::new();
    for (place, start) in (0..byte_len).step_by(UNKNOWN_PIECE_BYTES).enumerate() {
        let piece_len = (byte_len - start).min(UNKNOWN_PIECE_BYTES);
        field.extend_from_slice(&section.packed_after(piece_of(base, place), piece_len)?);
    }
    Ok(field)
}

fn piece_of(base: &[u8], place: usize) -> &[u8] {
    base.chunks(UNKNOWN_PIECE_BYTES).nth(place).unwrap_or_default()
}
