//! Networks as named by the operator. A network is recognized by its genesis validators root, never by
//! a file name.

use std::fs;
use std::ops::Deref;
use std::path::Path;

use anyhow::{Context, Result};
use coldstore::archive::held::is_there;
use coldstore_consensus::{Config, KnownNetwork, Root};

use crate::failure::Usage;

/// The name of a known network.
pub(crate) fn name_of(root: Root) -> Option<&'static str> {
    KnownNetwork::by_root(&root).map(|known| known.name)
}

/// Whether a config name can be part of a file's name.
pub(crate) fn is_config_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
    !name.is_empty() && name.bytes().all(fits)
}

/// A network named by the operator.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    config: Config,
    /// Path of the config, if it was read from a file.
    pub(crate) file: Option<String>,
}

impl Network {
    /// Resolves a known name, or else reads a config file.
    pub(crate) fn named(name_or_file: &str) -> Result<Self> {
        if let Some(known) = KnownNetwork::by_name(name_or_file) {
            return Ok(Self { config: Config::of_known(known), file: None });
        }
        let path = Path::new(name_or_file);
        if !is_there(path)? {
            let names = KnownNetwork::ALL.map(|known| known.name).join(", ");
            let message =
                format!("network '{name_or_file}' is neither a known network ({names}) nor a file");
            return Err(Usage(message).into());
        }
        let text = fs::read_to_string(path).context("cannot read");
        let config = text.and_then(|text| Ok(Config::parse(&text)?));
        let config = config.with_context(|| format!("network config {name_or_file}"))?;
        Ok(Self { config, file: Some(name_or_file.to_owned()) })
    }
}

impl Deref for Network {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_network_is_recognized_by_its_root() {
        for known in KnownNetwork::ALL {
            let network = Network::named(known.name).unwrap();
            let root = network.genesis_validators_root.unwrap();
            assert_eq!(root, known.genesis_validators_root);
            assert_eq!(name_of(root), Some(known.name));
        }
    }
}
