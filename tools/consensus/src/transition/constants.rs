//! Constants of the specification that are the same in every preset (`specs/<fork>/beacon-chain.md`).

pub(crate) use crate::containers::MIN_SEED_LOOKAHEAD;

pub(crate) const GENESIS_EPOCH: u64 = 0;
pub(crate) const GENESIS_SLOT: u64 = 0;
pub(crate) const FAR_FUTURE_EPOCH: u64 = u64::MAX;
pub(crate) const BASE_REWARDS_PER_EPOCH: u64 = 4;

pub(crate) const BLS_WITHDRAWAL_PREFIX: u8 = 0;
pub(crate) const ETH1_ADDRESS_WITHDRAWAL_PREFIX: u8 = 1;
pub(crate) const COMPOUNDING_WITHDRAWAL_PREFIX: u8 = 2;

pub(crate) const DOMAIN_BEACON_PROPOSER: [u8; 4] = [0, 0, 0, 0];
pub(crate) const DOMAIN_BEACON_ATTESTER: [u8; 4] = [1, 0, 0, 0];
pub(crate) const DOMAIN_DEPOSIT: [u8; 4] = [3, 0, 0, 0];
pub(crate) const DOMAIN_SYNC_COMMITTEE: [u8; 4] = [7, 0, 0, 0];

pub(crate) const TIMELY_SOURCE_FLAG_INDEX: usize = 0;
pub(crate) const TIMELY_TARGET_FLAG_INDEX: usize = 1;
pub(crate) const TIMELY_HEAD_FLAG_INDEX: usize = 2;
/// The weights of `TIMELY_SOURCE`, `TIMELY_TARGET` and `TIMELY_HEAD`.
pub(crate) const PARTICIPATION_FLAG_WEIGHTS: [u64; 3] = [14, 26, 14];
pub(crate) const SYNC_REWARD_WEIGHT: u64 = 2;
pub(crate) const PROPOSER_WEIGHT: u64 = 8;
pub(crate) const WEIGHT_DENOMINATOR: u64 = 64;

pub(crate) const UNSET_DEPOSIT_REQUESTS_START_INDEX: u64 = u64::MAX;
pub(crate) const FULL_EXIT_REQUEST_AMOUNT: u64 = 0;
/// A compressed point of G2: the signature of no message.
pub(crate) const G2_POINT_AT_INFINITY: [u8; 96] = {
    let mut point = [0; 96];
    point[0] = 0xc0;
    point
};

pub(crate) const DEPOSIT_CONTRACT_TREE_DEPTH: usize = 32;
pub(crate) const MIN_ATTESTATION_INCLUSION_DELAY: u64 = 1;
pub(crate) const MAX_SEED_LOOKAHEAD: u64 = 4;
pub(crate) const MIN_EPOCHS_TO_INACTIVITY_PENALTY: u64 = 4;

pub(crate) const EFFECTIVE_BALANCE_INCREMENT: u64 = 1_000_000_000;
pub(crate) const MAX_EFFECTIVE_BALANCE: u64 = 32 * EFFECTIVE_BALANCE_INCREMENT;
pub(crate) const MIN_ACTIVATION_BALANCE: u64 = 32 * EFFECTIVE_BALANCE_INCREMENT;
pub(crate) const MAX_EFFECTIVE_BALANCE_ELECTRA: u64 = 2048 * EFFECTIVE_BALANCE_INCREMENT;
pub(crate) const HYSTERESIS_QUOTIENT: u64 = 4;
pub(crate) const HYSTERESIS_DOWNWARD_MULTIPLIER: u64 = 1;
pub(crate) const HYSTERESIS_UPWARD_MULTIPLIER: u64 = 5;

pub(crate) const MAX_ATTESTATIONS: u64 = 128;
pub(crate) const MAX_DEPOSITS: u64 = 16;
pub(crate) const MAX_PENDING_DEPOSITS_PER_EPOCH: u64 = 16;
