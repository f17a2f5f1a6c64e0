//! Presets: protocol parameters fixed at compile time of a client.

use std::fmt;
use std::str::FromStr;

/// The values of a preset (consensus specification, `presets/`), by their names there.
///
/// A value that a later fork replaces keeps its first name; the later ones have the fork's name as suffix.
/// Values that are equal in all presets, such as `MAX_DEPOSITS`, are constants where they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the specification defines the names; amounts are in Gwei")]
pub struct PresetValues {
    pub max_committees_per_slot: u64,
    pub target_committee_size: u64,
    pub shuffle_round_count: u8,
    pub slots_per_epoch: u64,
    pub epochs_per_eth1_voting_period: u64,
    pub slots_per_historical_root: u64,
    pub epochs_per_historical_vector: u64,
    pub epochs_per_slashings_vector: u64,
    pub base_reward_factor: u64,
    pub whistleblower_reward_quotient: u64,
    pub whistleblower_reward_quotient_electra: u64,
    pub inactivity_penalty_quotient: u64,
    pub inactivity_penalty_quotient_altair: u64,
    pub inactivity_penalty_quotient_bellatrix: u64,
    pub min_slashing_penalty_quotient: u64,
    pub min_slashing_penalty_quotient_altair: u64,
    pub min_slashing_penalty_quotient_bellatrix: u64,
    pub min_slashing_penalty_quotient_electra: u64,
    pub proportional_slashing_multiplier: u64,
    pub proportional_slashing_multiplier_altair: u64,
    pub proportional_slashing_multiplier_bellatrix: u64,
    pub sync_committee_size: u64,
    pub epochs_per_sync_committee_period: u64,
    pub max_withdrawals_per_payload: u64,
    pub max_validators_per_withdrawals_sweep: u64,
    pub max_blob_commitments_per_block: u64,
    pub pending_partial_withdrawals_limit: u64,
    pub pending_consolidations_limit: u64,
    pub max_deposit_requests_per_payload: u64,
    pub max_withdrawal_requests_per_payload: u64,
    pub max_consolidation_requests_per_payload: u64,
    pub max_pending_partials_per_withdrawals_sweep: u64,
}

const MAINNET: PresetValues = PresetValues {
    max_committees_per_slot: 64,
    target_committee_size: 128,
    shuffle_round_count: 90,
    slots_per_epoch: 32,
    epochs_per_eth1_voting_period: 64,
    slots_per_historical_root: 8192,
    epochs_per_historical_vector: 65_536,
    epochs_per_slashings_vector: 8192,
    base_reward_factor: 64,
    whistleblower_reward_quotient: 512,
    whistleblower_reward_quotient_electra: 4096,
    inactivity_penalty_quotient: 1 << 26,
    inactivity_penalty_quotient_altair: 3 << 24,
    inactivity_penalty_quotient_bellatrix: 1 << 24,
    min_slashing_penalty_quotient: 128,
    min_slashing_penalty_quotient_altair: 64,
    min_slashing_penalty_quotient_bellatrix: 32,
    min_slashing_penalty_quotient_electra: 4096,
    proportional_slashing_multiplier: 1,
    proportional_slashing_multiplier_altair: 2,
    proportional_slashing_multiplier_bellatrix: 3,
    sync_committee_size: 512,
    epochs_per_sync_committee_period: 256,
    max_withdrawals_per_payload: 16,
    max_validators_per_withdrawals_sweep: 16_384,
    max_blob_commitments_per_block: 4096,
    pending_partial_withdrawals_limit: 1 << 27,
    pending_consolidations_limit: 1 << 18,
    max_deposit_requests_per_payload: 8192,
    max_withdrawal_requests_per_payload: 16,
    max_consolidation_requests_per_payload: 2,
    max_pending_partials_per_withdrawals_sweep: 8,
};

const MINIMAL: PresetValues = PresetValues {
    max_committees_per_slot: 4,
    target_committee_size: 4,
    shuffle_round_count: 10,
    slots_per_epoch: 8,
    epochs_per_eth1_voting_period: 4,
    slots_per_historical_root: 64,
    epochs_per_historical_vector: 64,
    epochs_per_slashings_vector: 64,
    inactivity_penalty_quotient: 1 << 25,
    min_slashing_penalty_quotient: 64,
    proportional_slashing_multiplier: 2,
    sync_committee_size: 32,
    epochs_per_sync_committee_period: 8,
    max_withdrawals_per_payload: 4,
    max_validators_per_withdrawals_sweep: 16,
    pending_partial_withdrawals_limit: 64,
    pending_consolidations_limit: 64,
    max_pending_partials_per_withdrawals_sweep: 2,
    ..MAINNET
};

// Sources: github.com/gnosischain/specs, `consensus/preset/gnosis/`, and for the forks that it leaves out
// github.com/sigp/lighthouse, `consensus/types/presets/gnosis/`.
const GNOSIS: PresetValues = PresetValues {
    slots_per_epoch: 16,
    base_reward_factor: 25,
    epochs_per_sync_committee_period: 512,
    max_withdrawals_per_payload: 8,
    max_validators_per_withdrawals_sweep: 8192,
    max_pending_partials_per_withdrawals_sweep: 6,
    ..MAINNET
};

/// A preset as a type, so that containers are constants of it.
pub(crate) trait ValuesOf {
    const VALUES: PresetValues;
}

#[derive(Debug)]
pub(crate) struct Mainnet;
#[derive(Debug)]
pub(crate) struct Minimal;
#[derive(Debug)]
pub(crate) struct Gnosis;

impl ValuesOf for Mainnet {
    const VALUES: PresetValues = MAINNET;
}

impl ValuesOf for Minimal {
    const VALUES: PresetValues = MINIMAL;
}

impl ValuesOf for Gnosis {
    const VALUES: PresetValues = GNOSIS;
}

/// A set of protocol parameters that are fixed at compile time of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Used by mainnet and its test networks; eras of 8192 slots.
    Mainnet,
    /// For small test networks; eras of 64 slots.
    Minimal,
    /// Used by Gnosis Chain and its test network Chiado; eras of 8192 slots. Untested with files of a Gnosis
    /// network.
    Gnosis,
}

impl Preset {
    /// All presets. Among presets with equal eras, the default for an unknown network comes first.
    pub const ALL: [Self; 3] = [Self::Mainnet, Self::Minimal, Self::Gnosis];

    /// The name in a config (`PRESET_BASE`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Preset::Mainnet => "mainnet",
            Preset::Minimal => "minimal",
            Preset::Gnosis => "gnosis",
        }
    }

    /// The names of all presets: "mainnet, minimal, gnosis".
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The presets whose eras have this many slots.
    pub fn with_slots_per_era(slots: u64) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |preset| preset.slots_per_era() == slots)
    }

    /// Its values.
    #[must_use]
    pub const fn values(self) -> &'static PresetValues {
        match self {
            Preset::Mainnet => &MAINNET,
            Preset::Minimal => &MINIMAL,
            Preset::Gnosis => &GNOSIS,
        }
    }

    /// `SLOTS_PER_HISTORICAL_ROOT`
    #[must_use]
    pub const fn slots_per_era(self) -> u64 {
        self.values().slots_per_historical_root
    }

    /// `SLOTS_PER_EPOCH`
    #[must_use]
    pub const fn slots_per_epoch(self) -> u64 {
        self.values().slots_per_epoch
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let unknown = || format!("preset '{name}' is unknown; known are {}", Self::names());
        Self::ALL.into_iter().find(|preset| preset.name() == name).ok_or_else(unknown)
    }
}
