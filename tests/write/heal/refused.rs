//! What is refused, and left as it is.

use super::*;

/// Guards against healing by a conf that does not belong to these files: it would cut good data. In
/// every case nothing is touched, also not the leftovers that are there besides.
#[test]
fn a_conf_that_does_not_fit_its_files_is_corrupt_and_nothing_is_touched() {
    type Damage = fn(&Path);
    fn conf(dir: &Path, change: impl FnOnce(&mut RawConf)) {
        RawConf::edit(dir, change);
    }
    let cases: &[(&str, Damage)] = &[
        ("current file shorter by a byte", |dir| {
            set_len(dir, "data_00002", data_len(dir, 2) - 1);
        }),
        ("current file of 8 bytes", |dir| set_len(dir, "data_00002", 8)),
        ("current file empty", |dir| set_len(dir, "data_00002", 0)),
        ("current file missing", |dir| remove(dir, "data_00002")),
        ("current files missing", |dir| {
            remove(dir, "data_00002");
            remove(dir, "data_00002.off");
        }),
        ("current offset file missing", |dir| remove(dir, "data_00002.off")),
        ("current offset file empty", |dir| set_len(dir, "data_00002.off", 0)),
        ("current offset file cut before the highest", |dir| {
            set_len(dir, "data_00002.off", 17_010 % PER_FILE * 8);
        }),
        ("current offset file too long", |dir| set_len(dir, "data_00002.off", OFFSETS_LEN + 1)),
        ("entry of the highest slot is 0", |dir| set_entry(dir, 17_010, 0)),
        ("entry of the highest slot is the length", |dir| {
            set_entry(dir, 17_010, data_len(dir, 2));
        }),
        ("entry of the highest slot is in the version record", |dir| set_entry(dir, 17_010, 7)),
        ("entry of the highest slot is far away", |dir| set_entry(dir, 17_010, u64::MAX)),
        ("a slot after the highest with a committed entry", |dir| set_entry(dir, 17_011, 8)),
        ("the last slot of the file with a committed entry", |dir| {
            set_entry(dir, 24_575, entry(dir, 17_010));
        }),
        ("length less by a byte", |dir| conf(dir, |conf| conf.len -= 1)),
        ("length of the header alone", |dir| {
            let at = entry(dir, 17_005);
            conf(dir, |conf| conf.len = at + 8);
        }),
        ("length more by a byte, which is there", |dir| {
            append(dir, "data_00002", &[0; 100]);
            conf(dir, |conf| conf.len += 1);
        }),
        ("length more by a record, which is there and has no entry", |dir| {
            append(dir, "data_00002", &plain_record(17_006));
            let len = data_len(dir, 2);
            conf(dir, |conf| conf.len = len);
        }),
        ("length before the record of the highest slot", |dir| {
            let at = entry(dir, 17_010);
            conf(dir, |conf| conf.len = at);
        }),
        ("highest slot lower, a record after it", |dir| conf(dir, |conf| conf.highest = 17_000)),
        ("highest slot one that was backfilled", |dir| conf(dir, |conf| conf.highest = 17_005)),
        ("highest slot higher, without a record", |dir| conf(dir, |conf| conf.highest = 17_011)),
        ("highest slot lower, without a record", |dir| conf(dir, |conf| conf.highest = 17_001)),
        ("highest slot in an earlier file", |dir| conf(dir, |conf| conf.highest = 9000)),
        ("highest slot in a later file", |dir| conf(dir, |conf| conf.highest = 25_000)),
        ("header of the last record", |dir| {
            overwrite(dir, "data_00002", entry(dir, 17_005) + 2, &[1]);
        }),
        ("type of the last record", |dir| {
            overwrite(dir, "data_00002", entry(dir, 17_005), &[5, 0]);
        }),
        ("backfill file shorter by a byte", |dir| {
            set_len(dir, "data_00000", data_len(dir, 0) - 1);
        }),
        ("backfill file empty", |dir| set_len(dir, "data_00000", 0)),
        ("backfill file missing", |dir| remove(dir, "data_00000")),
        ("backfill files missing", |dir| {
            remove(dir, "data_00000");
            remove(dir, "data_00000.off");
        }),
        ("backfill offset file missing", |dir| remove(dir, "data_00000.off")),
        ("backfill offset file too long", |dir| set_len(dir, "data_00000.off", OFFSETS_LEN + 8)),
        ("backfill length less by a byte", |dir| {
            let len = data_len(dir, 0);
            conf(dir, |conf| conf.backfill = Some((0, len - 1)));
        }),
        ("backfill length inside of the first record", |dir| {
            conf(dir, |conf| conf.backfill = Some((0, 17)));
        }),
        ("backfill length inside of the last header", |dir| {
            let at = entry(dir, 6);
            conf(dir, |conf| conf.backfill = Some((0, at + 1)));
        }),
        ("backfill length more than there is", |dir| {
            let len = data_len(dir, 0);
            conf(dir, |conf| conf.backfill = Some((0, len + 1)));
        }),
        ("backfill file is another, shorter one", |dir| {
            let len = data_len(dir, 1) + 1;
            conf(dir, |conf| conf.backfill = Some((1, len)));
        }),
        ("backfill file is another, longer one", |dir| {
            let len = data_len(dir, 1) - 1;
            conf(dir, |conf| conf.backfill = Some((1, len)));
        }),
        ("backfill file above the current one", |dir| {
            conf(dir, |conf| conf.backfill = Some((3, 0)));
        }),
        ("backfill file far above the current one", |dir| {
            conf(dir, |conf| conf.backfill = Some((u64::MAX - 1, 0)));
        }),
        ("backfill file above the current one, where there is a leftover", |dir| {
            conf(dir, |conf| conf.backfill = Some((9, 8)));
        }),
    ];
    for (what, damage) in cases {
        for leftovers in [false, true] {
            let dir = scratch();
            base(dir.path());
            damage(dir.path());
            if leftovers {
                write_uncommitted(dir.path(), 9 * PER_FILE);
                fs::write(dir.path().join("column.conf.tmp"), b"torn").unwrap();
            }
            let name = format!("{what}, leftovers {leftovers}");
            assert_writer_refuses(dir.path(), &name);
        }
    }
}

