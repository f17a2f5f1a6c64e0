//! What the proof of an archive came to.

use std::fmt;

use coldstore::Slot;

use crate::import::Anchor;

/// What was proved, and what was not.
///
/// An era is *tied* when the roots of its slots hash to what a state has for it: a trusted one, or
/// the archive's own. Only there a block or a state that hashes to its root is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeepReport {
    /// What it rests on.
    pub anchor: Anchor,
    /// The slot of the archive's own state that eras are compared with, where no trusted state is as
    /// new. Nothing proves that state.
    pub own_state: Option<Slot>,
    /// States in `bss` that are newer and cannot be hashed.
    pub passed_over: PassedOver,
    /// Eras that are tied to a trusted state.
    pub trusted_eras: u64,
    /// Eras that are tied to the archive's own state.
    pub agreeing_eras: u64,
    /// Blocks that hash to the roots of their slots, in tied eras.
    pub blocks: u64,
    /// Of these, blocks with the header of their payload in place of the payload.
    pub blinded_blocks: u64,
    /// Blocks whose slots have no root, or that are of a fork that is not known here.
    pub unproved_blocks: u64,
    /// Slots of tied eras whose block root is that of the slot before: they were skipped.
    pub skipped_slots: u64,
    /// Slots that had a block which is not there: above the last block that is.
    pub never_imported: u64,
    /// Slots that had a block which is not there, in front of others that are.
    pub lost_blocks: u64,
    /// Slots that had a block, or may have had one, which was removed on purpose.
    pub pruned_slots: u64,
    /// Slots of which nothing can be told: neither block nor root is there.
    pub unknown_slots: u64,
    /// States that hash to the state root of their slot, in tied eras or by a trusted root.
    pub states: u64,
    /// States whose slots have no proved state root, or that are of a fork that is not known here.
    pub unproved_states: u64,
    /// The last slot of such a state.
    pub last_unproved_state: Option<Slot>,
    /// What is in eras that are not tied.
    pub loose: Loose,
    /// What was taken from an earlier proof, and is counted above too.
    pub taken: Taken,
    /// Bytes of values that were hashed.
    pub bytes: u64,
    /// Damages that were found.
    pub damages: u64,
}

/// States in `bss` that were passed over when one was looked for that says what eras hash to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Of forks later than those that are known here.
    pub of_unknown_forks: u64,
    /// Laid out as in no fork of the preset.
    pub of_unknown_layout: u64,
    /// Damaged.
    pub damaged: u64,
}

impl PassedOver {
    /// All of them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.of_unknown_forks + self.of_unknown_layout + self.damaged
    }
}

/// "2 states of a later fork than is known here, 1 damaged state"
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (count, before, after) in [
            (self.of_unknown_forks, "", " of a later fork than is known here"),
            (self.of_unknown_layout, "", " laid out as in no fork of the preset"),
            (self.damaged, "damaged ", ""),
        ] {
            if count > 0 {
                let states = if count == 1 { "state" } else { "states" };
                write!(f, "{separator}{count} {before}{states}{after}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

/// What agrees with itself and is tied to no state: history after the newest state that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loose {
    /// Eras.
    pub eras: u64,
    /// Blocks that hash to the roots of their slots.
    pub blocks: u64,
    /// Roots in `bbr` and `bsr`.
    pub roots: u64,
    /// The first and the last slot of such an era that has a root or a block.
    pub slots: Option<(Slot, Slot)>,
}

/// What was taken from an earlier proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Eras. Their roots were hashed anew.
    pub eras: u64,
    /// Blocks.
    pub blocks: u64,
    /// States.
    pub states: u64,
}

/// Why nothing is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProved {
    /// There is no state.
    NoState,
    /// No state can be hashed.
    NoKnownState(PassedOver),
    /// The state of this slot has the roots of no era that was asked for and whose roots are all
    /// there.
    NoEra {
        /// The slot.
        slot: Slot,
    },
}

impl fmt::Display for NotProved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotProved::NoState => {
                f.write_str("there is no state in bss that the roots could rest on")
            }
            NotProved::NoKnownState(states) => {
                write!(f, "no state in bss can be hashed: {states}")
            }
            NotProved::NoEra { slot } => {
                write!(f, "no era has the roots that the state of slot {slot} has for it")
            }
        }
    }
}

impl DeepReport {
    /// Eras that are tied to a state.
    #[must_use]
    pub fn tied_eras(&self) -> u64 {
        self.trusted_eras + self.agreeing_eras
    }
}
