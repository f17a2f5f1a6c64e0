//! What phase0 computes from the attestations that it keeps in the state.

use super::block::Bits;
use super::constants::{BASE_REWARDS_PER_EPOCH, EFFECTIVE_BALANCE_INCREMENT};
use super::containers::{AttestationData, PendingAttestation};
use super::error::{Result, add, ensure, ensure_equal, refused};
use super::state::BeaconState;

const PROPOSER_REWARD_QUOTIENT: u64 = 8;

const SOURCE: usize = 0;
const TARGET: usize = 1;
const HEAD: usize = 2;

/// What a validator's attestations of the previous epoch matched.
#[derive(Clone, Copy, Default)]
struct Attested {
    /// Source, target, head.
    matches: [bool; 3],
    /// The shortest delay of inclusion, and the proposer who included it first.
    delay: u64,
    proposer: u64,
}

impl BeaconState<'_> {
    /// `get_attesting_indices` (phase0), in the order of the committee.
    fn attesting_indices(
        &mut self,
        data: &AttestationData,
        bits: &[u8],
        step: &'static str,
    ) -> Result<Vec<u32>> {
        let epoch = self.epoch_at(data.slot);
        let is_recent = epoch == self.current_epoch() || epoch == self.previous_epoch();
        let wanted = || "a slot of the current or the previous epoch".to_owned();
        ensure(is_recent, step, wanted, || data.slot.to_string())?;
        let committees = self.committees(epoch);
        let wanted = || format!("a committee below {}", committees.per_slot);
        ensure(data.index < committees.per_slot, step, wanted, || data.index.to_string())?;
        let (committee, bits) = (committees.of(data.slot, data.index), Bits::of_list(bits));
        ensure_equal(step, "aggregation bits:", committee.len(), bits.count)?;
        Ok(bits.ones().map(|place| committee[place]).collect())
    }

    /// The unslashed balances that attested to the targets of the previous and the current epoch
    /// (`get_attesting_balance` of `get_matching_target_attestations`).
    pub(crate) fn target_balances_of_attestations(&mut self) -> Result<(u64, u64)> {
        let (previous, current) = (self.previous_epoch(), self.current_epoch());
        Ok((self.target_balance_of(previous)?, self.target_balance_of(current)?))
    }

    fn target_balance_of(&mut self, epoch: u64) -> Result<u64> {
        let step = "get_matching_target_attestations";
        let target = self.block_root(epoch, step)?;
        let attestations = match epoch == self.current_epoch() {
            true => self.current_epoch_attestations.clone(),
            false => self.previous_epoch_attestations.clone(),
        };
        let mut has_attested = vec![false; self.validators.len()];
        for pending in attestations.iter().filter(|pending| pending.data.target.root == target) {
            for index in self.attesting_indices(&pending.data, &pending.aggregation_bits, step)? {
                has_attested[index as usize] = true;
            }
        }
        Ok(self.unslashed_balance(|index| has_attested[index]))
    }

    /// `get_total_balance` of unslashed validators.
    fn unslashed_balance(&self, counts: impl Fn(usize) -> bool) -> u64 {
        let unslashed = |index: &usize| !self.validators.slashed[*index] && counts(*index);
        let indices = (0..self.validators.len()).filter(unslashed);
        let sum = indices
            .fold(0u64, |sum, index| sum.saturating_add(self.validators.effective_balance[index]));
        sum.max(EFFECTIVE_BALANCE_INCREMENT)
    }

    /// What all validators attested to in the previous epoch.
    fn attested(&mut self) -> Result<Vec<Attested>> {
        let step = "get_attestation_deltas";
        let target = self.block_root(self.previous_epoch(), step)?;
        let mut attested = vec![Attested::default(); self.validators.len()];
        for pending in self.previous_epoch_attestations.clone() {
            let PendingAttestation { aggregation_bits, data, inclusion_delay, proposer_index } =
                pending;
            let is_target = data.target.root == target;
            let is_head =
                is_target && data.beacon_block_root == self.block_root_at(data.slot, step)?;
            for index in self.attesting_indices(&data, &aggregation_bits, step)? {
                let known = &mut attested[index as usize];
                if !known.matches[SOURCE] || inclusion_delay < known.delay {
                    (known.delay, known.proposer) = (inclusion_delay, proposer_index);
                }
                known.matches[SOURCE] = true;
                known.matches[TARGET] |= is_target;
                known.matches[HEAD] |= is_head;
            }
        }
        for (index, known) in attested.iter_mut().enumerate() {
            if self.validators.slashed[index] {
                known.matches = [false; 3];
            }
        }
        Ok(attested)
    }

    /// `process_rewards_and_penalties` (phase0): applies `get_attestation_deltas`.
    pub(crate) fn apply_attestation_deltas(&mut self) -> Result<()> {
        let step = "get_attestation_deltas";
        let attested = self.attested()?;
        let total = self.total_active();
        let total_increments = total.balance / EFFECTIVE_BALANCE_INCREMENT;
        let attesting_increments: [u64; 3] = [SOURCE, TARGET, HEAD].map(|component| {
            self.unslashed_balance(|index| attested[index].matches[component])
                / EFFECTIVE_BALANCE_INCREMENT
        });
        let (previous, is_leaking) = (self.previous_epoch(), self.is_in_inactivity_leak());
        let (delay, preset) = (self.finality_delay(), self.preset());
        let count = self.validators.len();
        let (mut rewards, mut penalties) = (vec![0u64; count], vec![0u64; count]);
        for (index, known) in attested.iter().enumerate() {
            let effective = self.validators.effective_balance[index];
            // `get_base_reward`, `get_proposer_reward`
            let factor = u128::from(effective) * u128::from(preset.base_reward_factor);
            let base = factor / u128::from(total.balance_root) / u128::from(BASE_REWARDS_PER_EPOCH);
            let base =
                u64::try_from(base).map_err(|_| refused(step, "a reward below 2^64", base))?;
            let proposer_reward = base / PROPOSER_REWARD_QUOTIENT;
            // `get_inclusion_delay_deltas`
            if known.matches[SOURCE] {
                let proposer = self.validator(known.proposer, step)?;
                rewards[proposer] = add(step, rewards[proposer], proposer_reward)?;
                let no_delay = || refused(step, "a delay of 1 or more", 0);
                let reward =
                    (base - proposer_reward).checked_div(known.delay).ok_or_else(no_delay)?;
                rewards[index] = add(step, rewards[index], reward)?;
            }
            if !self.is_eligible(index, previous) {
                continue;
            }
            // `get_attestation_component_deltas`
            for (matches, attesting) in known.matches.into_iter().zip(attesting_increments) {
                if !matches {
                    penalties[index] = add(step, penalties[index], base)?;
                } else if is_leaking {
                    rewards[index] = add(step, rewards[index], base)?;
                } else {
                    let reward =
                        u128::from(base) * u128::from(attesting) / u128::from(total_increments);
                    let reward = u64::try_from(reward).unwrap_or(u64::MAX);
                    rewards[index] = add(step, rewards[index], reward)?;
                }
            }
            // `get_inactivity_penalty_deltas`
            if is_leaking {
                let penalty =
                    base.saturating_mul(BASE_REWARDS_PER_EPOCH).saturating_sub(proposer_reward);
                penalties[index] = add(step, penalties[index], penalty)?;
                if !known.matches[TARGET] {
                    let quotient = preset.inactivity_penalty_quotient_in(self.fork_name);
                    let penalty = u128::from(effective) * u128::from(delay) / u128::from(quotient);
                    let penalty = u64::try_from(penalty).unwrap_or(u64::MAX);
                    penalties[index] = add(step, penalties[index], penalty)?;
                }
            }
        }
        for index in 0..count {
            self.increase_balance(index, rewards[index], step)?;
            self.decrease_balance(index, penalties[index]);
        }
        Ok(())
    }

    /// `translate_participation` (altair)
    pub(crate) fn translate_participation(
        &mut self,
        pending: Vec<PendingAttestation>,
    ) -> Result<()> {
        let step = "translate_participation";
        for PendingAttestation { aggregation_bits, data, inclusion_delay, .. } in pending {
            let flags = self.attestation_flags(&data, inclusion_delay)?;
            for index in self.attesting_indices(&data, &aggregation_bits, step)? {
                self.previous_epoch_participation[index as usize] |= flags;
            }
        }
        Ok(())
    }
}
