//! What the proof of an archive came to.

use coldstore::Slot;

use crate::import::Anchor;

/// What was proved, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeepReport {
    /// What it rests on.
    pub anchor: Anchor,
    /// Eras whose roots hash to what a trusted state says.
    pub trusted_eras: u64,
    /// Eras whose roots hash to what the archive's latest state says.
    pub agreeing_eras: u64,
    /// Blocks that hash to the roots of their slots.
    pub blocks: u64,
    /// Of these, blocks with the header of their payload in place of the payload.
    pub blinded_blocks: u64,
    /// Blocks whose slots have no root, or that are of a fork that is not known here.
    pub unproved_blocks: u64,
    /// Slots whose block root is that of the slot before: they were skipped.
    pub skipped_slots: u64,
    /// Slots that had a block which is not there: above the last block that is.
    pub never_imported: u64,
    /// Slots that had a block which is not there, in front of others that are.
    pub lost_blocks: u64,
    /// Slots of which nothing can be told: neither block nor root is there.
    pub unknown_slots: u64,
    /// States that hash to the state root of their slot.
    pub states: u64,
    /// States whose slots have no state root, or that are of a fork that is not known here.
    pub unproved_states: u64,
    /// The last slot of such a state.
    pub last_unproved_state: Option<Slot>,
    /// Bytes of values that were hashed.
    pub bytes: u64,
    /// Damages that were found.
    pub damages: u64,
}
