//! The errors of an import.

use std::path::{Path, PathBuf};

use super::group::{EraGroup, EraSlots};
use super::import_report::ImportReport;
use crate::column::Column;
use crate::error::Error;
use crate::format::hex::Hex;
use crate::slot::Slot;

/// A file that cannot be imported.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BadFile {
    /// Its path.
    pub path: PathBuf,
    /// Why it is not an `.era` file: file, offset, what was wanted and found.
    pub error: Error,
}

/// Why an import stopped. Eras before the named one are in the archive and stay there. Nothing of the
/// named file was committed, except as noted at the variants.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read, or is damaged: file, offset, slot, what was wanted and found. If it changed after
    /// it was verified, earlier commits of its eras stay: all that they hold was verified.
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
        /// All files, and the error of each.
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
    #[error("{}: era {era}: {column} lacks slot {slot} below its highest slot: import with --backfill", file.display())]
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
        roots: Option<Box<([u8; 32], [u8; 32])>>,
    },

    /// Two files of one import, or a file and the archive, belong to different chains.
    #[error("{}: era {era} is of another chain: slot {slot} has {found}, {wanted}", file.display())]
    AnotherChain {
        /// The file that does not fit.
        file: PathBuf,
        /// The era that does not fit.
        era: u64,
        /// The slot at which the chains differ.
        slot: Slot,
        /// The root in the file, and of what it is.
        found: String,
        /// The root in the archive or in another file, and its place.
        wanted: String,
    },

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
    #[error("states are selected, but the column for them is not open")]
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

/// An import that stopped, and its progress until then.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct ImportFailure {
    /// The eras that were completed.
    pub done: ImportReport,
    /// Why it stopped.
    #[source]
    pub error: ImportError,
}

/// An import that stopped before its first era.
impl From<ImportError> for Box<ImportFailure> {
    fn from(error: ImportError) -> Self {
        Box::new(ImportFailure { done: ImportReport::default(), error })
    }
}

/// The error for a column that refuses a verified era.
pub(super) fn refused(
    path: &Path,
    group: &EraGroup,
    column: Column,
) -> impl FnOnce(Error) -> ImportError {
    let (file, era) = (path.to_path_buf(), group.era);
    move |source| ImportError::Column { file, era, column, source }
}

/// The error for an era whose root of a slot differs from that of `other`.
pub(super) fn another_chain(
    path: &Path,
    era: u64,
    slot: Slot,
    what: &str,
    found: &[u8],
    other: &str,
    wanted: &[u8],
) -> ImportError {
    let found = format!("the {what} {}", Hex(found));
    let wanted = format!("{other} has {}", Hex(wanted));
    ImportError::AnotherChain { file: path.to_path_buf(), era, slot, found, wanted }
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

fn of_roots(roots: Option<&([u8; 32], [u8; 32])>) -> String {
    roots.map_or_else(String::new, |(held, found)| {
        format!(": its root is {}, the file's {}", Hex(held), Hex(found))
    })
}
