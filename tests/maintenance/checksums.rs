//! The checksums beside the data files: what they prove, and that nobody needs them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "a test that damages files writes them itself")]

use std::fs;
use std::path::Path;

use coldstore::verify::{Finding, Severity, Summary, VerifyOptions, verify_column};
use coldstore::{
    Checksums, ColumnSpec, Compression, CorruptItem, Error, HealAction, HealChange, MappedReader,
    ReaderOptions, Slot, Writer, WriterOptions,
};

use test_support::{
    SNAPPY, batch, data_name, entry, files_of, offsets_name, overwrite, remove, scratch, set_entry,
    set_len, value, write_uncommitted,
};

const PLAIN: ColumnSpec =
    ColumnSpec { record_type: [4, 0], compression: Compression::None, max_value_bytes: 1 << 20 };

const SUMS: &str = "data_00000.sum";

fn writer(dir: &Path, spec: ColumnSpec, backfill: bool, checksums: Checksums) -> Writer {
    let options = WriterOptions::create(spec).allow_backfill(backfill).checksums(checksums);
    Writer::open(dir, options).unwrap()
}

fn verify(dir: &Path) -> (Summary, Vec<Finding>) {
    let mut findings = Vec::new();
    let summary =
        verify_column(dir, None, &VerifyOptions::default(), &mut |finding| findings.push(finding));
    (summary.unwrap(), findings)
}

fn damages(dir: &Path) -> Vec<Finding> {
    let (_, findings) = verify(dir);
    findings.into_iter().filter(|finding| finding.severity == Severity::Damage).collect()
}

fn checked_reader(dir: &Path) -> MappedReader {
    test_support::open_reader(dir, ReaderOptions::default().checksums(true)).unwrap()
}

/// A small column with every way to write: one by one, a batch over files, a stream, backfill.
fn column(dir: &Path, spec: ColumnSpec) {
    let mut writer = writer(dir, spec, true, Checksums::On);
    writer.put(Slot(3), &value(3)).unwrap();
    writer.put_batch(&batch([5, 6, 8191, 8192])).unwrap();
    let streamed = value(8200);
    writer.put_from(Slot(8200), streamed.len() as u64, &mut streamed.as_slice()).unwrap();
    writer.put_batch(&batch([4, 9])).unwrap();
}

#[test]
fn every_way_of_writing_keeps_checksums() {
    for spec in [PLAIN, SNAPPY] {
        let dir = scratch();
        column(dir.path(), spec);
        let (summary, findings) = verify(dir.path());
        assert_eq!((summary.records, summary.with_checksum), (8, 8), "{findings:?}");
        assert!(findings.is_empty(), "{findings:?}");
        let view = checked_reader(dir.path()).view();
        let records: Vec<_> = view.range(..).map(|record| record.unwrap().slot()).collect();
        assert_eq!(records.len(), 8);
        for slot in [3, 4, 5, 6, 9, 8191, 8192, 8200] {
            assert_eq!(view.get(Slot(slot)).unwrap().unwrap(), value(slot));
            let mut buffer = Vec::new();
            assert!(view.pread_into(Slot(slot), &mut buffer).unwrap());
            assert_eq!(buffer, value(slot));
        }
    }
}

#[test]
fn checksums_are_off_by_default_and_do_not_change_the_column() {
    let (with, without) = (scratch(), scratch());
    column(with.path(), PLAIN);
    let mut writer = writer(without.path(), PLAIN, true, Checksums::Off);
    writer.put(Slot(3), &value(3)).unwrap();
    writer.put_batch(&batch([5, 6, 8191, 8192])).unwrap();
    writer.put(Slot(8200), &value(8200)).unwrap();
    writer.put_batch(&batch([4, 9])).unwrap();
    drop(writer);
    let mut with = files_of(with.path());
    assert!(with.remove(SUMS).is_some() && with.remove("data_00001.sum").is_some());
    assert_eq!(test_support::difference(&with, &files_of(without.path())), None);
}

