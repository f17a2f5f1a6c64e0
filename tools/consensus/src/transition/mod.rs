//! The state transition of phase0 to fulu: slots, epochs, blocks and upgrades.
//!
//! For blocks that are final already: signatures are not checked, with the exception of a deposit's proof of
//! possession, which decides whether a validator is added; payloads are not executed; blobs are not looked at.
//! Every other rule is checked, and a block that breaks one is refused; whether the state after a block has the
//! root that the block names is the caller's to compare.
//!
//! The functions have the names of the specification (`eth-consensus-specs`), or those names without `get_`. The
//! forks that define or change a function stand beside it; a rule that differs between forks stands in one place.

mod block;
mod cache;
mod changes;
mod committees;
mod config;
mod constants;
mod containers;
mod deposits;
mod difference;
mod epoch;
mod error;
mod fields;
mod flat;
mod operations;
mod phase0;
mod process_block;
pub(crate) mod registry;
mod rewards;
mod shuffling;
mod slots;
mod ssz;
mod state;
mod synthetic;
pub(crate) mod tree;
mod upgrade;
mod withdrawals;

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod packs;
#[cfg(test)]
mod vector;
#[cfg(test)]
mod vector_tests;

pub use block::Block;
pub use changes::{ChangedElements, StateChanges};
pub use committees::Committees;
pub use config::ChainRules;
pub use difference::StateDifference;
pub use error::TransitionError;
pub use flat::FlatField;
pub use state::BeaconState;
pub use synthetic::{SyntheticChain, SyntheticParameters, SyntheticSlot};
pub use tree::StateTree;
