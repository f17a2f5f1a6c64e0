//! What can go wrong, in terms that a caller can act on.
//!
//! A disk that lies ([`Error::Corrupt`], [`Error::Io`]) is told apart from a caller's mistake
//! ([`Error::Conflict`], [`Error::NotAscending`] …).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::column::Column;
use crate::slot::{FileId, Slot};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way in which an operation on a column or an archive can fail.
///
/// The variants with much to say are boxed, so that the `Result` of a read stays a few words long.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error(transparent)]
    Io(Box<IoError>),

    /// Another writer holds the column's lock. `pid` is what the lock file says of its holder.
    #[error("{} is open for writing by {}", directory.display(), holder(*pid))]
    AlreadyOpen {
        /// The column's directory.
        directory: Box<Path>,
        /// The process id in the lock file, where it could be read.
        pid: Option<u32>,
    },

    /// There is no column (a directory with a `column.conf`) here.
    #[error("no such column: {} has no column.conf", directory.display())]
    NoSuchColumn {
        /// The directory that was asked for.
        directory: Box<Path>,
    },

    /// A copy of an archive that was interrupted or is under way ([`copy`](crate::write::copy)).
    #[error("{}: an unfinished copy of an archive: run `coldstore copy` again", directory.display())]
    UnfinishedCopy {
        /// The directory of the copy.
        directory: Box<Path>,
    },

    /// The column was replaced as a whole (by rewind, prune or heal) since this reader opened it.
    /// What its views have mapped stays valid. Opening the directory again shows the new column.
    #[error("{} was replaced as a whole since it was opened; open it again", directory.display())]
    Replaced {
        /// The column's directory.
        directory: Box<Path>,
    },

    /// The archive's manifest recorded more of a column than is there: it, or its end, was lost. To begin
    /// it afresh, or to write behind the hole, would hide that.
    #[error("{}: records up to slot {recorded} were committed here, and {}: import the same files again, or put back a copy of the column that holds them", directory.display(), what_is_left(*highest))]
    Lost {
        /// The column's directory.
        directory: Box<Path>,
        /// The highest slot that is there; `None` where the column is gone or empty.
        highest: Option<Slot>,
        /// The highest slot that the manifest recorded.
        recorded: Slot,
    },

    /// An earlier write failed after it had begun to change files. Every write is refused until
    /// the column is opened again, which heals it from its conf. Reads go on.
    #[error("the writer of {} is poisoned by an earlier failure ({cause}); open the column again to heal it", directory.display())]
    Poisoned {
        /// The column's directory.
        directory: Box<Path>,
        /// The failure that poisoned it.
        #[source]
        cause: Box<Error>,
    },

    /// The pipeline has been told to stop and takes no more jobs.
    #[error("the writer of {} is shutting down", directory.display())]
    ShuttingDown {
        /// The column's directory.
        directory: Box<Path>,
    },

    /// Bytes on disk contradict the format. Nothing was changed.
    #[error(transparent)]
    Corrupt(Box<Corruption>),

    /// The files use something that this version does not know.
    #[error("{}: unsupported {what}: found {found}", file.display())]
    Unsupported {
        /// The file that says so.
        file: Box<Path>,
        /// The setting or feature.
        what: &'static str,
        /// What the file has.
        found: Box<str>,
    },

    /// The column exists with another setting than the caller asks for.
    #[error("{}: {setting} on disk is {found}, the caller asks for {wanted}", file.display())]
    ConfMismatch {
        /// The conf file.
        file: Box<Path>,
        /// Which setting differs.
        setting: &'static str,
        /// What the caller asked for.
        wanted: Box<str>,
        /// What the conf has.
        found: Box<str>,
    },

    /// The slot already holds a different value. Finalized history never changes.
    #[error("slot {slot} already holds a different value")]
    Conflict {
        /// The slot.
        slot: Slot,
    },

    /// The slot was skipped, lies at or below the highest slot, and backfill is off.
    #[error("slot {slot} lies at or below the highest slot {highest} and backfill is off")]
    BackfillDisabled {
        /// The slot that was to be filled.
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
        "a backfill batch may fill gaps in one file besides the current one, this one needs {}; put_bulk splits it",
        list(files)
    )]
    SpansFiles {
        /// The files besides the current one, ascending.
        files: Box<[FileId]>,
    },

    /// The slots of a batch do not strictly ascend.
    #[error("slots of a batch must ascend: {slot} follows {previous}")]
    NotAscending {
        /// The slot before.
        previous: Slot,
        /// The slot that is not above it.
        slot: Slot,
    },

    /// A value, or its place, is not what belongs into the column. Nothing was written.
    #[error(transparent)]
    Refused(Box<Objection>),

    /// `u64::MAX` is the mark of an empty column and no slot.
    #[error("{} is not a slot", u64::MAX)]
    InvalidSlot,

    /// A payload that was given in its stored form is not the column's compression of a value.
    #[error("the payload for slot {slot} does not decode: {cause}")]
    Undecodable {
        /// The slot.
        slot: Slot,
        /// What the decoder says.
        cause: Box<str>,
    },

    /// A value, or what is stored for it, is larger than a bound allows.
    #[error("the value of slot {slot} has {}{byte_len} bytes, more than the {limit} allowed by {bound}", if *.at_least { "at least " } else { "" })]
    TooLarge {
        /// The slot.
        slot: Slot,
        /// Length of the value in bytes.
        byte_len: u64,
        /// True where decoding stopped at the bound, so that the value may be longer.
        at_least: bool,
        /// The bound in bytes.
        limit: u64,
        /// Whose bound it is.
        bound: &'static str,
    },
}

