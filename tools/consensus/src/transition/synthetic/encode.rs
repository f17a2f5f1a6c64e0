//! Encodes the containers of a block by their layouts.

use crate::ssz::{Kind, OFFSET_BYTES};
use crate::transition::block::Value;

/// Encodes a list of values of variable length.
#[expect(clippy::cast_possible_truncation, reason = "lists of a block")]
pub(super) fn list_of(values: &[Vec<u8>]) -> Vec<u8> {
    let (mut encoded, mut offset) = (Vec::new(), values.len() * OFFSET_BYTES);
    for value in values {
        encoded.extend_from_slice(&(offset as u32).to_le_bytes());
        offset += value.len();
    }
    encoded.extend(values.concat());
    encoded
}

/// Encodes a container with these fields; the others are zeros or empty.
#[expect(clippy::cast_possible_truncation, reason = "containers of a block")]
pub(super) fn encode(of: Value<'_>, values: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let Kind::Container(fields) = of.kind() else { return Vec::new() };
    let mut encoded = Vec::new();
    let mut offset = crate::ssz::fixed_part_len(fields);
    let mut variable = Vec::new();
    for field in fields {
        let value = values.iter().find(|(name, _)| *name == field.name).map(|(_, value)| value);
        match field.of.fixed_len {
            Some(byte_len) => match value {
                Some(value) => encoded.extend_from_slice(value),
                None => encoded.resize(encoded.len() + byte_len, 0),
            },
            None => {
                let value = value.map_or(&[][..], |value| value);
                encoded.extend_from_slice(&(offset as u32).to_le_bytes());
                offset += value.len();
                variable.extend_from_slice(value);
            }
        }
    }
    encoded.extend(variable);
    encoded
}