#[test]
fn any_flipped_byte_of_a_data_file_is_found_with_its_record() {
    for spec in [PLAIN, SNAPPY] {
        let dir = scratch();
        column(dir.path(), spec);
        let mut records: Vec<(u64, u64)> =
            [3, 4, 5, 6, 9, 8191].map(|slot| (entry(dir.path(), slot), slot)).to_vec();
        records.sort_unstable();
        let path = dir.path().join(data_name(0));
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x20;
            fs::write(&path, &flipped).unwrap();
            let damages = damages(dir.path());
            let damaged = records.iter().rev().find(|(offset, _)| *offset <= at as u64);
            assert!(damages.iter().all(|damage| damage.file == path), "{at}: {damages:?}");
            let Some((offset, slot)) = damaged else {
                assert_eq!(damages[0].what, CorruptItem::VersionRecord, "{at}");
                continue;
            };
            assert!(!damages.is_empty(), "{at}");
            for damage in &damages {
                // The length of the record is in its header, of which other checks know.
                assert_eq!(damage.slot, Some(Slot(*slot)), "{at}: {damages:?}");
                assert_eq!(damage.offset, Some(*offset), "{at}: {damages:?}");
            }
            let view = checked_reader(dir.path()).view();
            let error = view.get_stored(Slot(*slot)).unwrap_err();
            assert!(error.to_string().contains(&offset.to_string()), "{at}: {error}");
            let scanned = view.range(..).filter(Result::is_err).count();
            assert_eq!(scanned, 1, "{at}");
            for (_, other) in records.iter().filter(|(_, other)| other != slot) {
                assert_eq!(view.get(Slot(*other)).unwrap().unwrap(), value(*other), "{at}");
            }
        }
    }
}

#[test]
fn an_entry_that_points_to_another_record_or_none_is_found() {
    let dir = scratch();
    column(dir.path(), PLAIN);
    let (right, other) = (entry(dir.path(), 4), entry(dir.path(), 5));
    set_entry(dir.path(), 4, other);
    let found = damages(dir.path());
    let first = found.iter().find(|damage| damage.slot == Some(Slot(4))).unwrap();
    assert_eq!(first.file, dir.path().join(offsets_name(0)));
    assert_eq!((first.offset, first.what), (Some(4 * 8), CorruptItem::OffsetEntry));
    let error = checked_reader(dir.path()).view().get(Slot(4)).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("data_00000.off"), "{error}");
    set_entry(dir.path(), 4, right);
    assert_eq!(damages(dir.path()), []);

    // A lost entry, in a file in which no commit can be under way.
    let dir = scratch();
    let mut writer = writer(dir.path(), PLAIN, false, Checksums::On);
    writer.put_batch(&batch([3, 4, 9000])).unwrap();
    drop(writer);
    set_entry(dir.path(), 3, 0);
    let found = damages(dir.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].slot, found[0].what), (Some(Slot(3)), CorruptItem::OffsetEntry));
}

#[test]
fn damage_to_the_checksums_is_told_from_damage_to_the_records() {
    let dir = scratch();
    column(dir.path(), PLAIN);
    let whole = fs::read(dir.path().join(SUMS)).unwrap();
    let flip = |at: usize| overwrite(dir.path(), SUMS, at as u64, &[whole[at] ^ 1]);
    for byte in 0..8 {
        flip(32 + 5 * 8 + byte);
        let found = damages(dir.path());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].file, dir.path().join(SUMS));
        assert_eq!((found[0].slot, found[0].offset), (Some(Slot(5)), Some(32 + 5 * 8)));
        assert_eq!(checked_reader(dir.path()).view().get(Slot(5)).unwrap().unwrap(), value(5));
        fs::write(dir.path().join(SUMS), &whole).unwrap();
    }
    // Without its header or its length the file accuses no record; but a checksum in it that fits one
    // shows that it was whole.
    for byte in 0..32 {
        flip(byte);
        let (summary, findings) = verify(dir.path());
        assert_eq!((summary.records, summary.with_checksum), (8, 8), "{byte}");
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Damage), "{findings:?}");
        assert_eq!(findings[0].file, dir.path().join(SUMS));
        fs::write(dir.path().join(SUMS), &whole).unwrap();
    }
    set_len(dir.path(), SUMS, 32 + 6 * 8);
    let (summary, findings) = verify(dir.path());
    assert_eq!((summary.with_checksum, findings[0].severity), (2 + 3, Severity::Damage));
    let torn = vec![0x5a; whole.len()];
    fs::write(dir.path().join(SUMS), torn).unwrap();
    let (summary, findings) = verify(dir.path());
    assert_eq!((summary.records, summary.with_checksum), (8, 2));
    assert_eq!((findings.len(), findings[0].severity), (1, Severity::Note), "{findings:?}");
    remove(dir.path(), SUMS);
    assert_eq!(checked_reader(dir.path()).view().get(Slot(5)).unwrap().unwrap(), value(5));
}

