//! Proofs of consensus history.

mod accumulators;
mod block;
mod containers;
pub mod deep;
mod hash;
pub mod import;
mod preset;
mod sha256;
mod ssz;
mod state;
mod words;

pub use accumulators::{Accumulators, era_root, vector_root};
pub use block::{BlockFault, BlockHasher, HashedBlock};
pub use coldstore::era::ssz::Root;
pub use hash::Malformed;
pub use preset::{Fork, Preset};
pub use state::{HashedState, LatestBlock, StateBody, StateFault, StateHead, hash_state};
pub use words::Hex;
