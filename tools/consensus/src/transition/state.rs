//! A state in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use super::cache::Caches;
use super::changes::Changes;
use super::config::ChainRules;
use super::constants::MAX_SEED_LOOKAHEAD;
use super::containers::{
    Checkpoint, Eth1Data, PendingAttestation, PendingConsolidation, PendingDeposit,
    PendingPartialWithdrawal,
};
use super::error::{Result, refused};
use super::registry::{Pubkey, Registry};
use crate::config_values::ConfigValues;
use crate::fork::Fork;
use crate::header::BlockHeader;
use crate::preset::PresetValues;
use crate::root::Root;
use crate::state::StateFork;

/// A `BeaconState` of any fork, as flat arrays: one per column of the registry, and one each for balances,
/// participation and scores. The fields of other forks are empty or 0.
///
/// `'s` is the lifetime of the encoded state from which it was read; public keys and credentials stay there.
#[derive(Clone, Debug)]
pub struct BeaconState<'s> {
    pub(crate) rules: Arc<ChainRules>,
    /// The fork whose fields the state has.
    pub(crate) fork_name: Fork,
    pub(crate) genesis_time: u64,
    pub(crate) genesis_validators_root: Root,
    pub(crate) slot: u64,
    pub(crate) fork: StateFork,
    pub(crate) latest_block_header: BlockHeader,
    pub(crate) block_roots: Vec<Root>,
    pub(crate) state_roots: Vec<Root>,
    pub(crate) historical_roots: Vec<Root>,
    pub(crate) eth1_data: Eth1Data,
    pub(crate) eth1_data_votes: Vec<Eth1Data>,
    pub(crate) eth1_deposit_index: u64,
    pub(crate) validators: Registry<'s>,
    pub(crate) balances: Vec<u64>,
    pub(crate) randao_mixes: Vec<Root>,
    pub(crate) slashings: Vec<u64>,
    /// phase0 only.
    pub(crate) previous_epoch_attestations: Vec<PendingAttestation>,
    /// phase0 only.
    pub(crate) current_epoch_attestations: Vec<PendingAttestation>,
    /// From altair on.
    pub(crate) previous_epoch_participation: Vec<u8>,
    pub(crate) current_epoch_participation: Vec<u8>,
    /// Bit 0 is the current epoch's.
    pub(crate) justification_bits: u8,
    pub(crate) previous_justified_checkpoint: Checkpoint,
    pub(crate) current_justified_checkpoint: Checkpoint,
    pub(crate) finalized_checkpoint: Checkpoint,
    /// From altair on.
    pub(crate) inactivity_scores: Vec<u64>,
    pub(crate) current_sync_committee: SyncCommittee,
    pub(crate) next_sync_committee: SyncCommittee,
    /// From bellatrix on: the encoded header.
    pub(crate) latest_execution_payload_header: Vec<u8>,
    /// From capella on.
    pub(crate) next_withdrawal_index: u64,
    pub(crate) next_withdrawal_validator_index: u64,
    pub(crate) historical_summaries: Vec<[Root; 2]>,
    /// From electra on.
    pub(crate) deposit_requests_start_index: u64,
    pub(crate) deposit_balance_to_consume: u64,
    pub(crate) exit_balance_to_consume: u64,
    pub(crate) earliest_exit_epoch: u64,
    pub(crate) consolidation_balance_to_consume: u64,
    pub(crate) earliest_consolidation_epoch: u64,
    pub(crate) pending_deposits: VecDeque<PendingDeposit>,
    pub(crate) pending_partial_withdrawals: VecDeque<PendingPartialWithdrawal>,
    pub(crate) pending_consolidations: VecDeque<PendingConsolidation>,
    /// From fulu on.
    pub(crate) proposer_lookahead: Vec<u64>,
    /// What changed since the state was last hashed, and since [`Self::take_changes`].
    pub(crate) changes: Changes,
    /// What was computed from the fields above.
    pub(crate) caches: Caches,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SyncCommittee {
    pub(crate) pubkeys: Vec<Pubkey>,
    pub(crate) aggregate_pubkey: Option<Pubkey>,
}

