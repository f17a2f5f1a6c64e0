//! Errors, in terms that a caller can act on.
//!
//! [`Error::kind`] sorts them by what the caller can do.

mod details;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::details::{CorruptItem, Corruption, IoError, ObjectionKind};

use crate::column::Column;
use crate::slot::{FileId, Slot};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way in which an operation on a column or an archive can fail.
///
/// Large variants are boxed, so that the `Result` of a read stays a few words long.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error(transparent)]
    Io(Box<IoError>),

    /// Another writer holds the column's lock.
    #[error("{} is open for writing by {}", directory.display(), holder(*pid))]
    AlreadyOpen {
        /// The column's directory.
        directory: Box<Path>,
        /// The holder's process id, if the lock file has a readable one.
        pid: Option<u32>,
    },

    /// The directory has no `column.conf`, so it is not a column.
    #[error("no such column: {} has no column.conf", directory.display())]
    NoSuchColumn {
        /// The directory without a conf.
        directory: Box<Path>,
    },

    /// The directory holds a copy of an archive that was interrupted or is still running
    /// ([`copy`](crate::write::copy)).
    #[error("{} is an unfinished copy of an archive; run `coldstore copy` again to finish it", directory.display())]
    UnfinishedCopy {
        /// The directory of the copy.
        directory: Box<Path>,
    },

    /// Rewind, prune or heal replaced the column as a whole after this reader opened it. Files that
    /// its views have mapped stay readable. Opening the directory again shows the new column.
    #[error("{} was replaced as a whole since it was opened; open it again", directory.display())]
    Replaced {
        /// The column's directory.
        directory: Box<Path>,
    },

    /// The column, or its end, was lost: the archive's manifest recorded a higher slot than the column
    /// holds. Writing is refused, because a new column or new records after the hole would hide the
    /// loss.
    #[error("{}: records up to slot {recorded} were committed here, but {}; import the same files again, or restore a copy of the column that holds them", directory.display(), what_is_left(*highest))]
    Lost {
        /// The column's directory.
        directory: Box<Path>,
        /// The highest slot of the column; `None` if the column is missing or empty.
        highest: Option<Slot>,
        /// The highest slot in the manifest.
        recorded: Slot,
    },

    /// An earlier write failed after its first change to a file. Every write is refused until
    /// the column is opened again, which heals it from its conf. Reads continue.
    #[error("the writer of {} is poisoned by an earlier failure ({cause}); open the column again to heal it", directory.display())]
    Poisoned {
        /// The column's directory.
        directory: Box<Path>,
        /// The failure that poisoned the writer.
        #[source]
        cause: Box<Error>,
    },

    /// The archive was opened for writing without this column.
    #[error("column {column} is not open: name it in the options of the archive's writer")]
    NotOpened {
        /// The column.
        column: Column,
    },

    /// The pipeline is stopping and accepts no more jobs.
    #[error("the writer of {} is shutting down", directory.display())]
    ShuttingDown {
        /// The column's directory.
        directory: Box<Path>,
    },

    /// Bytes on disk contradict the format. Nothing was changed.
    #[error(transparent)]
    Corrupt(Box<Corruption>),

    /// A file uses a setting or feature that this version does not support.
    #[error("{}: unsupported {what}: found {found}", file.display())]
    Unsupported {
        /// The file.
        file: Box<Path>,
        /// The setting or feature.
        what: &'static str,
        /// The value in the file.
        found: Box<str>,
    },

    /// The column exists, and its conf has a different setting than the caller requested.
    #[error("{}: {setting} on disk is {found}, the caller asks for {wanted}", file.display())]
    ConfMismatch {
        /// The conf file.
        file: Box<Path>,
        /// The setting that differs.
        setting: &'static str,
        /// The caller's value.
        wanted: Box<str>,
        /// The value in the conf.
        found: Box<str>,
    },

    /// The slot already holds a different value. Finalized history never changes.
    #[error("slot {slot} already holds a different value")]
    Conflict {
        /// The slot.
        slot: Slot,
    },

    /// The slot has no record and lies at or below the highest slot, and backfill is off.
    #[error("slot {slot} lies at or below the highest slot {highest} and backfill is off")]
    BackfillDisabled {
        /// The slot of the put.
        slot: Slot,
        /// The column's highest slot.
        highest: Slot,
    },

    /// One batch would both fill a gap and go past the highest slot.
    /// [`Writer::put_bulk`](crate::Writer::put_bulk) splits it.
    #[error(
        "a batch may not both fill a gap (slot {backfill}) and go past the highest slot (slot {sequential}); put_bulk splits it"
    )]
    MixedBatch {
        /// The first slot of the batch that fills a gap.
        backfill: Slot,
        /// The first slot of the batch above the highest.
        sequential: Slot,
    },

    /// One backfill batch would fill gaps in more than one file besides the current one.
    /// [`Writer::put_bulk`](crate::Writer::put_bulk) splits it.
    #[error(
        "a backfill batch may fill gaps in one file besides the current one, but this batch fills gaps in {}; put_bulk splits it",
        list(files)
    )]
    SpansFiles {
        /// All files in which the batch fills gaps, except the current one; ascending.
        files: Box<[FileId]>,
    },

    /// The slots of a batch are not strictly ascending.
    #[error("slots of a batch must ascend: {slot} follows {previous}")]
    NotAscending {
        /// The preceding slot of the batch.
        previous: Slot,
        /// The slot that is not above `previous`.
        slot: Slot,
    },

    /// The column's checks refuse a value or its slot. Nothing was written.
    #[error("{column} slot {slot} is refused: wanted {wanted}, found {found}; {}", kind.remedy())]
    Refused {
        /// The column.
        column: Column,
        /// The slot of the value.
        slot: Slot,
        /// Why the value is refused.
        kind: ObjectionKind,
        /// What the column accepts at this slot.
        wanted: Box<str>,
        /// What the caller passed.
        found: Box<str>,
    },

    /// The slot is `u64::MAX`, which marks an empty column on disk.
    #[error("{} is not a slot", u64::MAX)]
    InvalidSlot,

    /// A stored payload does not decode with the column's compression.
    #[error("the payload for slot {slot} does not decode: {cause}")]
    Undecodable {
        /// The slot.
        slot: Slot,
        /// The decoder's error.
        cause: Box<str>,
    },

    /// A value, or its stored payload, is larger than a bound allows.
    #[error("the value of slot {slot} has {}{byte_len} bytes, more than the {limit} allowed by {bound}", if *.at_least { "at least " } else { "" })]
    TooLarge {
        /// The slot.
        slot: Slot,
        /// Length of the value in bytes.
        byte_len: u64,
        /// True if decoding stopped at the bound: `byte_len` is then a lower bound.
        at_least: bool,
        /// The bound in bytes.
        limit: u64,
        /// The name of the bound.
        bound: &'static str,
    },
}

