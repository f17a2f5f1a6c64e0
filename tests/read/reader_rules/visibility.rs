//! What a view shows.

use super::*;

/// Guards against a reader that shows what was never committed: behind the committed length of the
/// current file, of the backfill file, and after the highest slot.
#[test]
fn bytes_past_the_bound_are_not_a_record_under_v3() {
    let dir = scratch();
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
        let dir = scratch();
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
    let dir = scratch();
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
        let dir = scratch();
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
                let dir = scratch();
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
fn an_entry_that_points_to_no_record_is_corrupt() {
    for backfill in [false, true] {
        let dir = scratch();
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
pub(crate) fn assert_scan_goes_on(view: &View, slots: &[u64], context: &str) {
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
    let dir = scratch();
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
