//! Statistics of a column: records, gaps, files and bytes.

use std::path::{Path, PathBuf};

use crate::column::Compression;
use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::format::conf::Conf;
use crate::format::names::{self, AsidePart};
use crate::format::offsets::TABLE_BYTES;
use crate::read::View;
use crate::slot::Slot;

/// The size of a column in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Sizes of the records of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordStat {
    /// One entry per era with a record, ascending.
    pub eras: Vec<EraStat>,
    /// The records with the largest payloads, largest first.
    pub largest: Vec<RecordSize>,
    /// The decoded sample: all records, or evenly spaced ones.
    pub sample: SampleStat,
}

/// The records of one era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EraStat {
    /// The era's number.
    pub era: u64,
    /// Number of records.
    pub records: u64,
    /// Bytes in data files, headers included. A record counts up to the start of the next one, so
    /// unreferenced bytes count towards the record before them.
    pub data_bytes: u64,
}

/// The size of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSize {
    /// The slot.
    pub slot: Slot,
    /// Length of the stored payload in bytes.
    pub stored_bytes: u64,
}

/// Total size of some records, stored and decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleStat {
    /// Number of records.
    pub records: u64,
    /// Total length of the stored payloads in bytes.
    pub stored_bytes: u64,
    /// Total length of the decoded values in bytes.
    pub value_bytes: u64,
}

/// Limits for [`stat_records`].
#[derive(Clone, Copy, Debug)]
pub struct RecordQuestions {
    /// How many of the largest records to list.
    pub largest: usize,
    /// Maximum number of records to decode. An uncompressed column decodes none.
    pub sample: u64,
}

/// Measures the records of a column by its offset tables. Reads only the largest records and the
/// sample, and omits those that are damaged. `era_of` returns the era of a slot; it must not decrease
/// with the slot.
///
/// # Errors
/// As [`stat_column`].
pub fn stat_records(
    view: &View,
    asked: RecordQuestions,
    mut era_of: impl FnMut(Slot) -> u64,
) -> Result<RecordStat> {
    let mut stat = RecordStat::default();
    let Some(highest) = view.highest_written_slot() else {
        return Ok(stat);
    };
    let records = stat_column(view)?.records;
    let (mut seen, step) = (0, records.div_ceil(asked.sample.max(1)).max(1));
    let mut largest: Vec<(u64, Slot)> = Vec::new();
    for file_id in view.file_ids()?.into_iter().filter(|id| *id <= highest.file_id()) {
        let bound = view.file(file_id)?.bound();
        let mut entries: Vec<(u64, Slot)> =
            view.entries(file_id)?.map(|(slot, entry)| (entry, slot)).collect();
        entries.sort_unstable();
        let ends = entries.iter().skip(1).map(|(entry, _)| *entry).chain([bound]);
        let mut sizes: Vec<(Slot, u64)> =
            entries.iter().zip(ends).map(|((entry, slot), end)| (*slot, end - entry)).collect();
        sizes.sort_unstable();
        for (slot, data_bytes) in sizes {
            count_in_era(&mut stat.eras, era_of(slot), data_bytes);
            keep_largest(&mut largest, asked.largest, data_bytes, slot);
            if asked.sample > 0 && seen % step == 0 {
                stat.sample.add(view, slot);
            }
            seen += 1;
        }
    }
    for (_, slot) in largest {
        if let Ok(Some(stored)) = view.get_stored(slot) {
            stat.largest.push(RecordSize { slot, stored_bytes: stored.len() as u64 });
        }
    }
    stat.largest.sort_by_key(|size| (std::cmp::Reverse(size.stored_bytes), size.slot));
    Ok(stat)
}

fn count_in_era(eras: &mut Vec<EraStat>, era: u64, data_bytes: u64) {
    match eras.last_mut() {
        Some(last) if last.era == era => {
            last.records += 1;
            last.data_bytes += data_bytes;
        }
        _ => eras.push(EraStat { era, records: 1, data_bytes }),
    }
}

/// Keeps the `wanted` largest; among equals the first seen wins.
fn keep_largest(largest: &mut Vec<(u64, Slot)>, wanted: usize, data_bytes: u64, slot: Slot) {
    let place = largest.partition_point(|(kept, _)| *kept >= data_bytes);
    if place < wanted {
        largest.insert(place, (data_bytes, slot));
        largest.truncate(wanted);
    }
}

impl SampleStat {
    fn add(&mut self, view: &View, slot: Slot) {
        if view.conf().spec.compression == Compression::None {
            return;
        }
        let Ok(Some(record)) = view.record(slot) else { return };
        if let Ok(value_bytes) = record.value_len() {
            self.records += 1;
            self.stored_bytes += record.stored().len() as u64;
            self.value_bytes += value_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Column;
    use crate::read::{MappedReader, ReaderOptions};
    use crate::write::{Writer, WriterOptions};

    #[test]
    fn records_are_counted_by_era_and_the_largest_are_listed() {
        let directory = tempfile::tempdir().unwrap();
        let options = WriterOptions::create(Column::StateSnapshots.spec()).allow_backfill(true);
        let mut writer = Writer::open(directory.path(), options).unwrap();
        for (slot, byte_len) in [(0, 10), (3, 50), (9, 20), (8200, 50), (4, 70), (2, 50)] {
            writer.put(Slot(slot), &vec![1; byte_len]).unwrap();
        }
        let view =
            MappedReader::open_trusted(directory.path(), ReaderOptions::default()).unwrap().view();
        let asked = RecordQuestions { largest: 3, sample: 100 };
        let stat = stat_records(&view, asked, |slot| slot.0 / 4).unwrap();
        let eras: Vec<_> =
            stat.eras.iter().map(|era| (era.era, era.records, era.data_bytes)).collect();
        assert_eq!(eras, [(0, 3, 110 + 24), (1, 1, 78), (2, 1, 28), (2050, 1, 58)]);
        let largest: Vec<_> =
            stat.largest.iter().map(|size| (size.slot.0, size.stored_bytes)).collect();
        assert_eq!(largest, [(4, 70), (2, 50), (3, 50)]);
        assert_eq!(stat.sample, SampleStat::default(), "nothing is compressed here");
    }

    #[test]
    fn a_sample_of_compressed_records_is_decoded() {
        let directory = tempfile::tempdir().unwrap();
        let options = WriterOptions::create(Column::Blocks.spec());
        let mut writer = Writer::open(directory.path(), options).unwrap();
        let puts: Vec<_> = (0..100).map(|slot| (Slot(slot), vec![0; 10_000])).collect();
        writer.put_batch(&puts).unwrap();
        let view =
            MappedReader::open_trusted(directory.path(), ReaderOptions::default()).unwrap().view();
        for (sample, records) in [(1000, 100), (100, 100), (50, 50), (40, 34), (1, 1), (0, 0)] {
            let asked = RecordQuestions { largest: 0, sample };
            let stat = stat_records(&view, asked, |slot| slot.0).unwrap();
            assert_eq!(stat.sample.records, records, "{sample}");
            assert_eq!(stat.sample.value_bytes, records * 10_000);
            assert!(stat.sample.stored_bytes * 10 <= stat.sample.value_bytes);
            assert!(stat.largest.is_empty());
        }
    }
}
