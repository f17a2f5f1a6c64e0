//! `FORMAT.md`, section 7: what a view shows, what it does not, and that it stays as it is.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod common;

use std::fs;
use std::ops::Bound;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use coldstore::{Error, ReaderOptions, Slot, View, Writer, WriterOptions};
use common::*;

const BASE: [u64; 5] = [1, 5, 9000, 17_000, 17_010];

/// A column with [`BASE`], V2 or V3.
fn base(dir: &Path, backfill: bool) -> Content {
    column(dir, backfill, BASE);
    content(BASE)
}

/// Every way of asking a view for this slot gives an error; they are all returned.
#[track_caller]
fn errors_of(view: &View, slot: u64, context: &str) -> Vec<Error> {
    let slot = Slot(slot);
    let mut buffer = Vec::new();
    let in_scan = |error: Option<Result<(), Error>>| {
        error.unwrap_or_else(|| panic!("{context}: a scan leaves slot {slot} out"))
    };
    [
        ("get", view.get(slot).map(drop)),
        ("get_stored", view.get_stored(slot).map(drop)),
        ("get_into", view.get_into(slot, &mut buffer).map(drop)),
        ("record", view.record(slot).map(drop)),
        ("owned", view.owned(slot).map(drop)),
        ("range", in_scan(view.range(slot..=slot).next().map(|item| item.map(drop)))),
        ("range back", in_scan(view.range(slot..=slot).next_back().map(|item| item.map(drop)))),
    ]
    .into_iter()
    .map(|(call, result)| result.err().unwrap_or_else(|| panic!("{context}: {call} is no error")))
    .collect()
}

/// Every way of asking for this slot is `Corrupt` in this file at this offset.
#[track_caller]
fn assert_slot_corrupt(view: &View, slot: u64, file: &str, offset: u64, context: &str) {
    for error in errors_of(view, slot, context) {
        assert_corrupt(&error, file, context);
        let Error::Corrupt(corruption) = &error else { unreachable!() };
        assert_eq!(corruption.offset, Some(offset), "{context}: {error}");
        assert!(error.to_string().contains(file), "{context}: {error}");
    }
}

// ---------------------------------------------------------------------------- read-only

/// Guards against a reader that repairs, locks, creates or rewrites: it works beside a writer, after
/// a crash, without a lock file, and where nothing may be written.
#[test]
fn a_reader_takes_no_lock_and_changes_nothing() {
    let root = temp_dir();
    let dir = root.path().join("bss");
    let wanted = base(&dir, true);
    let len = data_len(&dir, 0);
    RawConf::edit(&dir, |conf| conf.backfill = Some((0, len)));
    write_uncommitted(&dir, 6);
    write_uncommitted(&dir, 17_011);
    write_uncommitted(&dir, 30_000);
    fs::write(dir.join("column.conf.tmp"), b"torn").unwrap();
    remove(&dir, "lock");
    let read_everything = |context: &str| {
        let before = stamps(root.path());
        let archive = open_archive(root.path());
        let reader = archive.column(coldstore::Column::StateSnapshots).unwrap();
        assert_shows(&reader.view(), &wanted, context);
        assert_shows(&reader.refresh().unwrap(), &wanted, context);
        assert_shows(&view(&dir), &wanted, context);
        assert_eq!(stamps(root.path()), before, "{context}");
    };
    read_everything("after a crash, without a lock file");

    // As far as permissions go for whoever runs this.
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for name in files(&dir).keys() {
        set_mode(&dir.join(name), 0o444);
    }
    set_mode(&dir, 0o555);
    set_mode(root.path(), 0o555);
    read_everything("where nothing may be written");
    set_mode(root.path(), 0o755);
    set_mode(&dir, 0o755);
    for name in files(&dir).keys() {
        set_mode(&dir.join(name), 0o644);
    }

    let mut writer = writer(&dir, true);
    read_everything("beside a writer");
    writer.put(Slot(30_000), &value(30_000)).unwrap();
    drop(writer);
    assert_shows(&view(&dir), &content(BASE.into_iter().chain([30_000])), "in the end");
}

/// Guards against a reader that makes a column, or takes an empty directory for an empty one.
#[test]
fn a_directory_without_a_conf_is_no_such_column() {
    let root = temp_dir();
    let data_only = root.path().join("data only");
    base(&data_only, false);
    remove(&data_only, "column.conf");
    let tmp_only = root.path().join("tmp only");
    fs::create_dir(&tmp_only).unwrap();
    fs::write(tmp_only.join("column.conf.tmp"), RawConf::empty(false).bytes()).unwrap();
    let empty = root.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let missing = root.path().join("missing");
    for dir in [&data_only, &tmp_only, &empty, &missing] {
        let before = stamps(root.path());
        let error = try_reader(dir).unwrap_err();
        assert!(matches!(error, Error::NoSuchColumn { .. }), "{}: {error:?}", dir.display());
        assert_eq!(stamps(root.path()), before, "{}", dir.display());
    }
}

// ---------------------------------------------------------------------------- visibility

/// Guards against a reader that shows what was never committed: behind the committed length of the
/// current file, of the backfill file, and after the highest slot.
#[test]
fn what_lies_past_the_bound_of_a_file_is_no_record_under_v3() {
    let dir = temp_dir();
    column(dir.path(), true, BASE.into_iter().chain([6]));
    assert_eq!(RawConf::read(dir.path()).backfill, Some((0, data_len(dir.path(), 0))));
    let wanted = content(BASE.into_iter().chain([6]));
    // Whole records and entries, in all three kinds of places.
    for slot in [7, 8191, 16_384, 17_009, 17_011, 24_575, 24_576, 100_000] {
        write_uncommitted(dir.path(), slot);
    }
    assert_reads(dir.path(), &wanted, "whole records past the bound");
    // And entries of garbage there.
    for (slot, bound_of) in [(8, 0), (17_008, 2)] {
        let bound = if bound_of == 0 {
            RawConf::read(dir.path()).backfill.unwrap().1
        } else {
            RawConf::read(dir.path()).len
        };
        for entry in [bound, bound + 1, bound + 1000, 1 << 40, u64::MAX - 7, u64::MAX] {
            set_entry(dir.path(), slot, entry);
            assert_reads(dir.path(), &wanted, &format!("slot {slot}, entry {entry}"));
        }
        set_entry(dir.path(), slot, 0);
    }
    // A sealed file that nobody names is bounded by its length.
    let len = data_len(dir.path(), 1);
    for entry in [len, len + 1, u64::MAX] {
        set_entry(dir.path(), 9001, entry);
        assert_reads(dir.path(), &wanted, &format!("sealed, entry {entry}"));
    }
}

