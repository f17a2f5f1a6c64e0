//! Presets and forks.

use std::fmt;
use std::str::FromStr;

/// The sizes that differ between presets (consensus specification, `presets/`), with mainnet's as
/// defaults. Sizes common to all presets are defined beside their containers.
pub(crate) trait Sizes {
    const SLOTS_PER_EPOCH: u64 = 32;
    const SLOTS_PER_HISTORICAL_ROOT: usize = 8192;
    const EPOCHS_PER_HISTORICAL_VECTOR: usize = 65536;
    const EPOCHS_PER_SLASHINGS_VECTOR: usize = 8192;
    const EPOCHS_PER_ETH1_VOTING_PERIOD: u64 = 64;
    const MAX_COMMITTEES_PER_SLOT: usize = 64;
    const SYNC_COMMITTEE_SIZE: usize = 512;
    const MAX_WITHDRAWALS_PER_PAYLOAD: u64 = 16;
    const MAX_BLOB_COMMITMENTS_PER_BLOCK: u64 = 4096;
    const MAX_DEPOSIT_REQUESTS_PER_PAYLOAD: u64 = 8192;
    const MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD: u64 = 16;
    const MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD: u64 = 2;
    const PENDING_PARTIAL_WITHDRAWALS_LIMIT: u64 = 1 << 27;
    const PENDING_CONSOLIDATIONS_LIMIT: u64 = 1 << 18;
}

/// The mainnet preset, used by the public networks.
#[derive(Debug)]
pub(crate) struct Mainnet;

impl Sizes for Mainnet {}

/// The minimal preset, for small test networks.
#[derive(Debug)]
pub(crate) struct Minimal;

impl Sizes for Minimal {
    const SLOTS_PER_EPOCH: u64 = 8;
    const SLOTS_PER_HISTORICAL_ROOT: usize = 64;
    const EPOCHS_PER_HISTORICAL_VECTOR: usize = 64;
    const EPOCHS_PER_SLASHINGS_VECTOR: usize = 64;
    const EPOCHS_PER_ETH1_VOTING_PERIOD: u64 = 4;
    const MAX_COMMITTEES_PER_SLOT: usize = 4;
    const SYNC_COMMITTEE_SIZE: usize = 32;
    const MAX_WITHDRAWALS_PER_PAYLOAD: u64 = 4;
    const PENDING_PARTIAL_WITHDRAWALS_LIMIT: u64 = 64;
    const PENDING_CONSOLIDATIONS_LIMIT: u64 = 64;
}

/// The gnosis preset, for Gnosis Chain and its test network Chiado. Epochs are half as long as
/// mainnet's, and payloads carry half as many withdrawals.
///
/// Source: github.com/gnosischain/configs, `presets/gnosis/`; what that leaves out (altair, capella)
/// is in github.com/sigp/lighthouse, `consensus/types/presets/gnosis/`, and electra in
/// github.com/gnosischain/specs, `consensus/preset/gnosis/electra.yaml`.
#[derive(Debug)]
pub(crate) struct Gnosis;

impl Sizes for Gnosis {
    const SLOTS_PER_EPOCH: u64 = 16;
    const MAX_WITHDRAWALS_PER_PAYLOAD: u64 = 8;
}

/// A set of sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Eras of 8192 slots.
    Mainnet,
    /// Eras of 64 slots.
    Minimal,
    /// Eras of 8192 slots. Untested with files of a Gnosis network.
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

    /// `SLOTS_PER_HISTORICAL_ROOT`.
    #[must_use]
    pub const fn slots_per_era(self) -> u64 {
        match self {
            Preset::Mainnet => Mainnet::SLOTS_PER_HISTORICAL_ROOT as u64,
            Preset::Minimal => Minimal::SLOTS_PER_HISTORICAL_ROOT as u64,
            Preset::Gnosis => Gnosis::SLOTS_PER_HISTORICAL_ROOT as u64,
        }
    }

    /// `SLOTS_PER_EPOCH`.
    #[must_use]
    pub const fn slots_per_epoch(self) -> u64 {
        match self {
            Preset::Mainnet => Mainnet::SLOTS_PER_EPOCH,
            Preset::Minimal => Minimal::SLOTS_PER_EPOCH,
            Preset::Gnosis => Gnosis::SLOTS_PER_EPOCH,
        }
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
        let unknown = || format!("preset '{name}' is none of {}", Self::names());
        Self::ALL.into_iter().find(|preset| preset.name() == name).ok_or_else(unknown)
    }
}

/// The known forks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fork {
    /// From genesis.
    Phase0,
    /// Sync committees.
    Altair,
    /// Execution payloads.
    Bellatrix,
    /// Withdrawals.
    Capella,
    /// Blobs.
    Deneb,
    /// Requests of the execution layer.
    Electra,
    /// The proposer lookahead.
    Fulu,
}

impl Fork {
    /// All forks in order.
    pub const ALL: [Self; 7] = [
        Self::Phase0,
        Self::Altair,
        Self::Bellatrix,
        Self::Capella,
        Self::Deneb,
        Self::Electra,
        Self::Fulu,
    ];
}

impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fork::Phase0 => "phase0",
            Fork::Altair => "altair",
            Fork::Bellatrix => "bellatrix",
            Fork::Capella => "capella",
            Fork::Deneb => "deneb",
            Fork::Electra => "electra",
            Fork::Fulu => "fulu",
        })
    }
}
