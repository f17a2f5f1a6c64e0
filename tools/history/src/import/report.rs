//! What an import proved, and what that rests on.

use coldstore::Slot;

use super::trust::TrustedRoot;

/// What a proof rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anchor {
    /// Nothing but the files themselves, which agree with each other.
    #[default]
    Itself,
    /// A state root that the operator trusts: of everything up to that state.
    Trusted {
        /// The root.
        root: TrustedRoot,
        /// The last era that it proves.
        last_era: u64,
    },
}

/// What was proved of the eras that were imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProofReport {
    /// What it rests on.
    pub anchor: Anchor,
    /// Eras whose roots a trusted state has, and that were hashed to them.
    pub trusted_eras: u64,
    /// Eras that agree with themselves and with those beside them.
    pub agreeing_eras: u64,
    /// True when the genesis validators were hashed to their root.
    pub genesis_validators: bool,
    /// Blocks that hash to the roots of their slots.
    pub blocks: u64,
    /// Of these, blocks that have the header of their payload and not the payload.
    pub blinded_blocks: u64,
    /// Blocks of forks that are not known here: of them only fields at fixed places were compared.
    pub unknown_blocks: u64,
    /// States that hash to a root that a trusted state or the era after them has.
    pub states: u64,
    /// Slots of states of forks that are not known here.
    pub unknown_states: Vec<Slot>,
    /// Slots of states whose root nobody has told: they rest on themselves.
    pub lone_states: Vec<Slot>,
}