/// Guards against a length of the backfill file that cannot be one, because not even the version
/// record fits in: healing would cut the whole file away.
#[test]
fn a_backfill_length_below_a_version_record_is_corrupt() {
    for len in 1..8 {
        let dir = scratch();
        base(dir.path());
        RawConf::edit(dir.path(), |conf| conf.backfill = Some((0, len)));
        assert_writer_refuses(dir.path(), &format!("{len} bytes"));
        RawConf::edit(dir.path(), |conf| conf.backfill = Some((1, len)));
        assert_writer_refuses(dir.path(), &format!("{len} bytes, the other file"));
    }
}

/// Guards against a column that is silently started anew over somebody's data.
#[test]
fn a_missing_conf_beside_data_files_is_corrupt() {
    type Leave = fn(&Path);
    let cases: [(&str, Leave); 5] = [
        ("all files", |dir| {
            base(dir);
        }),
        ("all files and the next conf", |dir| {
            base(dir);
            fs::copy(dir.join("column.conf"), dir.join("column.conf.tmp")).unwrap();
        }),
        ("one empty data file", |dir| {
            base(dir);
            for name in files_of(dir).into_keys().filter(|name| name != "column.conf") {
                remove(dir, &name);
            }
            fs::write(dir.join("data_00042"), b"").unwrap();
        }),
        ("a data file with a long id", |dir| {
            column(dir, false, [100_000 * PER_FILE]);
        }),
        ("data files without offset files", |dir| {
            base(dir);
            for file in 0..3 {
                remove(dir, &offsets_name(file));
            }
        }),
    ];
    for (what, leave) in cases {
        let dir = scratch();
        leave(dir.path());
        remove(dir.path(), "column.conf");
        assert_writer_refuses(dir.path(), what);
        let error = try_reader(dir.path()).unwrap_err();
        assert!(matches!(error, Error::NoSuchColumn { .. }), "{what}: {error:?}");
    }
}

