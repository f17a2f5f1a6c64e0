//! Operations in blocks, and types shared by states and blocks.

use super::Containers;
use crate::preset::ValuesOf;
use crate::ssz::{BOOLEAN, ROOT, Type, U64, field};

pub(super) const SIGNATURE: Type = Type::bytes(96);
pub(super) const PUBKEY: Type = Type::bytes(48);
pub(super) const ADDRESS: Type = Type::bytes(20);
pub(super) const VERSION: Type = Type::bytes(4);

/// `MAX_VALIDATORS_PER_COMMITTEE`
const MAX_VALIDATORS_PER_COMMITTEE: u64 = 2048;
/// `DEPOSIT_CONTRACT_TREE_DEPTH`, plus one for the number of deposits.
const DEPOSIT_PROOF_LENGTH: u64 = 32 + 1;

pub(super) const CHECKPOINT: Type = Type::container(&[field("epoch", &U64), field("root", &ROOT)]);

pub(super) const ETH1_DATA: Type = Type::container(&[
    field("deposit_root", &ROOT),
    field("deposit_count", &U64),
    field("block_hash", &ROOT),
]);

pub(super) const BLOCK_HEADER: Type = Type::container(&[
    field("slot", &U64),
    field("proposer_index", &U64),
    field("parent_root", &ROOT),
    field("state_root", &ROOT),
    field("body_root", &ROOT),
]);

pub(super) const ATTESTATION_DATA: Type = Type::container(&[
    field("slot", &U64),
    field("index", &U64),
    field("beacon_block_root", &ROOT),
    field("source", &CHECKPOINT),
    field("target", &CHECKPOINT),
]);

pub(super) const VALIDATOR: Type = Type::container(&[
    field("pubkey", &PUBKEY),
    field("withdrawal_credentials", &ROOT),
    field("effective_balance", &U64),
    field("slashed", &BOOLEAN),
    field("activation_eligibility_epoch", &U64),
    field("activation_epoch", &U64),
    field("exit_epoch", &U64),
    field("withdrawable_epoch", &U64),
]);

const SIGNED_BLOCK_HEADER: Type =
    Type::container(&[field("message", &BLOCK_HEADER), field("signature", &SIGNATURE)]);

const PROPOSER_SLASHING: Type = Type::container(&[
    field("signed_header_1", &SIGNED_BLOCK_HEADER),
    field("signed_header_2", &SIGNED_BLOCK_HEADER),
]);

const DEPOSIT_DATA: Type = Type::container(&[
    field("pubkey", &PUBKEY),
    field("withdrawal_credentials", &ROOT),
    field("amount", &U64),
    field("signature", &SIGNATURE),
]);

const DEPOSIT_PROOF: Type = Type::vector(&ROOT, DEPOSIT_PROOF_LENGTH);

const DEPOSIT: Type =
    Type::container(&[field("proof", &DEPOSIT_PROOF), field("data", &DEPOSIT_DATA)]);

const VOLUNTARY_EXIT: Type =
    Type::container(&[field("epoch", &U64), field("validator_index", &U64)]);

const SIGNED_VOLUNTARY_EXIT: Type =
    Type::container(&[field("message", &VOLUNTARY_EXIT), field("signature", &SIGNATURE)]);

const BLS_TO_EXECUTION_CHANGE: Type = Type::container(&[
    field("validator_index", &U64),
    field("from_bls_pubkey", &PUBKEY),
    field("to_execution_address", &ADDRESS),
]);

const SIGNED_BLS_TO_EXECUTION_CHANGE: Type =
    Type::container(&[field("message", &BLS_TO_EXECUTION_CHANGE), field("signature", &SIGNATURE)]);

pub(super) const PROPOSER_SLASHINGS: Type = Type::list(&PROPOSER_SLASHING, 16);
pub(super) const DEPOSITS: Type = Type::list(&DEPOSIT, 16);
pub(super) const VOLUNTARY_EXITS: Type = Type::list(&SIGNED_VOLUNTARY_EXIT, 16);
pub(super) const BLS_TO_EXECUTION_CHANGES: Type = Type::list(&SIGNED_BLS_TO_EXECUTION_CHANGE, 16);

/// `MAX_ATTESTATIONS`
pub(super) const MAX_ATTESTATIONS: u64 = 128;

// Attestations and slashings of attesters, before electra: one committee each.
pub(super) const COMMITTEE_BITS: Type = Type::bitlist(MAX_VALIDATORS_PER_COMMITTEE);

const ATTESTATION: Type = Type::container(&[
    field("aggregation_bits", &COMMITTEE_BITS),
    field("data", &ATTESTATION_DATA),
    field("signature", &SIGNATURE),
]);

const ATTESTING_INDICES: Type = Type::list(&U64, MAX_VALIDATORS_PER_COMMITTEE);

const INDEXED_ATTESTATION: Type = Type::container(&[
    field("attesting_indices", &ATTESTING_INDICES),
    field("data", &ATTESTATION_DATA),
    field("signature", &SIGNATURE),
]);

const ATTESTER_SLASHING: Type = Type::container(&[
    field("attestation_1", &INDEXED_ATTESTATION),
    field("attestation_2", &INDEXED_ATTESTATION),
]);

pub(super) const ATTESTER_SLASHINGS: Type = Type::list(&ATTESTER_SLASHING, 2);
pub(super) const ATTESTATIONS: Type = Type::list(&ATTESTATION, MAX_ATTESTATIONS);

// The same from electra on: all committees of a slot.
impl<P: ValuesOf> Containers<P> {
    const MAX_VALIDATORS_PER_SLOT: u64 =
        MAX_VALIDATORS_PER_COMMITTEE * P::VALUES.max_committees_per_slot;

    const SLOT_BITS: Type = Type::bitlist(Self::MAX_VALIDATORS_PER_SLOT);
    const COMMITTEES: Type = Type::bitvector(P::VALUES.max_committees_per_slot);

    const ATTESTATION_ELECTRA: Type = Type::container(&[
        field("aggregation_bits", &Self::SLOT_BITS),
        field("data", &ATTESTATION_DATA),
        field("signature", &SIGNATURE),
        field("committee_bits", &Self::COMMITTEES),
    ]);

    const ATTESTING_INDICES_ELECTRA: Type = Type::list(&U64, Self::MAX_VALIDATORS_PER_SLOT);

    const INDEXED_ATTESTATION_ELECTRA: Type = Type::container(&[
        field("attesting_indices", &Self::ATTESTING_INDICES_ELECTRA),
        field("data", &ATTESTATION_DATA),
        field("signature", &SIGNATURE),
    ]);

    const ATTESTER_SLASHING_ELECTRA: Type = Type::container(&[
        field("attestation_1", &Self::INDEXED_ATTESTATION_ELECTRA),
        field("attestation_2", &Self::INDEXED_ATTESTATION_ELECTRA),
    ]);

    pub(super) const ATTESTER_SLASHINGS_ELECTRA: Type =
        Type::list(&Self::ATTESTER_SLASHING_ELECTRA, 1);
    pub(super) const ATTESTATIONS_ELECTRA: Type = Type::list(&Self::ATTESTATION_ELECTRA, 8);

    const SYNC_COMMITTEE_BITS: Type = Type::bitvector(P::VALUES.sync_committee_size);

    pub(super) const SYNC_AGGREGATE: Type = Type::container(&[
        field("sync_committee_bits", &Self::SYNC_COMMITTEE_BITS),
        field("sync_committee_signature", &SIGNATURE),
    ]);
}
