//! The configuration of a network, as TOML or as the `config.yaml` of clients.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::schedule::{EPOCH_KEY, Schedule, VERSION_KEY};
use crate::{KnownNetwork, NotARoot, Root};

const NAME_KEY: &str = "CONFIG_NAME";
const PRESET_KEY: &str = "PRESET_BASE";
const ROOT_KEY: &str = "GENESIS_VALIDATORS_ROOT";

/// The settings of a network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NetworkConfig {
    /// `CONFIG_NAME`
    pub config_name: String,
    /// `None` from a beacon `config.yaml`, which does not have it.
    pub genesis_validators_root: Option<Root>,
    /// `PRESET_BASE`, possibly an unknown preset.
    #[serde(default)]
    pub preset: Option<String>,
    /// The forks.
    #[serde(skip)]
    pub schedule: Schedule,
}

/// Why a text is not a valid configuration, or not that of the network at hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// Not TOML with the required keys.
    #[error("{0}")]
    Toml(String),
    /// Not YAML with keys and values.
    #[error("wanted a beacon config.yaml, or TOML with config_name: {0}")]
    Yaml(String),
    /// A key is missing.
    #[error("there is no {0}")]
    Missing(&'static str),
    /// The network's name is empty.
    #[error("the config name is empty")]
    EmptyName,
    /// The genesis validators root is not a root.
    #[error(transparent)]
    Root(#[from] NotARoot),
    /// A value has the wrong form.
    #[error("{key}: wanted {wanted}, found '{found}'")]
    Value {
        /// The key.
        key: String,
        /// The required form.
        wanted: &'static str,
        /// The value found.
        found: String,
    },
    /// The root belongs to another network.
    #[error("network {name} has the genesis validators root {wanted}, found {found}{}", of(found))]
    AnotherRoot {
        /// The name in the configuration.
        name: String,
        /// The root in the configuration.
        wanted: Root,
        /// The root that was found.
        found: Root,
    },
    /// The root belongs to a known network with another name.
    #[error("the genesis validators root {root} is {known}'s, not {name}'s")]
    AnotherName {
        /// The root.
        root: Root,
        /// The network that has it.
        known: &'static str,
        /// The name in the configuration.
        name: String,
    },
}

fn of(root: &Root) -> String {
    KnownNetwork::by_root(root)
        .map(|known| format!(", which is {}", known.name))
        .unwrap_or_default()
}

impl NetworkConfig {
    /// The settings of a known network.
    #[must_use]
    pub fn of_known(known: &KnownNetwork) -> Self {
        Self {
            config_name: known.name.to_owned(),
            genesis_validators_root: Some(known.genesis_validators_root),
            preset: Some(known.preset.to_string()),
            schedule: Schedule::default(),
        }
    }

    /// Parses TOML, or a beacon `config.yaml`.
    ///
    /// # Errors
    /// [`ConfigFault`]
    pub fn parse(text: &str) -> Result<Self, ConfigFault> {
        let text = text.trim_start_matches('\u{feff}');
        let config = match text.parse::<toml::Table>() {
            Ok(table) => table.try_into().map_err(|fault| ConfigFault::Toml(fault.to_string()))?,
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

    fn of_yaml(text: &str) -> Result<Self, ConfigFault> {
        let Settings(settings) = serde_saphyr::from_str(text)
            .map_err(|fault| ConfigFault::Yaml(fault.without_snippet().to_string()))?;
        let value = |key: &str| value_of(&settings, key).cloned();
        Ok(Self {
            config_name: value(NAME_KEY).ok_or(ConfigFault::Missing(NAME_KEY))?,
            genesis_validators_root: value(ROOT_KEY).map(|root| root.parse()).transpose()?,
            preset: value(PRESET_KEY),
            schedule: Schedule::of(&settings)?,
        })
    }

    /// Refuses the genesis validators root of another network.
    ///
    /// # Errors
    /// [`ConfigFault::AnotherRoot`], [`ConfigFault::AnotherName`]
    pub fn check_root(&self, found: Root) -> Result<(), ConfigFault> {
        let name = self.config_name.clone();
        if let Some(wanted) = self.genesis_validators_root.filter(|wanted| *wanted != found) {
            return Err(ConfigFault::AnotherRoot { name, wanted, found });
        }
        match KnownNetwork::by_root(&found).map(|known| known.name) {
            Some(known) if known != name => {
                Err(ConfigFault::AnotherName { root: found, known, name })
            }
            _ => Ok(()),
        }
    }
}

/// The uppercase keys of a `config.yaml` and their values, as written. Everything else (lists of blob
/// parameters, numbers, names of later forks) is ignored.
struct Settings(Vec<(String, String)>);

pub(crate) fn value_of<'s>(settings: &'s [(String, String)], key: &str) -> Option<&'s String> {
    settings.iter().find(|(found, _)| found == key).map(|(_, value)| value)
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SettingsVisitor)
    }
}

struct SettingsVisitor;

impl<'de> Visitor<'de> for SettingsVisitor {
    type Value = Settings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
        let mut settings = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let key = key.to_ascii_uppercase();
            let is_wanted = [NAME_KEY, PRESET_KEY, ROOT_KEY].contains(&key.as_str())
                || key.ends_with(VERSION_KEY)
                || key.ends_with(EPOCH_KEY);
            if !is_wanted {
                map.next_value::<IgnoredAny>()?;
            } else if let Some(value) = map.next_value::<Option<String>>()? {
                settings.push((key, value));
            }
        }
        Ok(Settings(settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> NetworkConfig {
        NetworkConfig {
            config_name: name.to_owned(),
            genesis_validators_root: None,
            preset: Some("mainnet".to_owned()),
            schedule: Schedule::default(),
        }
    }

    #[test]
    fn a_beacon_config_and_a_toml_file_name_a_network() {
        let yaml = "# Extends mainnet\nPRESET_BASE: 'mainnet'\nCONFIG_NAME: 'mekong' # devnet\n\
                    MIN_GENESIS_TIME: 0\n";
        assert_eq!(NetworkConfig::parse(yaml).unwrap(), named("mekong"));
        let root = "11".repeat(32);
        let toml = format!("config_name = \"mekong\"\ngenesis_validators_root = \"0x{root}\"\n");
        let root = Some(Root([0x11; 32]));
        assert_eq!(
            NetworkConfig::parse(&toml).unwrap(),
            NetworkConfig { genesis_validators_root: root, preset: None, ..named("mekong") }
        );
    }

    #[test]
    fn yaml_is_read_as_yaml() {
        let config = |text: &str| NetworkConfig::parse(text).unwrap();
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
        let nested = "BLOB_SCHEDULE:\n  - EPOCH: 412672\n    CONFIG_NAME: wrong\n  - {EPOCH: 1, \
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
    fn a_config_that_gives_a_known_root_another_name_is_refused() {
        let [mainnet, sepolia, ..] = KnownNetwork::ALL.map(|known| known.genesis_validators_root);
        let toml = format!("config_name = \"x\"\ngenesis_validators_root = \"{sepolia}\"\n");
        assert!(NetworkConfig::parse(&toml).unwrap_err().to_string().contains("sepolia"));
        let nameless = NetworkConfig::parse("CONFIG_NAME: x\n").unwrap();
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
            assert!(NetworkConfig::parse(text).is_err(), "{text}");
        }
    }
}
