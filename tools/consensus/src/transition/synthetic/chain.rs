//! A chain like mainnet's, slot by slot.

use std::sync::Arc;

use super::block::BlockParts;
use super::parameters::SyntheticParameters;
use super::votes::Included;
use super::{Numbers, drawn};
use crate::root::Root;
use crate::transition::TransitionError;
use crate::transition::block::Block;
use crate::transition::config::ChainRules;
use crate::transition::state::BeaconState;
use crate::transition::tree::StateTree;

/// In a signed block: `message.state_root`.
const STATE_ROOT_AT: usize = 4 + 96 + 8 + 8 + 32;
/// For numbers of a slot that depend on nothing else.
const OF_SLOTS: u64 = 1 << 40;

/// A made-up chain of fulu that moves on slot by slot, by the transition itself: its blocks are unsigned, and
/// otherwise accepted by all rules.
#[derive(Clone, Debug)]
pub struct SyntheticChain {
    pub(super) parameters: SyntheticParameters,
    pub(super) state: BeaconState<'static>,
    pub(super) included: Included,
    /// Compounding validators that are, or were, active.
    pub(super) compounding: Vec<u32>,
    /// Index of the next deposit request.
    pub(super) next_deposit: u64,
    tree: StateTree,
    state_root: Root,
    block_root: Root,
}

/// A slot of a [`SyntheticChain`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntheticSlot {
    /// The slot.
    pub slot: u64,
    /// The encoded `SignedBeaconBlock`; `None` if the slot has none.
    pub block: Option<Vec<u8>>,
    /// The root of the last block at or before the slot.
    pub block_root: Root,
    /// The root of the state of the slot, with its block applied.
    pub state_root: Root,
}

impl SyntheticChain {
    /// A chain at the first slot after fulu's fork that is a multiple of 32 eras. That slot has no block.
    #[must_use]
    pub fn new(rules: &Arc<ChainRules>, parameters: SyntheticParameters) -> Self {
        let (state, compounding) = super::start::state(rules, &parameters);
        let slot = state.slot;
        let included = Included { timely: slot, late: slot, very_late: slot };
        let block_root = state.latest_block_header.root();
        let next_deposit = state.deposit_requests_start_index + slot;
        let mut chain = Self {
            parameters,
            state,
            included,
            compounding,
            next_deposit,
            tree: StateTree::default(),
            state_root: Root::default(),
            block_root,
        };
        chain.fill_the_queue();
        chain.state_root = chain.root_of_state();
        chain
    }

    /// The state of the present slot.
    #[must_use]
    pub fn state(&self) -> &BeaconState<'static> {
        &self.state
    }

    /// The present slot, without its block.
    #[must_use]
    pub fn slot(&self) -> SyntheticSlot {
        SyntheticSlot {
            slot: self.state.slot,
            block: None,
            block_root: self.block_root,
            state_root: self.state_root,
        }
    }

    /// Moves to the next slot.
    ///
    /// # Errors
    /// Those of the rules: with parameters that leave too few validators, for example.
    pub fn advance(&mut self) -> Result<SyntheticSlot, Box<TransitionError>> {
        let slot = self.state.slot + 1;
        let state_root = self.state_root;
        self.state.process_slots(slot, |_| Ok::<_, Box<TransitionError>>(state_root))?;
        let mut numbers = drawn(self.parameters.seed, OF_SLOTS, slot);
        let mut block = None;
        if numbers.unit() >= self.parameters.missed_slots {
            let encoded = self.block(&mut numbers)?;
            if let Ok(parsed) = Block::parse(self.state.rules.preset(), &encoded) {
                self.state.process_block(&parsed)?;
            }
            block = Some(encoded);
        }
        self.state_root = self.root_of_state();
        if let Some(block) = &mut block {
            block[STATE_ROOT_AT..STATE_ROOT_AT + 32].copy_from_slice(&self.state_root.0);
            self.block_root = self.state.latest_block_header.root_with_state(self.state_root);
        }
        Ok(SyntheticSlot { block, ..self.slot() })
    }

    fn block(&mut self, numbers: &mut Numbers) -> Result<Vec<u8>, Box<TransitionError>> {
        let mut parts = BlockParts {
            attestations: self.attestations()?,
            sync_committee_bits: self.sync_committee_bits(numbers)?,
            payload_bytes: self.parameters.payload_bytes,
            ..BlockParts::default()
        };
        self.operate(&mut parts, numbers);
        self.state.synthetic_block_of(parts, numbers)
    }

    fn root_of_state(&mut self) -> Root {
        match self.parameters.true_roots {
            true => self.tree.root(&mut self.state),
            false => drawn(self.parameters.seed, OF_SLOTS + 1, self.state.slot).root(),
        }
    }

    /// Deposits of the slots before, in their order.
    fn fill_the_queue(&mut self) {
        let count = self.parameters.pending_deposits as u64;
        let mut numbers = drawn(self.parameters.seed, OF_SLOTS + 2, 0);
        for place in 0..count {
            let mut deposit = self.deposit(&mut numbers);
            deposit.slot -= (count - place).min(deposit.slot - 1);
            self.state.pending_deposits.push_back(deposit);
        }
    }
}
