//! The validators of a made-up chain at its start.

use std::sync::Arc;

use blst::min_pk::{AggregatePublicKey, PublicKey, SecretKey};

use super::parameters::SyntheticParameters;
use super::{Numbers, drawn, whole};
use crate::transition::config::ChainRules;
use crate::transition::constants::{
    BLS_WITHDRAWAL_PREFIX, COMPOUNDING_WITHDRAWAL_PREFIX, EFFECTIVE_BALANCE_INCREMENT,
    ETH1_ADDRESS_WITHDRAWAL_PREFIX, FAR_FUTURE_EPOCH, MIN_ACTIVATION_BALANCE,
    PARTICIPATION_FLAG_WEIGHTS, WEIGHT_DENOMINATOR,
};
use crate::transition::registry::{Pubkey, VALIDATOR_BYTES};
use crate::transition::shuffling::hash;

/// Of a million active validators, how many leave in an epoch.
const EXITS_PER_EPOCH: f64 = 8.0;
/// What a proposer gets, in Gwei: at least, and at most that much more.
const PROPOSAL: u64 = 30_000_000;
const PROPOSAL_SPREAD: u64 = 20_000_000;
/// For the numbers of the population.
const OF_POPULATION: u64 = 1 << 41;

/// Validators in the making.
pub(super) struct Population<'p> {
    parameters: &'p SyntheticParameters,
    pub(super) numbers: Numbers,
    keys: Keys,
    epoch: u64,
    withdrawability_delay: u64,
    /// The next validator of the withdrawal sweep.
    pub(super) swept: u64,
    round: Round,
    active_left: usize,
    /// The encoded registry.
    pub(super) encoded: Vec<u8>,
    pub(super) balances: Vec<u64>,
    /// Of the epoch before.
    pub(super) flags: Vec<u8>,
    pub(super) compounding: Vec<u32>,
}

/// A round of the withdrawal sweep.
struct Round {
    epochs: f64,
    /// What a validator of 32 ETH that votes in time gets for an epoch, in Gwei.
    reward: f64,
    /// Blocks that a validator proposes.
    proposals: f64,
}

/// What neighbours in the registry share.
struct Neighbours {
    is_active: bool,
    prefix: u8,
    address: [u8; 20],
}

/// The columns of a validator besides its key and credentials.
struct Entry {
    prefix: u8,
    balance: u64,
    effective: u64,
    activation: u64,
    exit: u64,
    flags: u8,
}

impl<'p> Population<'p> {
    /// All validators at the start of an epoch.
    pub(super) fn new(
        rules: &Arc<ChainRules>,
        parameters: &'p SyntheticParameters,
        epoch: u64,
    ) -> Self {
        let mut numbers = drawn(parameters.seed, OF_POPULATION, 0);
        let mut population = Self {
            parameters,
            keys: Keys::new(&mut numbers),
            epoch,
            withdrawability_delay: rules.config.min_validator_withdrawability_delay,
            swept: numbers.below(parameters.registry.max(1) as u64),
            numbers,
            round: Round::new(rules, parameters),
            active_left: parameters.active.min(parameters.registry),
            encoded: Vec::with_capacity(parameters.registry * VALIDATOR_BYTES),
            balances: Vec::with_capacity(parameters.registry),
            flags: Vec::with_capacity(parameters.registry),
            compounding: Vec::new(),
        };
        while population.balances.len() < parameters.registry {
            population.add_neighbours();
        }
        population
    }

    fn add_neighbours(&mut self) {
        let left = self.parameters.registry - self.balances.len();
        let is_active = self.numbers.below(left as u64) < self.active_left as u64;
        let of_kind = if is_active { self.active_left } else { left - self.active_left };
        let mean = self.parameters.neighbours.max(1) as u64;
        let count = super::length(1 + self.numbers.below(2 * mean - 1)).min(of_kind);
        let has_bls = self.numbers.unit() < self.parameters.bls_credentials;
        let prefix = if has_bls { BLS_WITHDRAWAL_PREFIX } else { ETH1_ADDRESS_WITHDRAWAL_PREFIX };
        let neighbours = Neighbours { is_active, prefix, address: self.numbers.array() };
        for _ in 0..count {
            let entry = if is_active { self.active(&neighbours) } else { self.exited(&neighbours) };
            self.add(&neighbours, &entry);
        }
        self.active_left -= if is_active { count } else { 0 };
    }

    /// Validators were activated in the order of their indices, and all of them a while ago.
    fn activation(&self) -> u64 {
        let registry = self.parameters.registry as u64;
        self.epoch.saturating_sub(1024) * self.balances.len() as u64 / registry
    }

    /// Withdrawn, unless its credentials do not allow it.
    fn exited(&mut self, neighbours: &Neighbours) -> Entry {
        let activation = self.activation();
        let last = self.epoch.saturating_sub(2 * self.withdrawability_delay).max(activation + 1);
        let exit = activation + 1 + self.numbers.below(last - activation);
        let kept = u64::from(neighbours.prefix == BLS_WITHDRAWAL_PREFIX) * MIN_ACTIVATION_BALANCE;
        Entry {
            prefix: neighbours.prefix,
            balance: kept,
            effective: kept,
            activation,
            exit,
            flags: 0,
        }
    }

