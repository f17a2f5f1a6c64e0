//! Section 5.1: what a put may do.

use super::*;

/// Puts a batch by every call that takes one; each is refused by the same error, and no byte of any
/// file changes.
#[track_caller]
pub(crate) fn assert_refused(
    writer: &mut Writer,
    items: &[(Slot, Vec<u8>)],
    what: &str,
    is_right: &dyn Fn(&Error) -> bool,
) {
    let dir = writer.directory().to_owned();
    let before = files_of(&dir);
    let stamped = stamps(&dir);
    let mut errors = vec![
        ("put_batch", writer.put_batch(items).map(drop).unwrap_err()),
        ("put_stored_batch", writer.put_stored_batch(items).map(drop).unwrap_err()),
    ];
    if let [(slot, value)] = items {
        errors.push(("put", writer.put(*slot, value).map(drop).unwrap_err()));
        let source = &mut &value[..];
        let error = writer.put_from(*slot, value.len() as u64, source).map(drop).unwrap_err();
        errors.push(("put_from", error));
        errors.push(("put_bulk", writer.put_bulk(items, |_| {}).map(drop).unwrap_err().error));
    }
    for (call, error) in errors {
        assert!(is_right(&error), "{what}: {call}: {error:?}");
    }
    assert_files(&dir, &before, what);
    assert_eq!(stamps(&dir), stamped, "{what}: a file was touched");
    assert!(!writer.is_poisoned(), "{what}: a refusal is no failure");
}

/// Guards against an order of slots that would make later lookups or replays ambiguous.
#[test]
fn rule_1_slots_of_a_batch_ascend_strictly() {
    let dir = scratch();
    column(dir.path(), true, [10, 20, 9000]);
    let mut writer = writer(dir.path(), true);
    for (slots, previous, slot) in [
        (&[9001, 9001][..], 9001, 9001),
        (&[9002, 9001], 9002, 9001),
        (&[9001, 9002, 9003, 9003], 9003, 9003),
        (&[11, 11], 11, 11),
        (&[10, 10], 10, 10),
        (&[20, 10], 20, 10),
        (&[17_000, 9001], 17_000, 9001),
    ] {
        assert_refused(&mut writer, &batch(slots.iter().copied()), "order", &|error| {
            matches!(error, Error::NotAscending { previous: p, slot: s }
                if p.0 == previous && s.0 == slot)
        });
    }
    let error = writer.put_bulk(&batch([9001, 17_000, 9002]), |_| {}).unwrap_err();
    assert!(matches!(error.error, Error::NotAscending { .. }), "{error:?}");
    let wanted: Content = match error.done.written {
        0 => content([10, 20, 9000]),
        _ => panic!("a run that does not ascend is refused before anything: {error:?}"),
    };
    assert_shows(&view(dir.path()), &wanted, "after refusals");
}

/// Guards against the mark of an empty column as a slot: the column would read as empty, and the
/// next opening would remove its files.
#[test]
fn rule_1_the_mark_of_an_empty_column_is_not_a_slot() {
    for slots in [&[][..], &[10, 9000]] {
        let dir = scratch();
        column(dir.path(), true, slots.iter().copied());
        let mut writer = writer(dir.path(), true);
        let invalid = |error: &Error| matches!(error, Error::InvalidSlot);
        assert_refused(&mut writer, &batch([u64::MAX]), "alone", &invalid);
        assert_refused(&mut writer, &batch([9001, u64::MAX]), "at the end", &invalid);
        assert!(!writer.contains(Slot(u64::MAX)).unwrap());
        assert_absent(&view(dir.path()), u64::MAX, "for a reader");
        // The slot before it is one.
        let committed = writer.put(Slot(u64::MAX - 1), b"last").unwrap();
        assert_eq!(committed.written, 1);
        assert_eq!(view(dir.path()).get(Slot::MAX).unwrap().as_deref(), Some(&b"last"[..]));
        assert_refused(&mut writer, &batch([u64::MAX]), "after the last slot", &invalid);
    }
}