#[test]
fn records_without_checksums_are_unknown_and_not_damage() {
    let dir = scratch();
    writer(dir.path(), PLAIN, true, Checksums::Off).put_batch(&batch([1, 2])).unwrap();
    assert_eq!(verify(dir.path()).0.with_checksum, 0);
    writer(dir.path(), PLAIN, true, Checksums::WherePresent).put(Slot(3), &value(3)).unwrap();
    assert!(!dir.path().join(SUMS).exists());
    writer(dir.path(), PLAIN, true, Checksums::On).put(Slot(4), &value(4)).unwrap();
    writer(dir.path(), PLAIN, true, Checksums::Off).put(Slot(5), &value(5)).unwrap();
    writer(dir.path(), PLAIN, true, Checksums::WherePresent).put(Slot(6), &value(6)).unwrap();
    let (summary, findings) = verify(dir.path());
    assert_eq!((summary.records, summary.with_checksum), (6, 2), "{findings:?}");
    assert!(findings.is_empty(), "{findings:?}");
    // The file may go at any time, also under a writer.
    let mut writer = writer(dir.path(), PLAIN, true, Checksums::On);
    writer.put(Slot(7), &value(7)).unwrap();
    remove(dir.path(), SUMS);
    writer.put(Slot(8), &value(8)).unwrap();
    let (summary, findings) = verify(dir.path());
    assert_eq!((summary.records, summary.with_checksum, findings.len()), (8, 4, 0));
}

/// Guards against a sound record that is called misplaced: its slot had lost another one.
#[test]
fn a_lost_record_put_again_without_checksums_is_not_damage() {
    for (slot, given) in [(3, b"another value".to_vec()), (3, value(3))] {
        let dir = scratch();
        let mut first = writer(dir.path(), PLAIN, false, Checksums::On);
        first.put_batch(&batch([2, 3, 4, 9000])).unwrap();
        drop(first);
        set_entry(dir.path(), slot, 0);
        assert_eq!(damages(dir.path()).len(), 1);
        let mut second = writer(dir.path(), PLAIN, true, Checksums::Off);
        second.put(Slot(slot), &given).unwrap();
        // Where nothing is lost none are kept.
        second.put(Slot(9001), &value(9001)).unwrap();
        let (summary, findings) = verify(dir.path());
        let damages: Vec<_> =
            findings.iter().filter(|found| found.severity == Severity::Damage).collect();
        assert!(damages.is_empty(), "{damages:?}");
        assert_eq!((summary.records, summary.with_checksum), (5, 4));
        assert_eq!(checked_reader(dir.path()).view().get(Slot(slot)).unwrap().unwrap(), given);
    }
}

