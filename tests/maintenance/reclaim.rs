//! Bytes that no slot refers to are given back, and nothing else changes.

#![allow(clippy::disallowed_methods, reason = "the tests damage files by hand")]
#![allow(unsafe_code, reason = "opening a reader maps files")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use coldstore::verify::{Finding, Severity, VerifyOptions, verify_column};
use coldstore::write::reclaim_on;
use coldstore::{
    Column, Error, Reader, ReaderOptions, Reclaimed, Slot, View, Writer, WriterOptions,
    inspect_reclaim, reclaim,
};
use tempfile::TempDir;
use test_support::{HookedDisk, Operation};

const LARGE: usize = 1 << 20;

/// Two files; of each, slot 2 has lost its entry: a large record that no slot refers to.
fn column() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let options = WriterOptions::create(Column::StateSnapshots.spec());
    let mut writer = Writer::open(directory.path(), options).unwrap();
    for first in [0, 8192] {
        for (slot, byte) in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)] {
            let byte_len = if slot == 4 { 10 } else { LARGE };
            writer.put(Slot(first + slot), &vec![byte; byte_len]).unwrap();
        }
    }
    drop(writer);
    for file in ["data_00000.off", "data_00001.off"] {
        write_at(&directory.path().join(file), &[0; 8], 2 * 8);
    }
    directory
}

fn write_at(path: &Path, bytes: &[u8], offset: u64) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

fn view(directory: &Path) -> View {
    // SAFETY: the directory is this test's own, and nobody cuts its files.
    unsafe { Reader::open_mapped(directory, ReaderOptions::default()) }.unwrap().view()
}

fn values(directory: &Path) -> BTreeMap<u64, Vec<u8>> {
    let view = view(directory);
    let records = view.range(..).map(|record| record.unwrap());
    records.map(|record| (record.slot().0, record.value().unwrap().into_owned())).collect()
}

fn findings(directory: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    let options = VerifyOptions::default().deep(true);
    verify_column(directory, None, &options, &mut |finding| found.push(finding)).unwrap();
    found
}

/// What is there of every file, but for the lock's text.
fn files(directory: &Path) -> BTreeMap<String, (u64, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name != "lock")
        .map(|(name, path)| {
            (name, (fs::metadata(&path).unwrap().blocks(), fs::read(path).unwrap()))
        })
        .collect()
}

fn freed(spans: &[Reclaimed]) -> u64 {
    spans.iter().map(|span| span.freed.unwrap()).sum()
}

#[test]
fn only_bytes_without_a_slot_are_freed() {
    let directory = column();
    let (before, held) = (values(directory.path()), files(directory.path()));
    let notes = findings(directory.path());
    let lost: Vec<_> = notes.iter().map(|note| (note.offset, note.byte_len)).collect();
    let (offset, byte_len) = (8 + 2 * (8 + LARGE as u64), 8 + LARGE as u64);
    assert_eq!(lost, [(Some(offset), Some(byte_len)); 2], "{notes:?}");

    let (healed, report) = reclaim(directory.path()).unwrap();
    assert!(healed.is_clean() && report.left_alone.is_empty());
    let (first, end) = (offset.next_multiple_of(4096), (offset + byte_len) / 4096 * 4096);
    for (span, file) in report.spans.iter().zip(["data_00000", "data_00001"]) {
        assert_eq!(span.file, directory.path().join(file));
        assert_eq!((span.offset, span.byte_len), (first, end - first));
    }
    assert_eq!(report.spans.len(), 2);
    assert!(freed(&report.spans) > 0, "{report:?}");

    assert!(values(directory.path()) == before);
    for (name, (blocks, bytes)) in files(directory.path()) {
        let (blocks_before, mut wanted) = held[&name].clone();
        if !name.contains('.') {
            let hole = usize::try_from(first).unwrap()..usize::try_from(end).unwrap();
            wanted[hole].fill(0);
            assert!(blocks < blocks_before, "{name}");
        }
        assert!(bytes == wanted, "{name}");
    }
    let notes = findings(directory.path());
    assert!(notes.iter().all(|finding| finding.severity == Severity::Note), "{notes:?}");
    let (_, again) = reclaim(directory.path()).unwrap();
    assert_eq!((again.spans.len(), freed(&again.spans)), (2, 0));
}

/// Guards against bytes that change under a slice: the reader has it from the time when the entry was
/// there.
#[test]
fn a_record_that_a_reader_holds_stays_when_its_entry_was_lost() {
    let directory = tempfile::tempdir().unwrap();
    let options = WriterOptions::create(Column::StateSnapshots.spec());
    let mut writer = Writer::open(directory.path(), options).unwrap();
    writer.put_batch(&[(Slot(0), vec![1; LARGE]), (Slot(1), vec![2; LARGE])]).unwrap();
    writer.put_batch(&[(Slot(2), vec![3; LARGE]), (Slot(3), vec![4; 10])]).unwrap();
    drop(writer);
    let view = view(directory.path());
    let held = view.get_stored(Slot(1)).unwrap().unwrap();
    write_at(&directory.path().join("data_00000.off"), &[0; 8], 8);
    let (_, report) = reclaim(directory.path()).unwrap();
    assert!(freed(&report.spans) > 0, "{report:?}");
    assert!(held.iter().all(|byte| *byte == 2), "the reader's bytes have changed");
    assert_eq!(values(directory.path()).len(), 3);
}