/// Guards against a value that is written and then refused by every reader, and against one that is
/// noticed after the values before it have been written.
#[test]
fn rule_1_every_value_fits_the_bound() {
    let dir = scratch();
    let spec = ColumnSpec { max_value_bytes: 100, ..PLAIN };
    let options = WriterOptions::create(spec).allow_backfill(true);
    let mut writer = Writer::open(dir.path(), options).unwrap();
    writer.put_batch(&[(Slot(10), vec![1; 100]), (Slot(9000), vec![2; 100])]).unwrap();
    let too_large = |error: &Error| {
        matches!(error, Error::TooLarge { byte_len: 101, limit: 100, at_least: false, .. })
    };
    for slot in [11, 8999, 9001, 17_000] {
        let wrong = vec![3; 101];
        assert_refused(&mut writer, &[(Slot(slot), wrong.clone())], "alone", &too_large);
        let items = [(Slot(10), vec![1; 100]), (Slot(slot), wrong)];
        assert_refused(&mut writer, &items, "behind a good one", &too_large);
    }
    let items = [(Slot(9001), vec![3; 100]), (Slot(17_000), vec![3; 101])];
    assert_refused(&mut writer, &items, "in a later file", &too_large);
}

/// Guards against a bound that is held against the compressed bytes, and against stored bytes that
/// are taken in unseen.
#[test]
fn rule_1_bound_and_form_of_compressed_values_are_checked() {
    let dir = scratch();
    let spec = ColumnSpec { max_value_bytes: 1000, ..SNAPPY };
    let mut writer = Writer::open(dir.path(), WriterOptions::create(spec)).unwrap();
    writer.put(Slot(1), &[1; 1000]).unwrap();
    let before = files_of(dir.path());
    let large = |error: &Error| matches!(error, Error::TooLarge { slot: Slot(2), limit: 1000, .. });
    let error = writer.put(Slot(2), &[1; 1001]).unwrap_err();
    assert!(large(&error), "1001 bytes that compress well: {error:?}");
    for len in [1001, 100_000] {
        let error =
            writer.put_stored_batch(&[(Slot(2), snappy_frames(&vec![1; len]))]).unwrap_err();
        assert!(large(&error), "{len} bytes, stored: {error:?}");
    }
    // Noise grows by being stored: more than 1000 bytes of payload may be a value of 1000.
    let noise = value_of_len(3, 1000);
    assert!(snappy_frames(&noise).len() > 1000);

    let good = snappy_frames(&[9; 500]);
    let mut flipped = good.clone();
    flipped[14] ^= 1;
    for (what, stored) in [
        ("no stream identifier", good[10..].to_vec()),
        ("half a stream identifier", good[..5].to_vec()),
        ("cut", good[..good.len() - 1].to_vec()),
        ("cut chunk header", good[..12].to_vec()),
        ("flipped", flipped),
        ("garbage", vec![0x55; 64]),
        ("a raw block", snap::raw::Encoder::new().compress_vec(&[9; 500]).unwrap()),
        ("garbage behind the end", [&good[..], &[1]].concat()),
    ] {
        let result = writer.put_stored_batch(&[(Slot(2), b"".to_vec()), (Slot(3), stored)]);
        assert!(result.is_err(), "{what}: taken in");
        assert_files(dir.path(), &before, what);
        assert!(!writer.is_poisoned(), "{what}");
    }
    writer.put_stored_batch(&[(Slot(2), good), (Slot(3), snappy_frames(&noise))]).unwrap();
    let wanted = Content::from([(1, vec![1; 1000]), (2, vec![9; 500]), (3, noise)]);
    assert_shows(&view(dir.path()), &wanted, "stored values");
}

/// Guards against a length that wraps around in the 32 bits of a record header.
#[test]
fn rule_1_stored_payload_fits_32_bits() {
    struct Unread;
    impl std::io::Read for Unread {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("all checks come before the first byte");
        }
    }
    let dir = scratch();
    let spec = ColumnSpec { max_value_bytes: 1 << 40, ..PLAIN };
    let mut writer = Writer::open(dir.path(), WriterOptions::create(spec)).unwrap();
    writer.put(Slot(1), b"one").unwrap();
    let before = files_of(dir.path());
    for byte_len in [1 << 32, (1 << 32) + 5, (1 << 40) + 1, u64::MAX] {
        let error = writer.put_from(Slot(2), byte_len, &mut Unread).unwrap_err();
        assert!(
            matches!(error, Error::TooLarge { slot: Slot(2), byte_len: b, .. } if b == byte_len),
            "{error:?}"
        );
        assert_files(dir.path(), &before, "after a value of more than 4 GiB");
    }
    assert!(!writer.is_poisoned());
    writer.put_from(Slot(2), 3, &mut &b"two"[..]).unwrap();
    let wanted = Content::from([(1, b"one".to_vec()), (2, b"two".to_vec())]);
    assert_shows(&view(dir.path()), &wanted, "streamed");
}

