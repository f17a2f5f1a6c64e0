//! What is there of an archive's columns: reads only the confs.

use std::path::Path;

use crate::column::Column;
use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::format::names;
use crate::manifest::Manifest;
use crate::slot::Slot;

/// How much of a column exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// There is no conf, and no data or offset file either.
    Nothing,
    /// There is a conf, but no record.
    Empty,
    /// There are records; this is the highest slot.
    UpTo(Slot),
    /// The conf is damaged, unsupported, or missing beside data files. Verification reports why.
    Unreadable,
}

impl Held {
    pub fn of(archive: &Path, column: Column) -> Result<Self> {
        let Some(directory) = Directory::open(&archive.join(column.dir_name()))? else {
            return Ok(Held::Nothing);
        };
        match directory.read_conf() {
            Ok(Some(open)) => Ok(open.conf.highest.map_or(Held::Empty, Held::UpTo)),
            // Files without a conf are damage, which verification of the column reports.
            Ok(None) if directory.file_ids()?.is_empty() => Ok(Held::Nothing),
            Ok(None) | Err(Error::Corrupt(_) | Error::Unsupported { .. }) => Ok(Held::Unreadable),
            Err(error) => Err(error),
        }
    }

    pub fn highest(self) -> Option<Slot> {
        match self {
            Held::UpTo(highest) => Some(highest),
            Held::Nothing | Held::Empty | Held::Unreadable => None,
        }
    }
}

/// Whether the path exists.
pub fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| Error::io(path, "look for", error))
}

/// The columns of an archive that have a conf.
pub fn columns(root: &Path) -> Result<Vec<Column>> {
    let mut columns = Vec::new();
    for column in Column::ALL {
        if is_there(&root.join(column.dir_name()).join(names::CONF))? {
            columns.push(column);
        }
    }
    Ok(columns)
}

/// Returns [`Error::Lost`] if a column is behind the manifest.
pub(super) fn check_recorded(root: &Path, known: &Manifest, column: Column) -> Result<()> {
    let entry = known.column(column);
    let Some(recorded) = entry.highest else { return Ok(()) };
    let is_pruned = entry.pruned_before.is_some_and(|pruned| pruned > recorded);
    let held = Held::of(root, column)?;
    if is_pruned || held == Held::Unreadable || held.highest() >= Some(recorded) {
        return Ok(());
    }
    let (directory, highest) = (root.join(column.dir_name()).into(), held.highest());
    Err(Error::Lost { directory, highest, recorded })
}
