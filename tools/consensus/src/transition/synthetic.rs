//! States and blocks made up for benchmarks and tests: as large as one likes, unsigned, accepted by the rules.

use std::sync::Arc;

use blst::min_pk::{AggregatePublicKey, SecretKey};

use super::TransitionError;
use super::block::{Value, body_type};
use super::config::ChainRules;
use super::constants::{FAR_FUTURE_EPOCH, MAX_EFFECTIVE_BALANCE, MIN_SEED_LOOKAHEAD};
use super::containers::{AttestationData, Checkpoint, Fixed};
use super::process_block::default_payload_header;
use super::registry::{Registry, VALIDATOR_BYTES};
use super::state::{BeaconState, SyncCommittee};
use crate::containers::EXTRA_DATA_OFFSET_AT;
use crate::fork::Fork;
use crate::header::BlockHeader;
use crate::root::Root;
use crate::ssz::{Kind, OFFSET_BYTES};
use crate::state::StateFork;

/// A generator of numbers with a fixed seed (splitmix64).
#[derive(Clone, Debug)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes());
        words.flatten().take(count).collect()
    }
}

impl BeaconState<'static> {
    /// A state of fulu with active validators that attested in full, at the start of an era.
    #[must_use]
    pub fn synthetic(rules: &Arc<ChainRules>, validators: usize, seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let (preset, fork) = (rules.values(), Fork::Fulu);
        // Far enough from the fork for all to be old.
        let epochs_per_era = preset.slots_per_historical_root / preset.slots_per_epoch;
        let epoch = (rules.epoch(fork).min(1 << 20) / epochs_per_era + 4) * epochs_per_era;
        let slot = epoch * preset.slots_per_epoch;
        let length = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let mut roots =
            |count| (0..length(count)).map(|_| Root(bytes_of(&mut numbers))).collect::<Vec<_>>();
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
        state.latest_block_header = BlockHeader { slot: slot - 1, ..BlockHeader::default() };
        state.slashings = vec![0; length(preset.epochs_per_slashings_vector)];
        state.validators =
            Registry::read(registry(validators, &mut numbers).into()).unwrap_or_default();
        let excess = |numbers: &mut Numbers| numbers.next() % 10_000_000;
        state.balances =
            (0..validators).map(|_| MAX_EFFECTIVE_BALANCE + excess(&mut numbers)).collect();
        state.previous_epoch_participation = vec![0b111; validators];
        state.current_epoch_participation = vec![0; validators];
        state.inactivity_scores = vec![0; validators];
        state.justification_bits = 0b1111;
        let checkpoint = |back: u64| Checkpoint { epoch: epoch - back, root: Root([1; 32]) };
        state.previous_justified_checkpoint = checkpoint(2);
        state.current_justified_checkpoint = checkpoint(1);
        state.finalized_checkpoint = checkpoint(2);
        let members = length(preset.sync_committee_size);
        let pubkeys = (0..members).map(|_| {
            let index = length(numbers.next() % validators as u64);
            *state.validators.pubkey(index)
        });
        let committee =
            SyncCommittee { pubkeys: pubkeys.collect(), aggregate_pubkey: Some([0; 48]) };
        state.current_sync_committee = committee.clone();
        state.next_sync_committee = committee;
        state.latest_execution_payload_header = default_payload_header(fork);
        for epoch in epoch..=epoch + MIN_SEED_LOOKAHEAD {
            let proposers = state.beacon_proposer_indices(epoch).unwrap_or_default();
            state.proposer_lookahead.extend(proposers);
        }
        state
    }
}

