//! The rules of one chain: its preset and its config.

use crate::config::Config;
use crate::config_fault::ConfigFault;
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
    /// The first epoch of a fork that is not known here.
    unknown_from: u64,
    genesis_validators_root: Option<Root>,
}

impl ChainRules {
    /// The rules of a chain with this preset and config. Forks that the config lacks never begin.
    ///
    /// # Errors
    /// [`ConfigFault`] if the config lacks the version of genesis, or a fork before one that it schedules.
    pub fn new(preset: Preset, config: &Config) -> Result<Self, ConfigFault> {
        let scheduled = config.schedule.forks();
        let forks = Fork::ALL.map(|fork| {
            let found = scheduled.iter().find(|scheduled| scheduled.fork() == Some(fork));
            found.map(|scheduled| (scheduled.version, scheduled.epoch))
        });
        if forks[0].is_none() {
            return Err(ConfigFault::Missing("GENESIS_FORK_VERSION"));
        }
        let mut last = 0;
        for (fork, epoch) in
            Fork::ALL.into_iter().zip(forks.map(|fork| fork.map_or(u64::MAX, |fork| fork.1)))
        {
            if epoch < last {
                let key = format!("{}_FORK_EPOCH", fork.config_key());
                let wanted = "an epoch at or after that of the fork before";
                return Err(ConfigFault::value(&key, wanted, &epoch.to_string()));
            }
            last = epoch;
        }
        let unknown = scheduled.iter().filter(|scheduled| scheduled.fork().is_none());
        let unknown_from = unknown.map(|scheduled| scheduled.epoch).min().unwrap_or(u64::MAX);
        let mut blob_schedule = config.blob_schedule.clone();
        blob_schedule.sort_by_key(|entry| std::cmp::Reverse(entry.epoch));
        Ok(Self {
            preset,
            forks,
            config: config.values,
            blob_schedule,
            unknown_from,
            genesis_validators_root: None,
        })
    }

    /// Refuses states of a chain with other genesis validators.
    #[must_use]
    pub fn with_genesis_validators_root(mut self, root: Root) -> Self {
        self.genesis_validators_root = Some(root);
        self
    }

    pub(crate) fn genesis_validators_root(&self) -> Option<Root> {
        self.genesis_validators_root
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

    /// Whether a fork that is not known here is in force at an epoch.
    pub(crate) fn is_unknown_at(&self, epoch: u64) -> bool {
        epoch >= self.unknown_from && self.unknown_from != FAR_FUTURE_EPOCH
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(forks: &str) -> Result<ChainRules, ConfigFault> {
        let text = format!("CONFIG_NAME: x\nPRESET_BASE: minimal\n{forks}");
        ChainRules::new(Preset::Minimal, &Config::parse(&text)?)
    }

    #[test]
    fn a_schedule_with_a_fork_left_out_is_refused() {
        let genesis = "GENESIS_FORK_VERSION: 0x00000001\n";
        let altair = "ALTAIR_FORK_VERSION: 0x01000001\nALTAIR_FORK_EPOCH: 3\n";
        let bellatrix = "BELLATRIX_FORK_VERSION: 0x02000001\nBELLATRIX_FORK_EPOCH: 2\n";
        assert!(rules(genesis).is_ok());
        assert!(rules(&format!("{genesis}{altair}")).is_ok());
        for (wrong, key) in [
            (altair.to_owned(), "GENESIS_FORK_VERSION"),
            (format!("{genesis}{bellatrix}"), "BELLATRIX_FORK_EPOCH"),
            (format!("{genesis}{altair}{bellatrix}"), "BELLATRIX_FORK_EPOCH"),
            (format!("{genesis}ALTAIR_FORK_EPOCH: 3\n"), "ALTAIR_FORK_EPOCH"),
            (format!("{genesis}{altair}altair_fork_epoch: 4\n"), "ALTAIR_FORK_EPOCH"),
        ] {
            let refused = rules(&wrong).unwrap_err().to_string();
            assert!(refused.contains(key), "{wrong}: {refused}");
        }
    }

    #[test]
    fn epochs_of_an_unknown_fork_are_not_fulus() {
        let gloas = "GENESIS_FORK_VERSION: 0x00000001\nGLOAS_FORK_VERSION: 0x07000001\n\
                     GLOAS_FORK_EPOCH: 9\n";
        let rules = rules(gloas).unwrap();
        assert!(!rules.is_unknown_at(8) && rules.is_unknown_at(9));
    }
}
