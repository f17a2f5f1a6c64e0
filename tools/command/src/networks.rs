//! Networks. One is recognised by its genesis validators root, never by the name of a file.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use coldstore::archive::check;
use coldstore_consensus::KnownNetwork;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::failure::Usage;
use crate::output;
use crate::schedule::Schedule;

/// A genesis validators root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root(pub(crate) [u8; 32]);

impl Root {
    /// The public network with this root.
    pub(crate) fn known(self) -> Option<&'static KnownNetwork> {
        KnownNetwork::by_root(&self.0)
    }
}

/// The name of a known network.
pub(crate) fn name_of(root: Root) -> Option<&'static str> {
    root.known().map(|known| known.name)
}

/// A network as the operator names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Network {
    pub(crate) config_name: String,
    /// A beacon `config.yaml` does not say it.
    pub(crate) genesis_validators_root: Option<Root>,
    /// `PRESET_BASE`
    #[serde(default)]
    pub(crate) preset: Option<String>,
    #[serde(skip)]
    pub(crate) schedule: Schedule,
    /// Where it stands, when a file says it.
    #[serde(skip)]
    pub(crate) file: Option<String>,
}

impl Network {
    /// A known name, or else a config file.
    pub(crate) fn named(name_or_file: &str) -> Result<Self> {
        if let Some(known) = KnownNetwork::by_name(name_or_file) {
            return Ok(Self {
                config_name: known.name.to_owned(),
                genesis_validators_root: Some(Root(known.genesis_validators_root)),
                preset: Some(known.preset.to_string()),
                schedule: Schedule::default(),
                file: None,
            });
        }
        let path = Path::new(name_or_file);
        if !check::is_there(path)? {
            let names = KnownNetwork::ALL.map(|known| known.name).join(", ");
            let message = format!("network '{name_or_file}' is none of {names}, and no file");
            return Err(Usage(message).into());
        }
        let text = fs::read_to_string(path).context("cannot read");
        let network = text.and_then(|text| Self::of_config(&text));
        let network = network.with_context(|| format!("network config {name_or_file}"))?;
        Ok(Self { file: Some(name_or_file.to_owned()), ..network })
    }

    /// Reads TOML, or the `KEY: value` lines of a beacon `config.yaml`.
    fn of_config(text: &str) -> Result<Self> {
        let network: Self = if is_yaml(text) {
            let value = |key: &str| yaml_value(text, key);
            let keys = text.lines().filter_map(|line| line.split_once(':')).map(|(key, _)| key);
            Self {
                config_name: value("CONFIG_NAME").context("there is no CONFIG_NAME")?,
                genesis_validators_root: value("GENESIS_VALIDATORS_ROOT")
                    .map(|root| root.parse())
                    .transpose()?,
                preset: value("PRESET_BASE"),
                schedule: Schedule::of(keys, value)?,
                file: None,
            }
        } else {
            toml::from_str(text)?
        };
        ensure!(!network.config_name.is_empty(), "the config name is empty");
        if let Some(root) = network.genesis_validators_root {
            network.check_root(root)?;
        }
        Ok(network)
    }

    /// Refuses a root that is another network's.
    pub(crate) fn check_root(&self, found: Root) -> Result<()> {
        let name = &self.config_name;
        if let Some(wanted) = self.genesis_validators_root {
            ensure!(
                wanted == found,
                "network {name} has the genesis validators root {wanted}, found {found}{}",
                name_of(found).map(|found| format!(", which is {found}")).unwrap_or_default()
            );
        }
        if let Some(known) = name_of(found) {
            ensure!(
                known == name,
                "the genesis validators root {found} is {known}'s, not {name}'s"
            );
        }
        Ok(())
    }
}

/// True where the first line that is neither empty nor a comment reads `KEY: value`.
fn is_yaml(text: &str) -> bool {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let key = line.and_then(|line| line.split_once(':')).map(|(key, _)| key);
    key.is_some_and(|key| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// The value of a top-level key, without quotes and comment.
fn yaml_value(text: &str, key: &str) -> Option<String> {
    let same_key = |found: &str| found.eq_ignore_ascii_case(key);
    let value = text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        same_key(found).then_some(value.trim())
    })?;
    let value = match value.chars().next() {
        Some(quote @ ('\'' | '"')) => value[1..].split(quote).next().unwrap_or_default(),
        _ => value.split(" #").next().unwrap_or_default().trim_end(),
    };
    (!value.is_empty()).then(|| value.to_owned())
}

impl FromStr for Root {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
        let mut root = [0; 32];
        let wanted = || format!("a root has 64 hex digits, found '{text}'");
        ensure!(digits.len() == 2 * root.len(), wanted());
        for (byte, pair) in root.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).with_context(wanted);
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?)?;
        }
        Ok(Self(root))
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&output::hex(&self.0))
    }
}

impl Serialize for Root {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_network_is_recognised_by_its_root() {
        for known in KnownNetwork::ALL {
            let network = Network::named(known.name).unwrap();
            let root = network.genesis_validators_root.unwrap();
            assert_eq!(root.0, known.genesis_validators_root);
            assert_eq!(name_of(root), Some(known.name));
        }
    }

    #[test]
    fn a_beacon_config_and_a_toml_file_name_a_network() {
        let yaml = "# Extends mainnet\nPRESET_BASE: 'mainnet'\nCONFIG_NAME: 'mekong' # devnet\n\
                    MIN_GENESIS_TIME: 0\n";
        let network = Network::of_config(yaml).unwrap();
        let wanted = Network {
            config_name: "mekong".to_owned(),
            genesis_validators_root: None,
            preset: Some("mainnet".to_owned()),
            schedule: Schedule::default(),
            file: None,
        };
        assert_eq!(network, wanted);
        let root = "11".repeat(32);
        let toml = format!("config_name = \"mekong\"\ngenesis_validators_root = \"0x{root}\"\n");
        let root = Some(Root([0x11; 32]));
        assert_eq!(
            Network::of_config(&toml).unwrap(),
            Network { genesis_validators_root: root, preset: None, ..wanted }
        );
    }

    #[test]
    fn a_config_that_gives_a_known_root_another_name_is_refused() {
        let [mainnet, sepolia, ..] =
            KnownNetwork::ALL.map(|known| Root(known.genesis_validators_root));
        let toml = format!("config_name = \"x\"\ngenesis_validators_root = \"{sepolia}\"\n");
        assert!(Network::of_config(&toml).unwrap_err().to_string().contains("sepolia"));
        let nameless = Network::of_config("CONFIG_NAME: x\n").unwrap();
        assert!(nameless.check_root(mainnet).is_err());
        assert!(nameless.check_root(Root([1; 32])).is_ok());
    }

    #[test]
    fn text_that_is_neither_is_refused() {
        for text in ["", "x", "PRESET_BASE: mainnet\n", "config_name = 3", "CONFIG_NAME: ''"] {
            assert!(Network::of_config(text).is_err(), "{text}");
        }
        assert!("0x12".parse::<Root>().is_err());
        assert!("+1".repeat(32).parse::<Root>().is_err());
    }
}
