//! The result of the proof of an archive.

use std::fmt;

use coldstore::Slot;

use crate::import::Anchor;

/// Counts of proved and unproved records.
///
/// An era is *tied* if the roots of its slots hash to the root in a state, either a trusted one or the
/// archive's own. Blocks and states are proved only in tied eras.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeepReport {
    /// The anchor of the proof.
    pub anchor: Anchor,
    /// The slot of the archive's own state used as the reference, if no trusted state is as new.
    /// Nothing proves that state.
    pub own_state: Option<Slot>,
    /// Newer states in `bss`, which cannot be hashed.
    pub passed_over: PassedOver,
    /// Eras tied to a trusted state.
    pub trusted_eras: u64,
    /// Eras tied to the archive's own state.
    pub agreeing_eras: u64,
    /// Blocks that hash to the roots of their slots, in tied eras.
    pub blocks: u64,
    /// Blinded blocks among these, with the header of the payload only.
    pub blinded_blocks: u64,
    /// Blocks without a root for their slot, or of an unknown fork.
    pub unproved_blocks: u64,
    /// Skipped slots in tied eras: the block root repeats that of the slot before.
    pub skipped_slots: u64,
    /// Slots above the last block that had a block.
    pub never_imported: u64,
    /// Slots below the last block whose block is lost.
    pub lost_blocks: u64,
    /// Slots that had, or may have had, a block that was pruned.
    pub pruned_slots: u64,
    /// Slots with neither block nor root.
    pub unknown_slots: u64,
    /// States that hash to the state root of their slot, in tied eras or with a trusted root.
    pub states: u64,
    /// States among these that were rebuilt from diffs in `bsd`.
    pub rebuilt_states: u64,
    /// States in `bsd` that were not rebuilt themselves: see [`StateSample`](super::StateSample).
    pub covered_states: u64,
    /// States without a proved state root, or of an unknown fork.
    pub unproved_states: u64,
    /// The last slot of such a state.
    pub last_unproved_state: Option<Slot>,
    /// Counts of eras that are not tied.
    pub loose: Loose,
    /// Counts taken from an earlier proof, included above.
    pub taken: Resumed,
    /// Bytes of values that were hashed.
    pub bytes: u64,
    /// Number of damages found.
    pub damages: u64,
}

/// States in the archive passed over in the search for the reference state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Of unknown, later forks.
    pub of_unknown_forks: u64,
    /// With the layout of no fork of the preset.
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

/// Records that are consistent but tied to no state: history after the reference state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loose {
    /// Eras.
    pub eras: u64,
    /// Blocks that hash to the roots of their slots.
    pub blocks: u64,
    /// Roots in `bbr` and `bsr`.
    pub roots: u64,
    /// The first and the last slot with a root or block in such eras.
    pub slots: Option<(Slot, Slot)>,
}

/// Counts taken from an earlier proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// Eras, whose roots were hashed again.
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
    /// The state of this slot has the roots of no requested era with complete roots.
    NoEra {
        /// The slot.
        slot: Slot,
    },
}

impl fmt::Display for NotProved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotProved::NoState => f.write_str("no state in bss anchors the roots"),
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
    /// Number of eras tied to a state.
    #[must_use]
    pub fn tied_eras(&self) -> u64 {
        self.trusted_eras + self.agreeing_eras
    }
}
