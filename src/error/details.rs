//! What an error carries: the file and what was wanted and found there.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// An operating system error, with the file and the operation that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: cannot {operation}: {source}", path.display())]
pub struct IoError {
    /// The file or directory.
    pub path: PathBuf,
    /// The operation, as a verb: "open", "flush" …
    pub operation: &'static str,
    /// The operating system's error.
    #[source]
    pub source: Arc<io::Error>,
}

/// Bytes on disk that contradict the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: corrupt {what}: wanted {wanted}, found {found}", file.display(), At(*offset))]
pub struct Corruption {
    /// The file.
    pub file: PathBuf,
    /// Byte offset in the file; `None` if the file as a whole is meant.
    pub offset: Option<u64>,
    /// The corrupt item.
    pub what: CorruptItem,
    /// What the format requires there.
    pub wanted: String,
    /// What is there.
    pub found: String,
}

/// The item of a column, an archive or an `.era` file that a [`Corruption`] or a
/// [`Finding`](crate::verify::Finding) is about. `Display` gives its name in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CorruptItem {
    /// The commit marker `column.conf`, as a whole or the named field of it.
    Conf(&'static str),
    /// A file of the column that is missing or not a regular file.
    Column,
    /// The bytes of a data file between its records.
    DataFile,
    /// The length of a data file.
    DataLength,
    /// The length of an offset file.
    OffsetLength,
    /// The first record of a data file.
    VersionRecord,
    /// A slot's entry in an offset file.
    OffsetEntry,
    /// The header of a record.
    RecordHeader,
    /// A record: its place, or its bytes as a whole.
    Record,
    /// The stored payload of a record.
    Payload,
    /// The length of a decoded value.
    ValueLength,
    /// A record that differs from its checksum.
    RecordChecksum,
    /// A slot's entry in a checksum file.
    ChecksumEntry,
    /// A checksum file as a whole.
    ChecksumFile,
    /// The manifest `archive.toml`.
    Manifest,
    /// Anything else, by its name.
    Other(&'static str),
}

impl fmt::Display for CorruptItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conf(name) | Self::Other(name) => name,
            Self::Column => "column",
            Self::DataFile => "data file",
            Self::DataLength => "length of the data file",
            Self::OffsetLength => "length of the offset file",
            Self::VersionRecord => "version record",
            Self::OffsetEntry => "offset entry",
            Self::RecordHeader => "record header",
            Self::Record => "record",
            Self::Payload => "payload",
            Self::ValueLength => "length of a value",
            Self::RecordChecksum => "checksum of a record",
            Self::ChecksumEntry => "checksum entry",
            Self::ChecksumFile => "checksum file",
            Self::Manifest => "manifest",
        })
    }
}

/// [`CorruptItem::Other`].
impl From<&'static str> for CorruptItem {
    fn from(name: &'static str) -> Self {
        Self::Other(name)
    }
}

/// Why a value may not be written to one of the five columns: see [`Door`](crate::Door).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ObjectionKind {
    /// The value is of another kind than the column's, or belongs to another slot or chain.
    WrongValue,
    /// The root would leave a gap below it.
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

    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::WrongValue => {
                "check the slot and the file; only `raw` writes take other encodings"
            }
            Self::RootGap => "send the roots in between too",
            Self::TooFar => "check the slot; pass `far` if it is right",
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
