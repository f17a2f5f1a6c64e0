//! Backfill, from the outside: the tests that come with the specification, under its names.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;

use coldstore::{Error, FileId, Slot, Writer, WriterOptions};
use test_support::*;

/// Guards against a gap that is filled, acknowledged and then not found.
#[test]
fn test_backfill_skipped_slot_readable() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    for slot in [10, 20, 30] {
        writer.put(Slot(slot), &value(slot)).unwrap();
    }
    assert_absent(&view(dir.path()), 15, "before the backfill");
    let committed = writer.put(Slot(15), &value(15)).unwrap();
    assert_eq!((committed.written, committed.unchanged), (1, 0));
    assert_shows(&view(dir.path()), &content([10, 15, 20, 30]), "while the writer is open");
    drop(writer);
    assert_shows(&view(dir.path()), &content([10, 15, 20, 30]), "after it was closed");
}

/// Guards against a backfill of the current file that moves its length without the conf, or puts the
/// record anywhere else than behind the last one.
#[test]
fn test_backfill_into_current_file() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&batch([8192, 8200])).unwrap();
    let before = fs::read(dir.path().join("data_00001")).unwrap();
    writer.put(Slot(8195), &value(8195)).unwrap();

    let after = fs::read(dir.path().join("data_00001")).unwrap();
    assert_eq!(after, [before.clone(), plain_record(8195)].concat());
    assert_eq!(entry(dir.path(), 8195), before.len() as u64);
    let conf = RawConf::read(dir.path());
    assert_eq!((conf.highest, conf.len), (8200, after.len() as u64));
    assert!(!dir.path().join("data_00000").exists(), "no file without a record is made");
    assert_shows(&view(dir.path()), &content([8192, 8195, 8200]), "current file");
}

/// Guards against a sealed file that grows without the conf naming it and its length.
#[test]
fn test_backfill_into_sealed_file() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&batch([5, 8200, 16_400])).unwrap();
    let conf = RawConf::read(dir.path());
    writer.put(Slot(8300), &value(8300)).unwrap();

    let after = RawConf::read(dir.path());
    assert_eq!((after.highest, after.len), (conf.highest, conf.len), "the current file stays");
    assert_eq!(after.backfill, Some((1, data_len(dir.path(), 1))));
    assert_shows(&view(dir.path()), &content([5, 8200, 8300, 16_400]), "sealed file");

    // From one sealed file to another, to one that never existed, and back.
    writer.put(Slot(7), &value(7)).unwrap();
    writer.put(Slot(8301), &value(8301)).unwrap();
    writer.put_batch(&batch([40_000])).unwrap();
    writer.put(Slot(30_000), &value(30_000)).unwrap();
    writer.put(Slot(8), &value(8)).unwrap();
    drop(writer);
    let all = content([5, 7, 8, 8200, 8300, 8301, 16_400, 30_000, 40_000]);
    assert_shows(&view(dir.path()), &all, "several sealed files");
    assert!(test_support::writer(dir.path(), true).heal_report().is_clean());
    assert_shows(&view(dir.path()), &all, "after another opening");
}

/// Guards against a column without backfill that fills a gap all the same, and against one that is
/// changed by the attempt.
#[test]
fn test_backfill_rejected_when_disabled() {
    let dir = scratch();
    let mut writer = writer(dir.path(), false);
    writer.put_batch(&batch([10, 20, 9000])).unwrap();
    let before = files_of(dir.path());
    assert_eq!(&before["column.conf"][..8], b"LHSTBLK2");
    for slot in [0, 15, 8191, 8192] {
        let error = writer.put(Slot(slot), &value(slot)).unwrap_err();
        assert!(
            matches!(error, Error::BackfillDisabled { slot: s, highest: Slot(9000) } if s.0 == slot),
            "slot {slot}: {error:?}"
        );
        assert_files(dir.path(), &before, "after a refused put");
    }
    let error = writer.put_batch(&batch([10, 15, 20])).unwrap_err();
    assert!(matches!(error, Error::BackfillDisabled { slot: Slot(15), .. }), "{error:?}");
    assert_files(dir.path(), &before, "after a refused batch");
    assert!(!writer.is_poisoned(), "a refusal is no failure");
    writer.put(Slot(9001), &value(9001)).unwrap();
}

