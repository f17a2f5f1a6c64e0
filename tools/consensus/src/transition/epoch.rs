//! `process_epoch`: justification, registry, slashings, and what is reset at the end of an epoch.

use super::constants::{
    EFFECTIVE_BALANCE_INCREMENT, FAR_FUTURE_EPOCH, GENESIS_EPOCH, HYSTERESIS_DOWNWARD_MULTIPLIER,
    HYSTERESIS_QUOTIENT, HYSTERESIS_UPWARD_MULTIPLIER, MAX_EFFECTIVE_BALANCE,
    MIN_ACTIVATION_BALANCE, MIN_SEED_LOOKAHEAD, TIMELY_TARGET_FLAG_INDEX,
};
use super::containers::Checkpoint;
use super::deposits::eth_aggregate_pubkeys;
use super::error::{Result, refused};
use super::state::{BeaconState, SyncCommittee, at_mut, compute_activation_exit_epoch};
use crate::accumulators::{era_root, vector_root};
use crate::fork::Fork;
use crate::root::Root;

impl BeaconState<'_> {
    /// `process_epoch` (every fork)
    pub(crate) fn process_epoch(&mut self) -> Result<()> {
        let fork = self.fork_name;
        self.process_justification_and_finalization()?;
        if fork >= Fork::Altair {
            self.process_inactivity_updates()?;
        }
        self.process_rewards_and_penalties()?;
        self.process_registry_updates()?;
        self.process_slashings();
        self.process_eth1_data_reset();
        if fork >= Fork::Electra {
            self.process_pending_deposits()?;
            self.process_pending_consolidations()?;
        }
        self.process_effective_balance_updates();
        self.process_slashings_reset();
        self.process_randao_mixes_reset();
        if fork >= Fork::Capella {
            self.process_historical_summaries_update();
        } else {
            self.process_historical_roots_update();
        }
        if fork >= Fork::Altair {
            self.process_participation_flag_updates();
            self.process_sync_committee_updates()?;
        } else {
            self.process_participation_record_updates();
        }
        if fork >= Fork::Fulu {
            self.process_proposer_lookahead()?;
        }
        Ok(())
    }

    /// `process_justification_and_finalization` (phase0, altair)
    pub(crate) fn process_justification_and_finalization(&mut self) -> Result<()> {
        if self.current_epoch() <= GENESIS_EPOCH + 1 {
            return Ok(());
        }
        let total = self.total_active().balance;
        let (previous, current) = match self.fork_name {
            Fork::Phase0 => self.target_balances_of_attestations()?,
            _ => self.target_balances_of_flags(),
        };
        self.weigh_justification_and_finalization(total, previous, current)
    }

    /// The balances that attested to the targets of the previous and the current epoch (altair).
    fn target_balances_of_flags(&self) -> (u64, u64) {
        let (previous, current) = (self.previous_epoch(), self.current_epoch());
        let validators = &self.validators;
        let has_target = |flags: u8| flags >> TIMELY_TARGET_FLAG_INDEX & 1 == 1;
        let mut sums = [0u64; 2];
        for index in 0..validators.len() {
            let unslashed =
                u64::from(!validators.slashed[index]) * validators.effective_balance[index];
            let of = |epoch, flags| {
                u64::from(has_target(flags) && validators.is_active(index, epoch)) * unslashed
            };
            sums[0] =
                sums[0].saturating_add(of(previous, self.previous_epoch_participation[index]));
            sums[1] = sums[1].saturating_add(of(current, self.current_epoch_participation[index]));
        }
        (sums[0].max(EFFECTIVE_BALANCE_INCREMENT), sums[1].max(EFFECTIVE_BALANCE_INCREMENT))
    }

    /// `weigh_justification_and_finalization` (phase0)
    fn weigh_justification_and_finalization(
        &mut self,
        total: u64,
        previous_target: u64,
        current_target: u64,
    ) -> Result<()> {
        let step = "weigh_justification_and_finalization";
        let (previous_epoch, current_epoch) = (self.previous_epoch(), self.current_epoch());
        let old_previous = self.previous_justified_checkpoint;
        let old_current = self.current_justified_checkpoint;
        self.previous_justified_checkpoint = old_current;
        self.justification_bits = self.justification_bits << 1 & 0b1111;
        let is_justified = |balance: u64| u128::from(balance) * 3 >= u128::from(total) * 2;
        for (bit, epoch, balance) in
            [(1, previous_epoch, previous_target), (0, current_epoch, current_target)]
        {
            if is_justified(balance) {
                let root = self.block_root(epoch, step)?;
                self.current_justified_checkpoint = Checkpoint { epoch, root };
                self.justification_bits |= 1 << bit;
            }
        }
        let bits = self.justification_bits;
        for (mask, checkpoint, distance) in [
            (0b1110, old_previous, 3),
            (0b0110, old_previous, 2),
            (0b0111, old_current, 2),
            (0b0011, old_current, 1),
        ] {
            if bits & mask == mask && checkpoint.epoch.checked_add(distance) == Some(current_epoch)
            {
                self.finalized_checkpoint = checkpoint;
            }
        }
        Ok(())
    }

    /// `process_registry_updates` (phase0, deneb, electra)
    pub(crate) fn process_registry_updates(&mut self) -> Result<()> {
        let is_electra = self.fork_name >= Fork::Electra;
        let (current_epoch, ejection) = (self.current_epoch(), self.config().ejection_balance);
        let activation_epoch = compute_activation_exit_epoch(current_epoch);
        let finalized = self.finalized_checkpoint.epoch;
        for index in 0..self.validators.len() {
            let validators = &mut self.validators;
            let effective = validators.effective_balance[index];
            let is_unqueued = validators.activation_eligibility_epoch[index] == FAR_FUTURE_EPOCH;
            let is_inactive = validators.activation_epoch[index] == FAR_FUTURE_EPOCH;
            if !is_unqueued && !is_inactive && effective > ejection {
                continue;
            }
            // `is_eligible_for_activation_queue`
            let is_eligible = match is_electra {
                true => effective >= MIN_ACTIVATION_BALANCE,
                false => effective == MAX_EFFECTIVE_BALANCE,
            };
            let is_ejected = effective <= ejection && validators.is_active(index, current_epoch);
            let is_queued = is_unqueued && is_eligible;
            if is_queued {
                validators.activation_eligibility_epoch[index] = current_epoch + 1;
                self.changes.validators.mark(index);
            }
            // Electra does at most one of the three, and has no churn limit for activations here.
            if is_ejected && !(is_electra && is_queued) {
                self.initiate_validator_exit(index)?;
            } else if is_electra && !is_queued && self.is_eligible_for_activation(index, finalized)
            {
                self.validators.activation_epoch[index] = activation_epoch;
                self.changes.validators.mark(index);
            }
        }
        if !is_electra {
            self.activate_validators(activation_epoch);
        }
        Ok(())
    }

    /// `is_eligible_for_activation` (phase0)
    fn is_eligible_for_activation(&self, index: usize, finalized: u64) -> bool {
        self.validators.activation_epoch[index] == FAR_FUTURE_EPOCH
            && self.validators.activation_eligibility_epoch[index] <= finalized
    }

    /// Activates validators in the order of the queue, as many as the churn limit allows.
    fn activate_validators(&mut self, activation_epoch: u64) {
        let finalized = self.finalized_checkpoint.epoch;
        let eligible = |index: &usize| self.is_eligible_for_activation(*index, finalized);
        let mut queue: Vec<usize> = (0..self.validators.len()).filter(eligible).collect();
        queue.sort_by_key(|index| (self.validators.activation_eligibility_epoch[*index], *index));
        let churn = self.validator_churn_limit();
        // `get_validator_activation_churn_limit` (deneb)
        let limit = match self.fork_name >= Fork::Deneb {
            true => churn.min(self.config().max_per_epoch_activation_churn_limit),
            false => churn,
        };
        for index in queue.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)) {
            self.validators.activation_epoch[index] = activation_epoch;
            self.changes.validators.mark(index);
        }
    }

    /// `process_slashings` (phase0, altair, bellatrix, electra)
    pub(crate) fn process_slashings(&mut self) {
        let (preset, total) = (self.preset(), u128::from(self.total_active().balance));
        let slashed: u128 = self.slashings.iter().map(|slashed| u128::from(*slashed)).sum();
        let multiplier = preset.proportional_slashing_multiplier_in(self.fork_name);
        let adjusted = (slashed * u128::from(multiplier)).min(total);
        let increment = u128::from(EFFECTIVE_BALANCE_INCREMENT);
        let withdrawable = self.current_epoch() + preset.epochs_per_slashings_vector / 2;
        for index in 0..self.validators.len() {
            if !self.validators.slashed[index]
                || self.validators.withdrawable_epoch[index] != withdrawable
            {
                continue;
            }
            let increments = u128::from(self.validators.effective_balance[index]) / increment;
            // Electra divides before it multiplies.
            let penalty = match self.fork_name >= Fork::Electra {
                true => adjusted / (total / increment) * increments,
                false => increments * adjusted / total * increment,
            };
            self.decrease_balance(index, u64::try_from(penalty).unwrap_or(u64::MAX));
        }
    }

    /// `process_eth1_data_reset` (phase0)
    pub(crate) fn process_eth1_data_reset(&mut self) {
        if self.next_epoch_is_multiple_of(self.preset().epochs_per_eth1_voting_period) {
            self.eth1_data_votes.clear();
        }
    }

    fn next_epoch_is_multiple_of(&self, epochs: u64) -> bool {
        (self.current_epoch() + 1).is_multiple_of(epochs)
    }

    /// `process_effective_balance_updates` (phase0, electra)
    pub(crate) fn process_effective_balance_updates(&mut self) {
        let step = EFFECTIVE_BALANCE_INCREMENT / HYSTERESIS_QUOTIENT;
        let (down, up) =
            (step * HYSTERESIS_DOWNWARD_MULTIPLIER, step * HYSTERESIS_UPWARD_MULTIPLIER);
        let is_electra = self.fork_name >= Fork::Electra;
        for (index, balance) in self.balances.iter().enumerate() {
            let effective = self.validators.effective_balance[index];
            if balance.saturating_add(down) < effective || effective.saturating_add(up) < *balance {
                let largest = match is_electra {
                    true => self.validators.max_effective_balance(index),
                    false => MAX_EFFECTIVE_BALANCE,
                };
                let rounded = balance - balance % EFFECTIVE_BALANCE_INCREMENT;
                self.validators.effective_balance[index] = rounded.min(largest);
                self.changes.validators.mark(index);
            }
        }
        self.drop_caches_of_epoch();
    }

    /// `process_slashings_reset` (phase0)
    pub(crate) fn process_slashings_reset(&mut self) {
        let next = (self.current_epoch() + 1) % self.preset().epochs_per_slashings_vector;
        *at_mut(&mut self.slashings, next) = 0;
        self.changes.slashings.mark_at(next);
    }

    /// `process_randao_mixes_reset` (phase0)
    pub(crate) fn process_randao_mixes_reset(&mut self) {
        let mix = *self.randao_mix(self.current_epoch());
        let next = (self.current_epoch() + 1) % self.preset().epochs_per_historical_vector;
        *at_mut(&mut self.randao_mixes, next) = mix;
        self.changes.randao_mixes.mark_at(next);
    }

    fn is_end_of_era(&self) -> bool {
        let preset = self.preset();
        self.next_epoch_is_multiple_of(preset.slots_per_historical_root / preset.slots_per_epoch)
    }

    /// `process_historical_roots_update` (phase0)
    pub(crate) fn process_historical_roots_update(&mut self) {
        if self.is_end_of_era() {
            self.historical_roots.push(era_root(&self.block_roots, &self.state_roots));
        }
    }

    /// `process_historical_summaries_update` (capella)
    pub(crate) fn process_historical_summaries_update(&mut self) {
        if self.is_end_of_era() {
            let summary: [Root; 2] =
                [vector_root(&self.block_roots), vector_root(&self.state_roots)];
            self.historical_summaries.push(summary);
        }
    }

    /// `process_participation_record_updates` (phase0)
    pub(crate) fn process_participation_record_updates(&mut self) {
        self.previous_epoch_attestations = std::mem::take(&mut self.current_epoch_attestations);
    }

    /// `process_participation_flag_updates` (altair)
    pub(crate) fn process_participation_flag_updates(&mut self) {
        std::mem::swap(
            &mut self.previous_epoch_participation,
            &mut self.current_epoch_participation,
        );
        self.current_epoch_participation.fill(0);
        self.changes.previous_epoch_participation.mark_all();
        self.changes.current_epoch_participation.mark_all();
    }

    /// `process_sync_committee_updates` (altair)
    pub(crate) fn process_sync_committee_updates(&mut self) -> Result<()> {
        if self.next_epoch_is_multiple_of(self.preset().epochs_per_sync_committee_period) {
            let next = self.next_sync_committee()?;
            self.current_sync_committee = std::mem::replace(&mut self.next_sync_committee, next);
            self.drop_sync_committee_cache();
        }
        Ok(())
    }

    /// `get_next_sync_committee` (altair)
    pub(crate) fn next_sync_committee(&self) -> Result<SyncCommittee> {
        let members = self.next_sync_committee_indices()?;
        let pubkeys: Vec<_> = members.iter().map(|index| *self.validators.pubkey(*index)).collect();
        let sum = eth_aggregate_pubkeys(pubkeys.iter(), "get_next_sync_committee")?;
        Ok(SyncCommittee { pubkeys, aggregate_pubkey: Some(sum) })
    }

    /// `process_proposer_lookahead` (fulu)
    pub(crate) fn process_proposer_lookahead(&mut self) -> Result<()> {
        let last = self.beacon_proposer_indices(self.current_epoch() + MIN_SEED_LOOKAHEAD + 1)?;
        if self.proposer_lookahead.len() < last.len() {
            let (wanted, found) = (last.len(), self.proposer_lookahead.len());
            return Err(refused("process_proposer_lookahead", wanted, found));
        }
        self.proposer_lookahead.drain(..last.len());
        self.proposer_lookahead.extend(last);
        Ok(())
    }
}