#[test]
fn readers_and_the_next_writer_are_unaffected_by_holes() {
    let directory = column();
    let view = view(directory.path());
    let value = view.get(Slot(1)).unwrap().unwrap();
    reclaim(directory.path()).unwrap();
    assert!(value.iter().all(|byte| *byte == 2));
    assert_eq!(view.get_stored(Slot(8195)).unwrap().unwrap(), vec![4; LARGE]);
    let mut writer = Writer::open(directory.path(), WriterOptions::default()).unwrap();
    assert!(writer.heal_report().is_clean());
    writer.put(Slot(8200), b"next").unwrap();
    assert_eq!(values(directory.path())[&8200], b"next");
}

#[test]
fn a_dry_run_reports_the_same_and_changes_nothing() {
    let directory = column();
    let before = files(directory.path());
    let report = inspect_reclaim(directory.path()).unwrap();
    assert!(report.spans.iter().all(|span| span.freed.is_none()));
    assert_eq!(files(directory.path()), before);
    let (_, done) = reclaim(directory.path()).unwrap();
    let places = |spans: &[Reclaimed]| -> Vec<_> {
        spans.iter().map(|span| (span.file.clone(), span.offset, span.byte_len)).collect()
    };
    assert_eq!(places(&report.spans), places(&done.spans));
}

/// With one damaged header nobody knows how far that record goes.
#[test]
fn a_file_with_a_damaged_record_is_left_alone() {
    for (bytes, offset) in [
        (&[9_u8, 9][..], 8),
        (&[0xff; 4], 8 + 2),
        // A length that ends in the middle of the next record, and within the file.
        (&(1_u32 << 20 | 5000).to_le_bytes(), 8 + 2),
    ] {
        let directory = column();
        let path = directory.path().join("data_00000");
        write_at(&path, bytes, offset);
        let before = fs::read(&path).unwrap();
        let (_, report) = reclaim(directory.path()).unwrap();
        let left = &report.left_alone;
        assert!(matches!(&left[..], [error] if error.is_corrupt()), "{left:?}");
        assert!(left[0].to_string().contains("data_00000"), "{left:?}");
        assert_eq!(report.spans.len(), 1, "the other file is whole");
        assert!(fs::read(&path).unwrap() == before);
    }
    let directory = column();
    fs::remove_file(directory.path().join("data_00000.off")).unwrap();
    let (_, report) = reclaim(directory.path()).unwrap();
    assert_eq!((report.left_alone.len(), report.spans.len()), (1, 1));
}

/// What a crash left is not committed, and cut off before anything is looked for.
#[test]
fn leftovers_of_a_crash_are_healed_and_a_sound_column_has_nothing_to_free() {
    let directory = tempfile::tempdir().unwrap();
    let options = WriterOptions::create(Column::StateSnapshots.spec());
    let mut writer = Writer::open(directory.path(), options).unwrap();
    writer.put_batch(&[(Slot(0), vec![1; LARGE]), (Slot(1), vec![2; LARGE])]).unwrap();
    assert!(matches!(reclaim(directory.path()), Err(Error::AlreadyOpen { .. })));
    assert!(matches!(inspect_reclaim(directory.path()), Err(Error::AlreadyOpen { .. })));
    drop(writer);
    let data = directory.path().join("data_00000");
    let len = fs::metadata(&data).unwrap().len();
    write_at(&data, &[0; 100_000], len);
    write_at(&directory.path().join("data_00000.off"), &(len + 8).to_le_bytes(), 5 * 8);
    assert!(inspect_reclaim(directory.path()).unwrap().left_alone.is_empty());
    let (healed, report) = reclaim(directory.path()).unwrap();
    assert_eq!(healed.actions.len(), 2, "{healed:?}");
    assert!(report.spans.is_empty() && report.left_alone.is_empty(), "{report:?}");
    assert!(matches!(reclaim(directory.path().join("none")), Err(Error::NoSuchColumn { .. })));
}

#[test]
fn a_file_system_without_holes_is_reported_and_nothing_changes() {
    let directory = column();
    let before = files(directory.path());
    let disk = HookedDisk::shared(|operation| match operation {
        Operation::Allocated(_) => Err(io::ErrorKind::Unsupported.into()),
        _ => Ok(()),
    });
    let error = reclaim_on(disk, directory.path()).unwrap_err();
    assert!(error.to_string().contains("data_00000: cannot look for the holes of"), "{error}");
    assert_eq!(files(directory.path()), before);
}