    fn active(&mut self, neighbours: &Neighbours) -> Entry {
        let (index, activation) = (self.balances.len(), self.activation());
        let validator = u32::try_from(index).unwrap_or(u32::MAX);
        let mut prefix = neighbours.prefix;
        if self.numbers.unit() < self.parameters.compounding {
            prefix = COMPOUNDING_WITHDRAWAL_PREFIX;
            self.compounding.push(validator);
        }
        let (effective, excess) = self.stake(validator, prefix);
        let mut exit = FAR_FUTURE_EPOCH;
        // Those that left and are not withdrawn yet, and those in the exit queue.
        let (left, queue) = (self.withdrawability_delay, self.parameters.exit_queue);
        let leaving = f64::from(u32::try_from(left + queue).unwrap_or(u32::MAX)) * EXITS_PER_EPOCH;
        if self.numbers.unit() * 1e6 < leaving {
            exit = (self.epoch + self.numbers.below(left + queue)).saturating_sub(left);
        }
        let is_active = exit >= self.epoch;
        let flags = self.parameters.vote(self.epoch - 1, validator).flags();
        let flags = if is_active { flags } else { 0 };
        Entry { prefix, balance: effective + excess, effective, activation, exit, flags }
    }

    /// Effective balance and what the balance has above it.
    fn stake(&mut self, validator: u32, prefix: u8) -> (u64, u64) {
        let gwei = EFFECTIVE_BALANCE_INCREMENT;
        if prefix == COMPOUNDING_WITHDRAWAL_PREFIX {
            let ether = 32.0 * 64f64.powf(self.numbers.unit());
            return (whole(ether) * gwei, self.numbers.below(gwei * 6 / 5));
        }
        if self.parameters.is_offline(validator) {
            return (MIN_ACTIVATION_BALANCE - gwei, self.numbers.below(gwei * 9 / 10));
        }
        if prefix == BLS_WITHDRAWAL_PREFIX {
            return (MIN_ACTIVATION_BALANCE, self.numbers.below(4 * gwei));
        }
        let excess = self.excess(u64::from(validator));
        (MIN_ACTIVATION_BALANCE, excess)
    }

    /// What a validator got since it was swept.
    fn excess(&mut self, index: u64) -> u64 {
        let registry = self.parameters.registry as u64;
        let distance = (self.swept + registry - 1 - index) % registry;
        let part = ratio(distance, registry);
        let epochs = self.round.epochs * part;
        let SyntheticParameters { absent, wrong_head, late, very_late, .. } = self.parameters;
        let missed = epochs * (absent + wrong_head + late + very_late) * self.numbers.unit();
        let mut excess = whole((epochs - missed).max(0.0) * self.round.reward);
        if self.numbers.unit() < self.round.proposals * part {
            excess += PROPOSAL + self.numbers.below(PROPOSAL_SPREAD);
        }
        excess
    }

    fn add(&mut self, neighbours: &Neighbours, entry: &Entry) {
        let pubkey: Pubkey = match neighbours.is_active {
            true => self.keys.next().unwrap_or([0; 48]),
            // No longer part of a sync committee, so any bytes will do.
            false => self.numbers.array(),
        };
        let mut credentials = [0; 32];
        match entry.prefix {
            BLS_WITHDRAWAL_PREFIX => credentials = hash(&[&pubkey]),
            _ => credentials[12..].copy_from_slice(&neighbours.address),
        }
        credentials[0] = entry.prefix;
        self.encoded.extend(pubkey);
        self.encoded.extend(credentials);
        self.encoded.extend(entry.effective.to_le_bytes());
        self.encoded.push(0);
        let withdrawable = entry.exit.saturating_add(self.withdrawability_delay);
        let eligible = entry.activation.saturating_sub(8);
        for epoch in [eligible, entry.activation, entry.exit, withdrawable] {
            self.encoded.extend(epoch.to_le_bytes());
        }
        self.balances.push(entry.balance);
        self.flags.push(entry.flags);
    }
}

impl Round {
    fn new(rules: &Arc<ChainRules>, parameters: &SyntheticParameters) -> Self {
        let preset = rules.values();
        let active = parameters.active.max(1) as u64;
        // The mean of a compounding validator is 485 ETH.
        let ether = 32.0 + (485.0 - 32.0) * parameters.compounding;
        let total = whole(ether * ratio(active * EFFECTIVE_BALANCE_INCREMENT, 1)).max(1);
        let per_increment = EFFECTIVE_BALANCE_INCREMENT * preset.base_reward_factor / total.isqrt();
        let weights: u64 = PARTICIPATION_FLAG_WEIGHTS.iter().sum();
        let per_epoch = preset.max_withdrawals_per_payload * preset.slots_per_epoch;
        Self {
            epochs: ratio(active, per_epoch),
            reward: ratio(32 * per_increment * weights, WEIGHT_DENOMINATOR),
            proposals: ratio(1, preset.max_withdrawals_per_payload),
        }
    }
}

/// Multiples of one public key, since sync committees are made of points of the curve only.
pub(super) struct Keys {
    key: PublicKey,
    sum: AggregatePublicKey,
}

impl Keys {
    pub(super) fn new(numbers: &mut Numbers) -> Self {
        let key = SecretKey::key_gen(&numbers.bytes(32), &[]).unwrap_or_default().sk_to_pk();
        Self { key, sum: AggregatePublicKey::from_public_key(&key) }
    }
}

impl Iterator for Keys {
    type Item = Pubkey;

    fn next(&mut self) -> Option<Pubkey> {
        // A point of its own group is added to a sum in it.
        let added = self.sum.add_public_key(&self.key, false);
        debug_assert!(added.is_ok());
        Some(self.sum.to_public_key().compress())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a mean")]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to as f64
}
