//! Counting what is in a column.

use crate::error::Result;
use crate::format::conf::Conf;
use crate::format::offsets::TABLE_BYTES;
use crate::read::View;
use crate::slot::Slot;

/// What is in a column at the moment of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnStat {
    /// The commit marker: highest slot, compression, backfill state, version.
    pub conf: Conf,
    /// The lowest slot with a record.
    pub lowest: Option<Slot>,
    /// Records.
    pub records: u64,
    /// Slots without a record between the lowest and the highest with one.
    pub gaps: u64,
    /// Files, data and offsets as one, at or below the current one.
    pub files: u64,
    /// Committed bytes in data files.
    pub data_bytes: u64,
    /// Bytes in offset files.
    pub offset_bytes: u64,
}

/// Counts by the offset tables; no record is looked at.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) when files that must be there are missing or cut
/// short; [`Error::Io`](crate::Error::Io).
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
    for file_id in view.file_ids()?.iter().copied().filter(|id| *id <= highest.file_id()) {
        let map = view.file(file_id)?;
        let bound = map.bound();
        stat.files += 1;
        stat.data_bytes += bound;
        stat.offset_bytes += if map.is_live() { TABLE_BYTES as u64 } else { 0 };
        for (index, entry) in map.entries().enumerate() {
            let slot = file_id.slot_at(index);
            if entry != 0 && entry < bound && slot <= highest {
                stat.records += 1;
                stat.lowest = stat.lowest.or(Some(slot));
            }
        }
    }
    if let Some(lowest) = stat.lowest {
        stat.gaps = highest.0 - lowest.0 + 1 - stat.records;
    }
    Ok(stat)
}
