//! Errors of configurations.

use crate::root::{NotARoot, Root};

/// Why a text is not a valid configuration, or is the configuration of another network.
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
    #[error(
        "network {name} has the genesis validators root {wanted}, found {found}{}",
        which_is(found_network)
    )]
    AnotherRoot {
        /// The name in the configuration.
        name: String,
        /// The root in the configuration.
        wanted: Root,
        /// The root that was found.
        found: Root,
        /// The known network that has it.
        found_network: Option<&'static str>,
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

impl ConfigFault {
    pub(crate) fn value(key: &str, wanted: &'static str, found: &str) -> Self {
        Self::Value { key: key.to_owned(), wanted, found: found.to_owned() }
    }
}

fn which_is(network: &Option<&str>) -> String {
    network.map(|network| format!(", which is {network}")).unwrap_or_default()
}