/// Guards against a lost record that reads as a skipped slot: without backfill nothing but the slots
/// after the highest can be in the middle of being written.
#[test]
fn an_entry_past_the_bound_at_or_below_the_highest_slot_is_corrupt_under_v2() {
    for (slot, file) in [(2, 0), (8191, 0), (8192, 1), (17_001, 2), (17_009, 2)] {
        let dir = temp_dir();
        base(dir.path(), false);
        let bound = data_len(dir.path(), file);
        // Bytes behind the committed length of the current file do not make it better.
        if file == 2 {
            append_record(dir.path(), slot, &plain_record(slot));
        }
        for entry in [bound, bound + 1, 1 << 40, u64::MAX] {
            set_entry(dir.path(), slot, entry);
            let view = view(dir.path());
            let at = slot % PER_FILE * 8;
            let name = format!("slot {slot}, entry {entry}");
            assert_slot_corrupt(&view, slot, &offsets_name(file), at, &name);
            for good in BASE {
                assert_eq!(view.get(Slot(good)).unwrap().unwrap(), value(good), "{name}");
            }
        }
    }
    // After the highest slot it is what a crash leaves.
    let dir = temp_dir();
    let wanted = base(dir.path(), false);
    for slot in [17_011, 24_575] {
        write_uncommitted(dir.path(), slot);
    }
    set_entry(dir.path(), 17_012, u64::MAX);
    assert_reads(dir.path(), &wanted, "after the highest slot");
}

/// Guards against the bound of the backfill file cutting the current file short, or stretching it.
#[test]
fn where_the_conf_names_the_current_file_as_backfill_file_its_own_bound_counts() {
    for len in [0, 8, 17, u64::MAX] {
        let dir = temp_dir();
        let wanted = base(dir.path(), true);
        write_uncommitted(dir.path(), 17_001);
        RawConf::edit(dir.path(), |conf| conf.backfill = Some((2, len)));
        assert_reads(dir.path(), &wanted, &format!("length {len}"));
    }
}

/// Guards against an entry of garbage, or a record of garbage, that panics, is skipped in silence or
/// gives wrong bytes: the error has file and offset, and the records around it stay readable.
#[test]
fn a_record_that_is_not_one_of_the_column_is_corrupt() {
    type Damage = fn(&Path, u64);
    let cases: [(&str, Damage); 8] = [
        ("another type", |dir, at| overwrite(dir, "data_00000", at, &[5])),
        ("another second byte of the type", |dir, at| overwrite(dir, "data_00000", at + 1, &[1])),
        ("the type of a version record", |dir, at| overwrite(dir, "data_00000", at, &VERSION)),
        ("reserved bytes", |dir, at| overwrite(dir, "data_00000", at + 6, &[1])),
        ("reserved bytes, the last one", |dir, at| overwrite(dir, "data_00000", at + 7, &[0x80])),
        ("a length past the bound", |dir, at| {
            let len = u32::try_from(data_len(dir, 0) - at - 8 + 1).unwrap();
            overwrite(dir, "data_00000", at + 2, &len.to_le_bytes());
        }),
        ("the greatest length", |dir, at| overwrite(dir, "data_00000", at + 2, &[0xff; 4])),
        ("all zeros", |dir, at| overwrite(dir, "data_00000", at, &[0; 8])),
    ];
    for (what, damage) in cases {
        for backfill in [false, true] {
            for slot in [1, 5, 7] {
                let dir = temp_dir();
                column(dir.path(), backfill, [1, 5, 7, 9000]);
                let at = entry(dir.path(), slot);
                damage(dir.path(), at);
                let view = view(dir.path());
                let name = format!("{what}, slot {slot}, backfill {backfill}");
                assert_slot_corrupt(&view, slot, "data_00000", at, &name);
                let rest: Vec<u64> = [1, 5, 7, 9000].into_iter().filter(|s| *s != slot).collect();
                assert_scan_goes_on(&view, &rest, &name);
            }
        }
    }
}

/// Guards against entries into the version record, the middle of records, or so near to the end that
/// no header fits: each is `Corrupt`, or by accident a record, but never a panic or bytes from
/// outside.
#[test]
fn an_entry_that_leads_to_no_record_is_corrupt() {
    for backfill in [false, true] {
        let dir = temp_dir();
        let mut writer = writer(dir.path(), backfill);
        // Bytes of 0xee make no header by accident.
        writer.put(Slot(1), &[0xee; 100]).unwrap();
        writer.put(Slot(5), &[0xee; 50]).unwrap();
        writer.put(Slot(9000), b"x").unwrap();
        drop(writer);
        let len = data_len(dir.path(), 0);
        let mut corrupt = 0;
        for offset in (1..len).filter(|offset| ![8, 116].contains(offset)) {
            set_entry(dir.path(), 3, offset);
            let view = view(dir.path());
            let name = format!("entry {offset}, backfill {backfill}");
            for error in errors_of(&view, 3, &name) {
                let Error::Corrupt(corruption) = &error else { panic!("{name}: {error:?}") };
                assert!(corruption.offset.is_some(), "{name}: {error}");
                let file = corruption.file.file_name().unwrap().to_str().unwrap();
                assert!(file.starts_with("data_00000"), "{name}: {error}");
                corrupt += 1;
            }
            let found: Vec<Option<u64>> =
                view.range(..).map(|item| item.ok().map(|record| record.slot().0)).collect();
            assert_eq!(found, [Some(1), None, Some(5), Some(9000)], "{name}");
        }
        assert!(corrupt > 1000, "{corrupt}");
    }
}