/// An operating system error with the file and the operation it belongs to.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: cannot {operation}: {source}", path.display())]
pub struct IoError {
    /// The file or directory.
    pub path: PathBuf,
    /// What was being done, as a verb: "open", "flush" …
    pub operation: &'static str,
    /// The operating system's error.
    #[source]
    pub source: Arc<io::Error>,
}

/// Where the bytes on disk contradict the format, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: corrupt {what}: wanted {wanted}, found {found}", file.display(), At(*offset))]
pub struct Corruption {
    /// The file.
    pub file: PathBuf,
    /// Byte offset in the file, where there is one.
    pub offset: Option<u64>,
    /// What is wrong: "record header", "offset entry" …
    pub what: &'static str,
    /// What the format wants there.
    pub wanted: String,
    /// What was found.
    pub found: String,
}

/// Why a value may not be written to one of the known columns: see [`Door`](crate::Door).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{column} slot {slot} is refused: wanted {wanted}, found {found}; {}", kind.remedy())]
pub struct Objection {
    /// The column.
    pub column: Column,
    /// The slot of the value.
    pub slot: Slot,
    /// What kind of objection it is.
    pub kind: ObjectionKind,
    /// What belongs there.
    pub wanted: String,
    /// What was given.
    pub found: String,
}

/// What is wrong with a value that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ObjectionKind {
    /// The value is none of the column's, or that of another slot or chain.
    WrongValue,
    /// A root would leave a gap behind it.
    RootGap,
    /// The slot lies more than an era above the archive's highest.
    TooFar,
}

impl ObjectionKind {
    /// The variant's name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongValue => "WrongValue",
            Self::RootGap => "RootGap",
            Self::TooFar => "TooFar",
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::WrongValue => "check slot and file; only `raw` writes take other encodings",
            Self::RootGap => "send the roots in between too",
            Self::TooFar => "check the slot; say `far` if it is meant",
        }
    }
}

struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, " at offset {offset}"),
            None => Ok(()),
        }
    }
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
        what: &'static str,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Corrupt(Box::new(Corruption {
            file: file.into(),
            offset: offset.into(),
            what,
            wanted: wanted.into(),
            found: found.into(),
        }))
    }

    /// What was looked at, for a caller that does without what is missing, damaged or of another version:
    /// `None` then.
    ///
    /// # Errors
    /// Any other: what cannot be looked at is not missing.
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

    /// True for [`Error::Corrupt`].
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt(_))
    }
}
