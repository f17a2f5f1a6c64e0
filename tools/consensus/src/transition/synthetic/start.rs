//! The first state of a made-up chain.

use std::sync::Arc;

use super::parameters::SyntheticParameters;
use super::population::Population;
use super::{Numbers, length};
use crate::fork::Fork;
use crate::header::BlockHeader;
use crate::root::Root;
use crate::state::StateFork;
use crate::transition::config::ChainRules;
use crate::transition::constants::{MIN_ACTIVATION_BALANCE, MIN_SEED_LOOKAHEAD};
use crate::transition::containers::Checkpoint;
use crate::transition::process_block::default_payload_header;
use crate::transition::registry::Registry;
use crate::transition::state::{BeaconState, SyncCommittee};

/// Eras between starts: those of a flat hierarchy's windows.
const ERAS: u64 = 32;

impl BeaconState<'static> {
    /// A state of fulu at the first slot that is a multiple of `eras` eras, one such span after the fork. The
    /// slot has no block.
    pub(super) fn at_start(
        rules: &Arc<ChainRules>,
        eras: u64,
        registry: Vec<u8>,
        balances: Vec<u64>,
        flags: Vec<u8>,
        numbers: &mut Numbers,
    ) -> Self {
        let (preset, fork) = (rules.values(), Fork::Fulu);
        let epochs_per_era = preset.slots_per_historical_root / preset.slots_per_epoch;
        let slot = start(rules, eras);
        let epoch = slot / preset.slots_per_epoch;
        let mut roots = |count| (0..length(count)).map(|_| numbers.root()).collect::<Vec<_>>();
        let mut state = Self::empty(Arc::clone(rules), fork);
        state.block_roots = roots(preset.slots_per_historical_root);
        state.state_roots = roots(preset.slots_per_historical_root);
        state.randao_mixes = roots(preset.epochs_per_historical_vector);
        let frozen = rules.epoch(Fork::Capella).min(epoch) / epochs_per_era;
        state.historical_roots = roots(frozen);
        let summaries = roots(2 * (epoch / epochs_per_era - frozen));
        state.historical_summaries = summaries.as_chunks().0.to_vec();
        state.slot = slot;
        state.fork = StateFork {
            previous_version: rules.version(Fork::Electra),
            version: rules.version(fork),
            epoch: rules.epoch(fork).min(epoch),
        };
        state.slashings = vec![0; length(preset.epochs_per_slashings_vector)];
        state.validators = Registry::read(registry.into()).unwrap_or_default();
        let validators = balances.len();
        state.balances = balances;
        state.previous_epoch_participation = flags;
        state.current_epoch_participation = vec![0; validators];
        state.inactivity_scores = vec![0; validators];
        state.justification_bits = 0b1111;
        let checkpoint = |back: u64| Checkpoint { epoch: epoch - back, root: Root([1; 32]) };
        state.previous_justified_checkpoint = checkpoint(2);
        state.current_justified_checkpoint = checkpoint(1);
        state.finalized_checkpoint = checkpoint(2);
        let active = state.active_validator_indices(epoch);
        let members = length(preset.sync_committee_size);
        let pubkeys = (0..members).map(|_| {
            let place = length(numbers.below(active.len().max(1) as u64));
            active.get(place).map_or([0; 48], |index| *state.validators.pubkey(*index as usize))
        });
        let committee =
            SyncCommittee { pubkeys: pubkeys.collect(), aggregate_pubkey: Some([0; 48]) };
        state.current_sync_committee = committee.clone();
        state.next_sync_committee = committee;
        state.latest_execution_payload_header = default_payload_header(fork);
        state.set_last_block(numbers);
        for epoch in epoch..=epoch + MIN_SEED_LOOKAHEAD {
            let proposers = state.beacon_proposer_indices(epoch).unwrap_or_default();
            state.proposer_lookahead.extend(proposers);
        }
        state
    }

    /// The last block is that of the slot before.
    fn set_last_block(&mut self, numbers: &mut Numbers) {
        let place = length((self.slot - 1) % self.preset().slots_per_historical_root);
        let state_root = self.state_roots[place];
        let header = BlockHeader { slot: self.slot - 1, state_root, ..BlockHeader::default() };
        self.latest_block_header = BlockHeader { body_root: numbers.root(), ..header };
        self.block_roots[place] = self.latest_block_header.root();
    }
}

/// The first slot that is a multiple of this many eras, one such span after the fork.
fn start(rules: &ChainRules, eras: u64) -> u64 {
    let preset = rules.values();
    let span = eras * preset.slots_per_historical_root;
    let fork = rules.epoch(Fork::Fulu).min(1 << 20) * preset.slots_per_epoch;
    (fork / span + 1) * span
}

/// The first state of a [`SyntheticChain`](super::SyntheticChain), and its compounding validators.
pub(super) fn state(
    rules: &Arc<ChainRules>,
    parameters: &SyntheticParameters,
) -> (BeaconState<'static>, Vec<u32>) {
    let epoch = start(rules, ERAS) / rules.values().slots_per_epoch;
    let Population { encoded, balances, flags, compounding, swept, mut numbers, .. } =
        Population::new(rules, parameters, epoch);
    let mut state = BeaconState::at_start(rules, ERAS, encoded, balances, flags, &mut numbers);
    state.next_withdrawal_validator_index = swept;
    state.next_withdrawal_index = state.slot * 8;
    state.eth1_deposit_index = parameters.registry as u64;
    state.eth1_data.deposit_count = parameters.registry as u64;
    state.deposit_requests_start_index = parameters.registry as u64;
    state.earliest_exit_epoch = epoch + parameters.exit_queue;
    state.exit_balance_to_consume = MIN_ACTIVATION_BALANCE;
    (state, compounding)
}
