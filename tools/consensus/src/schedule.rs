//! The fork schedule of a network, and the check of a chain's states against it.

use std::fmt;

use crate::config_fault::ConfigFault;
use crate::fork::Fork;
use crate::network::KnownNetwork;
use crate::settings::Settings;
use crate::state::StateFork;

const VERSION_KEY: &str = "_FORK_VERSION";
const EPOCH_KEY: &str = "_FORK_EPOCH";
/// `FAR_FUTURE_EPOCH`
const UNSCHEDULED: &str = "18446744073709551615";

/// Whether a key of a config is about a fork.
pub(crate) fn is_key(key: &str) -> bool {
    key.ends_with(VERSION_KEY) || key.ends_with(EPOCH_KEY)
}

/// Forks by epoch. Unscheduled forks have an epoch that is never reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule(Vec<ScheduledFork>);

/// A fork of a [`Schedule`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledFork {
    /// Its name in the keys of the config ([`Fork::config_key`]); possibly an unknown fork.
    pub name: String,
    /// Its version.
    pub version: [u8; 4],
    /// Its first epoch.
    pub epoch: u64,
}

/// A state has another fork than scheduled for its slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the config has {wanted} at slot {slot}, the state of that slot has version {} from epoch {} on", const_hex::encode_prefixed(found.version), found.epoch)]
pub struct NotScheduled {
    /// The state's slot.
    pub slot: u64,
    /// The scheduled fork.
    pub wanted: ScheduledFork,
    /// The state's fork.
    pub found: StateFork,
}

impl Schedule {
    /// The forks of a known network.
    #[must_use]
    pub fn of_known(known: &KnownNetwork) -> Self {
        let forks = Fork::ALL.into_iter().zip(known.fork_versions).zip(known.fork_epochs);
        let scheduled = |((fork, version), epoch): ((Fork, _), _)| ScheduledFork {
            name: fork.config_key(),
            version,
            epoch,
        };
        let mut forks: Vec<ScheduledFork> = forks.map(scheduled).collect();
        forks.extend(known.later_forks.iter().map(|(name, version, epoch)| ScheduledFork {
            name: (*name).to_owned(),
            version: *version,
            epoch: *epoch,
        }));
        Self(forks)
    }

    /// The forks in a config's settings.
    pub(crate) fn of(settings: &Settings) -> Result<Self, ConfigFault> {
        let mut forks = Vec::new();
        for (key, version) in settings.iter() {
            let Some(name) = key.strip_suffix(VERSION_KEY) else { continue };
            let is_prefixed = version.starts_with("0x");
            let parsed = const_hex::decode_to_array(version).ok().filter(|_| is_prefixed);
            let wanted = "0x and 8 hex digits";
            let version = parsed.ok_or_else(|| ConfigFault::value(key, wanted, version))?;
            let epoch = match settings.number(&format!("{name}{EPOCH_KEY}"))? {
                None if name == Fork::Phase0.config_key() => 0,
                None => continue,
                Some(epoch) => epoch,
            };
            forks.push(ScheduledFork { name: name.to_owned(), version, epoch });
        }
        for (key, epoch) in settings.iter() {
            let Some(name) = key.strip_suffix(EPOCH_KEY) else { continue };
            let version = format!("{name}{VERSION_KEY}");
            if epoch != UNSCHEDULED && settings.get(&version).is_none() {
                return Err(ConfigFault::value(key, "a fork with a version", epoch));
            }
        }
        // Among forks at one epoch, the last one listed is in force.
        forks.sort_by_key(|fork| fork.epoch);
        Ok(Self(forks))
    }

    /// The forks, in the order of their epochs.
    #[must_use]
    pub fn forks(&self) -> &[ScheduledFork] {
        &self.0
    }

    /// The fork in force in an epoch.
    #[must_use]
    pub fn at(&self, epoch: u64) -> Option<&ScheduledFork> {
        self.0.iter().rfind(|fork| fork.epoch <= epoch)
    }

    /// Refuses a state of another fork than scheduled for its slot.
    ///
    /// # Errors
    /// [`NotScheduled`]
    pub fn check(
        &self,
        found: &StateFork,
        slot: u64,
        slots_per_epoch: u64,
    ) -> Result<(), NotScheduled> {
        let epoch = slot / slots_per_epoch;
        let Some(wanted) = self.at(epoch) else { return Ok(()) };
        // A config without later forks does not restrict their states.
        let is_genesis_alone = self.0.len() == 1 && wanted.fork() == Some(Fork::Phase0);
        if is_genesis_alone && found.previous_version != found.version {
            return Ok(());
        }
        if (wanted.version, wanted.epoch) == (found.version, found.epoch) {
            return Ok(());
        }
        Err(NotScheduled { slot, wanted: wanted.clone(), found: *found })
    }
}