/// A scan, in both directions, has one error and all of the slots.
#[track_caller]
fn assert_scan_goes_on(view: &View, slots: &[u64], context: &str) {
    let forward: Vec<_> = view.range(..).collect();
    let backward: Vec<_> = view.range(..).rev().collect();
    for (items, reversed) in [(forward, false), (backward, true)] {
        let errors = items.iter().filter(|item| item.is_err()).count();
        assert_eq!(errors, 1, "{context}: errors of a scan");
        let mut found: Vec<u64> =
            items.iter().filter_map(|item| item.as_ref().ok()).map(|r| r.slot().0).collect();
        if reversed {
            found.reverse();
        }
        assert_eq!(found, slots, "{context}: the other slots of a scan");
    }
}

/// Guards against compressed garbage that gives wrong bytes, and an error that names no place.
#[test]
fn a_compressed_value_that_does_not_decode_is_corrupt() {
    let dir = temp_dir();
    let mut writer = Writer::open(dir.path(), WriterOptions::create(SNAPPY)).unwrap();
    for slot in [1, 2, 3] {
        writer.put(Slot(slot), &vec![7; 5000]).unwrap();
    }
    drop(writer);
    let (at, end) = (entry(dir.path(), 2), entry(dir.path(), 3));
    let good = fs::read(dir.path().join("data_00000")).unwrap();
    for byte in at + 8..end {
        let flipped = good[usize::try_from(byte).unwrap()] ^ 0x10;
        overwrite(dir.path(), "data_00000", byte, &[flipped]);
        let view = view(dir.path());
        match view.get(Slot(2)) {
            Ok(found) => assert_eq!(found.unwrap(), vec![7; 5000], "byte {byte}: a wrong value"),
            Err(error) => {
                assert_corrupt(&error, "data_00000", &format!("byte {byte}"));
                let Error::Corrupt(corruption) = &error else { unreachable!() };
                let offset = corruption.offset.expect("an offset");
                assert!((at..end).contains(&offset), "byte {byte}: {error}");
                let mut buffer = Vec::new();
                assert!(view.get_into(Slot(2), &mut buffer).unwrap_err().is_corrupt());
                assert!(view.owned(Slot(2)).unwrap_err().is_corrupt());
                let record = view.record(Slot(2)).unwrap().unwrap();
                assert!(record.copy_value_to(&mut Vec::new()).unwrap_err().is_corrupt());
            }
        }
        for slot in [1, 3] {
            assert_eq!(view.get(Slot(slot)).unwrap().unwrap(), vec![7; 5000], "byte {byte}");
        }
        overwrite(dir.path(), "data_00000", byte, &good[usize::try_from(byte).unwrap()..][..1]);
    }
}

// ---------------------------------------------------------------------------- missing and short files

/// Guards against a committed file that is gone being read as skipped slots.
#[test]
fn a_missing_file_is_corrupt_where_the_other_one_holds_records() {
    for backfill in [false, true] {
        for (file, slot) in [(0, 1), (0, 2), (1, 9000)] {
            for name in [data_name(file), offsets_name(file)] {
                let dir = temp_dir();
                base(dir.path(), backfill);
                remove(dir.path(), &name);
                let before = stamps(dir.path());
                let view = view(dir.path());
                for error in [
                    view.get(Slot(slot)).map(drop).unwrap_err(),
                    view.contains(Slot(slot)).map(drop).unwrap_err(),
                    view.range(Slot(slot)..).next().unwrap().map(drop).unwrap_err(),
                ] {
                    let Error::Corrupt(corruption) = &error else { panic!("{name}: {error:?}") };
                    assert!(
                        corruption.file.to_str().unwrap().contains(&data_name(file)),
                        "{name}: {error}"
                    );
                }
                let others: Vec<u64> =
                    BASE.into_iter().filter(|slot| slot / PER_FILE != file).collect();
                for &other in &others {
                    assert_eq!(view.get(Slot(other)).unwrap().unwrap(), value(other), "{name}");
                }
                let scanned: Vec<u64> =
                    view.range(..).filter_map(Result::ok).map(|record| record.slot().0).collect();
                assert_eq!(scanned, others, "{name}: a scan goes on with the next file");
                assert_eq!(stamps(dir.path()), before, "{name}: nothing is made");
            }
        }
    }
}

/// Guards against an error for a file of skipped slots, which neither has a data file nor needs one,
/// or for a data file that was made and never written to.
#[test]
fn a_file_without_records_needs_no_files() {
    type Leave = fn(&Path);
    let cases: [(&str, Leave); 6] = [
        ("neither", |_| {}),
        ("a version record", |dir| fs::write(dir.join("data_00001"), VERSION).unwrap()),
        ("an empty data file", |dir| fs::write(dir.join("data_00001"), b"").unwrap()),
        ("half a version record", |dir| {
            fs::write(dir.join("data_00001"), &VERSION[..5]).unwrap();
        }),
        ("zeros", |dir| set_len(dir, "data_00001.off", OFFSETS_LEN)),
        ("a version record and zeros", |dir| {
            fs::write(dir.join("data_00001"), VERSION).unwrap();
            set_len(dir, "data_00001.off", 4096);
        }),
    ];
    for (what, leave) in cases {
        for backfill in [false, true] {
            let dir = temp_dir();
            column(dir.path(), backfill, [1, 17_000]);
            leave(dir.path());
            assert_reads(dir.path(), &content([1, 17_000]), what);
            for slot in [8191, 8192, 9000, 16_383] {
                assert_absent(&view(dir.path()), slot, what);
            }
        }
    }
}

/// Guards against a read past the end of a short offset file, and against losing what it does hold.
#[test]
fn a_short_offset_file_reads_as_zeros_behind_its_end() {
    for backfill in [false, true] {
        for (len, wanted) in [
            (65_535, &[1, 5][..]),
            (48, &[1, 5]),
            // The high bytes of an entry are zeros anyway.
            (42, &[1, 5]),
            (40, &[1]),
            (9, &[1]),
            (8, &[]),
            (1, &[]),
            (0, &[]),
        ] {
            let dir = temp_dir();
            base(dir.path(), backfill);
            set_len(dir.path(), "data_00000.off", len);
            let wanted = content(wanted.iter().copied().chain([9000, 17_000, 17_010]));
            assert_reads(dir.path(), &wanted, &format!("{len} bytes"));
        }
        // The same for the current file, as long as it holds the highest slot.
        let dir = temp_dir();
        let wanted = base(dir.path(), backfill);
        set_len(dir.path(), "data_00002.off", (17_010 % PER_FILE + 1) * 8);
        assert_reads(dir.path(), &wanted, "the current file");
    }
}

