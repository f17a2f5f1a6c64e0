//! The five columns of an archive, and the settings that a column is created with.

use std::fmt;
use std::str::FromStr;

/// How the values of a column are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Uncompressed.
    None,
    /// One snappy *framed* stream per value.
    Snappy,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "none",
            Compression::Snappy => "snappy",
        })
    }
}

/// The settings of a column. Record type and compression never change; the bound may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnSpec {
    /// The e2store type of the column's records.
    pub record_type: [u8; 2],
    /// How values are stored.
    pub compression: Compression,
    /// Upper bound on the length of one decoded value, in bytes.
    pub max_value_bytes: u64,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The five columns of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    /// SSZ `SignedBeaconBlock`, by the slot of the block.
    Blocks,
    /// Block roots, 32 bytes each; a skipped slot repeats the preceding root.
    BlockRoots,
    /// State roots, 32 bytes each.
    StateRoots,
    /// Whole states.
    StateSnapshots,
    /// Diffs between states.
    StateDiffs,
}

impl Column {
    /// All columns, in the order of their record types.
    pub const ALL: [Column; 5] = [
        Column::Blocks,
        Column::BlockRoots,
        Column::StateRoots,
        Column::StateSnapshots,
        Column::StateDiffs,
    ];

    /// The name of the column's directory.
    #[must_use]
    pub const fn dir_name(self) -> &'static str {
        match self {
            Column::Blocks => "blk",
            Column::BlockRoots => "bbr",
            Column::StateRoots => "bsr",
            Column::StateSnapshots => "bss",
            Column::StateDiffs => "bsd",
        }
    }

    /// The descriptive name, as shown to users: "blocks", "block-roots" …
    #[must_use]
    pub const fn long_name(self) -> &'static str {
        match self {
            Column::Blocks => "blocks",
            Column::BlockRoots => "block-roots",
            Column::StateRoots => "state-roots",
            Column::StateSnapshots => "state-snapshots",
            Column::StateDiffs => "state-diffs",
        }
    }

    /// The settings that the column is created with: `src/format/FORMAT.md`, section 1.
    #[must_use]
    pub const fn spec(self) -> ColumnSpec {
        let (tag, compression, max_value_bytes) = match self {
            Column::Blocks => (1, Compression::Snappy, 10 * MIB),
            Column::BlockRoots => (2, Compression::None, 64),
            Column::StateRoots => (3, Compression::None, 64),
            Column::StateSnapshots => (4, Compression::None, GIB),
            Column::StateDiffs => (5, Compression::None, GIB),
        };
        ColumnSpec { record_type: [tag, 0], compression, max_value_bytes }
    }

    /// The column's index in [`Column::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Writes the directory name.
impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.dir_name())
    }
}

/// A name that belongs to none of the five columns.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown column '{0}': use blk, bbr, bsr, bss or bsd, or the long name: blocks, block-roots, state-roots, state-snapshots or state-diffs"
)]
pub struct UnknownColumn(pub String);

/// Accepts the directory name and the long name.
impl FromStr for Column {
    type Err = UnknownColumn;

    fn from_str(name: &str) -> Result<Self, UnknownColumn> {
        Column::ALL
            .into_iter()
            .find(|column| name == column.dir_name() || name == column.long_name())
            .ok_or_else(|| UnknownColumn(name.to_owned()))
    }
}