/// Guards against a backfill that moves the high-water mark, downwards or upwards.
#[test]
fn test_backfill_does_not_advance_highest_written_slot() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&batch([100, 20_000])).unwrap();
    for slot in [0, 50, 101, 8192, 19_999] {
        writer.put(Slot(slot), &value(slot)).unwrap();
        assert_eq!(writer.highest_written_slot(), Some(Slot(20_000)), "after slot {slot}");
        assert_eq!(RawConf::read(dir.path()).highest, 20_000, "after slot {slot}");
        assert_eq!(view(dir.path()).highest_written_slot(), Some(Slot(20_000)));
    }
    drop(writer);
    let writer = test_support::writer(dir.path(), true);
    assert_eq!(writer.highest_written_slot(), Some(Slot(20_000)), "after opening again");
}

/// Guards against a retry that appends the record a second time, or is refused as a conflict.
#[test]
fn test_backfill_idempotent_reput() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&batch([1, 9000, 17_000])).unwrap();
    writer.put(Slot(9001), &value(9001)).unwrap();
    writer.put(Slot(16_999), &value(16_999)).unwrap();
    let before = files_of(dir.path());
    for slot in [9001, 16_999, 1, 9000, 17_000] {
        let committed = writer.put(Slot(slot), &value(slot)).unwrap();
        assert_eq!((committed.written, committed.unchanged), (0, 1), "slot {slot}");
        assert_files(dir.path(), &before, "after putting the same again");
    }
    let committed = writer.put_batch(&batch([1, 9000, 9001, 16_999, 17_000])).unwrap();
    assert_eq!((committed.written, committed.unchanged), (0, 5));
    assert_files(dir.path(), &before, "after putting everything again");
    drop(writer);
    let mut writer = test_support::writer(dir.path(), true);
    assert_eq!(writer.put(Slot(9001), &value(9001)).unwrap().unchanged, 1);
    assert_files(dir.path(), &before, "after opening and putting the same again");
}

/// Guards against finalized history that changes: another value, a prefix, a longer value, nothing.
#[test]
fn test_backfill_rejects_already_populated_slot_with_different_data() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&batch([1, 9000, 17_000])).unwrap();
    writer.put(Slot(9001), &value(9001)).unwrap();
    let before = files_of(dir.path());
    for slot in [1, 9000, 9001, 17_000] {
        let right = value(slot);
        let mut flipped = right.clone();
        flipped[0] ^= 1;
        let longer = [&right[..], &[0]].concat();
        for wrong in [&flipped[..], &right[..right.len() - 1], &longer, &[]] {
            let error = writer.put(Slot(slot), wrong).unwrap_err();
            assert!(
                matches!(error, Error::Conflict { slot: s } if s.0 == slot),
                "slot {slot}: {error:?}"
            );
            assert_files(dir.path(), &before, "after a conflict");
        }
    }
    assert!(!writer.is_poisoned());
    assert_shows(&view(dir.path()), &content([1, 9000, 9001, 17_000]), "after conflicts");
}

/// Guards against a compressed column whose backfilled values come back as they are stored.
#[test]
fn test_backfill_compressed_column_round_trip() {
    let dir = scratch();
    let mut writer =
        Writer::open(dir.path(), WriterOptions::create(SNAPPY).allow_backfill(true)).unwrap();
    let mut wanted = Content::new();
    // Text that shrinks, noise that does not, more than one 64 KiB frame, and nothing at all.
    let values = [
        (10, b"finalized ".repeat(500)),
        (20_000, value_of_len(20_000, 700)),
        (15, vec![7; 200_000]),
        (8200, value_of_len(8200, 150_000)),
        (8201, Vec::new()),
        (19_999, b"x".to_vec()),
    ];
    for (slot, value) in values {
        writer.put(Slot(slot), &value).unwrap();
        wanted.insert(slot, value);
        assert_shows(&view(dir.path()), &wanted, "compressed");
    }
    let view = view(dir.path());
    let stored = view.get_stored(Slot(15)).unwrap().unwrap();
    assert!(stored.len() < 20_000, "200,000 equal bytes are stored in {} bytes", stored.len());
    assert_eq!(stored[..10], SNAPPY_IDENTIFIER);
    let before = files_of(dir.path());
    assert_eq!(writer.put(Slot(15), &[7; 200_000]).unwrap().unchanged, 1);
    let error = writer.put(Slot(15), &[7; 199_999]).unwrap_err();
    assert!(matches!(error, Error::Conflict { slot: Slot(15) }), "{error:?}");
    assert_files(dir.path(), &before, "after a repeat and a conflict");
    drop(writer);
    assert!(Writer::open(dir.path(), WriterOptions::default()).unwrap().heal_report().is_clean());
}