/// Guards against a copy of a short offset file that is kept when healing has extended the file and
/// the writer goes on in it.
#[test]
fn a_short_offset_file_that_is_extended_under_a_reader_is_looked_at_anew() {
    let dir = temp_dir();
    column(dir.path(), true, BASE.into_iter().chain([6]));
    let old = content(BASE.into_iter().chain([6]));
    set_len(dir.path(), "data_00000.off", 7 * 8);
    set_len(dir.path(), "data_00001.off", (9000 % PER_FILE + 1) * 8);
    set_len(dir.path(), "data_00002.off", (17_010 % PER_FILE + 1) * 8);
    let reader = reader(dir.path());
    let first = reader.view();
    assert_shows(&first, &old, "short");
    let mut writer = writer(dir.path(), true);
    assert_shows(&reader.refresh().unwrap(), &old, "extended");
    let mut wanted = old.clone();
    for slot in [17_011, 17_001, 7, 100, 9001, 16_000] {
        writer.put(Slot(slot), &value(slot)).unwrap();
        wanted.insert(slot, value(slot));
        assert_shows(&reader.refresh().unwrap(), &wanted, &format!("after slot {slot}"));
    }
    assert_shows(&first, &old, "the first view, in the end");
}

/// Guards against a page that is not there: a file that is shorter than its bound is `Corrupt` when
/// it is mapped, at once for the current file.
#[test]
fn a_file_shorter_than_its_bound_is_corrupt() {
    for backfill in [false, true] {
        for len in [0, 7, 8, 16, 17] {
            let dir = temp_dir();
            base(dir.path(), backfill);
            set_len(dir.path(), "data_00002", len);
            let error = try_reader(dir.path()).unwrap_err();
            assert_corrupt(&error, "data_00002", &format!("current file of {len} bytes"));
        }
        let dir = temp_dir();
        base(dir.path(), backfill);
        remove(dir.path(), "data_00002");
        let error = try_reader(dir.path()).unwrap_err();
        assert_corrupt(&error, "data_00002", "no current file");
        let dir = temp_dir();
        base(dir.path(), backfill);
        remove(dir.path(), "data_00002.off");
        let error = try_reader(dir.path()).unwrap_err();
        assert_corrupt(&error, "data_00002.off", "no current offset file");
    }
    let dir = temp_dir();
    column(dir.path(), true, BASE.into_iter().chain([6]));
    let len = data_len(dir.path(), 0);
    for cut in [len - 1, 8, 0] {
        set_len(dir.path(), "data_00000", cut);
        let view = view(dir.path());
        for slot in [1, 5, 6] {
            let error = view.get(Slot(slot)).unwrap_err();
            assert_corrupt(&error, "data_00000", &format!("backfill file of {cut} bytes"));
        }
        assert_eq!(view.get(Slot(9000)).unwrap().unwrap(), value(9000));
    }
}

/// Guards against garbage in memory of our own: an offset file of another shape.
#[test]
fn an_offset_file_that_is_too_long_is_corrupt() {
    let dir = temp_dir();
    base(dir.path(), false);
    append(dir.path(), "data_00000.off", &[0]);
    let error = view(dir.path()).get(Slot(1)).unwrap_err();
    assert_corrupt(&error, "data_00000.off", "a sealed file");
    append(dir.path(), "data_00002.off", &[0; 8]);
    let error = try_reader(dir.path()).unwrap_err();
    assert_corrupt(&error, "data_00002.off", "the current file");
}

// ---------------------------------------------------------------------------- views

/// Guards against a view that changes under whoever holds it, when the current file grows.
#[test]
fn a_view_does_not_change_when_sequential_puts_come_in() {
    for backfill in [false, true] {
        let dir = temp_dir();
        let mut writer = writer(dir.path(), backfill);
        let reader = {
            writer.put_batch(&batch(BASE)).unwrap();
            reader(dir.path())
        };
        let (touched, untouched) = (reader.view(), try_reader(dir.path()).unwrap().view());
        assert_shows(&touched, &content(BASE), "before");
        let mut all = content(BASE);
        for slot in [17_011, 17_012, 24_575, 24_576, 50_000] {
            writer.put(Slot(slot), &value(slot)).unwrap();
            all.insert(slot, value(slot));
            assert_eq!(reader.view().highest_written_slot(), touched.highest_written_slot());
        }
        assert_shows(&touched, &content(BASE), "a view that was touched");
        assert_shows(&untouched, &content(BASE), "a view that was not touched yet");
        assert_eq!(reader.view().highest_written_slot(), Some(Slot(17_010)), "no refresh yet");
        assert_shows(&reader.refresh().unwrap(), &all, "refreshed");
        assert_shows(&reader.view(), &all, "the latest that was seen");
        assert_shows(&touched, &content(BASE), "the old view, in the end");
        assert_eq!(touched.highest_written_slot(), Some(Slot(17_010)));
    }
}

/// Guards against a view of an empty column that comes to life.
#[test]
fn a_view_of_an_empty_column_stays_empty() {
    let dir = temp_dir();
    let mut writer = writer(dir.path(), true);
    let reader = reader_of(&writer);
    let empty = reader.view();
    assert_shows(&empty, &Content::new(), "before");
    assert_eq!(empty.highest_written_slot(), None);
    writer.put_batch(&batch([0, 5, 9000])).unwrap();
    writer.put(Slot(3), &value(3)).unwrap();
    assert_shows(&empty, &Content::new(), "afterwards");
    assert!(empty.at_or_before(Slot::MAX).unwrap().is_none());
    assert!(empty.at_or_after(Slot(0)).unwrap().is_none());
    assert_shows(&reader.refresh().unwrap(), &content([0, 3, 5, 9000]), "refreshed");
}

