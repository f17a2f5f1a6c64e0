//! `process_block`: the parts of a block in the order of the specification.

use super::block::{Bits, Block, Payload, Value};
use super::constants::{PROPOSER_WEIGHT, SYNC_REWARD_WEIGHT, WEIGHT_DENOMINATOR};
use super::containers::{Eth1Data, Fields};
use super::error::{AtSlot, Result, ensure, ensure_equal, refused};
use super::shuffling::hash;
use super::state::{BeaconState, at_mut};
use crate::containers::EXTRA_DATA_OFFSET_AT;
use crate::fork::Fork;
use crate::header::BlockHeader;
use crate::root::Root;
use crate::sha256::Node;

const PARENT_HASH_AT: usize = 0;
const PREV_RANDAO_AT: usize = EXTRA_DATA_OFFSET_AT - 4 * 8 - 32;
const TIMESTAMP_AT: usize = EXTRA_DATA_OFFSET_AT - 8;
const BLOCK_HASH_AT: usize = EXTRA_DATA_OFFSET_AT + 4 + 32;
/// The end of the fields that a payload and its header share.
const SHARED_END: usize = BLOCK_HASH_AT + 32;
/// The blob gas fields follow the offsets of transactions and withdrawals.
const BLOB_GAS_AT: usize = SHARED_END + 2 * 4;

