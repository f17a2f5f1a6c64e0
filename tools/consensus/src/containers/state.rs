//! States. Each fork appends to the fields of the one before, except for the attestations of phase0 and
//! the payload's header.

use super::Containers;
use super::operations::{
    ATTESTATION_DATA, BLOCK_HEADER, CHECKPOINT, COMMITTEE_BITS, ETH1_DATA, MAX_ATTESTATIONS,
    PUBKEY, SIGNATURE, VALIDATOR, VERSION,
};
use super::payload::{HEADER_BELLATRIX, HEADER_CAPELLA, HEADER_DENEB};
use crate::preset::ValuesOf;
use crate::ssz::{Field, ROOT, Type, U8, U64, field};

/// `VALIDATOR_REGISTRY_LIMIT`
const REGISTRY_LIMIT: u64 = 1 << 40;
/// `HISTORICAL_ROOTS_LIMIT`
const HISTORICAL_ROOTS_LIMIT: u64 = 1 << 24;
/// `PENDING_DEPOSITS_LIMIT`
const PENDING_DEPOSITS_LIMIT: u64 = 1 << 27;

const FORK: Type = Type::container(&[
    field("previous_version", &VERSION),
    field("current_version", &VERSION),
    field("epoch", &U64),
]);

const PENDING_ATTESTATION: Type = Type::container(&[
    field("aggregation_bits", &COMMITTEE_BITS),
    field("data", &ATTESTATION_DATA),
    field("inclusion_delay", &U64),
    field("proposer_index", &U64),
]);

const HISTORICAL_SUMMARY: Type =
    Type::container(&[field("block_summary_root", &ROOT), field("state_summary_root", &ROOT)]);

const PENDING_DEPOSIT: Type = Type::container(&[
    field("pubkey", &PUBKEY),
    field("withdrawal_credentials", &ROOT),
    field("amount", &U64),
    field("signature", &SIGNATURE),
    field("slot", &U64),
]);

const PENDING_PARTIAL_WITHDRAWAL: Type = Type::container(&[
    field("validator_index", &U64),
    field("amount", &U64),
    field("withdrawable_epoch", &U64),
]);

const PENDING_CONSOLIDATION: Type =
    Type::container(&[field("source_index", &U64), field("target_index", &U64)]);

const HISTORICAL_ROOTS: Type = Type::list(&ROOT, HISTORICAL_ROOTS_LIMIT);
const HISTORICAL_SUMMARIES: Type = Type::list(&HISTORICAL_SUMMARY, HISTORICAL_ROOTS_LIMIT);
const VALIDATORS: Type = Type::list(&VALIDATOR, REGISTRY_LIMIT);
const NUMBERS: Type = Type::list(&U64, REGISTRY_LIMIT);
const PARTICIPATION: Type = Type::list(&U8, REGISTRY_LIMIT);
const PENDING_DEPOSITS: Type = Type::list(&PENDING_DEPOSIT, PENDING_DEPOSITS_LIMIT);
const JUSTIFICATION_BITS: Type = Type::bitvector(4);

/// `MIN_SEED_LOOKAHEAD`
pub(crate) const MIN_SEED_LOOKAHEAD: u64 = 1;

/// Names of fields handled individually.
pub(crate) const HISTORICAL_ROOTS_FIELD: &str = "historical_roots";
pub(crate) const HISTORICAL_SUMMARIES_FIELD: &str = "historical_summaries";
pub(crate) const VALIDATORS_FIELD: &str = "validators";
pub(crate) const PAYLOAD_HEADER_FIELD: &str = "latest_execution_payload_header";

/// The common fields of all states, followed by these.
macro_rules! state {
    ($previous_epoch:expr, $current_epoch:expr $(, $more:expr)*) => {
        &[
            field("genesis_time", &U64),
            field("genesis_validators_root", &ROOT),
            field("slot", &U64),
            field("fork", &FORK),
            field("latest_block_header", &BLOCK_HEADER),
            field("block_roots", &Self::ROOTS),
            field("state_roots", &Self::ROOTS),
            field(HISTORICAL_ROOTS_FIELD, &HISTORICAL_ROOTS),
            field("eth1_data", &ETH1_DATA),
            field("eth1_data_votes", &Self::ETH1_DATA_VOTES),
            field("eth1_deposit_index", &U64),
            field(VALIDATORS_FIELD, &VALIDATORS),
            field("balances", &NUMBERS),
            field("randao_mixes", &Self::RANDAO_MIXES),
            field("slashings", &Self::SLASHINGS),
            $previous_epoch,
            $current_epoch,
            field("justification_bits", &JUSTIFICATION_BITS),
            field("previous_justified_checkpoint", &CHECKPOINT),
            field("current_justified_checkpoint", &CHECKPOINT),
            field("finalized_checkpoint", &CHECKPOINT),
            $($more),*
        ]
    };
}

