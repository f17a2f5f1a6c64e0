//! How much of everything a mode measures.

use std::time::Duration;

/// The sizes of a mode.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Scale {
    /// The mode.
    pub mode: &'static str,
    /// Rounds of a measurement that takes long: scans, readers beside a writer.
    pub rounds: usize,
    /// How long a subject may get in one round. Slow ones do fewer operations then.
    pub budget: Duration,
    /// Every subject does the same number of operations, so that digests can be compared.
    pub same_count: bool,
    /// Records of W1.
    pub roots: usize,
    /// Gets in a round of W1, at most.
    pub root_gets: usize,
    /// Records of W2, W4, W6.
    pub blocks: usize,
    /// Gets in a round of W2, at most.
    pub block_gets: usize,
    /// Cold gets in a round of W6.
    pub cold_gets: usize,
    /// Records of W3.
    pub states: usize,
    /// Bytes of each.
    pub state_bytes: u32,
    /// Roots in a batch of W5.
    pub root_batch: usize,
    /// Blocks in a batch of W5.
    pub block_batch: usize,
    /// Batches in a round of W5.
    pub batches: usize,
    /// Single puts in a round of W5.
    pub single_puts: usize,
    /// Threads that put single records at the same time.
    pub threads: usize,
    /// Files of W7.
    pub files: usize,
    /// Records that W9 starts with.
    pub beside_roots: usize,
    /// How long the readers of W9 run alone, and then again beside the writer.
    pub beside: Duration,
    /// Whether the files of the chain of the mainnet preset are imported in W8, or the small ones.
    pub whole_chain: bool,
}

impl Scale {
    /// Under thirty minutes.
    #[must_use]
    pub fn full() -> Self {
        Self {
            mode: "full",
            rounds: 7,
            budget: Duration::from_millis(80),
            same_count: false,
            roots: 1 << 21,
            root_gets: 1 << 18,
            blocks: 1 << 16,
            block_gets: 1 << 14,
            cold_gets: 50,
            states: 256,
            state_bytes: 8 << 20,
            root_batch: 8192,
            block_batch: 256,
            batches: 1,
            single_puts: 16,
            threads: 64,
            files: 1000,
            beside_roots: 1 << 20,
            beside: Duration::from_millis(500),
            whole_chain: true,
        }
    }

    /// Under three minutes.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            mode: "quick",
            rounds: 3,
            budget: Duration::from_millis(25),
            roots: 1 << 19,
            root_gets: 1 << 16,
            blocks: 6144,
            block_gets: 1 << 11,
            cold_gets: 12,
            states: 16,
            single_puts: 8,
            beside_roots: 1 << 17,
            beside: Duration::from_millis(100),
            ..Self::full()
        }
    }

    /// For tests: a second or two.
    #[must_use]
    pub fn tiny() -> Self {
        Self {
            mode: "tiny",
            rounds: 1,
            same_count: true,
            roots: 20_000,
            root_gets: 500,
            blocks: 100,
            block_gets: 50,
            cold_gets: 10,
            states: 20,
            state_bytes: 100_000,
            root_batch: 100,
            block_batch: 4,
            batches: 2,
            single_puts: 2,
            threads: 8,
            files: 5,
            beside_roots: 10_000,
            beside: Duration::from_millis(20),
            whole_chain: false,
            ..Self::full()
        }
    }
}
