//! The manifest `archive.toml`: what an archive is known to hold (`src/format/FORMAT.md`, section 9).
//!
//! Columns do not depend on it, and other software ignores it. It records what no column can: how far
//! a lost column once reached, which states were requested, what was pruned, and which operations are
//! unfinished.
//!
//! # Order of writes
//! * An intent is durable before the first step of its operation, and is removed after the last.
//! * A column's `highest` is raised after the commit it refers to is durable, and lowered before that
//!   commit is undone. It is therefore a lower bound at any time, also after a crash.

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

/// Maximum length of a manifest in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The content of a manifest. `None` means "not recorded".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The network's config name, as the imported files carry it.
    pub config_name: Option<String>,
    /// Identifies the chain.
    pub genesis_validators_root: Option<[u8; 32]>,
    /// `SLOTS_PER_HISTORICAL_ROOT` of the preset.
    pub slots_per_era: Option<u64>,
    /// The name of the preset.
    pub preset: Option<String>,
    /// Which boundary states the last import kept.
    pub states: Option<StatesPolicy>,
    /// The first slot that the archive is meant to hold.
    pub first_slot: Option<Slot>,
    /// The slot of the newest boundary state, if the state is not proved yet.
    pub unproved_state: Option<Slot>,
    /// The layers of stored states, as a text of the software that stores them; the present ones last.
    pub state_layers: Vec<String>,
    /// The slots of whole states to which others refer, besides those that the layers name.
    pub state_bases: Vec<Slot>,
    /// Whose values `bss` and `bsd` hold.
    pub state_values: Option<String>,
    /// The manifest was lost and rebuilt from the columns: the states policy, earlier pruning and
    /// unfinished operations are unknown.
    pub rebuilt: bool,
    columns: [Option<ColumnEntry>; Column::ALL.len()],
    intents: Vec<Intent>,
}

/// The manifest's entry of one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColumnEntry {
    /// A slot that the column is known to have reached: a lower bound on its highest slot.
    pub highest: Option<Slot>,
    /// Records below this slot were removed on purpose.
    pub pruned_before: Option<Slot>,
}

/// Which boundary states an archive keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatesPolicy {
    /// All of them.
    #[default]
    All,
    /// Only the newest.
    None,
    /// Every N-th (the states of the eras whose number is a multiple of N), and the newest.
    Every(NonZeroU64),
    /// All of them: some whole, the others as diffs, as the [layers](Manifest::state_layers) say.
    Layered,
    /// Unknown: the manifest was rebuilt, or a later version wrote the policy.
    Unknown,
}

impl StatesPolicy {
    /// Whether the state of an era is kept, even if it is not the newest. If the policy is unknown, all are.
    #[must_use]
    pub fn selects(self, era: u64) -> bool {
        match self {
            StatesPolicy::All | StatesPolicy::Layered | StatesPolicy::Unknown => true,
            StatesPolicy::None => false,
            StatesPolicy::Every(eras) => era % eras == 0,
        }
    }
}

/// An unfinished operation on several columns or files. A writer that finds one finishes it before any
/// other write, or refuses to write if the kind is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// The operation: `"rewind"`, `"prune"`, `"replace"`, `"copy"` …
    pub kind: String,
    /// Directory names of the columns that the operation changes.
    pub columns: Vec<String>,
    /// The operation's slot, if it has one.
    pub slot: Option<Slot>,
    /// The operation's path, if it has one: the source of a copy, for example.
    pub path: Option<String>,
}

impl Intent {
    /// Kinds that any writer finishes.
    pub(crate) const REWIND: &str = "rewind";
    pub(crate) const PRUNE: &str = "prune";
}

impl Manifest {
    /// Reads an archive's manifest; `None` if there is none. Follows a symbolic link to it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file is empty, torn, not TOML, or not a manifest; [`Error::Io`].
    pub fn read(archive: &Path) -> Result<Option<Self>> {
        Self::read_on(&OsDisk, archive)
    }

    /// [`Manifest::read`] on another disk than the operating system's.
    #[doc(hidden)]
    pub fn read_on(disk: &dyn Disk, archive: &Path) -> Result<Option<Self>> {
        Ok(read_document(disk, archive)?.map(|(manifest, _)| manifest))
    }

    /// Edits an archive's manifest, or creates one. Unknown keys and comments stay. Writes nothing if
    /// `edit` changes nothing. The archive's directory must exist.
    ///
    /// 1. Lock the directory, so that two processes do not overwrite each other's changes.
    /// 2. Read the manifest and let `edit` change it.
    /// 3. Write the new text to `archive.toml.tmp` and flush it.
    /// 4. Rename it over `archive.toml` and flush the directory.
    ///
    /// # Errors
    /// As [`Manifest::read`], the errors of `edit`, and [`Error::Io`]. The manifest is then unchanged,
    /// unless step 4 failed.
    pub fn update(archive: &Path, edit: impl FnOnce(&mut Self) -> Result<()>) -> Result<Self> {
        Self::update_on(&OsDisk, archive, edit)
    }

    /// [`Manifest::update`] on another disk than the operating system's.
    #[doc(hidden)]
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
        // An unchanged default manifest must not be written: a file without any known key would not be
        // recognized as a manifest.
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

    /// The entry of a column; empty if there is none.
    #[must_use]
    pub fn column(&self, column: Column) -> ColumnEntry {
        self.columns[column.index()].unwrap_or_default()
    }

    /// Whether the column has an entry, which means that it was created at some time.
    #[must_use]
    pub fn has_column(&self, column: Column) -> bool {
        self.columns[column.index()].is_some()
    }

    /// The entry of a column, for editing. Creates the entry if there is none.
    pub fn column_mut(&mut self, column: Column) -> &mut ColumnEntry {
        self.columns[column.index()].get_or_insert_default()
    }

    /// Raises the column's recorded highest slot to `highest`, if that is higher.
    pub fn raise_highest(&mut self, column: Column, highest: Option<Slot>) {
        let entry = self.column_mut(column);
        entry.highest = entry.highest.max(highest);
    }

    /// The unfinished operations, oldest first.
    #[must_use]
    pub fn intents(&self) -> &[Intent] {
        &self.intents
    }

    /// Records that an operation begins.
    pub fn push_intent(&mut self, intent: Intent) {
        self.intents.push(intent);
    }

    /// Records that an operation is finished. Returns `false` if there is no such intent.
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
    // Removes a leftover of a crash, and a symbolic link, which might lead anywhere.
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
            StatesPolicy::Layered => f.write_str("layered"),
            StatesPolicy::Unknown => f.write_str("unknown"),
        }
    }
}