impl BeaconState<'_> {
    /// `process_block`: applies a block to the state of its slot. The block's state root is the caller's to
    /// compare with the root of the state. The block's signature, the signatures of its
    /// operations and the validity of its payload are not checked.
    ///
    /// # Errors
    /// [`TransitionError`](super::TransitionError). The state is then that of no slot.
    pub fn process_block(&mut self, block: &Block<'_>) -> Result<()> {
        let slot = self.slot;
        self.apply_block(block).at(slot)
    }

    fn apply_block(&mut self, block: &Block<'_>) -> Result<()> {
        ensure(
            block.is_of(self.fork_name),
            "process_block",
            || format!("a {} block", self.fork_name),
            || format!("the layout of a {} block", block.hashed.fork),
        )?;
        self.process_block_header(block.header())?;
        if self.fork_name >= Fork::Capella {
            self.process_withdrawals(block.payload())?;
        }
        if self.fork_name >= Fork::Capella || self.is_execution_enabled(block) {
            self.process_execution_payload(block)?;
        }
        self.process_randao(block.part("randao_reveal"))?;
        self.process_eth1_data(block.part("eth1_data").read())?;
        self.process_operations(block)?;
        if self.fork_name >= Fork::Altair {
            self.process_sync_aggregate(block.part("sync_aggregate"))?;
        }
        Ok(())
    }

    /// `process_block_header` (phase0)
    pub(crate) fn process_block_header(&mut self, header: BlockHeader) -> Result<()> {
        let step = "process_block_header";
        ensure_equal(step, "a block of slot", self.slot, header.slot)?;
        let latest = self.latest_block_header.slot;
        ensure(
            header.slot > latest,
            step,
            || format!("a slot above {latest}, that of the block before"),
            || header.slot.to_string(),
        )?;
        let proposer = self.beacon_proposer_index(step)?;
        ensure_equal(step, "proposer", proposer as u64, header.proposer_index)?;
        ensure_equal(step, "parent root", self.latest_block_header.root(), header.parent_root)?;
        self.latest_block_header = BlockHeader { state_root: Root::default(), ..header };
        ensure(
            !self.validators.slashed[proposer],
            step,
            || "a proposer that is not slashed".to_owned(),
            || format!("validator {proposer}, which is"),
        )
    }

    /// `process_randao` (phase0)
    fn process_randao(&mut self, reveal: Value<'_>) -> Result<()> {
        self.beacon_proposer_index("process_randao")?;
        let (revealed, vector) =
            (hash(&[reveal.bytes]), self.preset().epochs_per_historical_vector);
        let epoch = self.current_epoch();
        self.changes.randao_mixes.mark_at(epoch % vector);
        let mix = at_mut(&mut self.randao_mixes, epoch % vector);
        for (byte, revealed) in mix.0.iter_mut().zip(revealed) {
            *byte ^= revealed;
        }
        Ok(())
    }

    /// `process_eth1_data` (phase0)
    fn process_eth1_data(&mut self, vote: Eth1Data) -> Result<()> {
        let preset = self.preset();
        let limit = preset.epochs_per_eth1_voting_period * preset.slots_per_epoch;
        let wanted = || format!("at most {limit} votes of a period");
        let has_room = (self.eth1_data_votes.len() as u64) < limit;
        ensure(has_room, "process_eth1_data", wanted, || "one more".to_owned())?;
        self.eth1_data_votes.push(vote);
        let votes = self.eth1_data_votes.iter().filter(|other| **other == vote).count() as u64;
        if votes * 2 > limit {
            self.eth1_data = vote;
        }
        Ok(())
    }

    /// `process_sync_aggregate` (altair)
    pub(crate) fn process_sync_aggregate(&mut self, aggregate: Value<'_>) -> Result<()> {
        let step = "process_sync_aggregate";
        let preset = self.preset();
        let total = self.total_active();
        let total_base_rewards = u128::from(self.base_reward_per_increment())
            * u128::from(total.balance / super::constants::EFFECTIVE_BALANCE_INCREMENT);
        let per_slot = total_base_rewards * u128::from(SYNC_REWARD_WEIGHT)
            / u128::from(WEIGHT_DENOMINATOR * preset.slots_per_epoch);
        let reward = per_slot / u128::from(preset.sync_committee_size);
        let proposer_reward =
            reward * u128::from(PROPOSER_WEIGHT) / u128::from(WEIGHT_DENOMINATOR - PROPOSER_WEIGHT);
        let gwei = |reward| {
            u64::try_from(reward).map_err(|_| refused(step, "a reward below 2^64", reward))
        };
        let (reward, proposer_reward) = (gwei(reward)?, gwei(proposer_reward)?);
        let members = self.sync_committee_indices(step)?;
        let proposer = self.beacon_proposer_index(step)?;
        let bits = Bits::of_vector(aggregate.field("sync_committee_bits").bytes);
        for (place, member) in members.iter().enumerate() {
            if bits.get(place) {
                self.increase_balance(*member as usize, reward, step)?;
                self.increase_balance(proposer, proposer_reward, step)?;
            } else {
                self.decrease_balance(*member as usize, reward);
            }
        }
        Ok(())
    }

    /// `is_merge_transition_complete` (bellatrix)
    fn is_merge_transition_complete(&self) -> bool {
        self.latest_execution_payload_header != default_payload_header(Fork::Bellatrix)
    }

    /// `is_execution_enabled` (bellatrix)
    pub(crate) fn is_execution_enabled(&self, block: &Block<'_>) -> bool {
        if self.fork_name < Fork::Bellatrix {
            return false;
        }
        self.is_merge_transition_complete() || !is_default_payload(block)
    }

    /// `process_execution_payload` (bellatrix, capella, deneb, electra, fulu), without the execution engine.
    pub(crate) fn process_execution_payload(&mut self, block: &Block<'_>) -> Result<()> {
        let step = "process_execution_payload";
        let payload = block.payload().value;
        let shared = payload.bytes;
        let root_at = |bytes: &[u8], at: usize| Fields(bytes.get(at..).unwrap_or_default()).root();
        if self.fork_name >= Fork::Capella || self.is_merge_transition_complete() {
            let wanted = root_at(&self.latest_execution_payload_header, BLOCK_HASH_AT);
            ensure_equal(step, "parent hash", wanted, root_at(shared, PARENT_HASH_AT))?;
        }
        let mix = *self.randao_mix(self.current_epoch());
        ensure_equal(step, "prev_randao", mix, root_at(shared, PREV_RANDAO_AT))?;
        let found = Fields(shared.get(TIMESTAMP_AT..).unwrap_or_default()).number();
        ensure_equal(step, "timestamp", self.compute_time_at_slot(), found)?;
        if self.fork_name >= Fork::Deneb {
            let limit = self.rules.max_blobs(self.fork_name, self.current_epoch());
            let blobs = block.part("blob_kzg_commitments").elements().len() as u64;
            ensure(
                blobs <= limit,
                step,
                || format!("at most {limit} blobs"),
                || blobs.to_string(),
            )?;
        }
        self.latest_execution_payload_header = match block.transactions_root() {
            None => payload.bytes.to_vec(),
            Some(transactions) => header_of(payload, &transactions, self.fork_name, step)?,
        };
        Ok(())
    }

    /// `compute_time_at_slot` (bellatrix), of the state's slot.
    pub(super) fn compute_time_at_slot(&self) -> u64 {
        let elapsed = self.slot.saturating_mul(self.config().slot_duration_ms) / 1000;
        self.genesis_time.saturating_add(elapsed)
    }
}