/// Guards against a backfill that shines through: into the current file, into a sealed one, into one
/// that did not exist, while a view that has looked there is held.
#[test]
fn a_view_does_not_change_when_the_files_it_has_looked_at_are_backfilled() {
    let dir = temp_dir();
    let base = [1, 5, 9000, 33_000];
    let mut writer = {
        column(dir.path(), true, base);
        writer(dir.path(), true)
    };
    let gaps = [0, 2, 3, 8999, 9001, 20_000, 20_001, 32_999];
    let reader = reader_of(&writer);
    let first = reader.view();
    assert_shows(&first, &content(base), "before");
    for slot in gaps {
        assert_absent(&first, slot, "before");
    }
    let mut views = vec![(first, content(base))];
    let mut all = content(base);
    // Again and again the same sealed file, others in between.
    for slot in [2, 20_000, 0, 9001, 3, 32_999, 20_001, 8999] {
        writer.put(Slot(slot), &value(slot)).unwrap();
        all.insert(slot, value(slot));
        for (view, wanted) in &views {
            let name = format!("after slot {slot}, a view of {} slots", wanted.len());
            assert_eq!(&scan(view), wanted, "{name}");
            for gap in gaps {
                let found = view.get(Slot(gap)).unwrap();
                assert_eq!(found.as_deref(), wanted.get(&gap).map(|v| &v[..]), "{name}: {gap}");
            }
        }
        let fresh = reader.refresh().unwrap();
        assert_shows(&fresh, &all, "refreshed");
        for gap in gaps.into_iter().filter(|gap| !all.contains_key(gap)) {
            assert_absent(&fresh, gap, "refreshed");
        }
        views.push((fresh, all.clone()));
    }
}

/// Guards against a file that is looked at late, in a view that is older than its backfill: what it
/// shows is a committed state of the file, at least as new as the view, and then stays so. The
/// sequential part is exactly the conf's.
#[test]
fn a_late_first_look_into_a_file_shows_a_committed_state_and_keeps_it() {
    let dir = temp_dir();
    let base = [1, 5, 9000, 33_000];
    column(dir.path(), true, base);
    let mut writer = writer(dir.path(), true);
    let late = view(dir.path());
    writer.put_batch(&batch([2, 3])).unwrap();
    writer.put_batch(&batch([8999, 9001])).unwrap();
    writer.put_batch(&batch([32_999])).unwrap();
    writer.put_batch(&batch([33_001, 50_000])).unwrap();
    let first = scan(&late);
    let has = |slot: u64| first.contains_key(&slot);
    for slot in base {
        assert_eq!(first[&slot], value(slot), "slot {slot}");
    }
    assert_eq!(has(2), has(3), "a batch appears whole");
    assert_eq!(has(8999), has(9001), "a batch appears whole");
    for slot in [32_999, 33_001, 50_000] {
        assert!(!has(slot), "slot {slot}: the current file is that of the conf");
    }
    assert_eq!(late.highest_written_slot(), Some(Slot(33_000)));
    writer.put_batch(&batch([0, 4])).unwrap();
    writer.put_batch(&batch([8192, 16_383])).unwrap();
    writer.put_batch(&batch([33_002, 40_000])).unwrap();
    assert_eq!(scan(&late), first, "what it has shown stays");
    assert_shows(&late, &first, "by every way of asking");
}

/// Guards against a sealed file whose length is taken for its bound while a batch is being written
/// into it: under a conf that names the file, the conf's length counts, also in an older view.
#[test]
fn a_late_first_look_under_an_intent_shows_nothing_of_the_uncommitted_batch() {
    let dir = temp_dir();
    let base = [1, 5, 9000, 33_000];
    column(dir.path(), true, base);
    let old = view(dir.path());
    let earlier_touched = view(dir.path());
    assert_shows(&earlier_touched, &content(base), "before");
    // The intent, then records and entries, in a sealed file and in one that did not exist.
    for (file, slots) in [(0, [2, 3]), (2, [20_000, 20_001])] {
        let present = fs::metadata(dir.path().join(data_name(file))).map_or(0, |meta| meta.len());
        RawConf::edit(dir.path(), |conf| conf.backfill = Some((file, present)));
        for slot in slots {
            write_uncommitted(dir.path(), slot);
        }
        for (name, view) in [("older than the intent", old.clone()), ("of now", view(dir.path()))] {
            for slot in slots {
                assert_absent(&view, slot, name);
            }
        }
        // The crash: the next opening takes it all away.
        drop(writer(dir.path(), true));
    }
    for (name, view) in
        [("old", &old), ("touched early", &earlier_touched), ("new", &view(dir.path()))]
    {
        assert_shows(view, &content(base), name);
    }
}

/// Guards against an upgrade that makes an open view of the V2 column call uncommitted or newer
/// records corrupt: it has to look at the conf again first.
#[test]
fn a_v2_view_stays_good_when_the_column_is_upgraded_and_filled() {
    for touched in [false, true] {
        let dir = temp_dir();
        let wanted = base(dir.path(), false);
        let reader = reader(dir.path());
        let view = reader.view();
        assert_eq!(view.conf().encode()[..8], *b"LHSTBLK2");
        if touched {
            assert_shows(&view, &wanted, "before");
        }
        let mut writer = writer(dir.path(), true);
        if touched {
            assert_shows(&view, &wanted, "upgraded");
        }
        let gaps = [(17_005, true), (17_009, true), (2, false), (9001, false), (3, false)];
        for (slot, _) in gaps {
            writer.put(Slot(slot), &value(slot)).unwrap();
        }
        for (slot, in_current) in gaps {
            let found = view.get(Slot(slot)).unwrap();
            if touched || in_current {
                assert_eq!(found, None, "slot {slot}, touched {touched}");
            } else {
                assert!(found.is_none_or(|found| found == value(slot)), "slot {slot}");
            }
        }
        let first = scan(&view);
        for slot in BASE {
            assert_eq!(first[&slot], value(slot), "slot {slot}");
        }
        // A crash in the middle of more of it, then a look from the old view.
        write_uncommitted(dir.path(), 17_008);
        write_uncommitted(dir.path(), 4);
        assert_absent(&view, 17_008, "uncommitted, in the current file");
        assert_absent(&view, 4, "uncommitted, in the sealed file that the conf names");
        assert_eq!(scan(&view), first, "what it has shown stays");
        let all = content(BASE.into_iter().chain(gaps.map(|(slot, _)| slot)));
        assert_shows(&reader.refresh().unwrap(), &all, "refreshed");
    }
}

