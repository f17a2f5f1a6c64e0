//! Shuffling (phase0, "Misc"): of a whole list at once, and of single indices.

use sha2::{Digest, Sha256};

use crate::sha256::Node;

/// Positions for which one hash decides.
const POSITIONS_PER_HASH: usize = 256;

/// `hash` of a few bytes.
pub(crate) fn hash(parts: &[&[u8]]) -> Node {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Shuffles a list in place, so that `list[i]` becomes the former `list[compute_shuffled_index(i)]`.
///
/// Each round swaps pairs that mirror each other at the round's pivot, as `compute_shuffled_index` does with a
/// single index; a list is shuffled by the rounds in reverse. The decisions of a round are random, so the swap
/// is done without a branch: a branch is mispredicted half of the time, and doubles the time of all.
pub(crate) fn shuffle_list(list: &mut [u32], seed: &Node, rounds: u8) {
    if list.len() < 2 {
        return;
    }
    let mut bits = vec![0; list.len().div_ceil(POSITIONS_PER_HASH) * 32];
    for round in (0..rounds).rev() {
        let pivot = pivot_of(seed, round, list.len() as u64);
        #[expect(clippy::cast_possible_truncation, reason = "below the length of a list")]
        let pivot = pivot as usize;
        for (bucket, bits) in (0u32..).zip(bits.as_chunks_mut::<32>().0) {
            *bits = source_of(seed, round, bucket);
        }
        // Positions 0 to the pivot mirror each other, and so do those above it.
        let (below, above) = list.split_at_mut(pivot + 1);
        swap_mirrored(below, 0, &bits);
        swap_mirrored(above, pivot + 1, &bits);
    }
}

/// Swaps the elements that mirror each other in a part of the list that begins at position `start`, where the
/// bit of the higher position is set.
///
/// Eight pairs at a time, whose bits are one byte, in vector instructions: 1,000,000 elements take 14 ms so, 51
/// one by one.
fn swap_mirrored(part: &mut [u32], start: usize, bits: &[u8]) {
    let (count, half) = (part.len(), part.len() / 2);
    let (low, high) = part.split_at_mut(half);
    let high = &mut high[count - 2 * half..];
    let mut end = start + count;
    let unaligned = (end % 8).min(half);
    let (low_unaligned, low) = low.split_at_mut(unaligned);
    let (high, high_unaligned) = high.split_at_mut(half - unaligned);
    swap_one_by_one(low_unaligned, high_unaligned, end, bits);
    end -= unaligned;
    let (lows, low_rest) = low.as_chunks_mut();
    let (high_rest, highs) = high.as_rchunks_mut();
    let rest_end = end - 8 * lows.len();
    let bytes = bits[..end / 8].iter().rev();
    for ((low, high), byte) in lows.iter_mut().zip(highs.iter_mut().rev()).zip(bytes) {
        swap_eight(low, high, *byte);
    }
    swap_one_by_one(low_rest, high_rest, rest_end, bits);
}

fn swap_eight(low: &mut [u32; 8], high: &mut [u32; 8], bits: u8) {
    let differences: [u32; 8] = std::array::from_fn(|place| {
        let mask = if bits & (1 << place) == 0 { 0 } else { u32::MAX };
        (low[7 - place] ^ high[place]) & mask
    });
    for (place, difference) in differences.into_iter().enumerate() {
        low[7 - place] ^= difference;
        high[place] ^= difference;
    }
}

/// As [`swap_mirrored`], of two parts of one length; `end` is the position behind `high`.
fn swap_one_by_one(low: &mut [u32], high: &mut [u32], end: usize, bits: &[u8]) {
    for (distance, (left, right)) in low.iter_mut().zip(high.iter_mut().rev()).enumerate() {
        let position = end - 1 - distance;
        let bit = bits[position / 8] >> (position % 8) & 1;
        let difference = (*left ^ *right) & 0u32.wrapping_sub(u32::from(bit));
        *left ^= difference;
        *right ^= difference;
    }
}

fn pivot_of(seed: &Node, round: u8, count: u64) -> u64 {
    let hash = hash(&[seed, &[round]]);
    u64::from_le_bytes(std::array::from_fn(|index| hash[index])) % count
}

fn source_of(seed: &Node, round: u8, bucket: u32) -> Node {
    hash(&[seed, &[round], &bucket.to_le_bytes()])
}

/// `compute_shuffled_index` of several indices with one seed; the pivots are computed once.
pub(crate) struct ShuffledIndices<'s> {
    seed: &'s Node,
    count: u64,
    pivots: Vec<u64>,
}

impl<'s> ShuffledIndices<'s> {
    /// For lists of `count` elements, at least one.
    pub(crate) fn new(seed: &'s Node, count: u64, rounds: u8) -> Self {
        let pivots = (0..rounds).map(|round| pivot_of(seed, round, count)).collect();
        Self { seed, count, pivots }
    }

    pub(crate) fn of(&self, mut index: u64) -> u64 {
        for (round, pivot) in (0u8..).zip(&self.pivots) {
            let flip = (pivot + self.count - index) % self.count;
            let position = index.max(flip);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "lists have fewer than 2^32 elements"
            )]
            let bucket = (position / POSITIONS_PER_HASH as u64) as u32;
            let source = source_of(self.seed, round, bucket);
            #[expect(clippy::cast_possible_truncation, reason = "below 256")]
            let in_bucket = (position % POSITIONS_PER_HASH as u64) as usize;
            if source[in_bucket / 8] >> (in_bucket % 8) & 1 == 1 {
                index = flip;
            }
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_shuffled_as_its_single_indices() {
        let seed = [7; 32];
        for count in [1, 2, 3, 255, 256, 257, 1000] {
            let mut list: Vec<u32> = (0..count).collect();
            shuffle_list(&mut list, &seed, 90);
            let indices = ShuffledIndices::new(&seed, u64::from(count), 90);
            let single: Vec<u64> = (0..u64::from(count)).map(|index| indices.of(index)).collect();
            assert_eq!(list.iter().map(|index| u64::from(*index)).collect::<Vec<_>>(), single);
        }
    }
}