/// The encoded header of a payload.
fn header_of(
    payload: Value<'_>,
    transactions: &Node,
    fork: Fork,
    step: &'static str,
) -> Result<Vec<u8>> {
    let part = |span: std::ops::Range<usize>| payload.bytes.get(span).unwrap_or_default();
    let mut header = part(0..SHARED_END).to_vec();
    header.extend_from_slice(transactions);
    if fork >= Fork::Capella {
        header.extend_from_slice(&payload.field("withdrawals").root(step)?);
    }
    if fork >= Fork::Deneb {
        header.extend_from_slice(part(BLOB_GAS_AT..BLOB_GAS_AT + 16));
    }
    set_extra_data_offset(&mut header);
    header.extend_from_slice(payload.field("extra_data").bytes);
    Ok(header)
}

/// Sets the offset of `extra_data`, the only variable field of a header, to the length of the fixed part.
#[expect(clippy::cast_possible_truncation, reason = "some hundred bytes")]
fn set_extra_data_offset(header: &mut [u8]) {
    let offset = (header.len() as u32).to_le_bytes();
    header[EXTRA_DATA_OFFSET_AT..EXTRA_DATA_OFFSET_AT + 4].copy_from_slice(&offset);
}

/// `ExecutionPayloadHeader()`
pub(crate) fn default_payload_header(fork: Fork) -> Vec<u8> {
    let roots = if fork >= Fork::Capella { 2 * 32 } else { 32 };
    let gas = if fork >= Fork::Deneb { 16 } else { 0 };
    let mut header = vec![0; SHARED_END + roots + gas];
    set_extra_data_offset(&mut header);
    header
}

/// Adds the fields of capella or deneb, all 0, to the header of the fork before.
pub(crate) fn extend_payload_header(header: &mut Vec<u8>, byte_len: usize) {
    let offset = header.get(EXTRA_DATA_OFFSET_AT..).and_then(|bytes| bytes.first_chunk());
    let fixed = offset.map_or(0, |offset| u32::from_le_bytes(*offset) as usize);
    let extra_data = header.split_off(fixed.min(header.len()));
    header.resize(header.len() + byte_len, 0);
    set_extra_data_offset(header);
    header.extend_from_slice(&extra_data);
}

/// Whether a bellatrix block has no payload yet: `ExecutionPayload()`, or in a blinded block its header.
fn is_default_payload(block: &Block<'_>) -> bool {
    let Payload { value: payload, is_blinded, .. } = block.payload();
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let is_zero_at = |span: std::ops::Range<usize>| payload.bytes.get(span).is_some_and(is_zero);
    is_zero_at(0..EXTRA_DATA_OFFSET_AT)
        && is_zero_at(EXTRA_DATA_OFFSET_AT + 4..SHARED_END)
        && payload.field("extra_data").bytes.is_empty()
        && match is_blinded {
            true => payload.field("transactions_root").bytes == empty_transactions_root(),
            false => payload.field("transactions").bytes.is_empty(),
        }
}

/// The root of a list of no transactions, `MAX_TRANSACTIONS_PER_PAYLOAD` at most.
fn empty_transactions_root() -> [u8; 32] {
    crate::sha256::mix_in_length(crate::sha256::zero_root(20), 0)
}
