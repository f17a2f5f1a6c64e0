//! What the Ethereum consensus protocol says: presets, networks, containers, roots. No storage, no files.
//!
//! [`BlockHasher`] and [`hash_state`] give the `hash_tree_root` of the SSZ of blocks and states, of
//! every fork from phase0 to fulu, in the mainnet, minimal and gnosis presets. No fork schedule is
//! needed: forks are told apart by how their containers are laid out, and no root is right by
//! accident. [`Accumulators`] are what a state says of all eras below it.
//!
//! Nothing is decoded into objects. The types of the consensus specification are constants
//! (`containers`), and a value is hashed from its bytes with its type beside it (`hash`), in a few
//! hundred kilobytes of memory for a state of any size. Bytes are suspect: they are refused unless
//! they are the one encoding of a value, so that no byte is without its part in the root.
//!
//! What no root covers is not proved: the signatures of blocks, and how a file is compressed.

mod accumulators;
mod block;
mod config;
mod containers;
mod hash;
mod header;
mod network;
mod preset;
mod root;
mod schedule;
mod sha256;
mod ssz;
mod state;

pub use accumulators::{Accumulators, era_root, vector_root};
pub use block::{BlockFault, BlockHasher, HashedBlock};
pub use config::{ConfigFault, NetworkConfig};
pub use hash::Malformed;
pub use header::BlockHeader;
pub use network::KnownNetwork;
pub use preset::{Fork, Preset};
pub use root::{NotARoot, Root};
pub use schedule::{NotScheduled, Schedule, ScheduledFork};
pub use state::{HashedState, StateBody, StateFault, StateFork, StatePrefix, hash_state};
