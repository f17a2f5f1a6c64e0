//! The configuration of a network, as TOML or as the `config.yaml` of clients.

use serde::Deserialize;

use crate::config_fault::ConfigFault;
use crate::config_values::{BlobParameters, ConfigValues};
use crate::network::KnownNetwork;
use crate::root::Root;
use crate::schedule::{self, Schedule};
use crate::settings::Settings;

const NAME_KEY: &str = "CONFIG_NAME";
const PRESET_KEY: &str = "PRESET_BASE";
const ROOT_KEY: &str = "GENESIS_VALIDATORS_ROOT";

/// The configuration of a network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Config {
    /// `CONFIG_NAME`
    pub config_name: String,
    /// `None` from a beacon `config.yaml`, which does not have it.
    pub genesis_validators_root: Option<Root>,
    /// `PRESET_BASE`, possibly an unknown preset.
    #[serde(default)]
    pub preset: Option<String>,
    /// The forks. Empty from TOML, which does not have them.
    #[serde(skip)]
    pub schedule: Schedule,
    /// The values; those of the preset's own network where the configuration lacks them.
    #[serde(skip, default = "mainnet_values")]
    pub values: ConfigValues,
    /// `BLOB_SCHEDULE` (fulu), in any order.
    #[serde(skip)]
    pub blob_schedule: Vec<BlobParameters>,
}

fn mainnet_values() -> ConfigValues {
    ConfigValues::MAINNET
}

impl Config {
    /// The configuration of a known network.
    #[must_use]
    pub fn of_known(known: &KnownNetwork) -> Self {
        Self {
            config_name: known.name.to_owned(),
            genesis_validators_root: Some(known.genesis_validators_root),
            preset: Some(known.preset.to_string()),
            schedule: Schedule::of_known(known),
            values: known.values,
            blob_schedule: known.blob_schedule.to_vec(),
        }
    }

    /// Parses TOML, or a beacon `config.yaml`.
    ///
    /// # Errors
    /// [`ConfigFault`]
    pub fn parse(text: &str) -> Result<Self, ConfigFault> {
        let text = text.trim_start_matches('\u{feff}');
        let config = match text.parse::<toml::Table>() {
            Ok(table) => Self::of_toml(table)?,
            Err(_) => Self::of_yaml(text)?,
        };
        if config.config_name.is_empty() {
            return Err(ConfigFault::EmptyName);
        }
        if let Some(root) = config.genesis_validators_root {
            config.check_root(root)?;
        }
        Ok(config)
    }

    fn of_toml(table: toml::Table) -> Result<Self, ConfigFault> {
        let config: Self =
            table.try_into().map_err(|fault| ConfigFault::Toml(fault.to_string()))?;
        let values = ConfigValues::of_preset(config.preset.as_deref());
        Ok(Self { values, ..config })
    }

    fn of_yaml(text: &str) -> Result<Self, ConfigFault> {
        let settings = Settings::parse(text, &|key| {
            [NAME_KEY, PRESET_KEY, ROOT_KEY].contains(&key)
                || ConfigValues::KEYS.contains(&key)
                || schedule::is_key(key)
        })?;
        let preset = settings.get(PRESET_KEY);
        Ok(Self {
            config_name: settings.get(NAME_KEY).ok_or(ConfigFault::Missing(NAME_KEY))?.to_owned(),
            genesis_validators_root: settings.get(ROOT_KEY).map(str::parse).transpose()?,
            preset: preset.map(str::to_owned),
            schedule: Schedule::of(&settings)?,
            values: ConfigValues::read(&settings, &ConfigValues::of_preset(preset))?,
            blob_schedule: settings.blob_schedule,
        })
    }

