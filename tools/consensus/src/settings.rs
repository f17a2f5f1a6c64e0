//! The keys and values of a `config.yaml`.

use std::fmt;

use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use crate::config_fault::ConfigFault;
use crate::config_values::BlobParameters;

/// Keys in upper case, and their values as written. A key without a value is absent.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    values: Vec<(String, String)>,
    /// `BLOB_SCHEDULE`, the only list.
    pub(crate) blob_schedule: Vec<BlobParameters>,
}

const BLOB_SCHEDULE_KEY: &str = "BLOB_SCHEDULE";

impl Settings {
    /// Parses YAML. A key that is not wanted is ignored, and may have a value of any type.
    pub(crate) fn parse(text: &str, is_wanted: &dyn Fn(&str) -> bool) -> Result<Self, ConfigFault> {
        let parsed = serde_saphyr::with_deserializer_from_str(text, |yaml| {
            yaml.deserialize_map(SettingsVisitor { is_wanted })
        });
        parsed.map_err(|fault| ConfigFault::Yaml(fault.without_snippet().to_string()))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, ConfigFault> {
        let parse =
            |text: &str| text.parse().map_err(|_| ConfigFault::value(key, "a number", text));
        self.get(key).map(parse).transpose()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Settings {
    fn from(settings: [(&str, &str); N]) -> Self {
        let values = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Self { values, blob_schedule: Vec::new() }
    }
}

struct SettingsVisitor<'w> {
    is_wanted: &'w dyn Fn(&str) -> bool,
}

impl<'de> Visitor<'de> for SettingsVisitor<'_> {
    type Value = Settings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
        let mut settings = Settings::default();
        while let Some(key) = map.next_key::<String>()? {
            let key = key.to_ascii_uppercase();
            if key == BLOB_SCHEDULE_KEY {
                settings.blob_schedule = map.next_value::<Option<_>>()?.unwrap_or_default();
            } else if !(self.is_wanted)(&key) {
                map.next_value::<IgnoredAny>()?;
            } else if let Some(value) = map.next_value::<Option<String>>()? {
                if settings.get(&key).is_some() {
                    return Err(serde::de::Error::custom(format!("{key} is there twice")));
                }
                settings.values.push((key, value));
            }
        }
        Ok(settings)
    }
}
