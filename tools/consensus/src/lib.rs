//! Rules of the Ethereum consensus protocol: presets, networks, containers, roots. No storage, no
//! files.
//!
//! [`BlockHasher`] and [`hash_state`] compute the `hash_tree_root` of encoded blocks and states of
//! every fork from phase0 to fulu, in the mainnet, minimal and gnosis presets. No fork schedule is
//! needed: the layout of a container identifies its fork, and a wrong layout cannot give the
//! right root. [`Accumulators`] are the roots of past eras in a state.
//!
//! Nothing is decoded into objects. The types of the consensus specification are constants
//! (`containers`), and a value is hashed from its bytes and its type (`hash`), in a few hundred
//! kilobytes of memory for a state of any size. The bytes are untrusted: they are refused unless they
//! are the canonical encoding of a value, so the root covers every byte.
//!
//! Roots do not cover the signatures of blocks, nor the compression of files.

mod accumulators;
mod block;
mod config;
mod config_fault;
mod config_values;
mod containers;
mod fork;
mod hash;
mod header;
mod json;
mod network;
mod preset;
mod root;
mod schedule;
mod settings;
mod sha256;
mod ssz;
mod state;
pub mod transition;

pub use accumulators::{Accumulators, era_root, vector_root};
pub use block::{BlockFault, BlockHasher, HashedBlock};
pub use config::Config;
pub use config_fault::ConfigFault;
pub use config_values::{BlobParameters, ConfigValues};
pub use fork::Fork;
pub use hash::Malformed;
pub use header::BlockHeader;
pub use json::{FieldJson, StateJson};
pub use network::KnownNetwork;
pub use preset::{Preset, PresetValues};
pub use root::{NotARoot, Root};
pub use schedule::{NotScheduled, Schedule, ScheduledFork};
pub use state::{
    FieldKind, HashedState, StateBody, StateFault, StateField, StateFields, StateFork, StatePrefix,
    ValidatorsTree, hash_state, root_of_fields,
};