    /// Refuses the genesis validators root of another network.
    ///
    /// # Errors
    /// [`ConfigFault::AnotherRoot`], [`ConfigFault::AnotherName`]
    pub fn check_root(&self, found: Root) -> Result<(), ConfigFault> {
        let name = self.config_name.clone();
        let known = KnownNetwork::by_root(&found).map(|known| known.name);
        if let Some(wanted) = self.genesis_validators_root.filter(|wanted| *wanted != found) {
            return Err(ConfigFault::AnotherRoot { name, wanted, found, found_network: known });
        }
        match known {
            Some(known) if known != name => {
                Err(ConfigFault::AnotherName { root: found, known, name })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Config {
        Config {
            config_name: name.to_owned(),
            genesis_validators_root: None,
            preset: Some("mainnet".to_owned()),
            schedule: Schedule::default(),
            values: ConfigValues::MAINNET,
            blob_schedule: Vec::new(),
        }
    }

    #[test]
    fn a_beacon_config_and_a_toml_file_name_a_network() {
        let yaml = "# Extends mainnet\nPRESET_BASE: 'mainnet'\nCONFIG_NAME: 'mekong' # devnet\n\
                    MIN_GENESIS_TIME: 0\n";
        assert_eq!(Config::parse(yaml).unwrap(), named("mekong"));
        let root = "11".repeat(32);
        let toml = format!("config_name = \"mekong\"\ngenesis_validators_root = \"0x{root}\"\n");
        let root = Some(Root([0x11; 32]));
        assert_eq!(
            Config::parse(&toml).unwrap(),
            Config { genesis_validators_root: root, preset: None, ..named("mekong") }
        );
    }

    #[test]
    fn config_values_may_use_any_yaml_syntax() {
        let config = |text: &str| Config::parse(text).unwrap();
        for text in [
            "---\nCONFIG_NAME: mekong\nPRESET_BASE: mainnet\n",
            "\u{feff}CONFIG_NAME: mekong\nPRESET_BASE: mainnet\n",
            "\u{feff}# a comment\r\n---\r\nCONFIG_NAME: mekong\r\nPRESET_BASE: mainnet\r\n",
            "CONFIG_NAME: mekong\t# after a tab\nPRESET_BASE:\tmainnet \t# and another\n",
            "CONFIG_NAME: \"mekong\" \nPRESET_BASE: 'mainnet'",
            "config_name: mekong\npreset_base: mainnet\n",
            "CONFIG_NAME: mekong\nGENESIS_VALIDATORS_ROOT:\nPRESET_BASE: mainnet\n",
            "{CONFIG_NAME: mekong, PRESET_BASE: mainnet}",
        ] {
            assert_eq!(config(text), named("mekong"), "{text:?}");
        }
        // A key inside a list, a map or a text is not the network's.
        let nested = "SOME_SCHEDULE:\n  - EPOCH: 412672\n    CONFIG_NAME: wrong\n  - {EPOCH: 1, \
                      PRESET_BASE: wrong}\nNOTE: |\n  CONFIG_NAME: wrong\n  PRESET_BASE: wrong\n\
                      CONFIG_NAME: mekong\nPRESET_BASE: mainnet\n";
        assert_eq!(config(nested), named("mekong"));
        // Numbers are kept as written, with or without quotes.
        let forks = "CONFIG_NAME: x\nGENESIS_FORK_VERSION: 0x10000038\nALTAIR_FORK_VERSION: \
                     '0x20000038'\nALTAIR_FORK_EPOCH: 0\nFULU_FORK_VERSION: 0x80000038\n\
                     FULU_FORK_EPOCH: 18446744073709551615\n";
        let fork = |versions: [u8; 2]| crate::StateFork {
            previous_version: [versions[0], 0, 0, 0x38],
            version: [versions[1], 0, 0, 0x38],
            epoch: 0,
        };
        let schedule = config(forks).schedule;
        assert!(schedule.check(&fork([0x10, 0x20]), 0, 32).is_ok());
        assert!(schedule.check(&fork([0x20, 0x80]), u64::MAX, 32).is_err());
        let root = format!("CONFIG_NAME: x\nGENESIS_VALIDATORS_ROOT: 0x{}\n", "11".repeat(32));
        assert_eq!(config(&root).genesis_validators_root, Some(Root([0x11; 32])));
    }

    #[test]
    fn values_that_a_config_lacks_are_those_of_its_preset() {
        let values = |text: &str| Config::parse(text).unwrap().values;
        let gnosis = "CONFIG_NAME: x\nPRESET_BASE: gnosis\nEJECTION_BALANCE: '17000000000'\n";
        let wanted = ConfigValues { ejection_balance: 17_000_000_000, ..ConfigValues::GNOSIS };
        assert_eq!(values(gnosis), wanted);
        assert_eq!(values("CONFIG_NAME: x\n"), ConfigValues::MAINNET);
        assert_eq!(values("config_name = \"x\"\npreset = \"minimal\"\n"), ConfigValues::MINIMAL);
        let refused = Config::parse("CONFIG_NAME: x\nCHURN_LIMIT_QUOTIENT: 0x10\n").unwrap_err();
        assert_eq!(refused.to_string(), "CHURN_LIMIT_QUOTIENT: wanted a number, found '0x10'");
    }

    #[test]
    fn a_config_that_gives_a_known_root_another_name_is_refused() {
        let [mainnet, sepolia, ..] = KnownNetwork::ALL.map(|known| known.genesis_validators_root);
        let toml = format!("config_name = \"x\"\ngenesis_validators_root = \"{sepolia}\"\n");
        assert!(Config::parse(&toml).unwrap_err().to_string().contains("sepolia"));
        let nameless = Config::parse("CONFIG_NAME: x\n").unwrap();
        assert!(nameless.check_root(mainnet).is_err());
        assert!(nameless.check_root(Root([1; 32])).is_ok());
    }

    #[test]
    fn text_that_is_neither_is_refused() {
        for text in [
            "",
            "x",
            "PRESET_BASE: mainnet\n",
            "config_name = 3",
            "config_name = \"x",
            "CONFIG_NAME: ''",
            "CONFIG_NAME:",
            "CONFIG_NAME: [a]",
            "CONFIG_NAME: a\nCONFIG_NAME: b\n",
            "- CONFIG_NAME: x",
        ] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
    }
}
