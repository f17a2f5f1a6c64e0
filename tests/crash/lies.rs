//! Disks that do not do one kind of flush: each stands for a flush that the writer might leave out.

use std::path::Path;

use crate::disk::{Fs, Phase};
use crate::medium::{Ino, Op, Target};
use crate::scripts::COLUMN;

/// A flush that was asked for.
pub(crate) enum Flush<'a> {
    File { name: &'a str, ino: Ino },
    Dir { path: &'a Path },
}

/// Which flushes a disk says to have done and has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Step 2 of a commit: the data files.
    Data,
    /// Step 3: the offset files.
    Offsets,
    /// The checksum files.
    Sums,
    /// Step 4: the names of new files.
    NewNames,
    /// Step 5: the conf before it is renamed, and the rename.
    ConfTmp,
    Renamed,
    /// The witness, beside any conf.
    Check,
    /// Step 1: the same of the intent.
    IntentTmp,
    IntentRenamed,
    /// The conf of a new, upgraded or enlarged column, and the rename of it.
    OpeningTmp,
    OpeningRenamed,
    /// Directories that were made, and those above them.
    Parents,
    /// What opening trusts.
    TrustedData,
    TrustedOffsets,
    TrustedSums,
    TrustedNames,
    /// What healing changed.
    HealedData,
    HealedOffsets,
    HealedSums,
    HealedNames,
    /// A sealed file that is built on, or acknowledged from.
    Sealed,
    /// What a stream that failed had left.
    TakenBack,
    /// What replaces a column: its files, their names, and the names of the two directories.
    CutFiles,
    CutNames,
    CutParent,
}

impl Lie {
    pub(crate) const ALL: [Lie; 25] = [
        Lie::Data,
        Lie::Offsets,
        Lie::Sums,
        Lie::NewNames,
        Lie::ConfTmp,
        Lie::Renamed,
        Lie::Check,
        Lie::IntentTmp,
        Lie::IntentRenamed,
        Lie::OpeningTmp,
        Lie::OpeningRenamed,
        Lie::Parents,
        Lie::TrustedData,
        Lie::TrustedOffsets,
        Lie::TrustedSums,
        Lie::TrustedNames,
        Lie::HealedData,
        Lie::HealedOffsets,
        Lie::HealedSums,
        Lie::HealedNames,
        Lie::Sealed,
        Lie::TakenBack,
        Lie::CutFiles,
        Lie::CutNames,
        Lie::CutParent,
    ];

    /// The script to try first: it is known to notice the lie.
    pub(crate) fn caught_by(self) -> &'static str {
        match self {
            Lie::TrustedData | Lie::TrustedOffsets | Lie::HealedData | Lie::HealedOffsets => {
                "sequential"
            }
            Lie::IntentTmp | Lie::IntentRenamed => {
                "first creation with backfill, batch over two files"
            }
            Lie::Sums | Lie::TrustedSums | Lie::HealedSums => "first creation with checksums",
            Lie::HealedNames => "backfill in a file that never existed",
            Lie::Sealed => "a record of another writer is acknowledged",
            Lie::TakenBack => "backfill in the current file",
            Lie::CutFiles | Lie::CutNames | Lie::CutParent => "rewind within the current file",
            Lie::Data
            | Lie::Offsets
            | Lie::NewNames
            | Lie::ConfTmp
            | Lie::Renamed
            | Lie::Check
            | Lie::OpeningTmp
            | Lie::OpeningRenamed
            | Lie::Parents
            | Lie::TrustedNames => "first creation",
        }
    }

    /// Whether this flush is one of them.
    pub(crate) fn tells(self, fs: &Fs, flush: &Flush<'_>) -> bool {
        class(fs, flush) == Some(self)
    }
}

/// What a flush is for, by what was done since the step began.
fn class(fs: &Fs, flush: &Flush<'_>) -> Option<Lie> {
    let putting = fs.phase == Phase::Put;
    let last_change = fs.of_step().rev().find(|op| op.changes());
    let renamed = matches!(last_change, Some(Op::Rename { .. }));
    if fs.phase == Phase::Cut {
        return Some(match flush {
            Flush::File { .. } => Lie::CutFiles,
            Flush::Dir { path } if Some(*path) == Path::new(COLUMN).parent() => Lie::CutParent,
            Flush::Dir { .. } => Lie::CutNames,
        });
    }
    match flush {
        Flush::Dir { path } if *path != Path::new(COLUMN) => Some(Lie::Parents),
        Flush::Dir { .. } => Some(match (putting, last_change) {
            (true, Some(Op::Unlink { .. })) => Lie::TakenBack,
            (true, _) if !renamed => Lie::NewNames,
            (true, _) if intends(fs) => Lie::IntentRenamed,
            (true, _) => Lie::Renamed,
            (false, None) => Lie::TrustedNames,
            (false, _) if renamed => Lie::OpeningRenamed,
            (false, _) => Lie::HealedNames,
        }),
        Flush::File { name: "column.conf.tmp", .. } => Some(match putting {
            true if intends(fs) => Lie::IntentTmp,
            true => Lie::ConfTmp,
            false => Lie::OpeningTmp,
        }),
        Flush::File { name: "column.check", .. } => Some(Lie::Check),
        Flush::File { name, ino } => {
            let (offsets, sums) = (name.ends_with(".off"), name.ends_with(".sum"));
            let own: Vec<&Op> = fs.of_step().filter(|op| op.is_of_file(*ino)).collect();
            Some(match (putting, own.last()) {
                (true, None) => Lie::Sealed,
                (true, Some(Op::SetLen { .. })) => Lie::TakenBack,
                (true, _) if offsets => Lie::Offsets,
                (true, _) if sums => Lie::Sums,
                (true, _) => Lie::Data,
                (false, None) if offsets => Lie::TrustedOffsets,
                (false, None) if sums => Lie::TrustedSums,
                (false, None) => Lie::TrustedData,
                (false, _) if offsets => Lie::HealedOffsets,
                (false, _) if sums => Lie::HealedSums,
                (false, _) => Lie::HealedData,
            })
        }
    }
}

/// Whether a put has written to nothing but the conf yet.
fn intends(fs: &Fs) -> bool {
    let check = fs.cache.dir(COLUMN.as_ref()).map(|dir| fs.cache.names(dir));
    let check = check.and_then(|names| names.get("column.check")).copied();
    let is_conf = |ino: Ino| {
        check == Some(Target::File(ino))
            || fs.of_step().any(|op| {
                matches!(op, Op::Link { name, target, .. }
                    if &**name == "column.conf.tmp" && *target == Target::File(ino))
            })
    };
    !fs.of_step().any(|op| matches!(op, Op::Write { ino, .. } if !is_conf(*ino)))
}