#[test]
fn healing_clears_the_checksums_of_uncommitted_records() {
    let dir = scratch();
    let mut first = writer(dir.path(), PLAIN, true, Checksums::On);
    first.put_batch(&batch([1, 2])).unwrap();
    let conf = fs::read(dir.path().join("column.conf")).unwrap();
    first.put_batch(&batch([3, 4])).unwrap();
    drop(first);
    // As if the last commit had not happened.
    fs::write(dir.path().join("column.conf"), conf).unwrap();
    assert_eq!(verify(dir.path()).0.records, 2);
    let mut second = writer(dir.path(), PLAIN, true, Checksums::Off);
    let cleared = HealAction {
        file: dir.path().join(SUMS),
        change: HealChange::ClearedSums(vec![Slot(3), Slot(4)]),
    };
    let actions = &second.heal_report().actions;
    assert!(actions.contains(&cleared), "{actions:?}");
    second.put(Slot(3), b"another value").unwrap();
    let (summary, findings) = verify(dir.path());
    assert_eq!((summary.records, summary.with_checksum), (3, 2));
    // The conf was put back, so what the last commit had written was put aside: the end of the data
    // file, the table and the checksums.
    let aside = |found: &&Finding| {
        let name = found.file.file_name().unwrap_or_default().to_string_lossy();
        found.severity == Severity::Note && name.starts_with("aside-")
    };
    assert_eq!((findings.iter().filter(aside).count(), findings.len()), (3, 3), "{findings:?}");
}

#[test]
fn healing_removes_an_unfinished_checksum_file() {
    let dir = scratch();
    writer(dir.path(), PLAIN, false, Checksums::Off).put(Slot(1), &value(1)).unwrap();
    fs::write(dir.path().join(SUMS), [0; 40]).unwrap();
    fs::write(dir.path().join("data_00007.sum"), [0; 40]).unwrap();
    write_uncommitted(dir.path(), 2);
    let mut writer = writer(dir.path(), PLAIN, false, Checksums::On);
    let removed: Vec<_> = writer
        .heal_report()
        .actions
        .iter()
        .filter(|action| matches!(action.change, HealChange::RemovedFile(_)))
        .map(|action| action.file.to_owned())
        .collect();
    assert_eq!(removed, [dir.path().join(SUMS), dir.path().join("data_00007.sum")]);
    writer.put(Slot(2), &value(2)).unwrap();
    assert_eq!(verify(dir.path()).0.with_checksum, 1);
}

#[test]
fn a_directory_with_nothing_but_checksums_has_lost_its_conf() {
    let dir = scratch();
    fs::write(dir.path().join(SUMS), [0; 40]).unwrap();
    let opened = Writer::open(dir.path(), WriterOptions::create(PLAIN));
    assert!(matches!(opened, Err(Error::Corrupt(_))), "{opened:?}");
}

#[test]
fn a_checksum_file_that_cannot_be_read_is_a_finding_and_the_rest_is_verified() {
    let dir = scratch();
    column(dir.path(), PLAIN);
    let sums = dir.path().join(SUMS);
    remove(dir.path(), SUMS);
    fs::create_dir(&sums).unwrap();
    let (summary, findings) = verify(dir.path());
    assert_eq!((summary.records, summary.with_checksum, summary.damages), (8, 2, 1));
    assert_eq!(findings[0].file, sums, "{findings:?}");
}

#[test]
fn a_reader_does_not_hold_on_to_a_checksum_file_that_was_replaced() {
    let dir = scratch();
    writer(dir.path(), PLAIN, false, Checksums::On).put(Slot(1), &value(1)).unwrap();
    let reader = checked_reader(dir.path());
    assert_eq!(reader.view().get(Slot(1)).unwrap().unwrap(), value(1));
    // A commit that did not happen has left a checksum, and somebody removes the file.
    overwrite(dir.path(), SUMS, 32 + 2 * 8, &[7; 8]);
    remove(dir.path(), SUMS);
    writer(dir.path(), PLAIN, false, Checksums::On).put(Slot(2), &value(2)).unwrap();
    let view = reader.refresh().unwrap();
    assert_eq!(view.get(Slot(2)).unwrap().unwrap(), value(2));
    assert_eq!(view.get(Slot(1)).unwrap().unwrap(), value(1));
}