/// Guards against a map of a file that was removed and made again: healing removes a backfill file
/// that was never committed, and the next batch makes another one under its name.
#[test]
fn a_file_that_was_removed_and_made_again_is_looked_at_anew() {
    let dir = temp_dir();
    let base = [1, 33_000];
    column(dir.path(), true, base);
    RawConf::edit(dir.path(), |conf| conf.backfill = Some((1, 0)));
    write_uncommitted(dir.path(), 9000);
    let reader = reader(dir.path());
    let old = reader.view();
    assert_shows(&old, &content(base), "a file that was never committed");
    assert_absent(&old, 9000, "a file that was never committed");

    let mut writer = writer(dir.path(), true);
    assert!(!dir.path().join("data_00001").exists());
    assert_shows(&old, &content(base), "the file is gone");
    writer.put(Slot(9001), b"of another length").unwrap();
    writer.put(Slot(9000), b"and another value").unwrap();
    writer.put(Slot(2), &value(2)).unwrap();
    assert_absent(&old, 9000, "made again");
    let mut wanted = content([1, 2, 33_000]);
    wanted.insert(9000, b"and another value".to_vec());
    wanted.insert(9001, b"of another length".to_vec());
    assert_shows(&reader.refresh().unwrap(), &wanted, "refreshed");
    assert_shows(&view(dir.path()), &wanted, "opened anew");
}

/// Guards against a map that is kept because length and bound are right, although the name leads to
/// another file by now: an operator has put a copy in its place.
#[test]
fn a_file_that_was_replaced_by_another_of_its_length_is_looked_at_anew() {
    for name in ["data_00000", "data_00000.off"] {
        let dir = temp_dir();
        let mut writer = writer(dir.path(), true);
        writer
            .put_batch(&[(Slot(1), b"first"), (Slot(2), b"other"), (Slot(9000), b"later")])
            .unwrap();
        let reader = reader(dir.path());
        let old = reader.view();
        assert_eq!(old.get(Slot(1)).unwrap().as_deref(), Some(&b"first"[..]));

        let copy = dir.path().join("copy");
        fs::copy(dir.path().join(name), &copy).unwrap();
        if name == "data_00000" {
            overwrite(dir.path(), "copy", 16, b"FIRST");
        } else {
            let (one, two) = (entry(dir.path(), 1), entry(dir.path(), 2));
            overwrite(dir.path(), "copy", 8, &two.to_le_bytes());
            overwrite(dir.path(), "copy", 16, &one.to_le_bytes());
        }
        fs::rename(&copy, dir.path().join(name)).unwrap();
        writer.put(Slot(9001), b"next").unwrap();
        let wanted: &[u8] = if name == "data_00000" { b"FIRST" } else { b"other" };
        let new = reader.refresh().unwrap();
        assert_eq!(new.get(Slot(1)).unwrap().as_deref(), Some(wanted), "{name}");
        assert_eq!(old.get(Slot(1)).unwrap().as_deref(), Some(&b"first"[..]), "{name}: old view");
    }
}

/// Guards against a map that is passed on from view to view although the conf gives its file another
/// bound, or no longer tells of backfill: an operator has put back a conf, or made it a V2 one.
#[test]
fn a_conf_that_was_put_back_or_lost_its_backfill_counts() {
    for put_back in [true, false] {
        let dir = temp_dir();
        let mut writer = writer(dir.path(), true);
        writer.put_batch(&batch([1, 5])).unwrap();
        let before = RawConf::read(dir.path());
        writer.put_batch(&batch([9000, 9001])).unwrap();
        writer.put(Slot(17_000), &value(17_000)).unwrap();
        writer.put(Slot(3), &value(3)).unwrap();
        // From now on no conf names the first file, and nothing changes there.
        writer.put(Slot(9005), &value(9005)).unwrap();
        let reader = reader(dir.path());
        for slot in 17_001..17_004 {
            writer.put(Slot(slot), &value(slot)).unwrap();
            assert!(reader.refresh().unwrap().contains(Slot(3)).unwrap());
        }
        let wanted = if put_back {
            before.commit(dir.path());
            vec![1, 5]
        } else {
            writer.put(Slot(2), &value(2)).unwrap();
            RawConf::edit(dir.path(), |conf| (conf.backfill, conf.byte_27) = (None, 0));
            vec![1, 2, 3, 5, 9000, 9001, 9005, 17_000, 17_001, 17_002, 17_003]
        };
        assert_shows(&reader.refresh().unwrap(), &content(wanted), "as the conf says");
    }
}

/// Guards against a reader that believes nothing has happened to a file when the system had too much
/// to tell: it keeps so many events for each watch, and drops what comes then.
#[test]
#[cfg(target_os = "linux")]
fn what_happened_to_a_file_is_noticed_when_too_much_has_happened() {
    let dir = temp_dir();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&batch([1, 5, 9000, 17_000])).unwrap();
    let reader = reader(dir.path());
    for slot in 17_001..17_004 {
        writer.put(Slot(slot), &value(slot)).unwrap();
        assert!(reader.refresh().unwrap().contains(Slot(1)).unwrap());
    }
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let noise = dir.path().join("noise");
    for _ in 0..=most.trim().parse::<u32>().unwrap() / 2 {
        fs::write(&noise, b"").unwrap();
        fs::remove_file(&noise).unwrap();
    }
    // The second one lets the conf no longer name the file of the first.
    writer.put(Slot(2), &value(2)).unwrap();
    writer.put(Slot(9001), &value(9001)).unwrap();
    let wanted = content([1, 2, 5, 9000, 9001, 17_000, 17_001, 17_002, 17_003]);
    assert_shows(&reader.refresh().unwrap(), &wanted, "after too many events");
}