/// Guards against a scan that walks the data file, where backfilled records lie at the end.
#[test]
fn test_iter_from_includes_backfilled_slots() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&batch([10, 30, 9000, 17_000, 17_010])).unwrap();
    for slot in [20, 17_005, 8500, 5, 16_384] {
        writer.put(Slot(slot), &value(slot)).unwrap();
    }
    let view = view(dir.path());
    let from = |slot| -> Vec<(u64, Vec<u8>)> {
        view.range(Slot(slot)..)
            .map(Result::unwrap)
            .map(|record| (record.slot().0, record.value().unwrap().into_owned()))
            .collect()
    };
    let all = [5, 10, 20, 30, 8500, 9000, 16_384, 17_000, 17_005, 17_010];
    for start in [0, 5, 6, 20, 21, 31, 8191, 8192, 8500, 9001, 16_384, 16_385, 17_010, 17_011] {
        let wanted: Vec<_> =
            all.iter().filter(|slot| **slot >= start).map(|&slot| (slot, value(slot))).collect();
        assert_eq!(from(start), wanted, "from slot {start}");
    }
}

/// Guards against `contains` that compares with the highest slot only.
#[test]
fn test_contains_backfilled_slot() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&batch([10, 9000, 17_000])).unwrap();
    for slot in [11, 8999, 16_999] {
        assert!(!writer.contains(Slot(slot)).unwrap(), "slot {slot}, writer, before");
        assert!(!view(dir.path()).contains(Slot(slot)).unwrap(), "slot {slot}, before");
        writer.put(Slot(slot), &value(slot)).unwrap();
        assert!(writer.contains(Slot(slot)).unwrap(), "slot {slot}, writer, after");
        assert!(view(dir.path()).contains(Slot(slot)).unwrap(), "slot {slot}, after");
        assert!(!view(dir.path()).contains(Slot(slot + 3)).unwrap(), "a slot that was skipped");
    }
}

/// Guards against a batch of gaps in one file that needs more than one commit, or loses one of them.
#[test]
fn test_backfill_batch_multiple_slots_same_file() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&batch([5, 9000, 17_000])).unwrap();
    let before = data_len(dir.path(), 1);
    let gaps = [8192, 8193, 8999, 9001, 16_383];
    let committed = writer.put_batch(&batch(gaps)).unwrap();
    assert_eq!((committed.written, committed.unchanged), (5, 0));
    let added: usize = gaps.iter().map(|&slot| plain_record(slot).len()).sum();
    assert_eq!(data_len(dir.path(), 1), before + added as u64);
    let all = [5, 8192, 8193, 8999, 9000, 9001, 16_383, 17_000];
    assert_shows(&view(dir.path()), &content(all), "one sealed file");

    // The current file and one sealed file may share a commit.
    let committed = writer.put_batch(&batch([6, 7, 16_384, 16_999])).unwrap();
    assert_eq!(committed.written, 4);
    let all = content(all.into_iter().chain([6, 7, 16_384, 16_999]));
    assert_shows(&view(dir.path()), &all, "a sealed file and the current one");
    drop(writer);
    assert_shows(&view(dir.path()), &all, "after closing");
}

/// Guards against a batch that fills several sealed files under a conf that can name one of them:
/// a crash in the middle would leave a part of it visible.
#[test]
fn test_backfill_batch_across_file_boundaries() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&batch([5, 9000, 33_000])).unwrap();
    let before = files_of(dir.path());
    for (slots, wanted) in [
        (&[8191, 8192][..], &[0, 1][..]),
        (&[6, 9001, 20_000], &[0, 1, 2]),
        (&[7, 8999, 32_999], &[0, 1]),
    ] {
        let error = writer.put_batch(&batch(slots.iter().copied())).unwrap_err();
        let Error::SpansFiles { files: named } = &error else { panic!("{slots:?}: {error:?}") };
        let wanted: Vec<FileId> = wanted.iter().map(|&id| FileId(id)).collect();
        assert_eq!(&named[..], &wanted[..], "{slots:?}");
        for id in &wanted {
            assert!(error.to_string().contains(&id.to_string()), "{error} names file {id}");
        }
        assert_files(dir.path(), &before, "after a batch that spans files");
    }
    assert!(!writer.is_poisoned());

    // The helper above it takes the same run: one commit for each file.
    let report = writer.put_bulk(&batch([6, 8191, 8192, 9001, 20_000, 32_999]), |_| {}).unwrap();
    assert_eq!((report.written, report.unchanged, report.last), (6, 0, Some(Slot(32_999))));
    let all = content([5, 6, 8191, 8192, 9000, 9001, 20_000, 32_999, 33_000]);
    assert_shows(&view(dir.path()), &all, "after the run");
}