impl BeaconState<'_> {
    /// A block that the state accepts at its slot: three aggregates of all attesters of the slot before, a
    /// full sync aggregate, and transactions of `payload_bytes` bytes.
    ///
    /// # Errors
    /// Those of the state's rules.
    pub fn synthetic_block(
        &mut self,
        payload_bytes: usize,
    ) -> Result<Vec<u8>, Box<TransitionError>> {
        let step = "synthetic_block";
        let mut numbers = Numbers(self.slot);
        let Some(of) = body_type(self.rules.preset(), Fork::Electra, false) else {
            return Ok(vec![]);
        };
        let body = Value::new(of, &[]);
        let aggregate = self.synthetic_attestation(body)?;
        let attestations = list_of(&vec![aggregate; 3]);
        let committee = usize::try_from(self.preset().sync_committee_size / 8).unwrap_or(0);
        let sync_aggregate = [vec![0xff; committee], vec![0; 96]].concat();
        let mut eth1_data = Vec::new();
        self.eth1_data.write(&mut eth1_data);
        let payload = self.synthetic_payload(body.field("execution_payload"), payload_bytes)?;
        let body = encode(
            body,
            &[
                ("randao_reveal", numbers.bytes(96)),
                ("eth1_data", eth1_data),
                ("attestations", attestations),
                ("sync_aggregate", sync_aggregate),
                ("execution_payload", payload),
                ("execution_requests", encode(body.field("execution_requests"), &[])),
            ],
        );
        let mut block = [&100u32.to_le_bytes()[..], &[0; 96]].concat();
        block.extend_from_slice(&self.slot.to_le_bytes());
        block.extend_from_slice(&(self.beacon_proposer_index(step)? as u64).to_le_bytes());
        block.extend_from_slice(&self.latest_block_header.root().0);
        block.extend_from_slice(&[0; 32]);
        block.extend_from_slice(&84u32.to_le_bytes());
        block.extend_from_slice(&body);
        Ok(block)
    }

    fn synthetic_attestation(&mut self, body: Value<'_>) -> Result<Vec<u8>, Box<TransitionError>> {
        let step = "synthetic_attestation";
        let slot = self.slot - 1;
        let epoch = self.epoch_at(slot);
        let source = match epoch == self.current_epoch() {
            true => self.current_justified_checkpoint,
            false => self.previous_justified_checkpoint,
        };
        let target = Checkpoint { epoch, root: self.block_root(epoch, step)? };
        let beacon_block_root = self.block_root_at(slot, step)?;
        let mut data = Vec::new();
        AttestationData { slot, index: 0, beacon_block_root, source, target }.write(&mut data);
        let committees = self.committees(epoch);
        let attesters: usize =
            (0..committees.per_slot).map(|index| committees.of(slot, index).len()).sum();
        let mut bits = vec![0xff; attesters / 8];
        // The bits that are left, and the mark of the end.
        bits.push(u8::MAX >> (7 - attesters % 8));
        let width = usize::try_from(self.preset().max_committees_per_slot).unwrap_or(0).div_ceil(8);
        let of_committee = |index: usize| (index as u64) < committees.per_slot;
        let committee_bits = (0..width)
            .map(|byte| (0..8).filter(|bit| of_committee(byte * 8 + bit)).map(|bit| 1 << bit).sum())
            .collect();
        let of = body.field("attestations").element_type();
        Ok(encode(
            of,
            &[("aggregation_bits", bits), ("data", data), ("committee_bits", committee_bits)],
        ))
    }

    fn synthetic_payload(
        &mut self,
        of: Value<'_>,
        payload_bytes: usize,
    ) -> Result<Vec<u8>, Box<TransitionError>> {
        let mut withdrawals = Vec::new();
        for withdrawal in self.expected_withdrawals("synthetic_payload")?.withdrawals {
            withdrawal.write(&mut withdrawals);
        }
        let block_hash_at = EXTRA_DATA_OFFSET_AT + OFFSET_BYTES + 32;
        let parent_hash =
            self.latest_execution_payload_header[block_hash_at..block_hash_at + 32].to_vec();
        let mut numbers = Numbers(!self.slot);
        let transactions: Vec<Vec<u8>> =
            (0..payload_bytes / 500).map(|_| numbers.bytes(500)).collect();
        Ok(encode(
            of,
            &[
                ("parent_hash", parent_hash),
                ("prev_randao", self.randao_mix(self.current_epoch()).0.to_vec()),
                ("timestamp", self.compute_time_at_slot().to_le_bytes().to_vec()),
                ("block_hash", numbers.bytes(32)),
                ("transactions", list_of(&transactions)),
                ("withdrawals", withdrawals),
            ],
        ))
    }
}

fn bytes_of<const N: usize>(numbers: &mut Numbers) -> [u8; N] {
    let bytes = numbers.bytes(N);
    std::array::from_fn(|index| bytes[index])
}

/// Encoded validators: active from the start, credentials of an execution address for three of four. Their keys
/// are multiples of one key, since sync committees are made of points of the curve only.
fn registry(count: usize, numbers: &mut Numbers) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(count * VALIDATOR_BYTES);
    let secret = SecretKey::key_gen(&numbers.bytes(32), &[]).unwrap_or_default();
    let key = secret.sk_to_pk();
    let mut sum = AggregatePublicKey::from_public_key(&key);
    for index in 0..count {
        // A point of its own group is added to a sum in it.
        let added = sum.add_public_key(&key, false);
        debug_assert!(added.is_ok());
        encoded.extend(sum.to_public_key().compress());
        encoded.push(u8::from(index % 4 != 0));
        encoded.extend([0; 11]);
        encoded.extend(numbers.bytes(20));
        encoded.extend(MAX_EFFECTIVE_BALANCE.to_le_bytes());
        encoded.push(0);
        for epoch in [0, 0, FAR_FUTURE_EPOCH, FAR_FUTURE_EPOCH] {
            encoded.extend(epoch.to_le_bytes());
        }
    }
    encoded
}

/// Encodes a list of values of variable length.
#[expect(clippy::cast_possible_truncation, reason = "lists of a block")]
fn list_of(values: &[Vec<u8>]) -> Vec<u8> {
    let (mut encoded, mut offset) = (Vec::new(), values.len() * OFFSET_BYTES);
    for value in values {
        encoded.extend_from_slice(&(offset as u32).to_le_bytes());
        offset += value.len();
    }
    encoded.extend(values.concat());
    encoded
}

/// Encodes a container with these fields; the others are zeros or empty.
#[expect(clippy::cast_possible_truncation, reason = "containers of a block")]
fn encode(of: Value<'_>, values: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let Kind::Container(fields) = of.kind() else { return Vec::new() };
    let mut encoded = Vec::new();
    let mut offset = crate::ssz::fixed_part_len(fields);
    let mut variable = Vec::new();
    for field in fields {
        let value = values.iter().find(|(name, _)| *name == field.name).map(|(_, value)| value);
        match field.of.fixed_len {
            Some(byte_len) => match value {
                Some(value) => encoded.extend_from_slice(value),
                None => encoded.resize(encoded.len() + byte_len, 0),
            },
            None => {
                let value = value.map_or(&[][..], |value| value);
                encoded.extend_from_slice(&(offset as u32).to_le_bytes());
                offset += value.len();
                variable.extend_from_slice(value);
            }
        }
    }
    encoded.extend(variable);
    encoded
}
