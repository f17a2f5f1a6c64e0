//! Unsigned blocks that a state accepts at its slot.

use super::encode::{encode, list_of};
use super::{Numbers, length};
use crate::containers::EXTRA_DATA_OFFSET_AT;
use crate::fork::Fork;
use crate::root::Root;
use crate::ssz::OFFSET_BYTES;
use crate::transition::TransitionError;
use crate::transition::block::{Value, body_type};
use crate::transition::containers::{AttestationData, Checkpoint, Fixed};
use crate::transition::state::BeaconState;

type Result<T> = std::result::Result<T, Box<TransitionError>>;

/// Bytes of a transaction.
const TRANSACTION_BYTES: usize = 500;
const GAS_PER_BLOB: u64 = 1 << 17;

/// What a block contains besides what follows from the state.
#[derive(Debug, Default)]
pub(super) struct BlockParts {
    /// Encoded attestations.
    pub(super) attestations: Vec<Vec<u8>>,
    pub(super) sync_committee_bits: Vec<u8>,
    /// Encoded lists of the body by name.
    pub(super) operations: Vec<(&'static str, Vec<u8>)>,
    /// Encoded lists of `execution_requests` by name.
    pub(super) requests: Vec<(&'static str, Vec<u8>)>,
    pub(super) payload_bytes: usize,
}

fn body_of(state: &BeaconState<'_>) -> Value<'static> {
    // Fulu has electra's layout.
    let of = body_type(state.rules.preset(), Fork::Electra, false);
    Value::new(of.unwrap_or(&crate::ssz::ROOT), &[])
}

impl BeaconState<'_> {
    /// A `SignedBeaconBlock` of these parts. Its state root is zeros.
    pub(super) fn synthetic_block_of(
        &mut self,
        parts: BlockParts,
        numbers: &mut Numbers,
    ) -> Result<Vec<u8>> {
        let body = body_of(self);
        let mut eth1_data = Vec::new();
        self.eth1_data.write(&mut eth1_data);
        let payload = body.field("execution_payload");
        let payload = self.synthetic_payload(payload, parts.payload_bytes, numbers)?;
        let sync_aggregate = [parts.sync_committee_bits, vec![0; 96]].concat();
        let requests = encode(body.field("execution_requests"), &parts.requests);
        let mut fields = vec![
            ("randao_reveal", numbers.bytes(96)),
            ("eth1_data", eth1_data),
            ("attestations", list_of(&parts.attestations)),
            ("sync_aggregate", sync_aggregate),
            ("execution_payload", payload),
            ("execution_requests", requests),
        ];
        fields.extend(parts.operations);
        let mut block = [&100u32.to_le_bytes()[..], &[0; 96]].concat();
        block.extend_from_slice(&self.slot.to_le_bytes());
        let proposer = self.beacon_proposer_index("synthetic_block")? as u64;
        block.extend_from_slice(&proposer.to_le_bytes());
        block.extend_from_slice(&self.latest_block_header.root().0);
        block.extend_from_slice(&[0; 32]);
        block.extend_from_slice(&84u32.to_le_bytes());
        block.extend_from_slice(&encode(body, &fields));
        Ok(block)
    }

    /// An aggregate for a slot and this head, of those attesters that `attests` chooses; `None` if it chooses
    /// none.
    pub(super) fn synthetic_attestation(
        &mut self,
        slot: u64,
        beacon_block_root: Root,
        attests: impl Fn(u32) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        let epoch = self.epoch_at(slot);
        let source = match epoch == self.current_epoch() {
            true => self.current_justified_checkpoint,
            false => self.previous_justified_checkpoint,
        };
        let target = Checkpoint { epoch, root: self.block_root(epoch, "synthetic_attestation")? };
        let mut data = Vec::new();
        AttestationData { slot, index: 0, beacon_block_root, source, target }.write(&mut data);
        let committees = self.committees(epoch);
        let mut committee_bits =
            vec![0u8; length(self.preset().max_committees_per_slot / 8).max(1)];
        let mut bits = BitList::default();
        for index in 0..committees.per_slot {
            let committee = committees.of(slot, index);
            let start = bits.count;
            let any = committee.iter().fold(false, |any, validator| {
                let is_set = attests(*validator);
                bits.push(is_set);
                any | is_set
            });
            // A committee without an attester is not part of an aggregate.
            match any {
                true => committee_bits[length(index / 8)] |= 1 << (index % 8),
                false => bits.truncate(start),
            }
        }
        if bits.count == 0 {
            return Ok(None);
        }
        let of = body_of(self).field("attestations").element_type();
        let fields = [
            ("aggregation_bits", bits.encode()),
            ("data", data),
            ("committee_bits", committee_bits),
        ];
        Ok(Some(encode(of, &fields)))
    }

    fn synthetic_payload(
        &self,
        of: Value<'_>,
        payload_bytes: usize,
        numbers: &mut Numbers,
    ) -> Result<Vec<u8>> {
        let mut withdrawals = Vec::new();
        for withdrawal in self.expected_withdrawals("synthetic_payload")?.withdrawals {
            withdrawal.write(&mut withdrawals);
        }
        let block_hash_at = EXTRA_DATA_OFFSET_AT + OFFSET_BYTES + 32;
        let parent_hash =
            self.latest_execution_payload_header[block_hash_at..block_hash_at + 32].to_vec();
        let transactions: Vec<Vec<u8>> = (0..payload_bytes / TRANSACTION_BYTES)
            .map(|_| numbers.bytes(TRANSACTION_BYTES))
            .collect();
        let number = |value: u64| value.to_le_bytes().to_vec();
        let base_fee = [numbers.below(1 << 32).to_le_bytes(), [0; 8], [0; 8], [0; 8]].concat();
        Ok(encode(
            of,
            &[
                ("parent_hash", parent_hash),
                ("fee_recipient", numbers.bytes(20)),
                ("state_root", numbers.bytes(32)),
                ("receipts_root", numbers.bytes(32)),
                ("logs_bloom", numbers.bytes(256)),
                ("prev_randao", self.randao_mix(self.current_epoch()).0.to_vec()),
                ("block_number", number(self.slot)),
                ("gas_limit", number(60_000_000)),
                ("gas_used", number(numbers.below(60_000_000))),
                ("timestamp", number(self.compute_time_at_slot())),
                ("extra_data", numbers.bytes(16)),
                ("base_fee_per_gas", base_fee),
                ("block_hash", numbers.bytes(32)),
                ("transactions", list_of(&transactions)),
                ("withdrawals", withdrawals),
                ("blob_gas_used", number(numbers.below(9) * GAS_PER_BLOB)),
                ("excess_blob_gas", number(numbers.below(1 << 10) * GAS_PER_BLOB)),
            ],
        ))
    }
}

/// The bits of a bitlist in the making.
#[derive(Default)]
struct BitList {
    bytes: Vec<u8>,
    count: usize,
}

impl BitList {
    fn push(&mut self, is_set: bool) {
        if self.count.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(is_set) << (self.count % 8);
        }
        self.count += 1;
    }

    /// Removes bits that are not set.
    fn truncate(&mut self, count: usize) {
        self.bytes.truncate(count.div_ceil(8));
        self.count = count;
    }

    /// With the mark of the end.
    fn encode(mut self) -> Vec<u8> {
        self.push(true);
        self.bytes
    }
}