/// Guards against a batch of two kinds: the conf could name the old length or the new, not both.
#[test]
fn test_backfill_mixed_sequential_and_backfill_batch_rejected() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&batch([5, 9000])).unwrap();
    let before = files_of(dir.path());
    for (gap, next) in [(8999, 9001), (6, 9001), (6, 20_000), (8999, 20_000)] {
        let error = writer.put_batch(&batch([gap, next])).unwrap_err();
        assert!(
            matches!(error, Error::MixedBatch { backfill, sequential }
                if backfill.0 == gap && sequential.0 == next),
            "{gap} and {next}: {error:?}"
        );
        assert_files(dir.path(), &before, "after a mixed batch");
    }
    // What is there already fills no gap: this is a sequential batch.
    let committed = writer.put_batch(&batch([5, 9000, 9001])).unwrap();
    assert_eq!((committed.written, committed.unchanged), (1, 2));
    // And this one fills a gap only.
    let committed = writer.put_batch(&batch([5, 8999, 9001])).unwrap();
    assert_eq!((committed.written, committed.unchanged), (1, 2));
    assert_shows(&view(dir.path()), &content([5, 8999, 9000, 9001]), "in the end");
}

/// Guards against a sequential put that starts from the length before the backfill: it would write
/// over the backfilled record, or commit a length that cuts it off.
#[test]
fn test_sequential_write_after_backfill_correct_data_len() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&batch([10, 20])).unwrap();
    writer.put(Slot(15), &value(15)).unwrap();
    writer.put(Slot(30), &value(30)).unwrap();
    let records = [10, 20, 15, 30].map(plain_record).concat();
    assert_eq!(
        fs::read(dir.path().join("data_00000")).unwrap(),
        [&VERSION[..], &records].concat(),
        "records in the order of the puts"
    );
    let conf = RawConf::read(dir.path());
    assert_eq!((conf.highest, conf.len), (30, 8 + records.len() as u64));
    assert_shows(&view(dir.path()), &content([10, 15, 20, 30]), "current file");

    // The same with a backfill of a sealed file in between, within one opening and across two.
    writer.put(Slot(9000), &value(9000)).unwrap();
    writer.put(Slot(25), &value(25)).unwrap();
    writer.put(Slot(9001), &value(9001)).unwrap();
    drop(writer);
    let mut writer = test_support::writer(dir.path(), true);
    writer.put(Slot(26), &value(26)).unwrap();
    writer.put(Slot(9003), &value(9003)).unwrap();
    let conf = RawConf::read(dir.path());
    assert_eq!((conf.highest, conf.len), (9003, data_len(dir.path(), 1)));
    assert_eq!(
        fs::read(dir.path().join("data_00001")).unwrap(),
        [VERSION.to_vec(), [9000, 9001, 9003].map(plain_record).concat()].concat()
    );
    let all = content([10, 15, 20, 25, 26, 30, 9000, 9001, 9003]);
    assert_shows(&view(dir.path()), &all, "two files");
    drop(writer);
    assert!(test_support::writer(dir.path(), true).heal_report().is_clean());
    assert_shows(&view(dir.path()), &all, "after another opening");
}

/// Guards against a column that stays V2 although its rules are no longer V2's, against an upgrade
/// nobody asked for, and against one that changes anything but the conf.
#[test]
fn test_v2_conf_upgrades_to_v3_when_backfill_enabled() {
    let dir = scratch();
    column(dir.path(), false, [10, 20, 9000]);
    let v2 = files_of(dir.path());
    let conf = RawConf::read(dir.path());
    assert_eq!((conf.backfill, conf.byte_27), (None, 0));

    drop(writer(dir.path(), false));
    drop(Writer::open(dir.path(), WriterOptions::default()).unwrap());
    assert_files(dir.path(), &v2, "opening without asking");

    drop(writer(dir.path(), true));
    let upgraded = RawConf { byte_27: 1, backfill: Some((u64::MAX, 0)), ..conf };
    let mut v3 = v2.clone();
    v3.insert("column.conf".to_owned(), upgraded.bytes());
    assert_files(dir.path(), &v3, "the conf alone is rewritten, when opening");
    assert_shows(&view(dir.path()), &content([10, 20, 9000]), "after the upgrade");

    // Once on, it stays on, also for those who do not ask.
    for options in [WriterOptions::default(), WriterOptions::create(PLAIN).allow_backfill(false)] {
        let writer = Writer::open(dir.path(), options).unwrap();
        assert!(writer.heal_report().is_clean());
        drop(writer);
        assert_files(dir.path(), &v3, "backfill is sticky");
    }
    let mut writer = Writer::open(dir.path(), WriterOptions::default()).unwrap();
    writer.put(Slot(15), &value(15)).unwrap();
    writer.put(Slot(8999), &value(8999)).unwrap();
    assert_shows(&view(dir.path()), &content([10, 15, 20, 8999, 9000]), "backfilled");
}
