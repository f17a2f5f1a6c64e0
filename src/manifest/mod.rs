//! `archive.toml`: what an archive is known to hold (`src/format/FORMAT.md`, section 9).
//!
//! Columns do not depend on it and other software ignores it. It answers what no column can: how far
//! a column that is gone once went, which states were wanted, what was pruned, and what a process
//! began and did not finish.
//!
//! # Order of writes
//! * An intent is durable here before the first step of what it announces, and is removed after the
//!   last one.
//! * A column's `highest` is raised after the commit that it speaks of is durable, and lowered before
//!   that commit is undone. So it is a lower bound at every moment, whatever a crash cuts off.

mod text;

use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use toml_edit::DocumentMut;

use crate::column::Column;
use crate::error::{Error, Result};
use crate::files::disk::{self, Access, Disk, OsDisk};
use crate::slot::Slot;

/// The file's name in the archive's directory.
pub const FILE_NAME: &str = "archive.toml";
const TMP_NAME: &str = "archive.toml.tmp";

/// No manifest is longer.
const MAX_BYTES: u64 = 1 << 20;

/// What is known of an archive. `None` is "not recorded".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The network's config name, as the imported files carry it.
    pub config_name: Option<String>,
    /// Names the chain.
    pub genesis_validators_root: Option<[u8; 32]>,
    /// `SLOTS_PER_HISTORICAL_ROOT` of the preset.
    pub slots_per_era: Option<u64>,
    /// The name of the preset.
    pub preset: Option<String>,
    /// Which boundary states were wanted by the last import.
    pub states: Option<StatesPolicy>,
    /// The first slot that the archive is meant to hold.
    pub first_slot: Option<Slot>,
    /// The slot of the newest boundary state, while nothing proves it.
    pub unproved_state: Option<Slot>,
    /// The manifest was lost and made again from the columns: the policy, what was pruned and what
    /// was unfinished before that are unknown.
    pub rebuilt: bool,
    columns: [Option<ColumnEntry>; Column::ALL.len()],
    intents: Vec<Intent>,
}

/// What is known of one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColumnEntry {
    /// The highest slot that the column is known to have been committed to. A lower bound.
    pub highest: Option<Slot>,
    /// Records below this slot were removed on purpose.
    pub pruned_before: Option<Slot>,
}

/// Which boundary states an archive keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatesPolicy {
    /// All of them.
    All,
    /// None but the newest.
    None,
    /// Those of eras that this number divides, and the newest.
    Every(NonZeroU64),
    /// Not known: the manifest was rebuilt, or the policy is one of a later version.
    Unknown,
}

/// Something that was begun and changes several columns or files. Whoever finds one finishes it
/// before any other write, or refuses to write when the kind is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// What was begun: `"rewind"`, `"prune"`, `"replace"`, `"copy"` …
    pub kind: String,
    /// Directory names of the columns that it changes.
    pub columns: Vec<String>,
    /// The slot that it is about, where there is one.
    pub slot: Option<Slot>,
    /// The path that it is about, where there is one: the source of a copy, say.
    pub path: Option<String>,
}

impl Intent {
    /// Kinds that any writer finishes.
    pub(crate) const REWIND: &str = "rewind";
    pub(crate) const PRUNE: &str = "prune";
}

impl Manifest {
    /// Reads an archive's manifest; `None` when it has none. A link to it is followed.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a file that is empty, torn, no TOML or not a manifest; [`Error::Io`].
    pub fn read(archive: &Path) -> Result<Option<Self>> {
        Self::read_on(&OsDisk, archive)
    }

