//! States and blocks made up for benchmarks and tests: as large as one likes, unsigned, accepted by the rules.
//!
//! [`BeaconState::synthetic`] is a state whose validators all attest in full, the transition's worst case;
//! [`SyntheticChain`] is a chain like mainnet's.

mod block;
mod chain;
mod encode;
mod full;
mod operations;
mod parameters;
mod population;
mod start;
mod votes;

#[cfg(test)]
mod tests;

pub use chain::{SyntheticChain, SyntheticSlot};
pub use parameters::SyntheticParameters;

use crate::root::Root;

/// A generator of numbers with a fixed seed (splitmix64).
#[derive(Clone, Debug)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes());
        words.flatten().take(count).collect()
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.bytes(N);
        std::array::from_fn(|index| bytes[index])
    }

    fn root(&mut self) -> Root {
        Root(self.array())
    }

    /// From 0 to below `end`, which is not 0.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        let high = u32::try_from(self.next() >> 32).unwrap_or_default();
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// A whole number whose mean is `mean`.
    fn count(&mut self, mean: f64) -> usize {
        length(whole(mean)) + usize::from(self.unit() < mean.fract())
    }
}

/// A number that depends on the seed and on two others alone.
fn drawn(seed: u64, first: u64, second: u64) -> Numbers {
    let mut numbers = Numbers(seed ^ first.wrapping_mul(0xd6e8_feb8_6659_fd93));
    Numbers(numbers.next() ^ second)
}

/// An index from a count or a number of the specification.
fn length(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The whole part of an amount.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(value: f64) -> u64 {
    value as u64
}
