//! The errors of an import.

use std::path::{Path, PathBuf};

use super::bad_file::BadFile;
use super::group::{EraSlots, Group};
use super::hex::Hex;
use super::report::ImportReport;
use super::ssz::Root;
use crate::column::Column;
use crate::error::Error;
use crate::slot::Slot;

/// Why an import stopped. Eras before the named one are in the archive and stay there. Nothing of the
/// named file was committed, except as noted at [`ImportError::Column`] and [`ImportError::Stopped`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read, or is damaged: file, offset, slot, what was wanted and found.
    #[error(transparent)]
    File(#[from] Error),

    /// A column refused the records of a verified era. Earlier commits of the era stay, and a repeated
    /// import resumes from there.
    #[error("{}: era {era} cannot be written to {column}: {source}", file.display())]
    Column {
        /// The file that holds the era.
        file: PathBuf,
        /// The era.
        era: u64,
        /// The column.
        column: Column,
        /// The column's error.
        #[source]
        source: Error,
    },

    /// The given directory has no `.era` file, or no path was given.
    #[error("there is no .era file in {}", path.display())]
    NoFiles {
        /// The directory; empty when no path was given.
        path: PathBuf,
    },

    /// None of the files is an `.era` file.
    #[error("{}", none_is_good(files))]
    BadFiles {
        /// All files, and what each seems to be.
        files: Vec<BadFile>,
    },

    /// Eras are missing between what a column holds and the next file.
    #[error("{} missing: {column} {}, and the next file is era {era}, {}", eras(*first, *last), ends(*column_last), file.display())]
    MissingEras {
        /// The first era that is missing.
        first: u64,
        /// The last era that is missing.
        last: u64,
        /// The column that would get a hole.
        column: Column,
        /// Its highest slot; `None` while it is empty.
        column_last: Option<Slot>,
        /// The era that cannot be imported yet.
        era: u64,
        /// The file that holds it.
        file: PathBuf,
    },

    /// An era is neither in the archive nor the next one.
    #[error("{}: era {era} (slots {} to {}) cannot be imported: {why}", file.display(), slots.first, slots.last)]
    NotConsecutive {
        /// The file that holds the era.
        file: PathBuf,
        /// The era.
        era: u64,
        /// Its slots.
        slots: EraSlots,
        /// The reason, which names what the archive holds.
        why: String,
    },

    /// A column lacks slots at or below its highest, and backfill is not allowed. The import has written
    /// nothing.
    #[error("{}: era {era}: {column} lacks slot {slot} behind slots that it has: import with --backfill", file.display())]
    NeedsBackfill {
        /// The file that holds the era.
        file: PathBuf,
        /// The era.
        era: u64,
        /// The column.
        column: Column,
        /// The first slot of the era that the column lacks.
        slot: Slot,
    },

    /// The archive and the file hold different states of the slot.
    #[error("{}: era {era}: the archive holds another state of slot {slot} than this file{}", file.display(), of_roots(roots.as_deref()))]
    AnotherState {
        /// The file that holds the era.
        file: PathBuf,
        /// The era.
        era: u64,
        /// The slot of the state.
        slot: Slot,
        /// The roots of the archive's state and of the file's, if a prover could hash them.
        roots: Option<Box<(Root, Root)>>,
    },

    /// Two files of one import, or a file and the archive, belong to different chains.
    #[error(transparent)]
    AnotherChain(Box<AnotherChain>),

    /// Two files of one import have eras of different lengths, because their presets differ.
    #[error("{} has eras of {found} slots, {} has eras of {wanted}", file.display(), other.display())]
    SlotsPerEra {
        /// The file that does not fit.
        file: PathBuf,
        /// Its slots per era.
        found: u64,
        /// The file before it.
        other: PathBuf,
        /// The slots per era of that file.
        wanted: u64,
    },

    /// States were selected, but no column was given for them.
    #[error("states were selected but the column for them was not opened")]
    NoSnapshotColumn,

    /// The observer stopped the import. Commits stay, and a repeated import resumes from there.
    #[error("the import was stopped in era {era} of {}", file.display())]
    Stopped {
        /// The file that was being read.
        file: PathBuf,
        /// The era.
        era: u64,
    },
}

/// A contradiction between an era and the known chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: era {era} is of another chain: slot {slot} has the {what} {}, {other} {}", file.display(), Hex(found), has(wanted.as_ref()))]
pub struct AnotherChain {
    /// The file that does not fit.
    pub file: PathBuf,
    /// The era that does not fit.
    pub era: u64,
    /// The slot at which the chains differ.
    pub slot: Slot,
    /// "block root", "genesis validators root".
    pub what: &'static str,
    /// The root in the file.
    pub found: Root,
    /// Description of the other side: the archive, or another file.
    pub other: String,
    /// The root on the other side, if known.
    pub wanted: Option<Root>,
}

impl From<AnotherChain> for ImportError {
    fn from(mismatch: AnotherChain) -> Self {
        Self::AnotherChain(Box::new(mismatch))
    }
}

/// An import that stopped, and its progress until then.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct ImportFailure {
    /// The eras that were completed.
    pub done: ImportReport,
    /// Why it stopped.
    #[source]
    pub error: ImportError,
}

/// The error for a column that refuses a verified era.
pub(super) fn refused(path: &Path, group: &Group, column: Column, source: Error) -> ImportError {
    ImportError::Column { file: path.to_path_buf(), era: group.era, column, source }
}

fn eras(first: u64, last: u64) -> String {
    if first == last { format!("era {first} is") } else { format!("eras {first} to {last} are") }
}

fn none_is_good(files: &[BadFile]) -> String {
    match files {
        [file] => file.error.to_string(),
        files => format!("none of the {} files is an .era file", files.len()),
    }
}

fn ends(column_last: Option<Slot>) -> String {
    column_last.map_or_else(|| "is empty".to_owned(), |slot| format!("ends with slot {slot}"))
}

fn of_roots(roots: Option<&(Root, Root)>) -> String {
    roots.map_or_else(String::new, |roots| {
        format!(": its root is {}, the file's {}", Hex(&roots.0), Hex(&roots.1))
    })
}

fn has(root: Option<&Root>) -> String {
    root.map_or_else(|| "has another one".to_owned(), |root| format!("has {}", Hex(root)))
}
