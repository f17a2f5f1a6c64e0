//! The actions of healing, and its report.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::format::offsets::TABLE_BYTES;
use crate::slot::Slot;

/// One change that healing made, or would make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealAction {
    /// Offset entries of uncommitted records were set to 0.
    ClearedEntries {
        /// The offset file.
        file: PathBuf,
        /// The slots, ascending.
        slots: Vec<Slot>,
    },
    /// Checksums of uncommitted records were set to 0.
    ClearedSums {
        /// The checksum file.
        file: PathBuf,
        /// The slots, ascending.
        slots: Vec<Slot>,
    },
    /// A short offset file was extended with zeros to 65,536 bytes.
    ExtendedOffsets {
        /// The offset file.
        file: PathBuf,
        /// Its length in bytes before.
        from: u64,
    },
    /// Uncommitted bytes were cut off a data file.
    Truncated {
        /// The data file.
        file: PathBuf,
        /// Its length in bytes before.
        from: u64,
        /// The committed length in bytes.
        to: u64,
    },
    /// A file that no commit names was removed.
    RemovedFile {
        /// The data or offset file.
        file: PathBuf,
        /// Its length in bytes.
        byte_len: u64,
    },
    /// The leftover directory of an interrupted column replacement was removed.
    RemovedLeftover {
        /// The directory.
        directory: PathBuf,
    },
    /// Data that may not be a remnant of a crash was copied before its removal.
    CopiedAside {
        /// The data, offset or checksum file.
        file: PathBuf,
        /// The copy, which other software ignores.
        aside: PathBuf,
        /// Offset in the file at which the copy begins.
        from: u64,
        /// Length of the copy in bytes.
        byte_len: u64,
    },
    /// A file that no commit names, and that may not be a remnant of a crash, was renamed.
    MovedAside {
        /// The file.
        file: PathBuf,
        /// Its new name, which other software ignores.
        aside: PathBuf,
        /// Its length in bytes.
        byte_len: u64,
    },
    /// A file that was put aside earlier was removed: all its records are committed again, or
    /// [`discard`](crate::WriterOptions::discard) was set.
    RemovedAside {
        /// The file.
        file: PathBuf,
        /// Its length in bytes.
        byte_len: u64,
    },
    /// The header and the length of a checksum file were restored, because its checksums match the
    /// records.
    MendedSums {
        /// The checksum file.
        file: PathBuf,
    },
    /// The conf no longer names a backfill file in which nothing was committed.
    DroppedBackfillFile {
        /// The conf.
        file: PathBuf,
    },
    /// The slot of an unfinished commit was cleared in the witness.
    ClearedWitness {
        /// `column.check`
        file: PathBuf,
    },
    /// The conf of an unfinished commit was removed.
    RemovedTmp {
        /// `column.conf.tmp`
        file: PathBuf,
    },
}

impl HealAction {
    /// The file that was changed, or the directory that was removed.
    #[must_use]
    pub fn file(&self) -> &Path {
        match self {
            HealAction::ClearedEntries { file, .. }
            | HealAction::ClearedSums { file, .. }
            | HealAction::ExtendedOffsets { file, .. }
            | HealAction::Truncated { file, .. }
            | HealAction::RemovedFile { file, .. }
            | HealAction::CopiedAside { file, .. }
            | HealAction::MovedAside { file, .. }
            | HealAction::RemovedAside { file, .. }
            | HealAction::MendedSums { file }
            | HealAction::DroppedBackfillFile { file }
            | HealAction::ClearedWitness { file }
            | HealAction::RemovedTmp { file } => file,
            HealAction::RemovedLeftover { directory } => directory,
        }
    }
}

impl fmt::Display for HealAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file().display())?;
        match self {
            HealAction::ClearedEntries { slots, .. } => {
                write_cleared(f, ["entry", "entries"], slots)
            }
            HealAction::ClearedSums { slots, .. } => {
                write_cleared(f, ["checksum", "checksums"], slots)
            }
            HealAction::ExtendedOffsets { from, .. } => {
                write!(f, "extended from {from} to {TABLE_BYTES} bytes")
            }
            HealAction::Truncated { from, to, .. } => {
                write!(f, "{} uncommitted bytes cut, length now {to}", from - to)
            }
            HealAction::RemovedFile { byte_len, .. } => {
                write!(f, "uncommitted file of {byte_len} bytes removed")
            }
            HealAction::CopiedAside { aside, from: 0, byte_len, .. } => {
                write!(f, "{byte_len} bytes copied to {}", name_of(aside))
            }
            HealAction::CopiedAside { aside, from, byte_len, .. } => {
                write!(f, "{byte_len} bytes from {from} on copied to {}", name_of(aside))
            }
            HealAction::MovedAside { aside, byte_len, .. } => {
                write!(f, "uncommitted file of {byte_len} bytes renamed to {}", name_of(aside))
            }
            HealAction::RemovedAside { byte_len, .. } => {
                write!(f, "{byte_len} bytes that were put aside earlier removed")
            }
            HealAction::MendedSums { .. } => write!(f, "header and length restored"),
            HealAction::DroppedBackfillFile { .. } => {
                write!(f, "a backfill file without records is no longer named")
            }
            HealAction::ClearedWitness { .. } => write!(f, "slot of an unfinished commit cleared"),
            HealAction::RemovedTmp { .. } => write!(f, "conf of an unfinished commit removed"),
            HealAction::RemovedLeftover { .. } => {
                write!(f, "removed: left by an interrupted replacement of the column")
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
        for action in &actions {
            match action {
                HealAction::CopiedAside { aside, .. } | HealAction::MovedAside { aside, .. } => {
                    asides.push(aside.clone());
                }
                HealAction::RemovedAside { file, .. } => asides.retain(|aside| aside != file),
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
