//! What is computed from a state once and used many times: totals, committees, the proposer, queues.
//!
//! Every entry names the epoch or slot for which it holds, and is dropped where its basis changes.

use std::sync::Arc;

use super::committees::{Committees, seed};
use super::constants::{
    DOMAIN_BEACON_PROPOSER, DOMAIN_SYNC_COMMITTEE, EFFECTIVE_BALANCE_INCREMENT, FAR_FUTURE_EPOCH,
    MAX_EFFECTIVE_BALANCE, MAX_EFFECTIVE_BALANCE_ELECTRA,
};
use super::error::{Result, refused};
use super::shuffling::{ShuffledIndices, hash};
use super::state::{BeaconState, at};
use crate::fork::Fork;
use crate::root::Root;
use crate::sha256::Node;

/// Validators drawn in a row that may fail.
const MAX_DRAWS: u64 = 1 << 18;

#[derive(Clone, Debug, Default)]
pub(crate) struct Caches {
    total_active: Option<TotalActive>,
    committees: [Option<Arc<Committees>>; 2],
    proposer: Option<(u64, usize)>,
    /// Indices of `current_sync_committee`.
    sync_committee: Option<Arc<[u32]>>,
    exit_queue: Option<ExitQueue>,
    /// Room for a committee's attesters with new flags, and those flags.
    pub(crate) fresh_attesters: Vec<(usize, u8)>,
}

/// The active validators of the current epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TotalActive {
    epoch: u64,
    /// `get_total_active_balance`
    pub(crate) balance: u64,
    pub(crate) count: u64,
    /// `integer_squareroot` of the balance.
    pub(crate) balance_root: u64,
}

/// The last epoch in which validators exit, and how many do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExitQueue {
    pub(crate) epoch: u64,
    pub(crate) churn: u64,
}