macro_rules! altair {
    ($($more:expr),*) => {
        state!(
            field("previous_epoch_participation", &PARTICIPATION),
            field("current_epoch_participation", &PARTICIPATION),
            field("inactivity_scores", &NUMBERS),
            field("current_sync_committee", &Self::SYNC_COMMITTEE),
            field("next_sync_committee", &Self::SYNC_COMMITTEE)
            $(, $more)*
        )
    };
}

macro_rules! capella {
    ($header:expr $(, $more:expr)*) => {
        altair!(
            field(PAYLOAD_HEADER_FIELD, $header),
            field("next_withdrawal_index", &U64),
            field("next_withdrawal_validator_index", &U64),
            field(HISTORICAL_SUMMARIES_FIELD, &HISTORICAL_SUMMARIES)
            $(, $more)*
        )
    };
}

macro_rules! electra {
    ($($more:expr),*) => {
        capella!(
            &HEADER_DENEB,
            field("deposit_requests_start_index", &U64),
            field("deposit_balance_to_consume", &U64),
            field("exit_balance_to_consume", &U64),
            field("earliest_exit_epoch", &U64),
            field("consolidation_balance_to_consume", &U64),
            field("earliest_consolidation_epoch", &U64),
            field("pending_deposits", &PENDING_DEPOSITS),
            field("pending_partial_withdrawals", &Self::PENDING_PARTIAL_WITHDRAWALS),
            field("pending_consolidations", &Self::PENDING_CONSOLIDATIONS)
            $(, $more)*
        )
    };
}

impl<P: ValuesOf> Containers<P> {
    const ROOTS: Type = Type::vector(&ROOT, P::VALUES.slots_per_historical_root);
    const ETH1_DATA_VOTES: Type =
        Type::list(&ETH1_DATA, P::VALUES.epochs_per_eth1_voting_period * P::VALUES.slots_per_epoch);
    const RANDAO_MIXES: Type = Type::vector(&ROOT, P::VALUES.epochs_per_historical_vector);
    const SLASHINGS: Type = Type::vector(&U64, P::VALUES.epochs_per_slashings_vector);
    const PENDING_ATTESTATIONS: Type =
        Type::list(&PENDING_ATTESTATION, MAX_ATTESTATIONS * P::VALUES.slots_per_epoch);
    const SYNC_PUBKEYS: Type = Type::vector(&PUBKEY, P::VALUES.sync_committee_size);
    const SYNC_COMMITTEE: Type = Type::container(&[
        field("pubkeys", &Self::SYNC_PUBKEYS),
        field("aggregate_pubkey", &PUBKEY),
    ]);
    const PENDING_PARTIAL_WITHDRAWALS: Type =
        Type::list(&PENDING_PARTIAL_WITHDRAWAL, P::VALUES.pending_partial_withdrawals_limit);
    const PENDING_CONSOLIDATIONS: Type =
        Type::list(&PENDING_CONSOLIDATION, P::VALUES.pending_consolidations_limit);
    const PROPOSER_LOOKAHEAD: Type =
        Type::vector(&U64, (MIN_SEED_LOOKAHEAD + 1) * P::VALUES.slots_per_epoch);

    pub(super) const STATE_PHASE0: &'static [Field] = state!(
        field("previous_epoch_attestations", &Self::PENDING_ATTESTATIONS),
        field("current_epoch_attestations", &Self::PENDING_ATTESTATIONS)
    );
    pub(super) const STATE_ALTAIR: &'static [Field] = altair!();
    pub(super) const STATE_BELLATRIX: &'static [Field] =
        altair!(field(PAYLOAD_HEADER_FIELD, &HEADER_BELLATRIX));
    pub(super) const STATE_CAPELLA: &'static [Field] = capella!(&HEADER_CAPELLA);
    pub(super) const STATE_DENEB: &'static [Field] = capella!(&HEADER_DENEB);
    pub(super) const STATE_ELECTRA: &'static [Field] = electra!();
    pub(super) const STATE_FULU: &'static [Field] =
        electra!(field("proposer_lookahead", &Self::PROPOSER_LOOKAHEAD));
}
