//! Values that depend on their slots.

use super::*;

/// A number that looks random and is always the same.
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `byte_len` bytes that belong to this slot.
pub fn value_of_len(slot: u64, byte_len: usize) -> Vec<u8> {
    (0..byte_len.div_ceil(8) as u64)
        .flat_map(|word| mix(slot.wrapping_mul(31).wrapping_add(word)).to_le_bytes())
        .take(byte_len)
        .collect()
}

/// The value of a slot: 1 to 300 bytes, always the same, another one for every slot.
pub fn value(slot: u64) -> Vec<u8> {
    value_of_len(slot, 1 + usize::try_from(mix(slot) % 300).unwrap())
}

/// The values of these slots.
pub fn content(slots: impl IntoIterator<Item = u64>) -> Content {
    slots.into_iter().map(|slot| (slot, value(slot))).collect()
}

/// The values of these slots, as a batch.
pub fn batch(slots: impl IntoIterator<Item = u64>) -> Vec<(Slot, Vec<u8>)> {
    slots.into_iter().map(|slot| (Slot(slot), value(slot))).collect()
}

/// `byte_len` bytes that depend on the seed and compress a little.
pub fn bytes_from(seed: u64, byte_len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(byte_len + 16);
    let mut word = seed;
    while bytes.len() < byte_len {
        word = mix(word);
        bytes.extend_from_slice(&word.to_le_bytes());
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    bytes.truncate(byte_len);
    bytes
}

/// A sequence of numbers for the choices of a test.
#[derive(Clone, Debug)]
pub struct Choices(u64);

impl Choices {
    pub fn new(seed: u64) -> Self {
        Choices(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % bound
    }
}
