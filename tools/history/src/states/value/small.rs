//! All small fields in one section: encoding 12 (FORMAT.md, section 2).

use coldstore_consensus::{FieldKind, StateField, StateFields};

use super::fault::{Decoded, Wrong};
use super::header::number_of;
use super::packed::{Cursor, put_packed};

/// Fields of a longer value have a section of their own.
const MAX_BYTES: usize = 128;
/// The slot is in the header.
pub(crate) const SLOT_FIELD: &str = "slot";

/// Whether a field belongs to the small ones.
pub(crate) fn is_small(field: &StateField) -> bool {
    matches!(field.kind, FieldKind::Value { byte_len } if byte_len <= MAX_BYTES)
}

fn bit_of(name: &str) -> u64 {
    number_of(name).map_or(0, |number| 1 << number)
}

/// Encoding 12 of the fields that differ, by name and bytes, in the order of the layout.
pub(crate) fn put(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mask: u64 = fields.iter().map(|(name, _)| bit_of(name)).sum();
    let bytes: Vec<u8> = fields.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let mut section = mask.to_le_bytes().to_vec();
    put_packed(&mut section, &bytes);
    section
}

/// Reads encoding 12: the bytes of the fields that differ, by name.
pub(crate) fn read(
    section: &mut Cursor<'_>,
    layout: StateFields,
) -> Decoded<Vec<(&'static str, Vec<u8>)>> {
    let mask = u64::from_le_bytes(section.array()?);
    let named = |field: &StateField| {
        is_small(field) && field.name != SLOT_FIELD && mask & bit_of(field.name) != 0
    };
    let fields: Vec<StateField> = layout.iter().filter(named).collect();
    let known: u64 = fields.iter().map(|field| bit_of(field.name)).sum();
    if mask != known {
        let wanted = format!("small fields of a {} state", layout.fork());
        return Err(Wrong::new(wanted, format_args!("the mask {mask:#x}")));
    }
    let lens = fields.iter().filter_map(StateField::fixed_len);
    let bytes = section.packed(lens.sum())?;
    let mut bytes = Cursor::new(&bytes);
    let taken = fields.into_iter().map(|field| {
        let taken = bytes.bytes(field.fixed_len().unwrap_or_default())?;
        Ok((field.name, taken.to_vec()))
    });
    taken.collect()
}