/// What the caller of a failed operation can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call itself is wrong: its slots, values or settings. Correct it; the same call fails again.
    Usage,
    /// There is no such column. Create it, or look in another directory.
    NotFound,
    /// Another process is writing to the column. Try again later.
    Busy,
    /// This writer, pipeline or reader is of no further use: open the column again. A poisoned writer
    /// is healed by that.
    Poisoned,
    /// Bytes on disk contradict the format, or committed records are missing. Nothing was changed: verify
    /// the column, restore a copy, or import again.
    Corrupt,
    /// The files use a feature of another version. Use that version.
    Unsupported,
    /// The operating system failed. Free space, descriptors or permissions may help; a writer that was
    /// not poisoned can try again.
    Io,
}

fn what_is_left(highest: Option<Slot>) -> String {
    highest.map_or_else(
        || "nothing is left".to_owned(),
        |highest| format!("the column ends with slot {highest}"),
    )
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn list(files: &[FileId]) -> String {
    let names: Vec<String> = files.iter().map(|id| format!("data_{id}")).collect();
    names.join(", ")
}

impl Error {
    /// An [`Error::Io`] for `operation` on `path`.
    pub fn io(path: impl Into<PathBuf>, operation: &'static str, source: io::Error) -> Self {
        Self::Io(Box::new(IoError { path: path.into(), operation, source: Arc::new(source) }))
    }

    /// An [`Error::Corrupt`].
    pub fn corrupt(
        file: impl Into<PathBuf>,
        offset: impl Into<Option<u64>>,
        what: impl Into<CorruptItem>,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Corrupt(Box::new(Corruption {
            file: file.into(),
            offset: offset.into(),
            what: what.into(),
            wanted: wanted.into(),
            found: found.into(),
        }))
    }

    /// Turns the errors for a missing column, damage, and an unsupported or different conf into `None`,
    /// for callers that can continue without the column.
    ///
    /// # Errors
    /// Every other error: a column that cannot be read is not missing.
    pub fn if_sound<T>(looked: Result<T>) -> Result<Option<T>> {
        match looked {
            Ok(found) => Ok(Some(found)),
            Err(
                Self::NoSuchColumn { .. }
                | Self::Corrupt(_)
                | Self::Unsupported { .. }
                | Self::ConfMismatch { .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict { .. }
            | Self::BackfillDisabled { .. }
            | Self::MixedBatch { .. }
            | Self::SpansFiles { .. }
            | Self::NotAscending { .. }
            | Self::Refused { .. }
            | Self::InvalidSlot
            | Self::Undecodable { .. }
            | Self::TooLarge { .. }
            | Self::ConfMismatch { .. }
            | Self::NotOpened { .. } => ErrorKind::Usage,
            Self::NoSuchColumn { .. } => ErrorKind::NotFound,
            Self::AlreadyOpen { .. } => ErrorKind::Busy,
            Self::Replaced { .. } | Self::Poisoned { .. } | Self::ShuttingDown { .. } => {
                ErrorKind::Poisoned
            }
            Self::Corrupt(_) | Self::Lost { .. } | Self::UnfinishedCopy { .. } => {
                ErrorKind::Corrupt
            }
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Io(_) => ErrorKind::Io,
        }
    }

    /// True for [`Error::Corrupt`].
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt(_))
    }
}
