//! `archive.toml`: what an import learned of the network. The file is optional, and no column
//! depends on it.

use std::fmt;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::networks::Root;

const FILE_NAME: &str = "archive.toml";

/// The file's content.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct ArchiveToml {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config_name: Option<String>,
    pub(crate) genesis_validators_root: Root,
    /// Era 0 alone does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slots_per_era: Option<u64>,
    /// Keys that others keep there.
    #[serde(flatten)]
    pub(crate) others: toml::Table,
}

impl ArchiveToml {
    /// `None` when the archive has no such file.
    pub(crate) fn read(archive: &Path) -> Result<Option<Self>> {
        let path = archive.join(FILE_NAME);
        let text = match disk::read_settings(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let message = format!("{}: cannot read", path.display());
                return Err(anyhow::Error::new(error).context(message));
            }
        };
        let parsed = toml::from_str(&text).with_context(|| path.display().to_string())?;
        Ok(Some(parsed))
    }

    /// Replaces the archive's file.
    pub(crate) fn write(&self, archive: &Path) -> Result<()> {
        disk::replace(&archive.join(FILE_NAME), toml::to_string(self)?.as_bytes())
    }

    /// Refuses an import of another chain than the archive's; else what is known afterwards.
    pub(crate) fn merged(self, imported: Self) -> Result<Self> {
        ensure!(
            self.genesis_validators_root == imported.genesis_validators_root,
            "{FILE_NAME}: the archive's genesis validators root is {}, found {}",
            self.genesis_validators_root,
            imported.genesis_validators_root
        );
        if let (Some(ours), Some(theirs)) = (self.slots_per_era, imported.slots_per_era) {
            ensure!(
                ours == theirs,
                "{FILE_NAME}: the archive's eras have {ours} slots, not {theirs}"
            );
        }
        if let (Some(ours), Some(theirs)) = (&self.config_name, &imported.config_name) {
            ensure!(ours == theirs, "{FILE_NAME}: the archive's network is {ours}, not {theirs}");
        }
        let config_name = self.config_name.or(imported.config_name);
        let slots_per_era = self.slots_per_era.or(imported.slots_per_era);
        Ok(Self { config_name, slots_per_era, ..self })
    }
}

/// In one line, for people.
impl fmt::Display for ArchiveToml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.config_name.as_deref().unwrap_or("unknown");
        write!(f, "{name}, genesis validators root {}", self.genesis_validators_root)?;
        self.slots_per_era.map_or(Ok(()), |slots| write!(f, ", {slots} slots per era"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unnamed() -> ArchiveToml {
        ArchiveToml {
            config_name: None,
            genesis_validators_root: Root([7; 32]),
            slots_per_era: Some(64),
            others: toml::Table::new(),
        }
    }

    #[test]
    fn the_file_is_read_back_as_written_with_the_keys_of_others() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(ArchiveToml::read(directory.path()).unwrap(), None);
        let mut wanted = unnamed();
        wanted.others.insert("owner".to_owned(), "me".into());
        wanted.write(directory.path()).unwrap();
        assert_eq!(ArchiveToml::read(directory.path()).unwrap(), Some(wanted));
        assert_eq!(
            std::fs::read_dir(directory.path()).unwrap().count(),
            1,
            "no leftover beside it"
        );
    }

    #[test]
    fn a_name_is_learned_and_kept() {
        let named = ArchiveToml { config_name: Some("minimal".to_owned()), ..unnamed() };
        assert_eq!(unnamed().merged(named.clone()).unwrap(), named);
        assert_eq!(named.clone().merged(unnamed()).unwrap(), named);
        let other = ArchiveToml { config_name: Some("other".to_owned()), ..unnamed() };
        assert!(named.merged(other).is_err());
    }

    #[test]
    fn another_chain_is_refused() {
        let other = ArchiveToml { genesis_validators_root: Root([8; 32]), ..unnamed() };
        assert!(unnamed().merged(other).is_err());
        assert!(unnamed().merged(ArchiveToml { slots_per_era: Some(8192), ..unnamed() }).is_err());
    }
}