impl ScheduledFork {
    /// The fork; `None` if it is unknown.
    #[must_use]
    pub fn fork(&self) -> Option<Fork> {
        Fork::ALL.into_iter().find(|fork| fork.config_key() == self.name)
    }
}

impl fmt::Display for ScheduledFork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, epoch } = self;
        let version = const_hex::encode_prefixed(version);
        write!(f, "{name}{VERSION_KEY} {version} from epoch {epoch} on")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule<const N: usize>(config: [(&str, &str); N]) -> Result<Schedule, ConfigFault> {
        Schedule::of(&config.into())
    }

    fn fork(previous: u8, version: u8, epoch: u64) -> StateFork {
        StateFork { previous_version: [previous, 0, 0, 1], version: [version, 0, 0, 1], epoch }
    }

    #[test]
    fn a_state_is_of_the_fork_that_is_scheduled_for_its_slot() {
        let schedule = schedule([
            ("GENESIS_FORK_VERSION", "0x00000001"),
            ("ALTAIR_FORK_VERSION", "0x01000001"),
            ("ALTAIR_FORK_EPOCH", "6"),
            ("BELLATRIX_FORK_VERSION", "0x02000001"),
            ("BELLATRIX_FORK_EPOCH", "18446744073709551615"),
            ("CAPELLA_FORK_VERSION", "0x03000001"),
        ])
        .unwrap();
        let check = |fork, slot| schedule.check(&fork, slot, 8).map_err(|e| e.to_string());
        assert_eq!(check(fork(0, 0, 0), 47), Ok(()));
        assert_eq!(check(fork(0, 1, 6), 48), Ok(()));
        assert_eq!(check(fork(0, 1, 6), 4800), Ok(()));
        for (fork, slot) in [
            (fork(0, 0, 0), 48),
            (fork(0, 1, 6), 47),
            (fork(0, 1, 5), 48),
            (fork(0, 9, 6), 48),
            (fork(1, 2, 12), 96),
            (fork(9, 9, 0), 0),
        ] {
            let refused = check(fork, slot).unwrap_err();
            assert!(refused.contains(&format!("at slot {slot}")), "{refused}");
        }
        assert_eq!(
            check(fork(1, 2, 12), 96).unwrap_err(),
            "the config has ALTAIR_FORK_VERSION 0x01000001 from epoch 6 on at slot 96, the state of \
             that slot has version 0x02000001 from epoch 12 on"
        );
    }

    #[test]
    fn a_known_network_has_all_forks_in_order() {
        for known in &KnownNetwork::ALL {
            let schedule = Schedule::of_known(known);
            let forks: Vec<_> = schedule.forks().iter().filter_map(ScheduledFork::fork).collect();
            assert_eq!(forks, Fork::ALL, "{}", known.name);
            assert!(schedule.forks().is_sorted_by_key(|fork| fork.epoch), "{}", known.name);
        }
        let mainnet = Schedule::of_known(KnownNetwork::by_name("mainnet").unwrap());
        assert_eq!(mainnet.at(74_239).unwrap().fork(), Some(Fork::Phase0));
        assert_eq!(mainnet.at(74_240).unwrap().fork(), Some(Fork::Altair));
        assert_eq!(mainnet.at(u64::MAX).unwrap().version, [6, 0, 0, 0]);
    }

    #[test]
    fn a_config_without_forks_allows_any_fork() {
        assert_eq!(schedule([]).unwrap(), Schedule::default());
        let genesis = schedule([("GENESIS_FORK_VERSION", "0x00000001")]).unwrap();
        assert!(genesis.check(&fork(0, 1, 6), 48, 8).is_ok());
        assert!(genesis.check(&fork(0, 0, 0), 0, 8).is_ok());
        assert!(genesis.check(&fork(7, 7, 0), 0, 8).is_err());
        for wrong in ["", "0x", "1", "0x0000000g", "0x+0000001", "0x000000011"] {
            let refused = schedule([("GENESIS_FORK_VERSION", wrong)]).unwrap_err().to_string();
            assert!(refused.contains("GENESIS_FORK_VERSION"), "{refused}");
        }
        let forks = [("ALTAIR_FORK_VERSION", "0x01000001"), ("ALTAIR_FORK_EPOCH", "soon")];
        assert!(schedule(forks).unwrap_err().to_string().contains("ALTAIR_FORK_EPOCH"));
    }
}