/// Guards against skipped slots with an entry, or with a file of their own.
#[test]
fn rule_2_sequential_put_leaves_skipped_slots_without_a_record() {
    for backfill in [false, true] {
        let dir = scratch();
        let mut writer = writer(dir.path(), backfill);
        for slot in [3, 7, 40_000] {
            let committed = writer.put(Slot(slot), &value(slot)).unwrap();
            assert_eq!((committed.written, committed.unchanged), (1, 0));
            assert_eq!(writer.highest_written_slot(), Some(Slot(slot)));
        }
        assert_shows(&view(dir.path()), &content([3, 7, 40_000]), "sequential");
        for file in [1, 2, 3] {
            assert!(!dir.path().join(data_name(file)).exists(), "file {file} is all skipped");
            assert!(!dir.path().join(offsets_name(file)).exists(), "file {file} is all skipped");
        }
        assert_eq!(fs::read(dir.path().join("column.conf")).unwrap()[7], b'2' + u8::from(backfill));
    }
}

/// Guards against a replay after a crash that is refused, appended twice, or half taken; and against
/// a conflict that is noticed after something has been written.
#[test]
fn rule_3_identical_put_writes_nothing_and_another_value_is_a_conflict() {
    for backfill in [false, true] {
        let dir = scratch();
        let slots = [1, 5, 8191, 8192, 17_000];
        column(dir.path(), backfill, slots);
        let mut writer = writer(dir.path(), backfill);
        let before = files_of(dir.path());
        let stamped = stamps(dir.path());
        let committed = writer.put_batch(&batch(slots)).unwrap();
        assert_eq!((committed.written, committed.unchanged), (0, 5));
        assert_eq!(writer.put_batch(&batch([])).unwrap().written, 0);
        for slot in slots {
            assert_eq!(writer.put(Slot(slot), &value(slot)).unwrap().unchanged, 1);
            let value = value(slot);
            let source = &mut &value[..];
            let committed = writer.put_from(Slot(slot), value.len() as u64, source).unwrap();
            assert_eq!((committed.written, committed.unchanged), (0, 1), "streamed");
        }
        assert_files(dir.path(), &before, "after replays");
        assert_eq!(stamps(dir.path()), stamped, "a replay touches no file");

        for slot in slots {
            let conflict =
                |error: &Error| matches!(error, Error::Conflict { slot: s } if s.0 == slot);
            let mut wrong = value(slot);
            wrong.push(0);
            assert_refused(&mut writer, &[(Slot(slot), wrong.clone())], "alone", &conflict);
            let mut items = batch(slots.into_iter().chain([17_001, 30_000]));
            items.iter_mut().find(|(s, _)| s.0 == slot).unwrap().1 = wrong;
            assert_refused(&mut writer, &items, "in a replay that goes on", &conflict);
        }
        let committed = writer.put_batch(&batch([1, 5, 8191, 8192, 17_000, 17_001])).unwrap();
        assert_eq!((committed.written, committed.unchanged), (1, 5));
        assert_shows(&view(dir.path()), &content([1, 5, 8191, 8192, 17_000, 17_001]), "replay");
    }
}

