//! `process_slots`: slots without a block, epochs and forks.

use super::error::{AtSlot, Result, ensure};
use super::state::{BeaconState, at_mut};
use crate::root::Root;

impl BeaconState<'_> {
    /// `process_slots`: moves the state to a later slot.
    ///
    /// `state_root` gives the root of the state at each slot on the way, after the slot's block if it has one:
    /// from a store that has it, or by hashing the state.
    ///
    /// # Errors
    /// [`TransitionError`](super::TransitionError), or those of `state_root`.
    pub fn process_slots<E: From<Box<super::TransitionError>>>(
        &mut self,
        slot: u64,
        mut state_root: impl FnMut(&Self) -> Result<Root, E>,
    ) -> Result<(), E> {
        ensure(
            self.slot < slot,
            "process_slots",
            || format!("a slot above {}", self.slot),
            || slot.to_string(),
        )
        .at(self.slot)?;
        while self.slot < slot {
            let root = state_root(self)?;
            let at = self.slot;
            self.advance(root).at(at)?;
        }
        Ok(())
    }

    /// `process_slot`, the epoch if it ends here, and the fork if it begins with the next slot.
    fn advance(&mut self, state_root: Root) -> Result<()> {
        self.process_slot(state_root);
        let slots_per_epoch = self.preset().slots_per_epoch;
        if (self.slot + 1).is_multiple_of(slots_per_epoch) {
            self.process_epoch()?;
        }
        self.slot += 1;
        if self.slot.is_multiple_of(slots_per_epoch) {
            self.upgrade_at_fork()?;
        }
        Ok(())
    }

    /// `process_slot` (phase0)
    fn process_slot(&mut self, state_root: Root) {
        let place = self.slot % self.preset().slots_per_historical_root;
        *at_mut(&mut self.state_roots, place) = state_root;
        self.changes.mark_slot(place);
        if self.latest_block_header.state_root == Root::default() {
            self.latest_block_header.state_root = state_root;
        }
        *at_mut(&mut self.block_roots, place) = self.latest_block_header.root();
    }
}