    /// [`Manifest::read`] on another disk than the operating system's.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn read_on(disk: &dyn Disk, archive: &Path) -> Result<Option<Self>> {
        Ok(read_document(disk, archive)?.map(|(manifest, _)| manifest))
    }

    /// Changes an archive's manifest, or makes one. Keys and comments of others stay. Nothing is
    /// written when `edit` changes nothing. The archive's directory must exist.
    ///
    /// 1. lock the directory, so that no two processes overwrite each other's change,
    /// 2. read what is there now, and let `edit` change it,
    /// 3. write the new text beside it and flush it,
    /// 4. rename it over the old one and flush the directory.
    ///
    /// # Errors
    /// As [`Manifest::read`], what `edit` returns, and [`Error::Io`]. Nothing has changed then,
    /// unless step 4 failed.
    pub fn update(archive: &Path, edit: impl FnOnce(&mut Self) -> Result<()>) -> Result<Self> {
        Self::update_on(&OsDisk, archive, edit)
    }

    /// [`Manifest::update`] on another disk than the operating system's.
    ///
    /// # Errors
    /// As [`Manifest::update`].
    pub fn update_on(
        disk: &dyn Disk,
        archive: &Path,
        edit: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Self> {
        // 1.
        let locked = disk.lock_directory(archive);
        let _lock = locked.map_err(|error| Error::io(archive, "lock the directory", error))?;
        // 2.
        let found = read_document(disk, archive)?;
        let (before, mut document) = found.unwrap_or_else(|| (Self::default(), text::empty()));
        let mut after = before.clone();
        edit(&mut after)?;
        // A file without any key would be taken for somebody else's.
        if after == before {
            return Ok(after);
        }
        text::apply(&before, &after, &mut document);
        // 3.
        let tmp = archive.join(TMP_NAME);
        write_flushed(disk, &tmp, text::render(&document).as_bytes())?;
        // 4.
        let path = archive.join(FILE_NAME);
        disk.rename(&tmp, &path).map_err(|error| Error::io(&path, "replace", error))?;
        let flushed = disk.sync_dir(archive);
        flushed.map_err(|error| Error::io(archive, "flush the directory", error))?;
        Ok(after)
    }

    /// What is known of a column.
    #[must_use]
    pub fn column(&self, column: Column) -> ColumnEntry {
        self.columns[column.index()].unwrap_or_default()
    }

    /// Whether the column has an entry at all: it was made once.
    #[must_use]
    pub fn has_column(&self, column: Column) -> bool {
        self.columns[column.index()].is_some()
    }

    /// What is known of a column, to be changed. It has an entry from now on.
    pub fn column_mut(&mut self, column: Column) -> &mut ColumnEntry {
        self.columns[column.index()].get_or_insert_default()
    }

    /// Raises the highest slot that a column is known to have been committed to.
    pub fn raise_highest(&mut self, column: Column, highest: Option<Slot>) {
        let entry = self.column_mut(column);
        entry.highest = entry.highest.max(highest);
    }

    /// What was begun and not finished, oldest first.
    #[must_use]
    pub fn intents(&self) -> &[Intent] {
        &self.intents
    }

    /// Records that something is begun.
    pub fn push_intent(&mut self, intent: Intent) {
        self.intents.push(intent);
    }

    /// Records that it is finished. False when there is no such intent.
    pub fn end_intent(&mut self, intent: &Intent) -> bool {
        let found = self.intents.iter().position(|known| known == intent);
        found.map(|place| self.intents.remove(place)).is_some()
    }
}

fn read_document(disk: &dyn Disk, archive: &Path) -> Result<Option<(Manifest, DocumentMut)>> {
    let path = archive.join(FILE_NAME);
    let bytes = match disk.read_whole(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        // A link that leads nowhere is a disk that is not mounted, and no archive without a manifest.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            return Ok(None);
        }
        Err(error) => return Err(Error::io(path, "read", error)),
    };
    text::parse(&path, &bytes).map(Some)
}

fn write_flushed(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    // What a crash left there is in the way; a link might lead anywhere.
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io(path, "remove", error));
        }
        _ => {}
    }
    let written = disk.open(path, Access::CreateNew).and_then(|mut file| {
        disk::write_all_at(&mut *file, &mut [IoSlice::new(bytes)], 0)?;
        file.sync()
    });
    written.map_err(|error| Error::io(PathBuf::from(path), "write", error))
}

impl std::fmt::Display for StatesPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StatesPolicy::All => f.write_str("all"),
            StatesPolicy::None => f.write_str("none"),
            StatesPolicy::Every(eras) => write!(f, "every:{eras}"),
            StatesPolicy::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests;