/// Guards against values compared by what is stored: two encoders may store the same value in two
/// ways.
#[test]
fn rule_3_compressed_values_are_compared_decoded() {
    let dir = scratch();
    let mut writer = Writer::open(dir.path(), WriterOptions::create(SNAPPY)).unwrap();
    let value = vec![42; 300];
    // A chunk of uncompressed data, as another encoder may choose it. The checksum is copied from
    // what our encoder says of the same bytes.
    let ours = snappy_frames(&value);
    assert_eq!(ours[10], 0, "a chunk of compressed data");
    let mut other = SNAPPY_IDENTIFIER.to_vec();
    other.extend([1, 48, 1, 0]);
    other.extend(&ours[14..18]);
    other.extend(&value);
    assert_eq!(48 + 256, value.len() + 4);
    writer.put_stored_batch(&[(Slot(1), &other)]).unwrap();
    writer.put(Slot(2), &value).unwrap();
    let before = files_of(dir.path());
    for slot in [1, 2] {
        assert_eq!(writer.put(Slot(slot), &value).unwrap().unchanged, 1, "slot {slot}");
        for stored in [&ours, &other] {
            let committed = writer.put_stored_batch(&[(Slot(slot), stored)]).unwrap();
            assert_eq!(committed.unchanged, 1, "slot {slot}");
        }
        let error = writer.put(Slot(slot), &value[1..]).unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    }
    assert_files(dir.path(), &before, "after replays");
}

/// Guards against the two answers to a gap being mixed up, and a highest slot that moves.
#[test]
fn rule_4_a_gap_is_filled_only_where_backfill_is_on() {
    let dir = scratch();
    column(dir.path(), false, [10, 9000]);
    let mut writer = writer(dir.path(), false);
    for slot in [0, 9, 11, 8191, 8192, 8999] {
        assert_refused(&mut writer, &batch([slot]), "backfill is off", &|error| {
            matches!(error, Error::BackfillDisabled { slot: s, highest: Slot(9000) }
                if s.0 == slot)
        });
    }
    drop(writer);
    let mut writer = test_support::writer(dir.path(), true);
    for slot in [0, 9, 11, 8191, 8192, 8999] {
        assert_eq!(writer.put(Slot(slot), &value(slot)).unwrap().written, 1);
        assert_eq!(writer.highest_written_slot(), Some(Slot(9000)));
    }
    let all = content([0, 9, 10, 11, 8191, 8192, 8999, 9000]);
    assert_shows(&view(dir.path()), &all, "filled");
}

/// Guards against one commit of two kinds, and against calling a batch mixed whose lower slots are
/// there already.
#[test]
fn rule_5_a_batch_does_not_fill_a_gap_and_go_past_the_highest_slot() {
    let dir = scratch();
    column(dir.path(), true, [10, 20, 9000]);
    let mut writer = writer(dir.path(), true);
    for (slots, gap, next) in [
        (&[11, 9001][..], 11, 9001),
        (&[8999, 9001], 8999, 9001),
        (&[10, 15, 20, 9000, 17_000], 15, 17_000),
        (&[8999, 9000, 9001, 9002], 8999, 9001),
    ] {
        assert_refused(&mut writer, &batch(slots.iter().copied()), "mixed", &|error| {
            matches!(error, Error::MixedBatch { backfill, sequential }
                if backfill.0 == gap && sequential.0 == next)
        });
    }
    assert_eq!(writer.put_batch(&batch([10, 20, 9000, 9001])).unwrap().written, 1);
    assert_shows(&view(dir.path()), &content([10, 20, 9000, 9001]), "not mixed");
    // In an empty column nothing is a gap.
    let empty = scratch();
    let mut writer = test_support::writer(empty.path(), true);
    writer.put_batch(&batch([0, 5, 9000])).unwrap();
    assert_shows(&view(empty.path()), &content([0, 5, 9000]), "the first batch");
}

/// Guards against gaps in two files under a conf that can name one, and against counting files in
/// which nothing is to be filled.
#[test]
fn rule_6_a_backfill_batch_fills_one_file_besides_the_current_one() {
    let dir = scratch();
    column(dir.path(), true, [10, 9000, 17_000, 33_000]);
    let mut writer = writer(dir.path(), true);
    for (slots, ids) in [
        (&[8191, 8192][..], &[0, 1][..]),
        (&[11, 9001, 17_001], &[0, 1, 2]),
        (&[11, 25_000], &[0, 3]),
        (&[9001, 17_001, 32_999], &[1, 2]),
    ] {
        let ids: Vec<FileId> = ids.iter().map(|&id| FileId(id)).collect();
        assert_refused(
            &mut writer,
            &batch(slots.iter().copied()),
            "spans",
            &|error| matches!(error, Error::SpansFiles { files } if files[..] == ids[..]),
        );
    }
    // Slots that are there already do not count, nor does the current file.
    let committed = writer.put_batch(&batch([10, 9000, 17_000, 17_001, 32_999, 33_000])).unwrap();
    assert_eq!((committed.written, committed.unchanged), (2, 4));
    assert_shows(
        &view(dir.path()),
        &content([10, 9000, 17_000, 17_001, 32_999, 33_000]),
        "one file besides the current one",
    );
}