impl BeaconState<'_> {
    /// Drops what depends on the epoch, at its end.
    pub(crate) fn drop_caches_of_epoch(&mut self) {
        self.caches.total_active = None;
        self.caches.proposer = None;
        // A shuffling stays right: who is active in an epoch is known before it begins.
    }

    /// Drops what is known of the current sync committee.
    pub(crate) fn drop_sync_committee_cache(&mut self) {
        self.caches.sync_committee = None;
    }

    /// `get_total_active_balance`, and the number of those validators.
    pub(crate) fn total_active(&mut self) -> TotalActive {
        let epoch = self.current_epoch();
        if let Some(total) = self.caches.total_active.filter(|total| total.epoch == epoch) {
            return total;
        }
        let validators = &self.validators;
        let (mut balance, mut count) = (0u64, 0);
        for index in 0..validators.len() {
            let is_active = u64::from(validators.is_active(index, epoch));
            balance = balance.saturating_add(validators.effective_balance[index] * is_active);
            count += is_active;
        }
        let balance = balance.max(EFFECTIVE_BALANCE_INCREMENT);
        let total = TotalActive { epoch, balance, count, balance_root: balance.isqrt() };
        self.caches.total_active = Some(total);
        total
    }

    /// `get_active_validator_indices`
    pub(crate) fn active_validator_indices(&self, epoch: u64) -> Vec<u32> {
        let is_active = |index: &u32| self.validators.is_active(*index as usize, epoch);
        self.validators.indices().filter(is_active).collect()
    }

    /// `get_seed`
    pub(crate) fn seed(&self, epoch: u64, domain_type: [u8; 4]) -> Node {
        seed(epoch, domain_type, self.seed_mix(epoch))
    }

    fn seed_mix(&self, epoch: u64) -> &Root {
        &self.randao_mixes[Committees::mix_place(self.rules.preset(), epoch)]
    }

    /// The committees of the current or the previous epoch.
    pub fn committees(&mut self, epoch: u64) -> Arc<Committees> {
        let place = (epoch % 2) as usize;
        if let Some(known) = &self.caches.committees[place]
            && known.epoch() == epoch
        {
            return Arc::clone(known);
        }
        let active = self.active_validator_indices(epoch);
        let preset = self.rules.preset();
        let committees = Arc::new(Committees::new(preset, epoch, active, self.seed_mix(epoch)));
        self.caches.committees[place] = Some(Arc::clone(&committees));
        committees
    }

    /// `get_beacon_proposer_index`
    pub(crate) fn beacon_proposer_index(&mut self, step: &'static str) -> Result<usize> {
        if let Some((slot, proposer)) = self.caches.proposer
            && slot == self.slot
        {
            return Ok(proposer);
        }
        let proposer = if self.fork_name >= Fork::Fulu {
            let index = *at(&self.proposer_lookahead, self.slot % self.preset().slots_per_epoch);
            self.validator(index, step)?
        } else {
            let epoch = self.current_epoch();
            let seed = self.seed(epoch, DOMAIN_BEACON_PROPOSER);
            let seed = hash(&[&seed, &self.slot.to_le_bytes()]);
            self.proposer_index(&self.active_validator_indices(epoch), &seed, step)?
        };
        self.caches.proposer = Some((self.slot, proposer));
        Ok(proposer)
    }

    /// `compute_proposer_index`
    fn proposer_index(&self, indices: &[u32], seed: &Node, step: &'static str) -> Result<usize> {
        let mut found = None;
        self.sample(indices, seed, step, |index| {
            found = Some(index);
            true
        })?;
        found.ok_or_else(|| refused(step, "a proposer", "none"))
    }

    /// Draws active validators at random by their effective balances, until `take` is satisfied.
    ///
    /// Electra draws with 16 bits and up to its higher effective balance, before it 8 bits are used.
    ///
    /// Refuses a state in which [`MAX_DRAWS`] in a row fail: validators with a 2048th of the largest effective
    /// balance are drawn in fewer with a probability of 1 - e^-128.
    fn sample(
        &self,
        indices: &[u32],
        seed: &Node,
        step: &'static str,
        mut take: impl FnMut(usize) -> bool,
    ) -> Result<()> {
        let has_stake = |index: &u32| self.validators.effective_balance[*index as usize] > 0;
        if !indices.iter().any(has_stake) {
            return Err(refused(step, "active validators with effective balances", "none"));
        }
        let is_electra = self.fork_name >= Fork::Electra;
        let (per_hash, largest, max_random) = match is_electra {
            true => (16, MAX_EFFECTIVE_BALANCE_ELECTRA, u64::from(u16::MAX)),
            false => (32, MAX_EFFECTIVE_BALANCE, u64::from(u8::MAX)),
        };
        let total = indices.len() as u64;
        let shuffled = ShuffledIndices::new(seed, total, self.preset().shuffle_round_count);
        let (mut random, mut failed): (Node, u64) = ([0; 32], 0);
        for draw in 0u64.. {
            if draw % per_hash == 0 {
                random = hash(&[seed, &(draw / per_hash).to_le_bytes()]);
            }
            #[expect(clippy::cast_possible_truncation, reason = "below 32")]
            let place = (draw % per_hash) as usize;
            let value = match is_electra {
                true => u64::from(u16::from_le_bytes([random[2 * place], random[2 * place + 1]])),
                false => u64::from(random[place]),
            };
            let index = *at(indices, shuffled.of(draw % total)) as usize;
            let effective = u128::from(self.validators.effective_balance[index]);
            let is_drawn =
                effective * u128::from(max_random) >= u128::from(largest) * u128::from(value);
            if is_drawn && take(index) {
                break;
            }
            failed = if is_drawn { 0 } else { failed + 1 };
            if failed == MAX_DRAWS {
                return Err(refused(step, "validators with effective balances", "too few"));
            }
        }
        Ok(())
    }

    /// `get_beacon_proposer_indices` (fulu)
    pub(crate) fn beacon_proposer_indices(&self, epoch: u64) -> Result<Vec<u64>> {
        let step = "get_beacon_proposer_indices";
        let indices = self.active_validator_indices(epoch);
        let seed = self.seed(epoch, DOMAIN_BEACON_PROPOSER);
        let slots = self.preset().slots_per_epoch;
        let start = epoch.saturating_mul(slots);
        let of_slot = |slot: u64| {
            let seed = hash(&[&seed, &start.saturating_add(slot).to_le_bytes()]);
            self.proposer_index(&indices, &seed, step).map(|index| index as u64)
        };
        (0..slots).map(of_slot).collect()
    }

    /// `get_next_sync_committee_indices` (altair, electra)
    pub(crate) fn next_sync_committee_indices(&self) -> Result<Vec<usize>> {
        let epoch = self.current_epoch() + 1;
        let seed = self.seed(epoch, DOMAIN_SYNC_COMMITTEE);
        let indices = self.active_validator_indices(epoch);
        let (mut members, wanted) = (Vec::new(), self.preset().sync_committee_size);
        self.sample(&indices, &seed, "get_next_sync_committee_indices", |index| {
            members.push(index);
            members.len() as u64 == wanted
        })?;
        Ok(members)
    }

    /// The validators of `current_sync_committee`.
    pub(crate) fn sync_committee_indices(&mut self, step: &'static str) -> Result<Arc<[u32]>> {
        if let Some(known) = &self.caches.sync_committee {
            return Ok(Arc::clone(known));
        }
        let mut indices = Vec::with_capacity(self.current_sync_committee.pubkeys.len());
        for pubkey in &self.current_sync_committee.pubkeys {
            let unknown = || refused(step, "a key of a validator", const_hex::encode(pubkey));
            let index = self.validators.index_of(pubkey).ok_or_else(unknown)?;
            indices.push(u32::try_from(index).unwrap_or(u32::MAX));
        }
        let indices: Arc<[u32]> = indices.into();
        self.caches.sync_committee = Some(Arc::clone(&indices));
        Ok(indices)
    }

    /// The last exit epoch of all validators and its churn, before electra.
    pub(crate) fn exit_queue(&mut self) -> ExitQueue {
        if let Some(queue) = self.caches.exit_queue {
            return queue;
        }
        let mut queue = ExitQueue { epoch: 0, churn: 0 };
        for epoch in self.validators.exit_epoch.iter().filter(|epoch| **epoch != FAR_FUTURE_EPOCH) {
            if *epoch > queue.epoch {
                queue = ExitQueue { epoch: *epoch, churn: 0 };
            }
            queue.churn += u64::from(*epoch == queue.epoch);
        }
        self.caches.exit_queue = Some(queue);
        queue
    }

    pub(crate) fn set_exit_queue(&mut self, queue: ExitQueue) {
        self.caches.exit_queue = Some(queue);
    }
}
