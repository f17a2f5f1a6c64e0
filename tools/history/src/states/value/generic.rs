//! Any bytes: encodings 0 and 10 (FORMAT.md, section 3).

use std::sync::Arc;

use coldstore::Slot;
use coldstore_consensus::{Preset, StateFault, StateFields, StatePrefix};

use super::super::columns::{Columns, FieldBytes, StateRef, UNKNOWN_PIECE_BYTES, slot_of};
use super::apply::read_whole;
use super::fault::{Decoded, Wrong};
use super::header::WHOLE;
use super::packed::{Cursor, put_packed, put_packed_after};
use super::{DiffFault, DiffValue};

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

/// Applies a diff of a state in pieces.
pub(crate) fn apply(state: StateRef<'_>, diff: &DiffValue<'_>) -> Result<Columns, DiffFault> {
    let pieces = match &diff.sections[..] {
        [section] if section.field == WHOLE && section.encoding == 10 => {
            read_whole(section, |_, cursor| pieces_of(state, diff.ssz_len(), cursor))
        }
        _ => Err(Wrong::new("one section, of the whole state", "others")),
    };
    let pieces = pieces.map_err(|wrong| diff.fault(Some(WHOLE), wrong))?;
    let columns = of_pieces(state.columns.preset(), state.base, pieces, diff.slot());
    columns.map_err(|wrong| diff.fault(Some(WHOLE), wrong))
}

fn pieces_of(
    state: StateRef<'_>,
    ssz_len: u64,
    section: &mut Cursor<'_>,
) -> Decoded<Vec<FieldBytes>> {
    let ssz_len = usize::try_from(ssz_len).unwrap_or(usize::MAX);
    let mut pieces = Vec::new();
    for start in (0..ssz_len).step_by(UNKNOWN_PIECE_BYTES) {
        let span = start..ssz_len.min(start + UNKNOWN_PIECE_BYTES);
        let before = state.ssz_in(start..start + UNKNOWN_PIECE_BYTES);
        let piece = section.packed_after(&before, span.len())?;
        pieces.push(match state.base.get(span.clone()) {
            Some(stored) if *stored == *piece => FieldBytes::Base(span),
            _ => FieldBytes::Own(Arc::new(piece.into_owned())),
        });
    }
    Ok(pieces)
}

/// The columns of a state in pieces. If its layout is known, as when only the registry got shorter, it is read as
/// any other.
fn of_pieces(preset: Preset, base: &[u8], pieces: Vec<FieldBytes>, slot: Slot) -> Decoded<Columns> {
    let columns = Columns::of_pieces(preset, slot, pieces);
    let state = StateRef { base, columns: &columns };
    let start = state.ssz_in(0..StatePrefix::byte_len(preset));
    let wrong = |(wanted, found): (String, String)| Wrong::new(wanted, found);
    let found = slot_of(preset, &start);
    let found = found.map_err(|malformed| wrong(malformed.wanted_and_found()))?;
    if found != slot {
        return Err(Wrong::new(format_args!("a state of slot {slot}"), found));
    }
    if StateFields::candidates(preset, &start).is_err() {
        return Ok(columns);
    }
    let mut ssz = Vec::new();
    let written = state.write_ssz(&mut ssz);
    let read = written
        .map_err(StateFault::from)
        .and_then(|()| Columns::from_stream(preset, base, ssz.len() as u64, &mut &ssz[..]));
    read.map_err(|fault| Wrong::new("a state", fault))
}
