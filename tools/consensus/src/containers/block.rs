//! Block bodies, with the payload or only its header.

use super::Containers;
use super::operations::{
    ATTESTATIONS, ATTESTER_SLASHINGS, BLS_TO_EXECUTION_CHANGES, DEPOSITS, ETH1_DATA,
    PROPOSER_SLASHINGS, SIGNATURE, VOLUNTARY_EXITS,
};
use super::payload::{HEADER_BELLATRIX, HEADER_CAPELLA, HEADER_DENEB, PAYLOAD_BELLATRIX};
use crate::preset::ValuesOf;
use crate::ssz::{Field, ROOT, Type, field};

/// The common fields of all bodies, followed by these.
macro_rules! body {
    ($attester_slashings:expr, $attestations:expr $(, $more:expr)*) => {
        Type::container(&[
            field("randao_reveal", &SIGNATURE),
            field("eth1_data", &ETH1_DATA),
            field("graffiti", &ROOT),
            field("proposer_slashings", &PROPOSER_SLASHINGS),
            field("attester_slashings", $attester_slashings),
            field("attestations", $attestations),
            field("deposits", &DEPOSITS),
            field("voluntary_exits", &VOLUNTARY_EXITS),
            $($more),*
        ])
    };
}

const BLS_CHANGES: Field = field("bls_to_execution_changes", &BLS_TO_EXECUTION_CHANGES);

impl<P: ValuesOf> Containers<P> {
    const SYNC: Field = field("sync_aggregate", &Self::SYNC_AGGREGATE);
    const COMMITMENTS: Field = field("blob_kzg_commitments", &Self::BLOB_KZG_COMMITMENTS);
    const REQUESTS: Field = field("execution_requests", &Self::EXECUTION_REQUESTS);

    pub(super) const BODY_PHASE0: Type = body!(&ATTESTER_SLASHINGS, &ATTESTATIONS);
    pub(super) const BODY_ALTAIR: Type = body!(&ATTESTER_SLASHINGS, &ATTESTATIONS, Self::SYNC);

    const FULL_BELLATRIX: Field = field("execution_payload", &PAYLOAD_BELLATRIX);
    const FULL_CAPELLA: Field = field("execution_payload", &Self::PAYLOAD_CAPELLA);
    const FULL_DENEB: Field = field("execution_payload", &Self::PAYLOAD_DENEB);
    const BARE_BELLATRIX: Field = field("execution_payload_header", &HEADER_BELLATRIX);
    const BARE_CAPELLA: Field = field("execution_payload_header", &HEADER_CAPELLA);
    const BARE_DENEB: Field = field("execution_payload_header", &HEADER_DENEB);

    pub(super) const BODY_BELLATRIX: Type =
        body!(&ATTESTER_SLASHINGS, &ATTESTATIONS, Self::SYNC, Self::FULL_BELLATRIX);
    pub(super) const BLINDED_BELLATRIX: Type =
        body!(&ATTESTER_SLASHINGS, &ATTESTATIONS, Self::SYNC, Self::BARE_BELLATRIX);

    pub(super) const BODY_CAPELLA: Type =
        body!(&ATTESTER_SLASHINGS, &ATTESTATIONS, Self::SYNC, Self::FULL_CAPELLA, BLS_CHANGES);
    pub(super) const BLINDED_CAPELLA: Type =
        body!(&ATTESTER_SLASHINGS, &ATTESTATIONS, Self::SYNC, Self::BARE_CAPELLA, BLS_CHANGES);

    pub(super) const BODY_DENEB: Type = body!(
        &ATTESTER_SLASHINGS,
        &ATTESTATIONS,
        Self::SYNC,
        Self::FULL_DENEB,
        BLS_CHANGES,
        Self::COMMITMENTS
    );
    pub(super) const BLINDED_DENEB: Type = body!(
        &ATTESTER_SLASHINGS,
        &ATTESTATIONS,
        Self::SYNC,
        Self::BARE_DENEB,
        BLS_CHANGES,
        Self::COMMITMENTS
    );

    pub(super) const BODY_ELECTRA: Type = body!(
        &Self::ATTESTER_SLASHINGS_ELECTRA,
        &Self::ATTESTATIONS_ELECTRA,
        Self::SYNC,
        Self::FULL_DENEB,
        BLS_CHANGES,
        Self::COMMITMENTS,
        Self::REQUESTS
    );
    pub(super) const BLINDED_ELECTRA: Type = body!(
        &Self::ATTESTER_SLASHINGS_ELECTRA,
        &Self::ATTESTATIONS_ELECTRA,
        Self::SYNC,
        Self::BARE_DENEB,
        BLS_CHANGES,
        Self::COMMITMENTS,
        Self::REQUESTS
    );
}