/// Guards against a check that comes after a later one: an operator would be told of the lesser
/// mistake, and a batch refused by rule 1 could already have been read against the disk.
#[test]
fn errors_come_in_the_order_of_the_rules() {
    fn name(error: &Error) -> &'static str {
        match error {
            Error::NotAscending { .. } => "NotAscending",
            Error::InvalidSlot => "InvalidSlot",
            Error::TooLarge { .. } => "TooLarge",
            Error::Conflict { .. } => "Conflict",
            Error::BackfillDisabled { .. } => "BackfillDisabled",
            Error::MixedBatch { .. } => "MixedBatch",
            Error::SpansFiles { .. } => "SpansFiles",
            _ => "another",
        }
    }
    let spec = ColumnSpec { max_value_bytes: 400, ..PLAIN };
    let (wrong, large) = (b"wrong".to_vec(), vec![0; 401]);
    let with = |slots: &[u64], changes: &[(u64, &Vec<u8>)]| {
        let mut items = batch(slots.iter().copied());
        for (slot, value) in changes {
            items.iter_mut().find(|(s, _)| s.0 == *slot).unwrap().1 = (*value).clone();
        }
        items
    };
    for backfill in [false, true] {
        let dir = scratch();
        let options = WriterOptions::create(spec).allow_backfill(backfill);
        let mut writer = Writer::open(dir.path(), options).unwrap();
        writer.put_batch(&batch([10, 9000, 17_000, 33_000])).unwrap();
        let cases = [
            // Rule 1 before all others.
            (with(&[10, 11, 9001, 33_001, 33_001], &[(10, &wrong)]), ["NotAscending"; 2]),
            (with(&[10, 11, 9001, 33_001, u64::MAX], &[(10, &wrong)]), ["InvalidSlot"; 2]),
            (with(&[10, 11, 9001, 33_001], &[(10, &wrong), (33_001, &large)]), ["TooLarge"; 2]),
            (with(&[10], &[(10, &large)]), ["TooLarge"; 2]),
            // Rule 3 before the rules about gaps, wherever in the batch it is.
            (with(&[10, 11, 9000], &[(9000, &wrong)]), ["Conflict"; 2]),
            (with(&[10, 33_001], &[(10, &wrong)]), ["Conflict"; 2]),
            (with(&[11, 9001, 17_000, 33_001], &[(17_000, &wrong)]), ["Conflict"; 2]),
            // Rule 4 before 5 and 6.
            (with(&[11, 33_001], &[]), ["BackfillDisabled", "MixedBatch"]),
            (with(&[11, 9001], &[]), ["BackfillDisabled", "SpansFiles"]),
            // Rule 5 before 6.
            (with(&[11, 9001, 33_001], &[]), ["BackfillDisabled", "MixedBatch"]),
        ];
        for (items, wanted) in cases {
            let slots: Vec<u64> = items.iter().map(|(slot, _)| slot.0).collect();
            let wanted = wanted[usize::from(backfill)];
            assert_refused(&mut writer, &items, &format!("{slots:?}"), &|error| {
                name(error) == wanted
            });
        }
        assert_shows(&view(dir.path()), &content([10, 9000, 17_000, 33_000]), "after refusals");
    }
}

