//! The result of the proof of an import, and its anchor.

use coldstore::Slot;

use super::trusted_root::TrustedRoot;

/// The anchor of a proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anchor {
    /// The files themselves, which are consistent with each other.
    #[default]
    Itself,
    /// A trusted state root, which covers everything up to that state.
    Trusted {
        /// The root.
        root: TrustedRoot,
        /// The last era that it proves.
        last_era: u64,
    },
}

impl Anchor {
    /// The trusted root, if there is one.
    #[must_use]
    pub fn trusted(&self) -> Option<TrustedRoot> {
        match self {
            Anchor::Trusted { root, .. } => Some(*root),
            Anchor::Itself => None,
        }
    }
}

/// Counts for the imported eras.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProofReport {
    /// The anchor of the proof.
    pub anchor: Anchor,
    /// Eras proved by a trusted state.
    pub trusted_eras: u64,
    /// Eras consistent with themselves and with their neighbours.
    pub agreeing_eras: u64,
    /// True when the genesis validators were hashed to their root.
    pub genesis_validators: bool,
    /// Blocks that hash to the roots of their slots.
    pub blocks: u64,
    /// Blinded blocks among these, with the header of the payload only.
    pub blinded_blocks: u64,
    /// Blocks of unknown forks, of which only the fixed fields were compared.
    pub unknown_blocks: u64,
    /// States that hash to a root in a trusted state or in the next era.
    pub states: u64,
    /// Slots of states of unknown forks.
    pub unknown_states: Vec<Slot>,
    /// Slots of states whose root is in no other era and not trusted.
    pub lone_states: Vec<Slot>,
}