/// Guards against a crash in the middle of making a column that nobody can open any more.
#[test]
fn a_missing_conf_without_data_files_is_a_new_column() {
    for (what, names) in [
        ("an empty directory", &[][..]),
        ("a tmp", &["column.conf.tmp"]),
        ("a lock", &["lock"]),
        ("names that are none of a column's", &["lock", "notes.txt", "data_7", "data_00000.bak"]),
    ] {
        let dir = scratch();
        for name in names {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        let error = Writer::open(dir.path(), WriterOptions::default()).unwrap_err();
        assert!(matches!(error, Error::NoSuchColumn { .. }), "{what}: {error:?}");
        let mut writer = writer(dir.path(), false);
        writer.put(Slot(5), &value(5)).unwrap();
        drop(writer);
        assert_shows(&view(dir.path()), &content([5]), what);
        assert!(!dir.path().join("column.conf.tmp").exists(), "{what}");
        for name in names.iter().filter(|name| name.contains(['7', 'k', 't'])) {
            let known = ["column.conf.tmp", "lock"].contains(name);
            assert!(known || fs::read(dir.path().join(name)).unwrap() == b"x", "{what}: {name}");
        }
    }
}

/// Guards against a report that leaves something out: an operator reads it at night.
#[test]
fn the_report_lists_everything_that_was_changed() {
    let dir = scratch();
    let wanted = base(dir.path());
    let (sealed, current) = (data_len(dir.path(), 0), data_len(dir.path(), 2));
    write_uncommitted(dir.path(), 7);
    write_uncommitted(dir.path(), 17_011);
    write_uncommitted(dir.path(), 25_000);
    set_len(dir.path(), "data_00000.off", 64);
    fs::write(dir.path().join("column.conf.tmp"), b"torn").unwrap();
    let path = |name: &str| dir.path().join(name);
    let slots = |slot| vec![Slot(slot)];
    let mut expected = vec![
        HealAction {
            file: path("data_00000"),
            change: HealChange::Truncated { from: data_len(dir.path(), 0), to: sealed },
        },
        HealAction {
            file: path("data_00002"),
            change: HealChange::Truncated { from: data_len(dir.path(), 2), to: current },
        },
        HealAction { file: path("data_00000.off"), change: HealChange::ClearedEntries(slots(7)) },
        HealAction {
            file: path("data_00002.off"),
            change: HealChange::ClearedEntries(slots(17_011)),
        },
        HealAction { file: path("data_00000.off"), change: HealChange::ExtendedOffsets(64) },
        HealAction {
            file: path("data_00003"),
            change: HealChange::RemovedFile(data_len(dir.path(), 3)),
        },
        HealAction { file: path("data_00003.off"), change: HealChange::RemovedFile(OFFSETS_LEN) },
        HealAction { file: path("column.conf.tmp"), change: HealChange::RemovedTmp },
    ];
    let mut actions = heal(dir.path(), true, &wanted, "all at once");
    let key = |action: &HealAction| format!("{action:?}");
    actions.sort_by_key(key);
    expected.sort_by_key(key);
    assert_eq!(actions, expected);
    let words: Vec<String> = actions.iter().map(ToString::to_string).collect();
    for name in ["data_00000", "data_00002.off", "data_00003", "column.conf.tmp", "17011"] {
        assert!(words.iter().any(|text| text.contains(name)), "{name} in {words:?}");
    }
}

/// Guards against a data file without an offset file that blocks backfill into it for good: other
/// software leaves it when it is killed between making the two.
#[test]
fn a_sealed_data_file_whose_offset_file_was_never_made_is_put_aside_by_heal() {
    let whole = [&VERSION[..], &plain_record(9000)].concat();
    let torn = whole[..whole.len() - 1].to_vec();
    for (what, left) in [
        ("nothing", vec![]),
        ("half a version record", VERSION[..3].to_vec()),
        ("a torn record", torn),
        ("a whole record", whole),
    ] {
        let dir = scratch();
        column(dir.path(), true, [1, 17_000]);
        fs::write(dir.path().join("data_00001"), &left).unwrap();
        let before = files_of(dir.path());
        // Opening for anything else leaves it alone: the offset file may have been lost.
        let mut writing = writer(dir.path(), true);
        assert_eq!(writing.heal_report().actions, [], "{what}");
        let error = writing.put(Slot(9001), &value(9001)).unwrap_err();
        assert!(error.is_corrupt(), "{what}: {error}");
        let text = error.to_string();
        let (file, len) = match left.len() {
            len @ 0..8 => ("data_00001: ", format!("found {len} bytes")),
            len => ("data_00001.off: ", format!("has {len} bytes")),
        };
        for part in [file, "coldstore heal", &len] {
            assert!(text.contains(part), "{what}: {part}: {text}");
        }
        drop(writing);
        assert_files(dir.path(), &before, what);

        let options = WriterOptions::default().orphans_aside(true);
        let dry = coldstore::inspect_with(dir.path(), options).unwrap();
        assert_files(dir.path(), &before, what);
        let mut writing = Writer::open(dir.path(), options).unwrap();
        assert_eq!(*writing.heal_report(), dry, "{what}");
        let aside = dir.path().join("aside-1-data_00001");
        let moved = HealAction {
            file: dir.path().join("data_00001"),
            change: HealChange::MovedAside { aside: aside.clone(), byte_len: left.len() as u64 },
        };
        assert_eq!((&dry.actions[..], &dry.asides[..]), (&[moved][..], &[aside.clone()][..]));
        assert_eq!(fs::read(&aside).unwrap(), left, "{what}");
        writing.put(Slot(9001), &value(9001)).unwrap();
        drop(writing);
        assert_eq!(entry(dir.path(), 9001), 8, "{what}");
        assert_shows(&view(dir.path()), &content([1, 9001, 17_000]), what);
        // What holds a record that is not committed stays.
        let kept = if what == "a whole record" { vec!["aside-1-data_00001"] } else { vec![] };
        drop(writer(dir.path(), true));
        assert_eq!(asides(dir.path()), kept, "{what}");
        if !kept.is_empty() {
            assert_eq!(fs::read(&aside).unwrap(), left, "{what}");
        }
    }
}

/// Guards against a file of committed records that is put aside because its offset file was lost.
#[test]
fn a_sealed_data_file_that_had_an_offset_file_is_never_put_aside() {
    let options = WriterOptions::default().orphans_aside(true);
    type Make = fn(&Path);
    let cases: [(&str, bool, Make); 4] = [
        ("without backfill", false, |_| {}),
        ("with a checksum file", true, |dir| set_len(dir, "data_00001.sum", 96)),
        ("named by the witness", true, |dir| {
            let mut writer = writer(dir, true);
            writer.put(Slot(9001), &value(9001)).unwrap();
            // Other software has moved on since.
            let backfill = Some((0, data_len(dir, 0)));
            let conf = RawConf { backfill, ..RawConf::read(dir) };
            fs::write(dir.join("column.conf"), conf.bytes()).unwrap();
        }),
        ("with an offset file", true, |dir| set_len(dir, "data_00001.off", 65_536)),
    ];
    for (what, backfill, make) in cases {
        let dir = scratch();
        column(dir.path(), backfill, [1, 9000, 17_000]);
        make(dir.path());
        if what != "with an offset file" {
            remove(dir.path(), "data_00001.off");
        }
        let before = files_of(dir.path());
        let writer = Writer::open(dir.path(), options).unwrap();
        assert_eq!(writer.heal_report().actions, [], "{what}");
        drop(writer);
        assert_files(dir.path(), &before, what);
        if what == "with a checksum file" {
            let mut writer = try_writer(dir.path(), true).unwrap();
            let text = writer.put(Slot(9001), &value(9001)).unwrap_err().to_string();
            assert!(text.contains("put back the offset file"), "{text}");
            assert!(text.contains("--from"), "{text}");
        }
    }
}