/// Guards against a reader that takes its latest conf for the one on disk because inode, time or
/// bytes are those of an earlier one.
#[test]
fn refresh_notices_every_commit() {
    // A real file system, where an inode comes back two commits later.
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), true);
    let reader = reader(dir.path());
    let mut wanted = Content::new();
    for round in 0..12 {
        for step in 0..1 + round % 3 {
            let slot = round * 10 + step;
            writer.put(Slot(slot), &value(slot)).unwrap();
            wanted.insert(slot, value(slot));
        }
        let view = reader.refresh().unwrap();
        assert_eq!(scan(&view), wanted, "round {round}");
        let again = reader.refresh().unwrap();
        assert_eq!(again.highest_written_slot(), view.highest_written_slot());
    }
    // The bytes of the conf come back, too, when backfill returns to an earlier file.
    for slot in [10_000, 20_000, 5] {
        writer.put(Slot(slot), &value(slot)).unwrap();
        wanted.insert(slot, value(slot));
    }
    let conf = RawConf::read(dir.path());
    assert_eq!(conf.backfill, Some((0, data_len(dir.path(), 0))));
    let view = reader.refresh().unwrap();
    assert_eq!(scan(&view), wanted);
    writer.put(Slot(8193), &value(8193)).unwrap();
    wanted.insert(8193, value(8193));
    assert_ne!(RawConf::read(dir.path()), conf);
    // As the intent of a put into the first file is.
    conf.commit(dir.path());
    assert_eq!(scan(&reader.refresh().unwrap()), wanted, "the same bytes, but another conf");
}

/// Guards against trusting a sealed file because our own writer always announces that it will grow:
/// other software does not. A view that has looked there stays as it is, and once the batch is
/// committed the next view shows it.
#[test]
fn a_sealed_file_that_grows_without_an_intent_does_not_change_a_view_that_has_looked() {
    let dir = temp_dir();
    let base = [1, 5, 9000, 17_000];
    column(dir.path(), true, base);
    let reader = reader(dir.path());
    let view = reader.view();
    assert_shows(&view, &content(base), "before");
    for slot in [2, 3] {
        write_uncommitted(dir.path(), slot);
    }
    assert_shows(&view, &content(base), "written, not committed");
    assert_shows(&reader.refresh().unwrap(), &content(base), "nothing to refresh");
    let len = data_len(dir.path(), 0);
    RawConf::edit(dir.path(), |conf| conf.backfill = Some((0, len)));
    assert_shows(&view, &content(base), "committed");
    assert_shows(&reader.refresh().unwrap(), &content([1, 2, 3, 5, 9000, 17_000]), "refreshed");
    // And on to another file, without an intent again: the first one is sealed as it stands.
    write_uncommitted(dir.path(), 9001);
    let len = data_len(dir.path(), 1);
    RawConf::edit(dir.path(), |conf| conf.backfill = Some((1, len)));
    let all = content([1, 2, 3, 5, 9000, 9001, 17_000]);
    assert_shows(&reader.refresh().unwrap(), &all, "the next file");
    assert_shows(&view, &content(base), "the first view, in the end");
}

/// Guards against a page that goes away under a map: healing cuts the tail of a file that views have
/// mapped, and they go on showing all of what is theirs.
#[test]
fn a_view_of_a_column_with_leftovers_survives_healing() {
    for backfill in [false, true] {
        let dir = temp_dir();
        let wanted = base(dir.path(), backfill);
        // Far more than a page, in the current file.
        append(dir.path(), "data_00002", &vec![0xee; 1 << 20]);
        write_uncommitted(dir.path(), 17_011);
        let view = view(dir.path());
        assert_shows(&view, &wanted, "before");
        let owned = view.owned(Slot(17_010)).unwrap().unwrap();
        drop(writer(dir.path(), backfill));
        assert!(data_len(dir.path(), 2) < 4096, "cut");
        assert_shows(&view, &wanted, "after");
        assert_eq!(&owned[..], value(17_010));
        assert_absent(&view, 17_011, "after");
    }
}

/// Guards against an owned record that needs its view, its reader, or the files by their names.
#[test]
fn an_owned_record_outlives_everything() {
    fn assert_send<T: Send + 'static>(value: T) -> T {
        value
    }
    for (name, spec) in [("plain", PLAIN), ("snappy", SNAPPY)] {
        let dir = temp_dir();
        let mut writer = Writer::open(dir.path(), WriterOptions::create(spec)).unwrap();
        writer.put(Slot(7), &value(7)).unwrap();
        let reader = reader(dir.path());
        let owned = assert_send(reader.view().owned(Slot(7)).unwrap().unwrap());
        drop((writer, reader));
        drop(dir);
        let handle = std::thread::spawn(move || owned.to_vec());
        assert_eq!(handle.join().unwrap(), value(7), "{name}");
    }
}

// ---------------------------------------------------------------------------- scans

/// Guards against a scan that walks every slot, or every possible file, of a column with enormous
/// slots.
#[test]
fn sparse_columns_with_enormous_slots_are_scanned_without_walking_the_gaps() {
    for backfill in [false, true] {
        let dir = temp_dir();
        let slots = [3, 1 << 40, 1 << 60, (1 << 60) + 8192, u64::MAX - 1];
        column(dir.path(), backfill, slots);
        let view = view(dir.path());
        assert_shows(&view, &content(slots), "sparse");
        assert_eq!(view.highest_written_slot(), Some(Slot::MAX));
        let from = |slot: u64| view.iter_from(Slot(slot)).next().map(|r| r.unwrap().slot().0);
        let before = |slot: u64| view.at_or_before(Slot(slot)).unwrap().map(|r| r.slot().0);
        let after = |slot: u64| view.at_or_after(Slot(slot)).unwrap().map(|r| r.slot().0);
        assert_eq!(from(4), Some(1 << 40));
        assert_eq!(from((1 << 60) + 1), Some((1 << 60) + 8192));
        assert_eq!(from(u64::MAX), None);
        assert_eq!(before(u64::MAX), Some(u64::MAX - 1));
        assert_eq!(before(u64::MAX - 2), Some((1 << 60) + 8192));
        assert_eq!(before((1 << 40) - 1), Some(3));
        assert_eq!(before(2), None);
        assert_eq!(after(4), Some(1 << 40));
        assert_eq!(after((1 << 60) + 8193), Some(u64::MAX - 1));
        assert_eq!(after(u64::MAX), None);
        for slot in [4, 1 << 50, (1 << 60) + 1, u64::MAX - 2, u64::MAX] {
            assert_absent(&view, slot, "sparse");
        }
    }
    // The highest slot alone, at the very end; and a backfill at the very beginning.
    let dir = temp_dir();
    column(dir.path(), true, [u64::MAX - 1, 0, u64::MAX - 2]);
    assert_shows(&view(dir.path()), &content([0, u64::MAX - 2, u64::MAX - 1]), "the ends");
}

