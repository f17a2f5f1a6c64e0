//! The forks that a beacon `config.yaml` schedules, and whether a chain's states are of these forks.

use std::fmt;

use anyhow::{Context, Result, ensure};
use coldstore::Slot;
use coldstore_consensus::{Hex, StateFork};

const VERSION_KEY: &str = "_FORK_VERSION";
const EPOCH_KEY: &str = "_FORK_EPOCH";
const GENESIS: &str = "GENESIS";

/// Forks by their epochs. Those that are not scheduled yet have an epoch that never comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schedule(Vec<ScheduledFork>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct ScheduledFork {
    name: String,
    version: [u8; 4],
    epoch: u64,
}

impl Schedule {
    /// `value` looks up a key of the config whose keys these are.
    pub(crate) fn of<'k>(
        keys: impl Iterator<Item = &'k str>,
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let mut forks = Vec::new();
        for name in keys.filter_map(|key| key.strip_suffix(VERSION_KEY)) {
            let key = format!("{name}{VERSION_KEY}");
            let version = value(&key).unwrap_or_default();
            let version = parse_version(&version)
                .with_context(|| format!("{key}: wanted 0x and 8 hex digits, found '{version}'"))?;
            let key = format!("{name}{EPOCH_KEY}");
            let epoch = match value(&key) {
                None if name == GENESIS => 0,
                None => continue,
                Some(epoch) => epoch
                    .parse()
                    .with_context(|| format!("{key}: wanted a number, found '{epoch}'"))?,
            };
            forks.push(ScheduledFork { name: name.to_owned(), version, epoch });
        }
        forks.sort_by_key(|fork| fork.epoch);
        Ok(Self(forks))
    }

    /// Refuses a state of another fork than the one that is scheduled for its slot.
    pub(crate) fn check(&self, found: &StateFork, slot: Slot, slots_per_epoch: u64) -> Result<()> {
        let epoch = slot.0 / slots_per_epoch;
        let Some(wanted) = self.0.iter().rfind(|fork| fork.epoch <= epoch) else { return Ok(()) };
        // A config without the later forks says nothing of their states.
        let is_genesis_alone = self.0.len() == 1 && wanted.name == GENESIS;
        if is_genesis_alone && found.previous_version != found.version {
            return Ok(());
        }
        ensure!(
            (wanted.version, wanted.epoch) == (found.version, found.epoch),
            "the config has {wanted} at slot {slot}, the state of that slot has version {} from epoch \
             {} on",
            Hex(&found.version),
            found.epoch
        );
        Ok(())
    }
}

impl fmt::Display for ScheduledFork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, epoch } = self;
        write!(f, "{name}{VERSION_KEY} {} from epoch {epoch} on", Hex(version))
    }
}

fn parse_version(text: &str) -> Option<[u8; 4]> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 8)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let version = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    Some(version.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(config: &[(&str, &str)]) -> Result<Schedule> {
        let value = |key: &str| {
            let (_, value) = config.iter().find(|(found, _)| *found == key)?;
            Some((*value).to_owned())
        };
        Schedule::of(config.iter().map(|(key, _)| *key), value)
    }

    fn fork(previous: u8, version: u8, epoch: u64) -> StateFork {
        StateFork { previous_version: [previous, 0, 0, 1], version: [version, 0, 0, 1], epoch }
    }

    #[test]
    fn a_state_is_of_the_fork_that_is_scheduled_for_its_slot() {
        let schedule = schedule(&[
            ("GENESIS_FORK_VERSION", "0x00000001"),
            ("ALTAIR_FORK_VERSION", "0x01000001"),
            ("ALTAIR_FORK_EPOCH", "6"),
            ("BELLATRIX_FORK_VERSION", "0x02000001"),
            ("BELLATRIX_FORK_EPOCH", "18446744073709551615"),
            ("CAPELLA_FORK_VERSION", "0x03000001"),
        ])
        .unwrap();
        let check = |fork, slot| schedule.check(&fork, Slot(slot), 8).map_err(|e| e.to_string());
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
    fn a_config_without_forks_says_nothing_of_them() {
        assert_eq!(schedule(&[]).unwrap(), Schedule::default());
        let genesis = schedule(&[("GENESIS_FORK_VERSION", "0x00000001")]).unwrap();
        assert!(genesis.check(&fork(0, 1, 6), Slot(48), 8).is_ok());
        assert!(genesis.check(&fork(0, 0, 0), Slot(0), 8).is_ok());
        assert!(genesis.check(&fork(7, 7, 0), Slot(0), 8).is_err());
        for wrong in ["", "0x", "1", "0x0000000g", "0x+0000001", "0x000000011"] {
            let refused = schedule(&[("GENESIS_FORK_VERSION", wrong)]).unwrap_err().to_string();
            assert!(refused.contains("GENESIS_FORK_VERSION"), "{refused}");
        }
        let forks = [("ALTAIR_FORK_VERSION", "0x01000001"), ("ALTAIR_FORK_EPOCH", "soon")];
        assert!(schedule(&forks).unwrap_err().to_string().contains("ALTAIR_FORK_EPOCH"));
    }
}