impl BeaconState<'_> {
    /// The state's slot.
    #[must_use]
    pub fn slot(&self) -> u64 {
        self.slot
    }

    /// The fork whose fields the state has.
    #[must_use]
    pub fn fork(&self) -> Fork {
        self.fork_name
    }

    /// `latest_block_header`: of the last block before or at the state. Its state root is zeros until the next
    /// slot.
    #[must_use]
    pub fn latest_block_header(&self) -> &BlockHeader {
        &self.latest_block_header
    }

    /// Number of validators.
    #[must_use]
    pub fn validator_count(&self) -> usize {
        self.validators.len()
    }

    pub(crate) fn preset(&self) -> &'static PresetValues {
        self.rules.values()
    }

    pub(crate) fn config(&self) -> &ConfigValues {
        &self.rules.config
    }

    /// `compute_epoch_at_slot`
    pub(crate) fn epoch_at(&self, slot: u64) -> u64 {
        slot / self.preset().slots_per_epoch
    }

    /// `get_current_epoch`
    pub(crate) fn current_epoch(&self) -> u64 {
        self.epoch_at(self.slot)
    }

    /// `get_previous_epoch`
    pub(crate) fn previous_epoch(&self) -> u64 {
        // `GENESIS_EPOCH` is 0.
        self.current_epoch().saturating_sub(1)
    }

    /// `get_block_root_at_slot`
    pub(crate) fn block_root_at(&self, slot: u64, step: &'static str) -> Result<Root> {
        let length = self.preset().slots_per_historical_root;
        if slot < self.slot && self.slot - slot <= length {
            return Ok(*at(&self.block_roots, slot % length));
        }
        let from = self.slot.saturating_sub(length);
        Err(refused(step, format_args!("a slot from {from} to before {}", self.slot), slot))
    }

    /// `get_block_root`
    pub(crate) fn block_root(&self, epoch: u64, step: &'static str) -> Result<Root> {
        self.block_root_at(epoch.saturating_mul(self.preset().slots_per_epoch), step)
    }

    /// `get_randao_mix`
    pub(crate) fn randao_mix(&self, epoch: u64) -> &Root {
        at(&self.randao_mixes, epoch % self.preset().epochs_per_historical_vector)
    }

    /// A validator's index that a block or a state names.
    pub(crate) fn validator(&self, index: u64, step: &'static str) -> Result<usize> {
        let count = self.validators.len();
        usize::try_from(index).ok().filter(|index| *index < count).ok_or_else(|| {
            refused(step, format_args!("a validator below {count}"), format_args!("index {index}"))
        })
    }

    pub(crate) fn set_balance(&mut self, index: usize, balance: u64) {
        self.balances[index] = balance;
        self.changes.balances.mark(index);
    }

    /// `decrease_balance`
    pub(crate) fn decrease_balance(&mut self, index: usize, delta: u64) {
        self.set_balance(index, self.balances[index].saturating_sub(delta));
    }

    /// `increase_balance`
    pub(crate) fn increase_balance(
        &mut self,
        index: usize,
        delta: u64,
        step: &'static str,
    ) -> Result<()> {
        self.set_balance(index, super::error::add(step, self.balances[index], delta)?);
        Ok(())
    }

    /// `is_in_inactivity_leak`
    pub(crate) fn is_in_inactivity_leak(&self) -> bool {
        self.finality_delay() > super::constants::MIN_EPOCHS_TO_INACTIVITY_PENALTY
    }

    /// `get_finality_delay`
    pub(crate) fn finality_delay(&self) -> u64 {
        self.previous_epoch().saturating_sub(self.finalized_checkpoint.epoch)
    }
}

/// `compute_activation_exit_epoch`
pub(crate) const fn compute_activation_exit_epoch(epoch: u64) -> u64 {
    epoch.saturating_add(1 + MAX_SEED_LOOKAHEAD)
}

/// An element of a vector of the state, whose index was reduced to its length.
#[expect(clippy::cast_possible_truncation, reason = "64-bit targets only")]
pub(crate) fn at<T>(vector: &[T], index: u64) -> &T {
    &vector[index as usize]
}

/// As [`at`], to change it.
#[expect(clippy::cast_possible_truncation, reason = "64-bit targets only")]
pub(crate) fn at_mut<T>(vector: &mut [T], index: u64) -> &mut T {
    &mut vector[index as usize]
}
