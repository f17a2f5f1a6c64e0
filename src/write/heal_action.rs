//! The actions of healing, and its report.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::format::offsets::TABLE_BYTES;
use crate::slot::Slot;

/// One change that healing made, or would make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealAction {
    /// The file that was changed, or the directory that was removed.
    pub file: PathBuf,
    /// How it was changed.
    pub change: HealChange,
}

/// How healing changed a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealChange {
    /// Offset entries of uncommitted records were set to 0: those of these slots, ascending.
    ClearedEntries(Vec<Slot>),
    /// Checksums of uncommitted records were set to 0: those of these slots, ascending.
    ClearedSums(Vec<Slot>),
    /// A short offset file, of this length in bytes, was extended with zeros to 65,536 bytes.
    ExtendedOffsets(u64),
    /// Uncommitted bytes were cut off a data file.
    Truncated {
        /// Its length in bytes before.
        from: u64,
        /// The committed length in bytes.
        to: u64,
    },
    /// A file that no commit names, of this length in bytes, was removed.
    RemovedFile(u64),
    /// The leftover directory of an interrupted column replacement was removed.
    RemovedLeftover,
    /// Data that may not be a remnant of a crash was copied before its removal.
    CopiedAside {
        /// The copy, which other software ignores.
        aside: PathBuf,
        /// Offset in the file at which the copy begins.
        from: u64,
        /// Length of the copy in bytes.
        byte_len: u64,
    },
    /// A file that no commit names, and that may not be a remnant of a crash, was renamed.
    MovedAside {
        /// Its new name, which other software ignores.
        aside: PathBuf,
        /// Its length in bytes.
        byte_len: u64,
    },
    /// A file that was put aside earlier, of this length in bytes, was removed: all its records are
    /// committed again, or [`discard`](crate::WriterOptions::discard) was set.
    RemovedAside(u64),
    /// The header and the length of a checksum file were restored, because its checksums match the
    /// records.
    MendedSums,
    /// The conf no longer names a backfill file in which nothing was committed.
    DroppedBackfillFile,
    /// The slot of an unfinished commit was cleared in the witness.
    ClearedWitness,
    /// The conf of an unfinished commit was removed.
    RemovedTmp,
}

impl fmt::Display for HealAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.change)
    }
}

impl fmt::Display for HealChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClearedEntries(slots) => write_cleared(f, ["entry", "entries"], slots),
            Self::ClearedSums(slots) => write_cleared(f, ["checksum", "checksums"], slots),
            Self::ExtendedOffsets(from) => {
                write!(f, "extended from {from} to {TABLE_BYTES} bytes")
            }
            Self::Truncated { from, to } => {
                write!(f, "{} uncommitted bytes cut, length now {to}", from - to)
            }
            Self::RemovedFile(byte_len) => {
                write!(f, "uncommitted file of {byte_len} bytes removed")
            }
            Self::CopiedAside { aside, from: 0, byte_len } => {
                write!(f, "{byte_len} bytes copied to {}", name_of(aside))
            }
            Self::CopiedAside { aside, from, byte_len } => {
                write!(f, "{byte_len} bytes from {from} on copied to {}", name_of(aside))
            }
            Self::MovedAside { aside, byte_len } => {
                write!(f, "uncommitted file of {byte_len} bytes renamed to {}", name_of(aside))
            }
            Self::RemovedAside(byte_len) => {
                write!(f, "{byte_len} bytes that were put aside earlier removed")
            }
            Self::MendedSums => f.write_str("header and length restored"),
            Self::DroppedBackfillFile => {
                f.write_str("a backfill file without records is no longer named")
            }
            Self::ClearedWitness => f.write_str("slot of an unfinished commit cleared"),
            Self::RemovedTmp => f.write_str("conf of an unfinished commit removed"),
            Self::RemovedLeftover => {
                f.write_str("removed: left by an interrupted replacement of the column")
            }
        }
    }
}

fn name_of(path: &Path) -> std::path::Display<'_> {
    Path::new(path.file_name().unwrap_or(path.as_os_str())).display()
}

fn write_cleared(f: &mut fmt::Formatter<'_>, what: [&str; 2], slots: &[Slot]) -> fmt::Result {
    let [one, many] = what;
    match slots {
        [slot] => write!(f, "uncommitted {one} of slot {slot} cleared"),
        [first, .., last] => {
            let count = slots.len();
            write!(f, "{count} uncommitted {many} cleared, slots {first} to {last}")
        }
        [] => write!(f, "no {one} cleared"),
    }
}

/// All changes that healing made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealReport {
    /// The actions, in the order in which they were taken.
    pub actions: Vec<HealAction>,
    /// The files that healing has put aside, now or earlier, and that still exist.
    pub asides: Vec<PathBuf>,
}

impl HealReport {
    /// The report of an opening that found `asides` and took `actions`.
    pub(super) fn new(actions: Vec<HealAction>, mut asides: Vec<PathBuf>) -> Self {
        for HealAction { file, change } in &actions {
            match change {
                HealChange::CopiedAside { aside, .. } | HealChange::MovedAside { aside, .. } => {
                    asides.push(aside.clone());
                }
                HealChange::RemovedAside(_) => asides.retain(|aside| aside != file),
                _ => {}
            }
        }
        asides.sort();
        Self { actions, asides }
    }

    /// Whether there was nothing to heal.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.actions.is_empty()
    }
}
