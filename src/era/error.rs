//! Why an import stopped.

use std::path::{Path, PathBuf};

use super::bad_file::BadFile;
use super::group::{EraSlots, Group};
use super::hex::Hex;
use super::report::ImportReport;
use super::ssz::Root;
use crate::column::Column;
use crate::error::Error;
use crate::slot::Slot;

/// Every way in which an import can stop. Eras before the one that is named are in the archive
/// and stay there; of the file that is named nothing was committed, except where
/// [`ImportError::Column`] and [`ImportError::Stopped`] say so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read, or is damaged: file, offset, slot, what was wanted and found.
    #[error(transparent)]
    File(#[from] Error),

    /// A column refused what a verified era brings. What the era had committed before that stays,
    /// and a repeated import goes on from there.
    #[error("{}: era {era} cannot be written to {column}: {source}", file.display())]
    Column {
        /// The file that holds the era.
        file: PathBuf,
        /// The era.
        era: u64,
        /// The column.
        column: Column,
        /// What the column says.
        #[source]
        source: Error,
    },

    /// A directory was given that has no `.era` file, or no path at all.
    #[error("there is no .era file in {}", path.display())]
    NoFiles {
        /// The directory; empty when no path was given.
        path: PathBuf,
    },

    /// None of the files can be imported.
    #[error("{}", none_is_good(files))]
    BadFiles {
        /// All of them, and what each looks like.
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

    /// An era does not follow on what the archive holds, and is not in it either.
    #[error("{}: era {era} (slots {} to {}) cannot be imported: {why}", file.display(), slots.first, slots.last)]
    NotConsecutive {
        /// The file that holds the era.
        file: PathBuf,
        /// The era.
        era: u64,
        /// Its slots.
        slots: EraSlots,
        /// What the archive holds instead.
        why: String,
    },

    /// A column lacks slots at or below its highest, and may not be opened for backfill. Nothing of
    /// the whole import was written.
    #[error("{}: era {era}: {column} lacks slot {slot} behind slots that it has: import with --backfill", file.display())]
    NeedsBackfill {
        /// The file that holds the era.
        file: PathBuf,
        /// The era.
        era: u64,
        /// The column.
        column: Column,
        /// The first slot that it lacks of the era.
        slot: Slot,
    },

    /// The archive holds another state of the slot than the file.
    #[error("{}: era {era}: the archive holds another state of slot {slot} than this file{}", file.display(), of_roots(roots.as_deref()))]
    AnotherState {
        /// The file that holds the era.
        file: PathBuf,
        /// The era.
        era: u64,
        /// The slot of the state.
        slot: Slot,
        /// The roots of the archive's state and of the file's, where somebody can hash states.
        roots: Option<Box<(Root, Root)>>,
    },

    /// Two files of one import, or a file and the archive, are not of the same chain.
    #[error(transparent)]
    AnotherChain(Box<AnotherChain>),

    /// Two files of one import count eras differently: they are of different presets.
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

    /// States were selected, but no column was given to put them into.
    #[error("states were selected but the column for them was not opened")]
    NoSnapshotColumn,

    /// The observer asked to stop. What was committed stays, and a repeated import goes on from
    /// there.
    #[error("the import was stopped in era {era} of {}", file.display())]
    Stopped {
        /// The file that was being read.
        file: PathBuf,
        /// The era.
        era: u64,
    },
}

/// Where an era and what is known of its chain contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: era {era} is of another chain: slot {slot} has the {what} {}, {other} {}", file.display(), Hex(found), has(wanted.as_ref()))]
pub struct AnotherChain {
    /// The file that does not fit.
    pub file: PathBuf,
    /// The era that does not fit.
    pub era: u64,
    /// The slot where the two part.
    pub slot: Slot,
    /// "block root", "genesis validators root".
    pub what: &'static str,
    /// What the file has.
    pub found: Root,
    /// The archive, or the other file.
    pub other: String,
    /// What that has, where it is known.
    pub wanted: Option<Root>,
}

impl From<AnotherChain> for ImportError {
    fn from(mismatch: AnotherChain) -> Self {
        Self::AnotherChain(Box::new(mismatch))
    }
}

/// An import that stopped, and what it had done by then.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct ImportFailure {
    /// The eras that are in the archive.
    pub done: ImportReport,
    /// Why it stopped.
    #[source]
    pub error: ImportError,
}

/// The error of a column that refuses a verified era.
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