/// Guards against a long run that is refused, cut in the wrong places, or of which nobody knows how
/// far it came.
#[test]
fn rule_6_a_run_is_split_into_one_commit_per_file() {
    let dir = scratch();
    let base = [10, 9000, 17_000, 60_000];
    column(dir.path(), true, base);
    let mut writer = writer(dir.path(), true);
    let slots = [5, 9, 10, 11, 8191, 8192, 9001, 30_000, 57_344, 59_999];
    let report = writer.put_bulk(&batch(slots), |_| {}).unwrap();
    assert_eq!((report.written, report.unchanged), (9, 1));
    assert_eq!(report.last, Some(Slot(59_999)));
    assert!((3..=4).contains(&report.commits), "files 0, 1, 3 and 7: {report:?}");
    let all = content(base.into_iter().chain(slots));
    assert_shows(&view(dir.path()), &all, "after the run");

    // The same again is nothing; so is nothing.
    let before = files_of(dir.path());
    let report = writer.put_bulk(&batch(slots), |_| {}).unwrap();
    assert_eq!((report.written, report.unchanged), (0, 10));
    assert_eq!(report.last, Some(Slot(59_999)));
    let report = writer.put_bulk(&batch([]), |_| {}).unwrap();
    assert_eq!((report.written, report.unchanged, report.last), (0, 0, None));
    assert_files(dir.path(), &before, "the same run again");

    // Gaps, then past the highest slot: no batch, but a run.
    let report = writer.put_bulk(&batch([6, 9002, 59_998, 60_001, 70_000]), |_| {}).unwrap();
    assert_eq!((report.written, report.last), (5, Some(Slot(70_000))));
    let all: Content = all.into_iter().chain(content([6, 9002, 59_998, 60_001, 70_000])).collect();
    assert_shows(&view(dir.path()), &all, "gaps and then sequential");

    // An error in the middle: what was committed stays, and the error says so.
    let mut items = batch([7, 9000, 9003, 17_001]);
    items[1].1 = b"wrong".to_vec();
    let error = writer.put_bulk(&items, |_| {}).unwrap_err();
    assert!(matches!(error.error, Error::Conflict { slot: Slot(9000) }), "{error:?}");
    let mut wanted = all;
    if error.done.last == Some(Slot(7)) {
        wanted.insert(7, value(7));
    }
    assert_eq!(error.done.written, u64::from(error.done.last.is_some()), "{error:?}");
    assert_shows(&view(dir.path()), &wanted, "as far as the error says");
    assert!(!error.to_string().is_empty());
}

/// Guards against a report of commits that nobody made: a run that is all there already changes no
/// conf, and every commit that is reported is durable when the callback is told of it.
#[test]
fn a_run_reports_the_commits_that_were_made() {
    let dir = scratch();
    column(dir.path(), true, [10, 9000, 17_000]);
    let mut writer = writer(dir.path(), true);
    let slots = [11, 12, 9001, 16_999, 17_001];
    let mut told = Vec::new();
    let report = writer
        .put_bulk(&batch(slots), |commit| {
            let view = view(dir.path());
            for slot in slots.into_iter().filter(|slot| *slot <= commit.last.0) {
                assert_eq!(view.get(Slot(slot)).unwrap().unwrap(), value(slot), "{commit:?}");
            }
            told.push((commit.first.0, commit.last.0, commit.records));
        })
        .unwrap();
    assert_eq!(report.commits, told.len() as u64);
    assert_eq!(told.iter().map(|commit| commit.2).sum::<u64>(), 5);
    assert!(told.iter().zip(told.iter().skip(1)).all(|(one, next)| one.1 < next.0), "{told:?}");

    let before = stamps(dir.path());
    let mut told = 0;
    let report = writer.put_bulk(&batch(slots), |_| told += 1).unwrap();
    assert_eq!(stamps(dir.path()), before);
    assert_eq!(report.commits, 0, "nothing was committed: {report:?}");
    assert_eq!((told, report.last), (3, Some(Slot(17_001))), "one step a file, all of it durable");
}

/// Guards against a put that is acknowledged before all of it is flushed: a power cut would take it
/// away. Every call is followed by a flush of what it changed, and the commit comes last.
#[test]
fn a_put_is_durable_when_it_returns() {
    for scenario in SCENARIOS {
        let dir = scratch();
        scenario.build(dir.path());
        let disk = TestDisk::new();
        let mut writer = open_on(&disk, dir.path(), scenario.backfill);
        disk.take_calls();
        writer.put_batch(&scenario.items()).unwrap();
        let calls = disk.take_calls();
        assert_flushed(&calls, dir.path());
        assert!(!calls.is_empty(), "{}", scenario.name);
        drop(writer);
        assert!(disk.take_calls().iter().all(|call| !call.changes()), "closing changes nothing");
        assert_shows(&view(dir.path()), &scenario.after(), scenario.name);
    }
}
