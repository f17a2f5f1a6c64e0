//! Withdrawals, and the requests of the execution layer that lead to them.

use super::block::{Payload, Value};
use super::constants::{
    COMPOUNDING_WITHDRAWAL_PREFIX, EFFECTIVE_BALANCE_INCREMENT, FAR_FUTURE_EPOCH,
    FULL_EXIT_REQUEST_AMOUNT, MAX_EFFECTIVE_BALANCE, MIN_ACTIVATION_BALANCE,
};
use super::containers::{Fields, PendingConsolidation, PendingPartialWithdrawal, Withdrawal};
use super::error::{Result, add, ensure_equal, refused};
use super::state::{BeaconState, compute_activation_exit_epoch};
use crate::fork::Fork;
use crate::root::Root;

/// `ExpectedWithdrawals`
pub(super) struct ExpectedWithdrawals {
    pub(super) withdrawals: Vec<Withdrawal>,
    processed_partial_withdrawals_count: usize,
}

impl BeaconState<'_> {
    /// `process_withdrawals` (capella, electra). A blinded block has the root of its withdrawals.
    pub(crate) fn process_withdrawals(&mut self, payload: Payload<'_>) -> Result<()> {
        let step = "process_withdrawals";
        let expected = self.expected_withdrawals(step)?;
        if payload.is_blinded {
            let wanted = payload.withdrawals_root(&expected.withdrawals, step)?;
            let found = Fields(payload.value.field("withdrawals_root").bytes).root();
            ensure_equal(step, "withdrawals root", Root(wanted), found)?;
        } else {
            check_withdrawals(&expected.withdrawals, &payload.withdrawals(), step)?;
        }
        self.apply_withdrawals(&expected, step)
    }

    fn apply_withdrawals(
        &mut self,
        expected: &ExpectedWithdrawals,
        step: &'static str,
    ) -> Result<()> {
        let ExpectedWithdrawals { withdrawals, processed_partial_withdrawals_count } = expected;
        // `apply_withdrawals`
        for withdrawal in withdrawals {
            let index = self.validator(withdrawal.validator_index, step)?;
            self.decrease_balance(index, withdrawal.amount);
        }
        // `update_next_withdrawal_index`
        if let Some(last) = withdrawals.last() {
            self.next_withdrawal_index = add(step, last.index, 1)?;
        }
        // `update_pending_partial_withdrawals`
        self.pending_partial_withdrawals.drain(..processed_partial_withdrawals_count);
        // `update_next_withdrawal_validator_index`
        let (preset, count) = (self.preset(), self.validators.len() as u64);
        let is_full = withdrawals.len() as u64 == preset.max_withdrawals_per_payload;
        let next = match withdrawals.last().filter(|_| is_full) {
            Some(last) => add(step, last.validator_index, 1)?,
            None => {
                let swept = preset.max_validators_per_withdrawals_sweep;
                add(step, self.next_withdrawal_validator_index, swept)?
            }
        };
        let no_validators = || refused(step, "validators", "none");
        self.next_withdrawal_validator_index = next.checked_rem(count).ok_or_else(no_validators)?;
        Ok(())
    }

    /// `get_expected_withdrawals` (capella, electra)
    pub(super) fn expected_withdrawals(&self, step: &'static str) -> Result<ExpectedWithdrawals> {
        let mut withdrawals = Vec::new();
        let mut processed_partial_withdrawals_count = 0;
        if self.fork_name >= Fork::Electra {
            processed_partial_withdrawals_count =
                self.add_pending_partial_withdrawals(&mut withdrawals, step)?;
        }
        self.add_validators_sweep_withdrawals(&mut withdrawals, step)?;
        Ok(ExpectedWithdrawals { withdrawals, processed_partial_withdrawals_count })
    }

    /// `get_pending_partial_withdrawals` (electra)
    fn add_pending_partial_withdrawals(
        &self,
        withdrawals: &mut Vec<Withdrawal>,
        step: &'static str,
    ) -> Result<usize> {
        let (epoch, preset) = (self.current_epoch(), self.preset());
        let limit = preset
            .max_pending_partials_per_withdrawals_sweep
            .min(preset.max_withdrawals_per_payload - 1);
        let mut processed = 0;
        for pending in &self.pending_partial_withdrawals {
            if pending.withdrawable_epoch > epoch || withdrawals.len() as u64 >= limit {
                break;
            }
            let index = self.validator(pending.validator_index, step)?;
            let balance = self.balance_after_withdrawals(index, withdrawals, step)?;
            // `is_eligible_for_partial_withdrawals`
            let is_eligible = self.validators.exit_epoch[index] == FAR_FUTURE_EPOCH
                && self.validators.effective_balance[index] >= MIN_ACTIVATION_BALANCE
                && balance > MIN_ACTIVATION_BALANCE;
            if is_eligible {
                let amount = (balance - MIN_ACTIVATION_BALANCE).min(pending.amount);
                self.add_withdrawal(withdrawals, index, amount, step)?;
            }
            processed += 1;
        }
        Ok(processed)
    }

    /// `get_validators_sweep_withdrawals` (capella, electra)
    fn add_validators_sweep_withdrawals(
        &self,
        withdrawals: &mut Vec<Withdrawal>,
        step: &'static str,
    ) -> Result<()> {
        let (epoch, preset, validators) = (self.current_epoch(), self.preset(), &self.validators);
        let is_electra = self.fork_name >= Fork::Electra;
        let swept = preset.max_validators_per_withdrawals_sweep.min(validators.len() as u64);
        let mut next = self.next_withdrawal_validator_index;
        for _ in 0..swept {
            if withdrawals.len() as u64 >= preset.max_withdrawals_per_payload {
                break;
            }
            let index = self.validator(next, step)?;
            next = (next + 1) % validators.len() as u64;
            let has_credential = match is_electra {
                true => validators.has_execution_credential(index),
                false => validators.has_eth1_credential(index),
            };
            if !has_credential {
                continue;
            }
            let largest = match is_electra {
                true => validators.max_effective_balance(index),
                false => MAX_EFFECTIVE_BALANCE,
            };
            // Neither kind of withdrawal is possible, whatever was withdrawn before.
            let is_withdrawable = validators.withdrawable_epoch[index] <= epoch;
            if !is_withdrawable && self.balances[index] <= largest {
                continue;
            }
            let balance = self.balance_after_withdrawals(index, withdrawals, step)?;
            // `is_fully_withdrawable_validator`, `is_partially_withdrawable_validator`
            if is_withdrawable && balance > 0 {
                self.add_withdrawal(withdrawals, index, balance, step)?;
            } else if validators.effective_balance[index] == largest && balance > largest {
                self.add_withdrawal(withdrawals, index, balance - largest, step)?;
            }
        }
        Ok(())
    }

    fn add_withdrawal(
        &self,
        withdrawals: &mut Vec<Withdrawal>,
        index: usize,
        amount: u64,
        step: &'static str,
    ) -> Result<()> {
        let credentials = self.validators.withdrawal_credentials(index);
        withdrawals.push(Withdrawal {
            index: add(step, self.next_withdrawal_index, withdrawals.len() as u64)?,
            validator_index: index as u64,
            address: Fields(&credentials[12..]).bytes(),
            amount,
        });
        Ok(())
    }

    /// `get_balance_after_withdrawals` (capella)
    fn balance_after_withdrawals(
        &self,
        index: usize,
        withdrawals: &[Withdrawal],
        step: &'static str,
    ) -> Result<u64> {
        let own =
            withdrawals.iter().filter(|withdrawal| withdrawal.validator_index == index as u64);
        let withdrawn = own.fold(0, |sum: u64, withdrawal| sum.saturating_add(withdrawal.amount));
        let balance = self.balances[index];
        let wanted = || refused(step, format_args!("at most {balance} Gwei withdrawn"), withdrawn);
        balance.checked_sub(withdrawn).ok_or_else(wanted)
    }

    /// `process_withdrawal_request` (electra)
    pub(crate) fn process_withdrawal_request(&mut self, request: Value<'_>) -> Result<()> {
        let amount = request.number("amount");
        let is_full_exit_request = amount == FULL_EXIT_REQUEST_AMOUNT;
        let queued = self.pending_partial_withdrawals.len() as u64;
        if queued == self.preset().pending_partial_withdrawals_limit && !is_full_exit_request {
            return Ok(());
        }
        let pubkey = Fields(request.field("validator_pubkey").bytes).borrow();
        let Some(index) = self.validators.index_of(pubkey) else { return Ok(()) };
        let address = request.field("source_address").bytes;
        if !self.may_request(index, address) || !self.has_served(index) {
            return Ok(());
        }
        let pending = self.pending_balance_to_withdraw(index);
        if is_full_exit_request {
            return if pending == 0 { self.initiate_validator_exit(index) } else { Ok(()) };
        }
        let kept = MIN_ACTIVATION_BALANCE.saturating_add(pending);
        let excess = self.balances[index].saturating_sub(kept);
        let has_sufficient_balance =
            self.validators.effective_balance[index] >= MIN_ACTIVATION_BALANCE;
        if !self.validators.has_compounding_credential(index)
            || !has_sufficient_balance
            || excess == 0
        {
            return Ok(());
        }
        let amount = excess.min(amount);
        let exit_epoch = self.compute_exit_epoch_and_update_churn(amount)?;
        let delay = self.config().min_validator_withdrawability_delay;
        let withdrawable_epoch = add("process_withdrawal_request", exit_epoch, delay)?;
        let validator_index = index as u64;
        self.pending_partial_withdrawals.push_back(PendingPartialWithdrawal {
            validator_index,
            amount,
            withdrawable_epoch,
        });
        Ok(())
    }

    /// An active validator that does not exit, and whose credentials name this address.
    fn may_request(&self, index: usize, address: &[u8]) -> bool {
        self.validators.has_execution_credential(index)
            && self.validators.withdrawal_credentials(index)[12..] == *address
            && self.is_staying(index)
    }

    fn is_staying(&self, index: usize) -> bool {
        self.validators.is_active(index, self.current_epoch())
            && self.validators.exit_epoch[index] == FAR_FUTURE_EPOCH
    }

    fn has_served(&self, index: usize) -> bool {
        let active_from = self.validators.activation_epoch[index];
        self.current_epoch() >= active_from.saturating_add(self.config().shard_committee_period)
    }

    /// `process_consolidation_request` (electra)
    pub(crate) fn process_consolidation_request(&mut self, request: Value<'_>) -> Result<()> {
        let step = "process_consolidation_request";
        let source_pubkey = Fields(request.field("source_pubkey").bytes).borrow();
        let target_pubkey = Fields(request.field("target_pubkey").bytes).borrow();
        let address = request.field("source_address").bytes;
        let source = self.validators.index_of(source_pubkey);
        if source_pubkey == target_pubkey {
            // `is_valid_switch_to_compounding_request`, `switch_to_compounding_validator`
            if let Some(source) = source
                && self.validators.has_eth1_credential(source)
                && self.may_request(source, address)
            {
                let mut credentials = *self.validators.withdrawal_credentials(source);
                credentials[0] = COMPOUNDING_WITHDRAWAL_PREFIX;
                self.validators.set_withdrawal_credentials(source, credentials);
                self.changes.validators.mark(source);
                self.queue_excess_active_balance(source);
            }
            return Ok(());
        }
        let queued = self.pending_consolidations.len() as u64;
        if queued == self.preset().pending_consolidations_limit
            || self.consolidation_churn_limit() <= MIN_ACTIVATION_BALANCE
        {
            return Ok(());
        }
        let target = self.validators.index_of(target_pubkey);
        let (Some(source), Some(target)) = (source, target) else { return Ok(()) };
        if !self.may_request(source, address)
            || !self.validators.has_compounding_credential(target)
            || !self.is_staying(target)
            || !self.has_served(source)
            || self.pending_balance_to_withdraw(source) > 0
        {
            return Ok(());
        }
        let balance = self.validators.effective_balance[source];
        let exit_epoch = self.compute_consolidation_epoch_and_update_churn(balance)?;
        let delay = self.config().min_validator_withdrawability_delay;
        self.changes.validators.mark(source);
        self.validators.exit_epoch[source] = exit_epoch;
        self.validators.withdrawable_epoch[source] = add(step, exit_epoch, delay)?;
        let (source_index, target_index) = (source as u64, target as u64);
        self.pending_consolidations.push_back(PendingConsolidation { source_index, target_index });
        Ok(())
    }

    /// `process_pending_consolidations` (electra)
    pub(crate) fn process_pending_consolidations(&mut self) -> Result<()> {
        let step = "process_pending_consolidations";
        let next_epoch = self.current_epoch() + 1;
        while let Some(pending) = self.pending_consolidations.front().copied() {
            let source = self.validator(pending.source_index, step)?;
            if !self.validators.slashed[source] {
                if self.validators.withdrawable_epoch[source] > next_epoch {
                    break;
                }
                let target = self.validator(pending.target_index, step)?;
                let moved = self.balances[source].min(self.validators.effective_balance[source]);
                self.decrease_balance(source, moved);
                self.increase_balance(target, moved, step)?;
            }
            self.pending_consolidations.pop_front();
        }
        Ok(())
    }

    /// `get_pending_balance_to_withdraw` (electra)
    pub(crate) fn pending_balance_to_withdraw(&self, index: usize) -> u64 {
        let pending = self.pending_partial_withdrawals.iter();
        let own = pending.filter(|pending| pending.validator_index == index as u64);
        own.fold(0, |sum, pending| sum.saturating_add(pending.amount))
    }

    /// `get_balance_churn_limit` (electra)
    fn balance_churn_limit(&mut self) -> u64 {
        let total = self.total_active().balance;
        let config = self.config();
        let churn =
            config.min_per_epoch_churn_limit_electra.max(total / config.churn_limit_quotient);
        churn - churn % EFFECTIVE_BALANCE_INCREMENT
    }

    /// `get_activation_exit_churn_limit` (electra)
    pub(crate) fn activation_exit_churn_limit(&mut self) -> u64 {
        self.balance_churn_limit().min(self.config().max_per_epoch_activation_exit_churn_limit)
    }

    /// `get_consolidation_churn_limit` (electra)
    pub(crate) fn consolidation_churn_limit(&mut self) -> u64 {
        self.balance_churn_limit() - self.activation_exit_churn_limit()
    }

    /// `compute_exit_epoch_and_update_churn` (electra)
    pub(crate) fn compute_exit_epoch_and_update_churn(&mut self, balance: u64) -> Result<u64> {
        let per_epoch = self.activation_exit_churn_limit();
        let earliest = compute_activation_exit_epoch(self.current_epoch());
        let queue = (self.earliest_exit_epoch, self.exit_balance_to_consume);
        let step = "compute_exit_epoch_and_update_churn";
        let (epoch, left) = consume_churn(queue, earliest, per_epoch, balance, step)?;
        self.earliest_exit_epoch = epoch;
        self.exit_balance_to_consume = left;
        Ok(epoch)
    }

    /// `compute_consolidation_epoch_and_update_churn` (electra)
    fn compute_consolidation_epoch_and_update_churn(&mut self, balance: u64) -> Result<u64> {
        let per_epoch = self.consolidation_churn_limit();
        let earliest = compute_activation_exit_epoch(self.current_epoch());
        let queue = (self.earliest_consolidation_epoch, self.consolidation_balance_to_consume);
        let step = "compute_consolidation_epoch_and_update_churn";
        let (epoch, left) = consume_churn(queue, earliest, per_epoch, balance, step)?;
        self.earliest_consolidation_epoch = epoch;
        self.consolidation_balance_to_consume = left;
        Ok(epoch)
    }
}

/// Takes a balance from the churn of epochs: `queue` is the epoch that is being filled and what is left of its
/// churn. Returns both afterwards.
fn consume_churn(
    queue: (u64, u64),
    earliest: u64,
    per_epoch: u64,
    balance: u64,
    step: &'static str,
) -> Result<(u64, u64)> {
    let (mut epoch, mut left) = if queue.0 < earliest { (earliest, per_epoch) } else { queue };
    if balance > left {
        let missing = balance - left;
        let no_churn = || refused(step, "churn", "none");
        let more = (missing - 1).checked_div(per_epoch).ok_or_else(no_churn)? + 1;
        epoch = add(step, epoch, more)?;
        left = add(step, left, more.saturating_mul(per_epoch))?;
    }
    Ok((epoch, left - balance))
}

fn check_withdrawals(
    wanted: &[Withdrawal],
    found: &[Withdrawal],
    step: &'static str,
) -> Result<()> {
    ensure_equal(step, "withdrawals:", wanted.len(), found.len())?;
    match wanted.iter().zip(found).find(|(wanted, found)| wanted != found) {
        None => Ok(()),
        Some((wanted, found)) => Err(refused(step, wanted, found)),
    }
}