/// Guards against a range that is off by one at either end, or that panics when it is empty.
#[test]
fn ranges_take_every_kind_of_bound() {
    let dir = temp_dir();
    let slots = [0, 1, 5, 8191, 8192, 9000, 24_576, 24_577];
    column(dir.path(), false, slots);
    let view = view(dir.path());
    let marks = [0, 1, 2, 5, 6, 8190, 8191, 8192, 8193, 16_384, 24_576, 24_577, 24_578, 1 << 60];
    let bounds: Vec<Bound<Slot>> = marks
        .into_iter()
        .chain([u64::MAX - 1, u64::MAX])
        .flat_map(|mark| [Bound::Included(Slot(mark)), Bound::Excluded(Slot(mark))])
        .chain([Bound::Unbounded])
        .collect();
    for &start in &bounds {
        for &end in &bounds {
            let in_range = |slot: u64| {
                let above = match start {
                    Bound::Included(mark) => slot >= mark.0,
                    Bound::Excluded(mark) => slot > mark.0,
                    Bound::Unbounded => true,
                };
                above
                    && match end {
                        Bound::Included(mark) => slot <= mark.0,
                        Bound::Excluded(mark) => slot < mark.0,
                        Bound::Unbounded => true,
                    }
            };
            let mut wanted: Vec<u64> = slots.into_iter().filter(|slot| in_range(*slot)).collect();
            let range = || view.range((start, end)).map(|record| record.unwrap().slot().0);
            assert_eq!(range().collect::<Vec<_>>(), wanted, "{start:?} {end:?}");
            wanted.reverse();
            assert_eq!(range().rev().collect::<Vec<_>>(), wanted, "{start:?} {end:?}, backwards");
        }
    }
    for slot in marks.into_iter().chain([u64::MAX]) {
        let before = view.at_or_before(Slot(slot)).unwrap().map(|record| record.slot().0);
        assert_eq!(before, slots.into_iter().filter(|s| *s <= slot).max(), "before {slot}");
        let after = view.at_or_after(Slot(slot)).unwrap().map(|record| record.slot().0);
        assert_eq!(after, slots.into_iter().filter(|s| *s >= slot).min(), "after {slot}");
    }
}

/// Guards against a record that comes twice, or never, where the two ends of a scan meet.
#[test]
fn the_two_ends_of_a_scan_meet() {
    let dir = temp_dir();
    let slots = [0, 1, 5, 8191, 8192, 9000, 9001, 40_000];
    column(dir.path(), false, slots);
    let view = view(dir.path());
    for pattern in 0..256_u32 {
        let mut range = view.range(..);
        let (mut front, mut back) = (Vec::new(), Vec::new());
        for step in 0..8 {
            if pattern >> step & 1 == 0 {
                front.push(range.next().unwrap().unwrap().slot().0);
            } else {
                back.push(range.next_back().unwrap().unwrap().slot().0);
            }
        }
        assert!(range.next().is_none() && range.next_back().is_none(), "{pattern:b}");
        back.reverse();
        front.extend(back);
        assert_eq!(front, slots, "{pattern:b}");
    }
}

/// Guards against a reader that believes a conf which belongs to other files: it would hide what was
/// committed.
#[test]
fn a_reader_is_refused_where_the_conf_does_not_fit_the_current_file() {
    type Change = fn(&mut RawConf);
    let cases: [(&str, Change); 5] = [
        ("highest slot lower, a record after it", |conf| conf.highest = 17_000),
        ("highest slot without a record", |conf| conf.highest = 17_011),
        ("highest slot in a file that is not there", |conf| conf.highest = 30_000),
        ("length less by a byte", |conf| conf.len -= 1),
        ("length more by a byte", |conf| conf.len += 1),
    ];
    for backfill in [false, true] {
        for (what, change) in cases {
            let dir = temp_dir();
            base(dir.path(), backfill);
            append(dir.path(), "data_00002", &[0; 64]);
            RawConf::edit(dir.path(), change);
            let error = try_reader(dir.path()).unwrap_err();
            assert!(error.is_corrupt(), "{what}: {error:?}");
        }
    }
}

/// Guards against options that are lost on the way to the writer's own reader, which has to show
/// every put as soon as it has returned.
#[test]
fn the_reader_of_a_writer_shows_each_put_when_it_has_returned() {
    let dir = temp_dir();
    let mut writer = writer(dir.path(), true);
    let reader = reader_of(&writer);
    let mut wanted = Content::new();
    for slot in [5, 9000, 6, 7, 17_000, 9001, 8, 16_999, 8193, 9, 100_000, 10] {
        writer.put(Slot(slot), &value(slot)).unwrap();
        wanted.insert(slot, value(slot));
        let clone = reader.clone();
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| scan(&clone.refresh().unwrap())).join().unwrap()
        });
        assert_eq!(seen, wanted, "after slot {slot}");
        assert_shows(&reader.refresh().unwrap(), &wanted, &format!("after slot {slot}"));
    }
    assert_eq!(reader.directory(), dir.path());
    let options = ReaderOptions::default().expect(SNAPPY);
    assert!(matches!(try_reader_with(dir.path(), options), Err(Error::ConfMismatch { .. })));
}
