//! Proofs of consensus history: what blocks and states hash to, and what ties them together.
//!
//! [`BlockHasher`] and [`hash_state`] give the `hash_tree_root` of the SSZ of blocks and states, of
//! every fork from phase0 to fulu, in the mainnet, minimal and gnosis presets. No fork schedule is
//! needed: forks are told apart by how their containers are laid out, and no root is right by
//! accident. [`Accumulators`] are what a state says of all eras below it. [`import`] proves `.era`
//! files on their way into an archive, [`deep`] an archive from its own columns.
//!
//! Nothing is decoded into objects. The types of the consensus specification are constants
//! (`containers`), and a value is hashed from its bytes with its type beside it (`hash`), in a few
//! hundred kilobytes of memory for a state of any size. Bytes are suspect: they are refused unless
//! they are the one encoding of a value, so that no byte is without its part in the root.
//!
//! What no root covers is not proved: the signatures of blocks, and how a file is compressed.

mod accumulators;
mod block;
mod containers;
mod hash;
mod network;
mod preset;
mod sha256;
mod ssz;
mod state;
mod words;

pub use accumulators::{Accumulators, era_root, vector_root};
pub use block::{BlockFault, BlockHasher, HashedBlock};
pub use coldstore::era::ssz::Root;
pub use hash::Malformed;
pub use network::KnownNetwork;
pub use preset::{Fork, Preset};
pub use state::{
    HashedState, LatestBlock, StateBody, StateFault, StateFork, StateHead, hash_state,
};
pub use words::{Hex, hex};
