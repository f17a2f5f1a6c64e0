//! What a column holds, by its offset tables: records, gaps, files and bytes.

use coldstore::format::offsets::TABLE_BYTES;
use coldstore::{Compression, Conf, Result, Slot, Snapshot as _, View};

/// The size of a column in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ColumnStat {
    /// The commit marker: highest slot, compression, backfill state, version.
    pub(crate) conf: Conf,
    /// The lowest slot with a record.
    pub(crate) lowest: Option<Slot>,
    /// Number of records.
    pub(crate) records: u64,
    /// Number of slots without a record between the lowest and the highest slot.
    pub(crate) gaps: u64,
    /// Number of file ids up to the current one; a data file and its offset file count once.
    pub(crate) files: u64,
    /// Committed bytes in data files.
    pub(crate) data_bytes: u64,
    /// Bytes in offset files.
    pub(crate) offset_bytes: u64,
}

/// Counts the entries of the offset tables; reads no record.
pub(crate) fn stat_column(view: &View) -> Result<ColumnStat> {
    let conf = *view.conf();
    let (lowest, [records, gaps, files, data_bytes, offset_bytes]) = (None, [0; 5]);
    let mut stat = ColumnStat { conf, lowest, records, gaps, files, data_bytes, offset_bytes };
    let Some(highest) = conf.highest else { return Ok(stat) };
    for file_id in view.file_ids()?.into_iter().filter(|id| *id <= highest.file_id()) {
        let table = view.table(file_id)?;
        stat.files += 1;
        stat.data_bytes += table.bound;
        stat.offset_bytes += if view.has_both_files(file_id) { TABLE_BYTES as u64 } else { 0 };
        for (slot, _) in table.records(file_id, highest) {
            stat.records += 1;
            stat.lowest = stat.lowest.or(Some(slot));
        }
    }
    stat.gaps = stat.lowest.map_or(0, |lowest| highest.0 - lowest.0 + 1 - stat.records);
    Ok(stat)
}

/// Sizes of the records of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordStat {
    /// One entry per era with a record, ascending.
    pub(crate) eras: Vec<EraStat>,
    /// The records with the largest payloads, largest first.
    pub(crate) largest: Vec<RecordSize>,
    /// The decoded sample: all records, or evenly spaced ones.
    pub(crate) sample: SampleStat,
}

/// The records of one era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EraStat {
    /// The era's number.
    pub(crate) era: u64,
    /// Number of records.
    pub(crate) records: u64,
    /// Bytes in data files, headers included. A record counts up to the start of the next one, so
    /// unreferenced bytes count towards the record before them.
    pub(crate) data_bytes: u64,
}

/// The size of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordSize {
    /// The slot.
    pub(crate) slot: Slot,
    /// Length of the stored payload in bytes.
    pub(crate) stored_bytes: u64,
}

/// Total size of some records, stored and decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SampleStat {
    /// Number of records.
    pub(crate) records: u64,
    /// Total length of the stored payloads in bytes.
    pub(crate) stored_bytes: u64,
    /// Total length of the decoded values in bytes.
    pub(crate) value_bytes: u64,
}

/// Limits for [`stat_records`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordQuestions {
    /// How many of the largest records to list.
    pub(crate) largest: usize,
    /// Maximum number of records to decode. An uncompressed column decodes none.
    pub(crate) sample: u64,
}

/// Measures the records of a column by its offset tables. Reads only the largest records and the
/// sample, and omits those that are damaged. `records` is their number. `era_of` returns the era of a
/// slot; it must not decrease with the slot.
pub(crate) fn stat_records(
    view: &View,
    records: u64,
    asked: RecordQuestions,
    mut era_of: impl FnMut(Slot) -> u64,
) -> Result<RecordStat> {
    let mut stat = RecordStat::default();
    let (mut seen, step) = (0, records.div_ceil(asked.sample.max(1)).max(1));
    let mut largest: Vec<(u64, Slot)> = Vec::new();
    each_record(view, |slot, data_bytes| {
        count_in_era(&mut stat.eras, era_of(slot), data_bytes);
        keep_largest(&mut largest, asked.largest, data_bytes, slot);
        if asked.sample > 0 && seen % step == 0 {
            stat.sample.add(view, slot);
        }
        seen += 1;
    })?;
    for (_, slot) in largest {
        if let Ok(Some(stored)) = view.get_stored(slot) {
            stat.largest.push(RecordSize { slot, stored_bytes: stored.len() as u64 });
        }
    }
    stat.largest.sort_by_key(|size| (std::cmp::Reverse(size.stored_bytes), size.slot));
    Ok(stat)
}

/// Calls `each` with the records of a column, ascending, and their bytes in data files as in [`EraStat`].
pub(crate) fn each_record(view: &View, mut each: impl FnMut(Slot, u64)) -> Result<()> {
    let Some(highest) = view.highest_written_slot() else { return Ok(()) };
    for file_id in view.file_ids()?.into_iter().filter(|id| *id <= highest.file_id()) {
        let table = view.table(file_id)?;
        let mut entries: Vec<(u64, Slot)> =
            table.records(file_id, highest).map(|(slot, entry)| (entry, slot)).collect();
        entries.sort_unstable();
        let ends = entries.iter().skip(1).map(|(entry, _)| *entry).chain([table.bound]);
        let mut sizes: Vec<(Slot, u64)> =
            entries.iter().zip(ends).map(|((entry, slot), end)| (*slot, end - entry)).collect();
        sizes.sort_unstable();
        sizes.into_iter().for_each(|(slot, data_bytes)| each(slot, data_bytes));
    }
    Ok(())
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
    use std::path::Path;

    use coldstore::{Column, Writer, WriterOptions};

    use super::*;

    fn view_of(directory: &Path, column: Column) -> View {
        crate::open::directory(directory, column).unwrap().view()
    }

    #[test]
    fn records_are_counted_by_era_and_the_largest_are_listed() {
        let directory = tempfile::tempdir().unwrap();
        let options = WriterOptions::create(Column::StateSnapshots.spec()).allow_backfill(true);
        let mut writer = Writer::open(directory.path(), options).unwrap();
        for (slot, byte_len) in [(0, 10), (3, 50), (9, 20), (8200, 50), (4, 70), (2, 50)] {
            writer.put(Slot(slot), &vec![1; byte_len]).unwrap();
        }
        let view = view_of(directory.path(), Column::StateSnapshots);
        let asked = RecordQuestions { largest: 3, sample: 100 };
        let stat =
            stat_records(&view, stat_column(&view).unwrap().records, asked, |slot| slot.0 / 4)
                .unwrap();
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
        let view = view_of(directory.path(), Column::Blocks);
        for (sample, records) in [(1000, 100), (100, 100), (50, 50), (40, 34), (1, 1), (0, 0)] {
            let asked = RecordQuestions { largest: 0, sample };
            let stat =
                stat_records(&view, stat_column(&view).unwrap().records, asked, |slot| slot.0)
                    .unwrap();
            assert_eq!(stat.sample.records, records, "{sample}");
            assert_eq!(stat.sample.value_bytes, records * 10_000);
            assert!(stat.sample.stored_bytes * 10 <= stat.sample.value_bytes);
            assert!(stat.largest.is_empty());
        }
    }
}
