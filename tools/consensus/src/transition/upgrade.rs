//! The upgrades of the state at the first slot of a fork.

use super::constants::{FAR_FUTURE_EPOCH, MIN_SEED_LOOKAHEAD, UNSET_DEPOSIT_REQUESTS_START_INDEX};
use super::error::{Result, refused};
use super::process_block::{default_payload_header, extend_payload_header};
use super::state::{BeaconState, compute_activation_exit_epoch};
use crate::fork::Fork;
use crate::state::StateFork;

impl BeaconState<'_> {
    /// Upgrades the state to every fork that begins with its epoch, at the epoch's first slot.
    pub(crate) fn upgrade_at_fork(&mut self) -> Result<()> {
        let epoch = self.current_epoch();
        if self.rules.is_unknown_at(epoch) {
            let wanted = format!("a fork up to {}", Fork::Fulu);
            let found = format!("epoch {epoch}, from which the config schedules a later fork");
            return Err(refused("process_slots", wanted, found));
        }
        for fork in Fork::ALL {
            if fork > self.fork_name && self.rules.epoch(fork) == epoch {
                self.upgrade_to(fork)?;
            }
        }
        Ok(())
    }

    /// `upgrade_to_altair` to `upgrade_to_fulu`, from the fork before.
    pub(crate) fn upgrade_to(&mut self, fork: Fork) -> Result<()> {
        self.fork = StateFork {
            previous_version: self.fork.version,
            version: self.rules.version(fork),
            epoch: self.current_epoch(),
        };
        self.fork_name = fork;
        self.changes.mark_everything();
        match fork {
            Fork::Phase0 => {}
            Fork::Altair => self.upgrade_to_altair()?,
            Fork::Bellatrix => {
                self.latest_execution_payload_header = default_payload_header(Fork::Bellatrix);
            }
            Fork::Capella => {
                extend_payload_header(&mut self.latest_execution_payload_header, 32);
            }
            Fork::Deneb => {
                extend_payload_header(&mut self.latest_execution_payload_header, 2 * 8);
            }
            Fork::Electra => self.upgrade_to_electra(),
            Fork::Fulu => self.initialize_proposer_lookahead()?,
        }
        // The rules for committees, proposers and totals are those of the new fork.
        self.drop_caches_of_epoch();
        Ok(())
    }

    fn upgrade_to_altair(&mut self) -> Result<()> {
        let count = self.validators.len();
        self.previous_epoch_participation = vec![0; count];
        self.current_epoch_participation = vec![0; count];
        self.inactivity_scores = vec![0; count];
        let pending = std::mem::take(&mut self.previous_epoch_attestations);
        self.current_epoch_attestations.clear();
        self.translate_participation(pending)?;
        self.current_sync_committee = self.next_sync_committee()?;
        self.next_sync_committee = self.current_sync_committee.clone();
        self.drop_sync_committee_cache();
        Ok(())
    }

    fn upgrade_to_electra(&mut self) {
        let earliest = compute_activation_exit_epoch(self.current_epoch());
        let exits = self.validators.exit_epoch.iter().filter(|epoch| **epoch != FAR_FUTURE_EPOCH);
        let last_exit = exits.fold(earliest, |last, epoch| last.max(*epoch));
        self.deposit_requests_start_index = UNSET_DEPOSIT_REQUESTS_START_INDEX;
        self.deposit_balance_to_consume = 0;
        self.earliest_exit_epoch = last_exit.saturating_add(1);
        self.earliest_consolidation_epoch = earliest;
        self.drop_caches_of_epoch();
        self.exit_balance_to_consume = self.activation_exit_churn_limit();
        self.consolidation_balance_to_consume = self.consolidation_churn_limit();
        self.queue_validators_before_activation();
        for index in 0..self.validators.len() {
            if self.validators.has_compounding_credential(index) {
                self.queue_excess_active_balance(index);
            }
        }
    }

    /// Validators that are not active yet wait for their deposits once more.
    fn queue_validators_before_activation(&mut self) {
        let is_waiting =
            |index: &usize| self.validators.activation_epoch[*index] == FAR_FUTURE_EPOCH;
        let mut waiting: Vec<usize> = (0..self.validators.len()).filter(is_waiting).collect();
        waiting.sort_by_key(|index| (self.validators.activation_eligibility_epoch[*index], *index));
        for index in waiting {
            let balance = std::mem::take(&mut self.balances[index]);
            self.validators.effective_balance[index] = 0;
            self.validators.activation_eligibility_epoch[index] = FAR_FUTURE_EPOCH;
            self.queue_balance(index, balance);
        }
    }

    fn initialize_proposer_lookahead(&mut self) -> Result<()> {
        let current = self.current_epoch();
        self.proposer_lookahead.clear();
        for epoch in current..=current + MIN_SEED_LOOKAHEAD {
            let proposers = self.beacon_proposer_indices(epoch)?;
            self.proposer_lookahead.extend(proposers);
        }
        Ok(())
    }
}
