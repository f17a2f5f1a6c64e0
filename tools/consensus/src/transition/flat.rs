//! The encoded fields of a state, one at a time; the flat ones without a copy of the field.

use std::ops::Range;

use super::registry::VALIDATOR_BYTES;
use super::state::BeaconState;
use crate::root::Root;
use crate::ssz::Field;

/// The elements of a field that is an array in memory.
#[derive(Clone, Copy, Debug)]
pub enum FlatField<'a> {
    /// Encoded as 8 bytes each.
    Numbers(&'a [u64]),
    /// One byte each.
    Bytes(&'a [u8]),
    /// 32 bytes each.
    Roots(&'a [Root]),
}

impl FlatField<'_> {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Roots(roots) => roots.len(),
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of an encoded element in bytes.
    #[must_use]
    pub fn element_len(&self) -> usize {
        match self {
            Self::Numbers(_) => 8,
            Self::Bytes(_) => 1,
            Self::Roots(_) => 32,
        }
    }

    /// Writes elements into the encoded field, at their place there.
    ///
    /// # Panics
    /// If the elements are not in both.
    pub fn write(&self, elements: Range<usize>, encoded: &mut [u8]) {
        let element_len = self.element_len();
        let out = &mut encoded[elements.start * element_len..elements.end * element_len];
        match self {
            Self::Numbers(numbers) => {
                for (out, number) in out.as_chunks_mut().0.iter_mut().zip(&numbers[elements]) {
                    *out = number.to_le_bytes();
                }
            }
            Self::Bytes(bytes) => out.copy_from_slice(&bytes[elements]),
            Self::Roots(roots) => {
                for (out, root) in out.as_chunks_mut().0.iter_mut().zip(&roots[elements]) {
                    *out = root.0;
                }
            }
        }
    }
}

impl BeaconState<'_> {
    /// The elements of a large field; `None` for the other fields, and those that the fork does not have.
    #[must_use]
    pub fn flat_field(&self, name: &str) -> Option<FlatField<'_>> {
        self.field_of_layout(name)?;
        Some(match name {
            "balances" => FlatField::Numbers(&self.balances),
            "inactivity_scores" => FlatField::Numbers(&self.inactivity_scores),
            "slashings" => FlatField::Numbers(&self.slashings),
            "previous_epoch_participation" => FlatField::Bytes(&self.previous_epoch_participation),
            "current_epoch_participation" => FlatField::Bytes(&self.current_epoch_participation),
            "block_roots" => FlatField::Roots(&self.block_roots),
            "state_roots" => FlatField::Roots(&self.state_roots),
            "randao_mixes" => FlatField::Roots(&self.randao_mixes),
            _ => return None,
        })
    }

    /// Appends an encoded field to `out`. Returns whether the fork has the field.
    pub fn write_field(&self, name: &str, out: &mut Vec<u8>) -> bool {
        let Some(field) = self.field_of_layout(name) else { return false };
        let mut piece = Vec::new();
        // Writing to a vector does not fail.
        let written = self.encode(field, &mut piece, out);
        debug_assert!(written.is_ok());
        out.append(&mut piece);
        true
    }

    /// The encoded `Validator`.
    ///
    /// # Panics
    /// If there is no validator with this index.
    #[must_use]
    pub fn encoded_validator(&self, index: usize) -> [u8; VALIDATOR_BYTES] {
        let mut encoded = [0; VALIDATOR_BYTES];
        self.validators.write(index, &mut encoded);
        encoded
    }

    fn field_of_layout(&self, name: &str) -> Option<&'static Field> {
        self.layout().fields.iter().find(|field| field.name == name)
    }
}
