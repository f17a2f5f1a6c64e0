//! `process_operations`: slashings, attestations, deposits, exits, and changes of credentials.

use super::block::{Bits, Block, Value};
use super::constants::{
    DEPOSIT_CONTRACT_TREE_DEPTH, EFFECTIVE_BALANCE_INCREMENT, ETH1_ADDRESS_WITHDRAWAL_PREFIX,
    FAR_FUTURE_EPOCH, MAX_DEPOSITS, MIN_ATTESTATION_INCLUSION_DELAY, PARTICIPATION_FLAG_WEIGHTS,
    PROPOSER_WEIGHT, TIMELY_HEAD_FLAG_INDEX, TIMELY_SOURCE_FLAG_INDEX, TIMELY_TARGET_FLAG_INDEX,
    WEIGHT_DENOMINATOR,
};
use super::containers::{AttestationData, Fields, PendingAttestation};
use super::error::{Result, ensure, ensure_equal, refused};
use super::shuffling::hash;
use super::state::{BeaconState, at_mut};
use crate::fork::Fork;
use crate::header::BlockHeader;
use crate::sha256::hash_pair;

impl BeaconState<'_> {
    /// `process_operations` (phase0, capella, electra, fulu)
    pub(crate) fn process_operations(&mut self, block: &Block<'_>) -> Result<()> {
        let deposits = block.part("deposits");
        let wanted = self.expected_deposits()?;
        let found = deposits.elements().len() as u64;
        ensure_equal("process_operations", "deposits:", wanted, found)?;
        for slashing in block.part("proposer_slashings").elements() {
            self.process_proposer_slashing(slashing)?;
        }
        for slashing in block.part("attester_slashings").elements() {
            self.process_attester_slashing(slashing)?;
        }
        for attestation in block.part("attestations").elements() {
            self.process_attestation(attestation)?;
        }
        for deposit in deposits.elements() {
            self.process_deposit(deposit)?;
        }
        for exit in block.part("voluntary_exits").elements() {
            self.process_voluntary_exit(exit)?;
        }
        if self.fork_name >= Fork::Capella {
            for change in block.part("bls_to_execution_changes").elements() {
                self.process_bls_to_execution_change(change)?;
            }
        }
        if self.fork_name >= Fork::Electra {
            let requests = block.part("execution_requests");
            for request in requests.field("deposits").elements() {
                self.process_deposit_request(request)?;
            }
            for request in requests.field("withdrawals").elements() {
                self.process_withdrawal_request(request)?;
            }
            for request in requests.field("consolidations").elements() {
                self.process_consolidation_request(request)?;
            }
        }
        Ok(())
    }

    /// The number of deposits that a block has: those that the deposit contract holds and the state does not.
    /// Electra ends with the first deposit of a request, and fulu has none.
    fn expected_deposits(&self) -> Result<u64> {
        let count = self.eth1_data.deposit_count;
        let missing = match self.fork_name {
            Fork::Fulu => return Ok(0),
            Fork::Electra => {
                count.min(self.deposit_requests_start_index).saturating_sub(self.eth1_deposit_index)
            }
            _ => {
                let wanted = || format!("at least {} deposits", self.eth1_deposit_index);
                let missing = count.checked_sub(self.eth1_deposit_index);
                missing.ok_or_else(|| refused("process_operations", wanted(), count))?
            }
        };
        Ok(missing.min(MAX_DEPOSITS))
    }

    /// `process_proposer_slashing` (phase0)
    pub(crate) fn process_proposer_slashing(&mut self, slashing: Value<'_>) -> Result<()> {
        let step = "process_proposer_slashing";
        let header =
            |name| BlockHeader::read(Fields(slashing.field(name).field("message").bytes).borrow());
        let (first, second) = (header("signed_header_1"), header("signed_header_2"));
        ensure_equal(step, "two headers of slot", first.slot, second.slot)?;
        ensure_equal(step, "two headers of proposer", first.proposer_index, second.proposer_index)?;
        let is_different = || "two different headers".to_owned();
        ensure(first != second, step, is_different, || "one header twice".to_owned())?;
        let proposer = self.validator(first.proposer_index, step)?;
        self.ensure_slashable(proposer, step)?;
        self.slash_validator(proposer)
    }

    fn ensure_slashable(&self, index: usize, step: &'static str) -> Result<()> {
        ensure(
            self.validators.is_slashable(index, self.current_epoch()),
            step,
            || "a validator that can be slashed".to_owned(),
            || format!("validator {index}, which cannot"),
        )
    }

    /// `process_attester_slashing` (phase0)
    pub(crate) fn process_attester_slashing(&mut self, slashing: Value<'_>) -> Result<()> {
        let step = "process_attester_slashing";
        let (first, second) = (slashing.field("attestation_1"), slashing.field("attestation_2"));
        ensure(
            is_slashable_attestation_data(&first.data(), &second.data()),
            step,
            || "a double vote or a surround vote".to_owned(),
            || "attestations that do not contradict each other".to_owned(),
        )?;
        let (first, second) = (self.attesters(first, step)?, self.attesters(second, step)?);
        let epoch = self.current_epoch();
        let mut is_any_slashed = false;
        // Both lists ascend.
        for index in first.into_iter().filter(|index| second.binary_search(index).is_ok()) {
            if self.validators.is_slashable(index, epoch) {
                self.slash_validator(index)?;
                is_any_slashed = true;
            }
        }
        ensure(
            is_any_slashed,
            step,
            || "a validator in both attestations that can be slashed".to_owned(),
            || "none".to_owned(),
        )
    }

    /// `is_valid_indexed_attestation` (phase0), without the signature.
    fn attesters(&self, attestation: Value<'_>, step: &'static str) -> Result<Vec<usize>> {
        let encoded = attestation.field("attesting_indices").bytes;
        let indices = encoded.as_chunks().0.iter().map(|index| u64::from_le_bytes(*index));
        let indices: Vec<usize> =
            indices.map(|index| self.validator(index, step)).collect::<Result<_>>()?;
        let ascend = !indices.is_empty() && indices.is_sorted_by(|left, right| left < right);
        let wanted = || "indices of attesters that ascend".to_owned();
        ensure(ascend, step, wanted, || format!("{} indices, which do not", indices.len()))?;
        Ok(indices)
    }

    /// `process_attestation` (phase0, altair, deneb, electra)
    pub(crate) fn process_attestation(&mut self, attestation: Value<'_>) -> Result<()> {
        let step = "process_attestation";
        let data = attestation.data();
        self.check_attestation_slot(&data)?;
        let committees = self.committees(data.target.epoch);
        let bits = attestation.field("aggregation_bits").bytes;
        let aggregation_bits = Bits::of_list(bits);
        // Up to deneb, an attestation names its committee; from electra on, it has one bit for each.
        let indices: &mut dyn Iterator<Item = usize> = if self.fork_name >= Fork::Electra {
            ensure_equal(step, "index", 0, data.index)?;
            &mut Bits::of_vector(attestation.field("committee_bits").bytes).ones()
        } else {
            &mut std::iter::once(usize::try_from(data.index).unwrap_or(usize::MAX))
        };
        let is_phase0 = self.fork_name == Fork::Phase0;
        let flags =
            if is_phase0 { 0 } else { self.attestation_flags(&data, self.slot - data.slot)? };
        let (mut offset, mut increments) = (0, [0u64; 1 << PARTICIPATION_FLAG_WEIGHTS.len()]);
        for index in indices {
            let index = index as u64;
            let wanted = || format!("a committee below {}", committees.per_slot);
            ensure(index < committees.per_slot, step, wanted, || index.to_string())?;
            let committee = committees.of(data.slot, index);
            let attesters = || {
                let is_set = |(place, _): &(usize, &u32)| aggregation_bits.get(offset + place);
                committee
                    .iter()
                    .enumerate()
                    .filter(is_set)
                    .map(|(_, validator)| *validator as usize)
            };
            ensure(
                attesters().next().is_some(),
                step,
                || format!("an attester of committee {index}"),
                || "none".to_owned(),
            )?;
            if !is_phase0 {
                self.add_flags(data.target.epoch, attesters(), flags, &mut increments);
            }
            offset += committee.len();
        }
        // Without a committee there is no attester either (`is_valid_indexed_attestation`).
        ensure(offset > 0, step, || "an attester".to_owned(), || "none".to_owned())?;
        ensure_equal(step, "aggregation bits:", offset, aggregation_bits.count)?;
        if is_phase0 {
            return self.keep_attestation(data, bits);
        }
        self.reward_proposer_of_attestation(&increments)
    }

    /// The conditions on the slot and epoch of an attestation.
    fn check_attestation_slot(&self, data: &AttestationData) -> Result<()> {
        let step = "process_attestation";
        let (current, previous) = (self.current_epoch(), self.previous_epoch());
        let target = data.target.epoch;
        ensure(
            target == current || target == previous,
            step,
            || format!("target epoch {previous} or {current}"),
            || target.to_string(),
        )?;
        ensure_equal(step, "target epoch", self.epoch_at(data.slot), target)?;
        // Deneb removed the upper bound (EIP-7045).
        let last = match self.fork_name >= Fork::Deneb {
            true => u64::MAX,
            false => data.slot.saturating_add(self.preset().slots_per_epoch),
        };
        let first = data.slot.saturating_add(MIN_ATTESTATION_INCLUSION_DELAY);
        ensure(
            (first..=last).contains(&self.slot),
            step,
            || format!("inclusion from slot {first} to slot {last}"),
            || self.slot.to_string(),
        )
    }

    /// `get_attestation_participation_flag_indices` (altair, deneb), as bits.
    pub(crate) fn attestation_flags(&self, data: &AttestationData, delay: u64) -> Result<u8> {
        let step = "get_attestation_participation_flag_indices";
        let justified = match data.target.epoch == self.current_epoch() {
            true => self.current_justified_checkpoint,
            false => self.previous_justified_checkpoint,
        };
        ensure_equal(step, "source", justified, data.source)?;
        let is_target = data.target.root == self.block_root(data.target.epoch, step)?;
        let is_head = is_target && data.beacon_block_root == self.block_root_at(data.slot, step)?;
        let slots = self.preset().slots_per_epoch;
        let mut flags = 0;
        if delay <= slots.isqrt() {
            flags |= 1 << TIMELY_SOURCE_FLAG_INDEX;
        }
        if is_target && (delay <= slots || self.fork_name >= Fork::Deneb) {
            flags |= 1 << TIMELY_TARGET_FLAG_INDEX;
        }
        if is_head && delay == MIN_ATTESTATION_INCLUSION_DELAY {
            flags |= 1 << TIMELY_HEAD_FLAG_INDEX;
        }
        Ok(flags)
    }

    /// Sets flags of attesters. Adds their effective balances, in increments, to the sums by the set of flags
    /// that are new: the proposer's reward depends on nothing else.
    fn add_flags(
        &mut self,
        target_epoch: u64,
        attesters: impl Iterator<Item = usize>,
        flags: u8,
        increments: &mut [u64; 1 << PARTICIPATION_FLAG_WEIGHTS.len()],
    ) {
        let (participation, changes) = match target_epoch == self.current_epoch() {
            true => (
                &mut self.current_epoch_participation,
                &mut self.changes.current_epoch_participation,
            ),
            false => (
                &mut self.previous_epoch_participation,
                &mut self.changes.previous_epoch_participation,
            ),
        };
        // Balances lie far apart, and a loop that only reads them waits for more of them at a time: a slot with
        // a block of 115 kB takes 1.49 ms so, 1.98 in one loop.
        let fresh = &mut self.caches.fresh_attesters;
        for validator in attesters {
            let known = &mut participation[validator];
            let new = flags & !*known;
            // Most attesters were seen before, in another aggregate.
            if new != 0 {
                *known |= flags;
                changes.mark(validator);
                fresh.push((validator, new));
            }
        }
        for (validator, new) in fresh.drain(..) {
            let effective = self.validators.effective_balance[validator];
            increments[usize::from(new)] += effective / EFFECTIVE_BALANCE_INCREMENT;
        }
    }

    fn reward_proposer_of_attestation(&mut self, increments: &[u64]) -> Result<()> {
        let step = "process_attestation";
        let weight_of = |flags: usize| -> u64 {
            let weights = PARTICIPATION_FLAG_WEIGHTS.iter().enumerate();
            weights.filter(|(flag, _)| flags >> flag & 1 == 1).map(|(_, weight)| weight).sum()
        };
        let per_increment = u128::from(self.base_reward_per_increment());
        let sums = increments.iter().enumerate();
        let weighted: u128 =
            sums.map(|(flags, sum)| u128::from(*sum) * u128::from(weight_of(flags))).sum();
        let denominator =
            (WEIGHT_DENOMINATOR - PROPOSER_WEIGHT) * WEIGHT_DENOMINATOR / PROPOSER_WEIGHT;
        let reward = weighted * per_increment / u128::from(denominator);
        let reward =
            u64::try_from(reward).map_err(|_| refused(step, "a reward below 2^64", reward))?;
        let proposer = self.beacon_proposer_index(step)?;
        self.increase_balance(proposer, reward, step)
    }

    /// Phase0 keeps attestations until the end of the next epoch.
    fn keep_attestation(&mut self, data: AttestationData, bits: &[u8]) -> Result<()> {
        let step = "process_attestation";
        let pending = PendingAttestation {
            aggregation_bits: bits.into(),
            data,
            inclusion_delay: self.slot - data.slot,
            proposer_index: self.beacon_proposer_index(step)? as u64,
        };
        let limit = super::constants::MAX_ATTESTATIONS * self.preset().slots_per_epoch;
        let (source, list) = match data.target.epoch == self.current_epoch() {
            true => (self.current_justified_checkpoint, &mut self.current_epoch_attestations),
            false => (self.previous_justified_checkpoint, &mut self.previous_epoch_attestations),
        };
        ensure_equal(step, "source", source, data.source)?;
        let wanted = || format!("at most {limit} attestations of an epoch");
        ensure((list.len() as u64) < limit, step, wanted, || "one more".to_owned())?;
        list.push(pending);
        Ok(())
    }

    /// `process_deposit` (phase0)
    pub(crate) fn process_deposit(&mut self, deposit: Value<'_>) -> Result<()> {
        let step = "process_deposit";
        let data = deposit.field("data");
        let mut root = data.root(step)?;
        for (depth, node) in deposit.field("proof").bytes.as_chunks().0.iter().enumerate() {
            // The last node is the number of deposits.
            let is_right =
                depth < DEPOSIT_CONTRACT_TREE_DEPTH && self.eth1_deposit_index >> depth & 1 == 1;
            root = if is_right { hash_pair(node, &root) } else { hash_pair(&root, node) };
        }
        ensure_equal(step, "deposit root", self.eth1_data.deposit_root, root.into())?;
        self.eth1_deposit_index += 1;
        let mut fields = Fields(data.bytes);
        let (pubkey, credentials) = (fields.bytes(), fields.bytes());
        let (amount, signature) = (fields.number(), fields.bytes());
        self.apply_deposit(pubkey, credentials, amount, signature)
    }

    /// `process_voluntary_exit` (phase0, electra)
    pub(crate) fn process_voluntary_exit(&mut self, exit: Value<'_>) -> Result<()> {
        let step = "process_voluntary_exit";
        let message = exit.field("message");
        let (from, index) = (message.number("epoch"), message.number("validator_index"));
        let index = self.validator(index, step)?;
        let (current, validators) = (self.current_epoch(), &self.validators);
        let found = || format!("validator {index}");
        ensure(
            validators.is_active(index, current)
                && validators.exit_epoch[index] == FAR_FUTURE_EPOCH,
            step,
            || "an active validator that does not exit yet".to_owned(),
            found,
        )?;
        let served = self.config().shard_committee_period;
        let earliest = from.max(validators.activation_epoch[index].saturating_add(served));
        let wanted = || format!("an exit from epoch {earliest} on");
        ensure(current >= earliest, step, wanted, || format!("one in epoch {current}"))?;
        if self.fork_name >= Fork::Electra {
            let pending = self.pending_balance_to_withdraw(index);
            let wanted = || "a validator without pending withdrawals".to_owned();
            ensure(pending == 0, step, wanted, || format!("{pending} Gwei of validator {index}"))?;
        }
        self.initiate_validator_exit(index)
    }

    /// `process_bls_to_execution_change` (capella)
    pub(crate) fn process_bls_to_execution_change(&mut self, change: Value<'_>) -> Result<()> {
        let step = "process_bls_to_execution_change";
        let message = change.field("message");
        let index = self.validator(message.number("validator_index"), step)?;
        let pubkey = message.field("from_bls_pubkey").bytes;
        let wanted = || format!("the key of validator {index}'s BLS credentials");
        let credentials = self.validators.withdrawal_credentials(index);
        let is_its =
            self.validators.has_bls_credential(index) && credentials[1..] == hash(&[pubkey])[1..];
        ensure(is_its, step, wanted, || const_hex::encode_prefixed(pubkey))?;
        let mut credentials = [0; 32];
        credentials[0] = ETH1_ADDRESS_WITHDRAWAL_PREFIX;
        credentials[12..].copy_from_slice(message.field("to_execution_address").bytes);
        self.validators.set_withdrawal_credentials(index, credentials);
        self.changes.validators.mark(index);
        Ok(())
    }

    /// `initiate_validator_exit` (phase0, electra)
    pub(crate) fn initiate_validator_exit(&mut self, index: usize) -> Result<()> {
        let step = "initiate_validator_exit";
        if self.validators.exit_epoch[index] != FAR_FUTURE_EPOCH {
            return Ok(());
        }
        let exit_epoch = if self.fork_name >= Fork::Electra {
            let balance = self.validators.effective_balance[index];
            self.compute_exit_epoch_and_update_churn(balance)?
        } else {
            self.next_exit_epoch()
        };
        let delay = self.config().min_validator_withdrawability_delay;
        self.changes.validators.mark(index);
        self.validators.exit_epoch[index] = exit_epoch;
        self.validators.withdrawable_epoch[index] = super::error::add(step, exit_epoch, delay)?;
        Ok(())
    }

    /// The epoch of the next exit, by the number of validators that exit (phase0).
    fn next_exit_epoch(&mut self) -> u64 {
        let mut queue = self.exit_queue();
        let earliest = super::state::compute_activation_exit_epoch(self.current_epoch());
        if queue.epoch < earliest {
            queue = super::cache::ExitQueue { epoch: earliest, churn: 0 };
        }
        if queue.churn >= self.validator_churn_limit() {
            queue = super::cache::ExitQueue { epoch: queue.epoch + 1, churn: 0 };
        }
        queue.churn += 1;
        self.set_exit_queue(queue);
        queue.epoch
    }

    /// `get_validator_churn_limit` (phase0)
    pub(crate) fn validator_churn_limit(&mut self) -> u64 {
        let count = self.total_active().count;
        self.config().min_per_epoch_churn_limit.max(count / self.config().churn_limit_quotient)
    }

    /// `slash_validator` (phase0, altair, bellatrix, electra); the whistleblower is always the proposer.
    fn slash_validator(&mut self, index: usize) -> Result<()> {
        let step = "slash_validator";
        let (epoch, preset) = (self.current_epoch(), self.preset());
        self.initiate_validator_exit(index)?;
        self.changes.validators.mark(index);
        self.validators.slashed[index] = true;
        let withdrawable = &mut self.validators.withdrawable_epoch[index];
        *withdrawable = (*withdrawable).max(epoch + preset.epochs_per_slashings_vector);
        let effective = self.validators.effective_balance[index];
        self.changes.slashings.mark_at(epoch % preset.epochs_per_slashings_vector);
        let slashed = at_mut(&mut self.slashings, epoch % preset.epochs_per_slashings_vector);
        *slashed = super::error::add(step, *slashed, effective)?;
        let quotient = preset.min_slashing_penalty_quotient_in(self.fork_name);
        self.decrease_balance(index, effective / quotient);
        let reward = effective / preset.whistleblower_reward_quotient_in(self.fork_name);
        let proposer = self.beacon_proposer_index(step)?;
        self.increase_balance(proposer, reward, step)
    }
}

/// `is_slashable_attestation_data` (phase0)
fn is_slashable_attestation_data(first: &AttestationData, second: &AttestationData) -> bool {
    let is_double_vote = first != second && first.target.epoch == second.target.epoch;
    let surrounds =
        first.source.epoch < second.source.epoch && second.target.epoch < first.target.epoch;
    is_double_vote || surrounds
}
