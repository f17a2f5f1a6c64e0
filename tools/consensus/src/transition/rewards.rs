//! Rewards and penalties from altair on, by participation flags.

use super::constants::{
    EFFECTIVE_BALANCE_INCREMENT, GENESIS_EPOCH, PARTICIPATION_FLAG_WEIGHTS, TIMELY_HEAD_FLAG_INDEX,
    TIMELY_TARGET_FLAG_INDEX, WEIGHT_DENOMINATOR,
};
use super::error::{Result, add};
use super::state::BeaconState;
use crate::fork::Fork;

/// Effective balances in increments for which rewards are computed once: all that a validator can have.
const TABLE_LEN: usize = 2049;

/// Reward and penalty by flag of a validator with this effective balance.
#[derive(Clone, Copy, Default)]
struct FlagDeltas {
    rewards: [u64; 3],
    penalties: [u64; 3],
}

/// What the deltas of an epoch depend on besides a validator's own balance and flags.
struct Rates {
    base_reward_per_increment: u64,
    participating_increments: [u64; 3],
    active_increments: u64,
    is_leaking: bool,
}

impl Rates {
    /// `get_flag_index_deltas` (altair)
    fn deltas(&self, increments: u64) -> FlagDeltas {
        let base_reward = u128::from(increments) * u128::from(self.base_reward_per_increment);
        let mut deltas = FlagDeltas::default();
        for (flag, weight) in PARTICIPATION_FLAG_WEIGHTS.into_iter().enumerate() {
            let weighted = base_reward * u128::from(weight);
            if !self.is_leaking {
                let numerator = weighted * u128::from(self.participating_increments[flag]);
                let denominator =
                    u128::from(self.active_increments) * u128::from(WEIGHT_DENOMINATOR);
                deltas.rewards[flag] = saturate(numerator / denominator);
            }
            if flag != TIMELY_HEAD_FLAG_INDEX {
                deltas.penalties[flag] = saturate(weighted / u128::from(WEIGHT_DENOMINATOR));
            }
        }
        deltas
    }
}

fn saturate(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

impl BeaconState<'_> {
    /// `get_base_reward_per_increment` (altair)
    pub(crate) fn base_reward_per_increment(&mut self) -> u64 {
        let root = self.total_active().balance_root;
        EFFECTIVE_BALANCE_INCREMENT * self.preset().base_reward_factor / root
    }

    /// Whether a validator is among `get_eligible_validator_indices` (phase0).
    pub(crate) fn is_eligible(&self, index: usize, previous_epoch: u64) -> bool {
        let validators = &self.validators;
        validators.is_active(index, previous_epoch)
            || validators.slashed[index]
                && previous_epoch + 1 < validators.withdrawable_epoch[index]
    }

    /// The flags that count for a validator in the previous epoch: none if it was slashed or inactive
    /// (`get_unslashed_participating_indices`, altair).
    fn unslashed_flags(&self, index: usize, previous_epoch: u64) -> u8 {
        let counts =
            !self.validators.slashed[index] && self.validators.is_active(index, previous_epoch);
        self.previous_epoch_participation[index] * u8::from(counts)
    }

    /// `process_inactivity_updates` (altair)
    pub(crate) fn process_inactivity_updates(&mut self) -> Result<()> {
        if self.current_epoch() == GENESIS_EPOCH {
            return Ok(());
        }
        self.changes.inactivity_scores.mark_all();
        let (previous, is_leaking) = (self.previous_epoch(), self.is_in_inactivity_leak());
        let bias = self.config().inactivity_score_bias;
        let recovery = self.config().inactivity_score_recovery_rate;
        for index in 0..self.validators.len() {
            if !self.is_eligible(index, previous) {
                continue;
            }
            let flags = self.unslashed_flags(index, previous);
            let score = &mut self.inactivity_scores[index];
            if flags >> TIMELY_TARGET_FLAG_INDEX & 1 == 1 {
                *score = score.saturating_sub(1);
            } else {
                *score = add("process_inactivity_updates", *score, bias)?;
            }
            if !is_leaking {
                *score = score.saturating_sub(recovery);
            }
        }
        Ok(())
    }

    /// `process_rewards_and_penalties` (phase0, altair)
    pub(crate) fn process_rewards_and_penalties(&mut self) -> Result<()> {
        if self.current_epoch() == GENESIS_EPOCH {
            return Ok(());
        }
        if self.fork_name == Fork::Phase0 {
            return self.apply_attestation_deltas();
        }
        self.changes.balances.mark_all();
        let rates = self.rates();
        let table: Vec<FlagDeltas> =
            (0..TABLE_LEN as u64).map(|count| rates.deltas(count)).collect();
        let previous = self.previous_epoch();
        let quotient = self.preset().inactivity_penalty_quotient_in(self.fork_name);
        let denominator = u128::from(self.config().inactivity_score_bias) * u128::from(quotient);
        for index in 0..self.validators.len() {
            if !self.is_eligible(index, previous) {
                continue;
            }
            let effective = self.validators.effective_balance[index];
            let increments = effective / EFFECTIVE_BALANCE_INCREMENT;
            let deltas = match usize::try_from(increments).ok().and_then(|count| table.get(count)) {
                Some(deltas) => *deltas,
                None => rates.deltas(increments),
            };
            let flags = self.unslashed_flags(index, previous);
            // In the order of the specification: a balance stops at 0.
            let mut balance = self.balances[index];
            for flag in 0..PARTICIPATION_FLAG_WEIGHTS.len() {
                if flags >> flag & 1 == 1 {
                    balance = add("process_rewards_and_penalties", balance, deltas.rewards[flag])?;
                } else {
                    balance = balance.saturating_sub(deltas.penalties[flag]);
                }
            }
            // `get_inactivity_penalty_deltas` (altair, bellatrix)
            let score = self.inactivity_scores[index];
            if flags >> TIMELY_TARGET_FLAG_INDEX & 1 == 0 && score > 0 {
                let numerator = u128::from(effective) * u128::from(score);
                let penalty = numerator.checked_div(denominator).map_or(u64::MAX, saturate);
                balance = balance.saturating_sub(penalty);
            }
            self.balances[index] = balance;
        }
        Ok(())
    }

    fn rates(&mut self) -> Rates {
        let previous = self.previous_epoch();
        let mut participating = [0u64; 3];
        for index in 0..self.validators.len() {
            let flags = self.unslashed_flags(index, previous);
            let effective = self.validators.effective_balance[index];
            for (flag, sum) in participating.iter_mut().enumerate() {
                *sum = sum.saturating_add(effective * u64::from(flags >> flag & 1));
            }
        }
        let in_increments =
            |balance: u64| balance.max(EFFECTIVE_BALANCE_INCREMENT) / EFFECTIVE_BALANCE_INCREMENT;
        Rates {
            base_reward_per_increment: self.base_reward_per_increment(),
            participating_increments: participating.map(in_increments),
            active_increments: in_increments(self.total_active().balance),
            is_leaking: self.is_in_inactivity_leak(),
        }
    }
}
