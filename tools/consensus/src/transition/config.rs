//! The rules of one chain: its preset and its config.

use crate::config::Config;
use crate::config_values::{BlobParameters, ConfigValues};
use crate::fork::Fork;
use crate::preset::{Preset, PresetValues};
use crate::root::Root;
use crate::sha256::hash_pair;

use super::constants::FAR_FUTURE_EPOCH;

type Version = [u8; 4];

/// The rules of one chain: its preset, fork schedule and the values of its config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainRules {
    pub(crate) preset: Preset,
    /// By [`Fork`]: version and first epoch; `None` if the config has no such fork.
    forks: [Option<(Version, u64)>; Fork::ALL.len()],
    pub(crate) config: ConfigValues,
    /// By descending epoch.
    blob_schedule: Vec<BlobParameters>,
}

impl ChainRules {
    /// The rules of a chain with this preset and config. Forks that the config lacks never begin.
    #[must_use]
    pub fn new(preset: Preset, config: &Config) -> Self {
        let scheduled = config.schedule.forks();
        let forks = Fork::ALL.map(|fork| {
            let found = scheduled.iter().find(|scheduled| scheduled.fork() == Some(fork));
            found.map(|scheduled| (scheduled.version, scheduled.epoch))
        });
        let mut blob_schedule = config.blob_schedule.clone();
        blob_schedule.sort_by_key(|entry| std::cmp::Reverse(entry.epoch));
        Self { preset, forks, config: config.values, blob_schedule }
    }

    /// The preset.
    #[must_use]
    pub fn preset(&self) -> Preset {
        self.preset
    }

    pub(crate) fn values(&self) -> &'static PresetValues {
        self.preset.values()
    }

    /// The fork in force at an epoch.
    #[must_use]
    pub fn fork_at(&self, epoch: u64) -> Fork {
        let in_force = Fork::ALL.into_iter().rfind(|fork| self.epoch(*fork) <= epoch);
        in_force.unwrap_or(Fork::Phase0)
    }

    /// The versions of the chain's forks.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (Fork, Version)> {
        let with_version =
            |(fork, found): (Fork, &Option<(Version, u64)>)| Some((fork, (*found)?.0));
        Fork::ALL.into_iter().zip(&self.forks).filter_map(with_version)
    }

    pub(crate) fn version(&self, fork: Fork) -> Version {
        self.forks[fork as usize].unwrap_or_default().0
    }

    pub(crate) fn epoch(&self, fork: Fork) -> u64 {
        self.forks[fork as usize].map_or(FAR_FUTURE_EPOCH, |(_, epoch)| epoch)
    }

    #[cfg(test)]
    pub(crate) fn set_epoch(&mut self, fork: Fork, epoch: u64) {
        self.forks[fork as usize] = Some((self.version(fork), epoch));
    }

    /// The limit on blobs in a block (deneb: `MAX_BLOBS_PER_BLOCK`; fulu: `get_blob_parameters`).
    pub(crate) fn max_blobs(&self, fork: Fork, epoch: u64) -> u64 {
        let scheduled = self.blob_schedule.iter().find(|entry| entry.epoch <= epoch);
        match fork {
            Fork::Fulu => scheduled
                .map_or(self.config.max_blobs_per_block_electra, |entry| entry.max_blobs_per_block),
            Fork::Electra => self.config.max_blobs_per_block_electra,
            _ => self.config.max_blobs_per_block,
        }
    }

    /// `compute_fork_data_root` (phase0)
    pub(crate) fn fork_data_root(version: Version, genesis_validators_root: Root) -> [u8; 32] {
        let mut leaf = [0; 32];
        leaf[..4].copy_from_slice(&version);
        hash_pair(&leaf, &genesis_validators_root.0)
    }
}

impl PresetValues {
    /// `INACTIVITY_PENALTY_QUOTIENT`, `_ALTAIR`, `_BELLATRIX`
    pub(crate) const fn inactivity_penalty_quotient_in(&self, fork: Fork) -> u64 {
        match fork {
            Fork::Phase0 => self.inactivity_penalty_quotient,
            Fork::Altair => self.inactivity_penalty_quotient_altair,
            _ => self.inactivity_penalty_quotient_bellatrix,
        }
    }

    /// `MIN_SLASHING_PENALTY_QUOTIENT`, `_ALTAIR`, `_BELLATRIX`, `_ELECTRA`
    pub(crate) const fn min_slashing_penalty_quotient_in(&self, fork: Fork) -> u64 {
        match fork {
            Fork::Phase0 => self.min_slashing_penalty_quotient,
            Fork::Altair => self.min_slashing_penalty_quotient_altair,
            Fork::Bellatrix | Fork::Capella | Fork::Deneb => {
                self.min_slashing_penalty_quotient_bellatrix
            }
            Fork::Electra | Fork::Fulu => self.min_slashing_penalty_quotient_electra,
        }
    }

    /// `WHISTLEBLOWER_REWARD_QUOTIENT`, `_ELECTRA`
    pub(crate) const fn whistleblower_reward_quotient_in(&self, fork: Fork) -> u64 {
        match fork {
            Fork::Electra | Fork::Fulu => self.whistleblower_reward_quotient_electra,
            _ => self.whistleblower_reward_quotient,
        }
    }

    /// `PROPORTIONAL_SLASHING_MULTIPLIER`, `_ALTAIR`, `_BELLATRIX`
    pub(crate) const fn proportional_slashing_multiplier_in(&self, fork: Fork) -> u64 {
        match fork {
            Fork::Phase0 => self.proportional_slashing_multiplier,
            Fork::Altair => self.proportional_slashing_multiplier_altair,
            _ => self.proportional_slashing_multiplier_bellatrix,
        }
    }
}
