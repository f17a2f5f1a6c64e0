//! Execution payloads, their headers, and requests of the execution layer.

use super::Containers;
use super::operations::{ADDRESS, PUBKEY, SIGNATURE};
use crate::preset::ValuesOf;
use crate::ssz::{Field, ROOT, Type, U64, U256, field};

const LOGS_BLOOM: Type = Type::bytes(256);
const EXTRA_DATA: Type = Type::byte_list(32);
/// `MAX_BYTES_PER_TRANSACTION`
const TRANSACTION: Type = Type::byte_list(1 << 30);
/// `MAX_TRANSACTIONS_PER_PAYLOAD`
const TRANSACTIONS: Type = Type::list(&TRANSACTION, 1 << 20);

const WITHDRAWAL: Type = Type::container(&[
    field("index", &U64),
    field("validator_index", &U64),
    field("address", &ADDRESS),
    field("amount", &U64),
]);

const DEPOSIT_REQUEST: Type = Type::container(&[
    field("pubkey", &PUBKEY),
    field("withdrawal_credentials", &ROOT),
    field("amount", &U64),
    field("signature", &SIGNATURE),
    field("index", &U64),
]);

const WITHDRAWAL_REQUEST: Type = Type::container(&[
    field("source_address", &ADDRESS),
    field("validator_pubkey", &PUBKEY),
    field("amount", &U64),
]);

const CONSOLIDATION_REQUEST: Type = Type::container(&[
    field("source_address", &ADDRESS),
    field("source_pubkey", &PUBKEY),
    field("target_pubkey", &PUBKEY),
]);

const BLOB_GAS_USED: Field = field("blob_gas_used", &U64);
const EXCESS_BLOB_GAS: Field = field("excess_blob_gas", &U64);

/// The fields of bellatrix, followed by these.
macro_rules! payload {
    ($($more:expr),+) => {
        Type::container(&[
            field("parent_hash", &ROOT),
            field("fee_recipient", &ADDRESS),
            field("state_root", &ROOT),
            field("receipts_root", &ROOT),
            field("logs_bloom", &LOGS_BLOOM),
            field("prev_randao", &ROOT),
            field("block_number", &U64),
            field("gas_limit", &U64),
            field("gas_used", &U64),
            field("timestamp", &U64),
            field("extra_data", &EXTRA_DATA),
            field("base_fee_per_gas", &U256),
            field("block_hash", &ROOT),
            $($more),+
        ])
    };
}

/// Position of the offset of `extra_data` in a payload's header; that offset is the length of the fixed
/// part.
pub(crate) const EXTRA_DATA_OFFSET_AT: usize = 4 * 32 + 20 + 256 + 4 * 8;

const HEADER_TRANSACTIONS: Field = field("transactions_root", &ROOT);
const HEADER_WITHDRAWALS: Field = field("withdrawals_root", &ROOT);

pub(super) const HEADER_BELLATRIX: Type = payload!(HEADER_TRANSACTIONS);
pub(super) const HEADER_CAPELLA: Type = payload!(HEADER_TRANSACTIONS, HEADER_WITHDRAWALS);
pub(super) const HEADER_DENEB: Type =
    payload!(HEADER_TRANSACTIONS, HEADER_WITHDRAWALS, BLOB_GAS_USED, EXCESS_BLOB_GAS);

const PAYLOAD_TRANSACTIONS: Field = field("transactions", &TRANSACTIONS);

pub(super) const PAYLOAD_BELLATRIX: Type = payload!(PAYLOAD_TRANSACTIONS);

impl<P: ValuesOf> Containers<P> {
    const WITHDRAWALS: Type = Type::list(&WITHDRAWAL, P::VALUES.max_withdrawals_per_payload);
    const PAYLOAD_WITHDRAWALS: Field = field("withdrawals", &Self::WITHDRAWALS);

    pub(super) const PAYLOAD_CAPELLA: Type =
        payload!(PAYLOAD_TRANSACTIONS, Self::PAYLOAD_WITHDRAWALS);
    pub(super) const PAYLOAD_DENEB: Type =
        payload!(PAYLOAD_TRANSACTIONS, Self::PAYLOAD_WITHDRAWALS, BLOB_GAS_USED, EXCESS_BLOB_GAS);

    const DEPOSIT_REQUESTS: Type =
        Type::list(&DEPOSIT_REQUEST, P::VALUES.max_deposit_requests_per_payload);
    const WITHDRAWAL_REQUESTS: Type =
        Type::list(&WITHDRAWAL_REQUEST, P::VALUES.max_withdrawal_requests_per_payload);
    const CONSOLIDATION_REQUESTS: Type =
        Type::list(&CONSOLIDATION_REQUEST, P::VALUES.max_consolidation_requests_per_payload);

    pub(super) const EXECUTION_REQUESTS: Type = Type::container(&[
        field("deposits", &Self::DEPOSIT_REQUESTS),
        field("withdrawals", &Self::WITHDRAWAL_REQUESTS),
        field("consolidations", &Self::CONSOLIDATION_REQUESTS),
    ]);

    pub(super) const BLOB_KZG_COMMITMENTS: Type =
        Type::list(&PUBKEY, P::VALUES.max_blob_commitments_per_block);
}
