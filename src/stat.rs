//! Statistics of a column: records, gaps, files and bytes.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::format::conf::Conf;
use crate::format::names::{self, AsidePart};
use crate::format::offsets::TABLE_BYTES;
use crate::read::{Snapshot as _, View};
use crate::slot::Slot;

/// The size of a column in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColumnStat {
    /// The commit marker: highest slot, compression, backfill state, version.
    pub conf: Conf,
    /// The lowest slot with a record.
    pub lowest: Option<Slot>,
    /// Number of records.
    pub records: u64,
    /// Number of slots without a record between the lowest and the highest slot.
    pub gaps: u64,
    /// Number of file ids up to the current one; a data file and its offset file count once.
    pub files: u64,
    /// Committed bytes in data files.
    pub data_bytes: u64,
    /// Bytes in offset files.
    pub offset_bytes: u64,
}

/// Counts the entries of the offset tables; reads no record.
///
/// # Errors
/// [`Error::Corrupt`] if a file with committed records is missing or too short; [`Error::Io`].
pub fn stat_column(view: &View) -> Result<ColumnStat> {
    let conf = *view.conf();
    let mut stat = ColumnStat {
        conf,
        lowest: None,
        records: 0,
        gaps: 0,
        files: 0,
        data_bytes: 0,
        offset_bytes: 0,
    };
    let Some(highest) = conf.highest else {
        return Ok(stat);
    };
    for file_id in view.file_ids()?.into_iter().filter(|id| *id <= highest.file_id()) {
        let map = view.file(file_id)?;
        stat.files += 1;
        stat.data_bytes += map.bound();
        stat.offset_bytes += if map.table_inode().is_some() { TABLE_BYTES as u64 } else { 0 };
        for (slot, _) in view.entries(file_id)? {
            stat.records += 1;
            stat.lowest = stat.lowest.or(Some(slot));
        }
    }
    if let Some(lowest) = stat.lowest {
        stat.gaps = highest.0 - lowest.0 + 1 - stat.records;
    }
    Ok(stat)
}

/// A file that healing has put aside: `FORMAT.md`, section 12.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutAside {
    /// Its path.
    pub file: PathBuf,
    /// Its length in bytes.
    pub byte_len: u64,
    part: AsidePart,
}

impl PutAside {
    /// A sentence for users: what the file is, and how to remove it.
    #[must_use]
    pub fn in_words(&self) -> String {
        let what = match self.part {
            AsidePart::Whole(file) => file.name(),
            AsidePart::Tail(file_id, from) => {
                format!("{} from byte {from} on", names::data_file(file_id))
            }
        };
        let byte_len = self.byte_len;
        let bytes = if byte_len == 1 { "byte" } else { "bytes" };
        format!(
            "{byte_len} {bytes} of {what}, which healing put aside until all of it is committed again; \
             `coldstore heal --discard` removes it"
        )
    }
}

/// Lists the files that healing has put aside in a column's directory, ordered by name.
///
/// # Errors
/// [`Error::NoSuchColumn`] if there is no such directory; [`Error::Io`].
pub fn put_aside(directory: impl AsRef<Path>) -> Result<Vec<PutAside>> {
    let path = directory.as_ref();
    match Directory::open(path)? {
        Some(directory) => asides_of(&directory),
        None => Err(Error::NoSuchColumn { directory: path.into() }),
    }
}

pub(crate) fn asides_of(directory: &Directory) -> Result<Vec<PutAside>> {
    let asides = directory.asides()?.into_iter().map(|(aside, byte_len)| PutAside {
        file: directory.file_path(&aside.name()),
        byte_len,
        part: aside.part,
    });
    Ok(asides.collect())
}
