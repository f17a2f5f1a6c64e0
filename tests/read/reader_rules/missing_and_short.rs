//! Files that are missing or short.

use super::*;

/// Guards against a committed file that is gone being read as skipped slots.
#[test]
fn a_missing_file_is_corrupt_where_the_other_one_holds_records() {
    for backfill in [false, true] {
        for (file, slot) in [(0, 1), (0, 2), (1, 9000)] {
            for name in [data_name(file), offsets_name(file)] {
                let dir = scratch();
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
            let dir = scratch();
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
fn a_short_offset_file_reads_as_zeros_past_its_end() {
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
            let dir = scratch();
            base(dir.path(), backfill);
            set_len(dir.path(), "data_00000.off", len);
            let wanted = content(wanted.iter().copied().chain([9000, 17_000, 17_010]));
            assert_reads(dir.path(), &wanted, &format!("{len} bytes"));
        }
        // The same for the current file, as long as it holds the highest slot.
        let dir = scratch();
        let wanted = base(dir.path(), backfill);
        set_len(dir.path(), "data_00002.off", (17_010 % PER_FILE + 1) * 8);
        assert_reads(dir.path(), &wanted, "the current file");
    }
}

/// Guards against a copy of a short offset file that is kept when healing has extended the file and
/// the writer goes on in it.
#[test]
fn a_short_offset_file_extended_under_a_reader_is_reread() {
    let dir = scratch();
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
            let dir = scratch();
            base(dir.path(), backfill);
            set_len(dir.path(), "data_00002", len);
            let error = try_reader(dir.path()).unwrap_err();
            assert_corrupt(&error, "data_00002", &format!("current file of {len} bytes"));
        }
        let dir = scratch();
        base(dir.path(), backfill);
        remove(dir.path(), "data_00002");
        let error = try_reader(dir.path()).unwrap_err();
        assert_corrupt(&error, "data_00002", "no current file");
        let dir = scratch();
        base(dir.path(), backfill);
        remove(dir.path(), "data_00002.off");
        let error = try_reader(dir.path()).unwrap_err();
        assert_corrupt(&error, "data_00002.off", "no current offset file");
    }
    let dir = scratch();
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
    let dir = scratch();
    base(dir.path(), false);
    append(dir.path(), "data_00000.off", &[0]);
    let error = view(dir.path()).get(Slot(1)).unwrap_err();
    assert_corrupt(&error, "data_00000.off", "a sealed file");
    append(dir.path(), "data_00002.off", &[0; 8]);
    let error = try_reader(dir.path()).unwrap_err();
    assert_corrupt(&error, "data_00002.off", "the current file");
}
