//! What is healed.

use super::*;

/// Guards against a dangling entry that becomes a wrong record once the file has grown past it: at
/// or behind the committed length it is cleared, wherever its slot is.
#[test]
fn entries_at_or_past_the_committed_length_are_cleared() {
    for (slots, bound_of, backfill) in [
        (&[0, 2, 8191][..], 0, true),
        (&[16_384, 17_009, 17_011, 24_575], 2, true),
        (&[17_011, 24_575], 2, false),
    ] {
        for past in [0, 1, 8, 1 << 20, u64::MAX] {
            let dir = scratch();
            let wanted = if backfill {
                base(dir.path())
            } else {
                column(dir.path(), false, [1, 17_010]);
                content([1, 17_010])
            };
            let committed = files_of(dir.path());
            let len = data_len(dir.path(), bound_of);
            for &slot in slots {
                set_entry(dir.path(), slot, len.saturating_add(past));
            }
            let table = fs::read(dir.path().join(offsets_name(bound_of))).unwrap();
            let name = format!("{slots:?}, {past} past the end");
            let mut actions = heal(dir.path(), backfill, &wanted, &name);
            // At and below the highest slot it may be rot: nothing lies where the entries lead to.
            let is_copy =
                |action: &HealAction| matches!(action.change, HealChange::CopiedAside { .. });
            let copies: Vec<HealAction> = actions.extract_if(.., |a| is_copy(a)).collect();
            let is_low = slots.iter().any(|&slot| slot <= 17_010);
            assert_eq!(copies.len(), 2 * usize::from(is_low), "{name}: {copies:?}");
            for name in asides(dir.path()) {
                let copy = fs::read(dir.path().join(&name)).unwrap();
                assert_eq!(copy, if name.ends_with(".off") { &table[..] } else { b"" }, "{name}");
                remove(dir.path(), &name);
            }
            let cleared = HealAction {
                file: dir.path().join(offsets_name(bound_of)),
                change: HealChange::ClearedEntries(slots.iter().map(|&slot| Slot(slot)).collect()),
            };
            assert_eq!(actions, [cleared], "{name}");
            assert_files(dir.path(), &committed, &name);
        }
    }
}

/// Guards against rot that is cleared as if a crash had left it: without backfill no writer writes an
/// entry at or below the highest slot again. Only who says so loses it.
#[test]
fn without_backfill_an_entry_past_the_committed_length_is_corrupt() {
    let dir = scratch();
    column(dir.path(), false, [1, 17_000, 17_005, 17_010]);
    let committed = files_of(dir.path());
    for entry in [data_len(dir.path(), 2), 1 << 40, u64::MAX] {
        set_entry(dir.path(), 17_005, entry);
        assert!(view(dir.path()).get(Slot(17_005)).unwrap_err().is_corrupt());
        assert_writer_refuses(dir.path(), "an entry past the end");
    }
    let error = Writer::open(dir.path(), WriterOptions::default()).unwrap_err();
    assert!(error.to_string().contains("heal --discard"), "{error}");
    let discarding = WriterOptions::default().discard(true);
    let cleared = HealAction {
        file: dir.path().join("data_00002.off"),
        change: HealChange::ClearedEntries(vec![Slot(17_005)]),
    };
    assert_eq!(Writer::open(dir.path(), discarding).unwrap().heal_report().actions, [cleared]);
    let mut wanted = committed;
    let table = wanted.get_mut("data_00002.off").unwrap();
    table[17_005 % 8192 * 8..][..8].fill(0);
    assert_files(dir.path(), &wanted, "the entry is cleared, and nothing else");
}

/// Guards against a file that was about to be made being taken for a sealed one, and against a good
/// one that was put back being removed: under `lb = 0` whatever is there of it goes, what may hold a
/// record to a name that nobody uses, and the conf no longer names it.
#[test]
fn a_backfill_file_of_length_zero_is_put_aside_and_no_longer_named() {
    type Leave = fn(&Path);
    let cases: [(&str, &[&str], Leave); 8] = [
        ("nothing", &[], |_| {}),
        ("an empty data file", &[], |dir| set_len(dir, "data_00001", 0)),
        ("half a version record", &[], |dir| {
            append(dir, "data_00001", &VERSION[..3]);
        }),
        ("a version record", &[], |dir| {
            append(dir, "data_00001", &VERSION);
        }),
        ("a record", &["aside-1-data_00001"], |dir| {
            append_record(dir, 9000, &plain_record(9000));
        }),
        ("a record and its entry", &["aside-1-data_00001", "aside-1-data_00001.off"], |dir| {
            write_uncommitted(dir, 9000);
        }),
        ("an offset file alone", &["aside-1-data_00001.off"], |dir| set_entry(dir, 9000, 8)),
        ("a short offset file alone", &[], |dir| set_len(dir, "data_00001.off", 100)),
    ];
    for (what, kept, leave) in cases {
        let dir = scratch();
        column(dir.path(), true, [1, 17_000]);
        let committed = files_of(dir.path());
        RawConf::edit(dir.path(), |conf| conf.backfill = Some((1, 0)));
        leave(dir.path());
        let left: Vec<Vec<u8>> = files_of(dir.path())
            .into_iter()
            .filter_map(|(name, bytes)| name.starts_with("data_00001").then_some(bytes))
            .collect();
        let actions = heal(dir.path(), true, &content([1, 17_000]), what);
        assert_eq!(actions.len(), left.len() + 1, "{what}: {actions:?}");
        assert_eq!(asides(dir.path()), kept, "{what}");
        for (name, bytes) in kept.iter().zip(&left) {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), *bytes, "{what}: {name}");
        }
        let mut found = files_of(dir.path());
        found.retain(|name, _| !name.starts_with("aside"));
        assert_eq!(difference(&found, &committed), None, "{what}");
        let mut writer = writer(dir.path(), true);
        writer.put(Slot(9001), &value(9001)).unwrap();
        assert_eq!(entry(dir.path(), 9001), 8, "{what}");
        assert_shows(&view(dir.path()), &content([1, 9001, 17_000]), what);
    }
}

/// Guards against an offset file that a crash left short being read past its end, refused, or left
/// short; and against entries in it being lost.
#[test]
fn a_short_offset_file_is_extended() {
    for (file, needed) in [(0, 7 * 8), (2, (17_010 % PER_FILE + 1) * 8)] {
        for len in [needed, needed + 1, needed + 7, 65_535] {
            let dir = scratch();
            let wanted = base(dir.path());
            let committed = files_of(dir.path());
            set_len(dir.path(), &offsets_name(file), len);
            let actions = heal(dir.path(), true, &wanted, &format!("file {file}, {len} bytes"));
            let extended = HealAction {
                file: dir.path().join(offsets_name(file)),
                change: HealChange::ExtendedOffsets(len),
            };
            assert_eq!(actions, [extended]);
            assert_files(dir.path(), &committed, "extended");
        }
    }
}

/// Guards against leftover later files that become data once the highest slot has moved past them.
#[test]
fn files_above_the_current_one_are_removed() {
    type Leave = fn(&Path);
    let cases: [(&str, usize, Leave); 6] = [
        ("the next file with a record", 2, |dir| {
            write_uncommitted(dir, 25_000);
        }),
        ("the next file without its offset file", 1, |dir| {
            append_record(dir, 25_000, &plain_record(25_000));
        }),
        ("an offset file alone", 1, |dir| set_entry(dir, 25_000, 8)),
        ("empty files", 2, |dir| {
            fs::write(dir.join("data_00003"), b"").unwrap();
            fs::write(dir.join("data_00003.off"), b"").unwrap();
        }),
        ("files far away", 4, |dir| {
            write_uncommitted(dir, 100_000 * PER_FILE);
            write_uncommitted(dir, u64::MAX - 1);
        }),
        ("an offset file that is too long", 1, |dir| set_len(dir, "data_00003.off", 70_000)),
    ];
    for (what, count, leave) in cases {
        let dir = scratch();
        let wanted = base(dir.path());
        let committed = files_of(dir.path());
        leave(dir.path());
        let actions = heal(dir.path(), true, &wanted, what);
        assert_eq!(actions.len(), count, "{what}: {actions:?}");
        assert_files(dir.path(), &committed, what);
        // The high-water mark jumps past them, and nothing of them comes back.
        let mut writer = writer(dir.path(), true);
        writer.put(Slot(u64::MAX - 1), &value(7)).unwrap();
        let mut wanted = wanted;
        wanted.insert(u64::MAX - 1, value(7));
        assert_shows(&view(dir.path()), &wanted, what);

        // In an empty column every file is above the current one.
        let dir = scratch();
        column(dir.path(), true, []);
        leave(dir.path());
        write_uncommitted(dir.path(), 0);
        let actions = heal(dir.path(), true, &Content::new(), what);
        assert_eq!(actions.len(), count + 2, "{what}: {actions:?}");
        assert_eq!(files_of(dir.path()).len(), 1, "{what}: nothing but the conf");
    }
}

/// Guards against a half-written next conf that stays for ever, is taken for the conf, or keeps the
/// next commit from making its own.
#[test]
fn a_leftover_conf_tmp_is_removed() {
    let good = {
        let dir = scratch();
        base(dir.path());
        let mut conf = RawConf::read(dir.path());
        conf.highest += 1;
        conf.bytes()
    };
    for tmp in [&b""[..], &[0; 52], &good[..30], &good, &[0xff; 5000]] {
        let dir = scratch();
        let wanted = base(dir.path());
        let committed = files_of(dir.path());
        fs::write(dir.path().join("column.conf.tmp"), tmp).unwrap();
        let actions = heal(dir.path(), true, &wanted, "a tmp");
        let removed =
            HealAction { file: dir.path().join("column.conf.tmp"), change: HealChange::RemovedTmp };
        assert_eq!(actions, [removed]);
        assert_files(dir.path(), &committed, "without the tmp");
    }
}

/// Guards against healing of files that are no business of the last commit, however odd they look.
#[test]
fn sealed_files_that_the_conf_does_not_name_are_never_touched() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 6] = [
        ("a tail of garbage", |dir| {
            append(dir, "data_00001", &[0xee; 33]);
        }),
        ("a short offset file", |dir| set_len(dir, "data_00001.off", 6480)),
        ("an entry past the end", |dir| set_entry(dir, 8192, 1 << 40)),
        ("no offset file", |dir| remove(dir, "data_00001.off")),
        ("no data file", |dir| remove(dir, "data_00001")),
        ("an offset file that is too long", |dir| set_len(dir, "data_00001.off", 70_000)),
    ];
    for (what, damage) in cases {
        let dir = scratch();
        base(dir.path());
        damage(dir.path());
        let sealed = |dir: &Path| {
            let mut stamps = stamps(dir);
            stamps.retain(|path, _| path.to_str().unwrap().starts_with("data_00001"));
            stamps
        };
        let (bytes, stamped) = (files_of(dir.path()), sealed(dir.path()));
        assert_eq!(writer_report(dir.path(), true), [], "{what}");
        assert_files(dir.path(), &bytes, what);
        // Also where there is something to heal elsewhere.
        write_uncommitted(dir.path(), 7);
        write_uncommitted(dir.path(), 17_011);
        let actions = writer_report(dir.path(), true);
        assert_eq!(actions.len(), 4, "{what}: {actions:?}");
        assert_files(dir.path(), &bytes, what);
        assert_eq!(sealed(dir.path()), stamped, "{what}: touched");
    }
}

/// Guards against the current file being cut at the length of the backfill file, where the conf of
/// other software names the same file twice.
#[test]
fn a_backfill_file_that_is_the_current_one_has_no_rule_of_its_own() {
    for len in [0, 8, 20, 1 << 30] {
        let dir = scratch();
        let wanted = base(dir.path());
        RawConf::edit(dir.path(), |conf| conf.backfill = Some((2, len)));
        let committed = files_of(dir.path());
        assert_eq!(heal(dir.path(), true, &wanted, "named twice"), []);
        write_uncommitted(dir.path(), 17_006);
        assert_eq!(heal(dir.path(), true, &wanted, "named twice, a leftover").len(), 2);
        assert_files(dir.path(), &committed, "named twice");
        // Nor does its length come back when the file is sealed.
        let mut wanted = wanted;
        for slots in [&[17_006, 17_011][..], &[25_000], &[7, 17_007]] {
            let mut writer = writer(dir.path(), true);
            for &slot in slots {
                writer.put(Slot(slot), &value(slot)).unwrap();
                wanted.insert(slot, value(slot));
            }
            drop(writer);
            assert_eq!(heal(dir.path(), true, &wanted, &format!("length {len}, {slots:?}")), []);
        }
    }
}

/// Guards against a conf that looks ahead: it commits one batch and names the file of the next, with
/// its present length, be there a file or not. The batch that it commits lies in a sealed file that
/// nobody names any more.
#[test]
fn a_conf_with_an_intent_heals_by_the_file_it_names() {
    for (next, slot) in [(1, 9001), (2, 20_000)] {
        let dir = scratch();
        let base = [1, 9000, 40_000, 5];
        column(dir.path(), true, base);
        let present = if next == 1 { data_len(dir.path(), 1) } else { 0 };
        RawConf::edit(dir.path(), |conf| conf.backfill = Some((next, present)));
        let wanted = content(base);
        // A file that was never made is not named for ever: somebody may put it back.
        let dropped = HealAction {
            file: dir.path().join("column.conf"),
            change: HealChange::DroppedBackfillFile,
        };
        let expected = if present == 0 { vec![dropped] } else { Vec::new() };
        assert_eq!(heal(dir.path(), true, &wanted, "ahead, clean"), expected);
        if present == 0 {
            assert_eq!(RawConf::read(dir.path()).backfill, Some((u64::MAX, 0)));
            RawConf::edit(dir.path(), |conf| conf.backfill = Some((next, 0)));
        }
        let mut ahead = RawConf::read(dir.path());
        write_uncommitted(dir.path(), slot);
        write_uncommitted(dir.path(), slot + 1);
        // Nothing shows that a crash has left the file: it may be a good one.
        let actions = heal(dir.path(), true, &wanted, "ahead, a leftover");
        assert_eq!(actions.len(), 2 + usize::from(present == 0), "{actions:?}");
        assert_eq!(asides(dir.path()).len(), if present == 0 { 2 } else { 0 });
        if present == 0 {
            ahead.backfill = Some((u64::MAX, 0));
        }
        assert_eq!(RawConf::read(dir.path()), ahead);

        let disk = TestDisk::new();
        let mut writer = open_on(&disk, dir.path(), true);
        disk.take_calls();
        writer.put(Slot(slot), &value(slot)).unwrap();
        let calls = disk.take_calls();
        let renames = if present == 0 { 2 } else { 1 };
        assert_eq!(
            rename_positions(&calls).len(),
            renames,
            "an intent only where needed: {calls:?}"
        );
        assert_eq!(
            asides(dir.path()).len(),
            if present == 0 { 2 } else { 0 },
            "half of it is there"
        );
        writer.put(Slot(slot + 1), &value(slot + 1)).unwrap();
        assert!(asides(dir.path()).is_empty(), "all of it is committed again");
        drop(writer);
        let all = content(base.into_iter().chain([slot, slot + 1]));
        assert_eq!(heal(dir.path(), true, &all, "after the next batch"), []);
    }
}

/// Guards against an upgrade to V3 on top of leftovers: under V3 rules an entry past the end is no
/// record, so what V2 would have reported must be gone before.
#[test]
fn an_upgrade_heals_first() {
    let dir = scratch();
    column(dir.path(), false, [1, 9000]);
    write_uncommitted(dir.path(), 9001);
    write_uncommitted(dir.path(), 17_000);
    fs::write(dir.path().join("column.conf.tmp"), b"LHSTBLK3").unwrap();
    let wanted = content([1, 9000]);
    let actions = heal(dir.path(), true, &wanted, "an upgrade");
    assert_eq!(actions.len(), 5, "{actions:?}");
    let conf = RawConf::read(dir.path());
    assert_eq!((conf.byte_27, conf.backfill), (1, Some((u64::MAX, 0))));
    assert_eq!(conf.len, data_len(dir.path(), 1));
    writer(dir.path(), true).put(Slot(17_000), &value(17_000)).unwrap();
    assert_shows(&view(dir.path()), &content([1, 9000, 17_000]), "afterwards");
}

/// Guards against a copy that is removed together with an older one of its name.
#[test]
fn a_copy_put_aside_does_not_reuse_the_name_of_one_that_is_removed() {
    let dir = scratch();
    column(dir.path(), false, [1, 2]);
    remove(dir.path(), "column.check");
    let from = data_len(dir.path(), 0);
    // Holds no record, so it is removed.
    fs::write(dir.path().join(format!("aside-1-data_00000.from-{from}")), b"torn").unwrap();
    write_uncommitted(dir.path(), 3);
    drop(writer(dir.path(), false));
    let tail = format!("aside-2-data_00000.from-{from}");
    assert_eq!(asides(dir.path()), [&*tail, "aside-2-data_00000.off"]);
    assert_eq!(fs::read(dir.path().join(tail)).unwrap(), plain_record(3));
}

/// Guards against an overflow, and against a name that is taken.
#[test]
fn the_largest_number_of_a_file_put_aside_is_followed_by_the_lowest_free_one() {
    let dir = scratch();
    column(dir.path(), false, [1, 2]);
    remove(dir.path(), "column.check");
    let largest = "aside-18446744073709551615-data_00009";
    for name in [largest, "aside-1-data_00009"] {
        fs::write(dir.path().join(name), b"kept: there is no such file").unwrap();
    }
    write_uncommitted(dir.path(), 3);
    drop(writer(dir.path(), false));
    let names = asides(dir.path());
    let new: Vec<_> = names.iter().filter(|name| name.contains("data_00000")).collect();
    assert!(new.len() == 2 && new.iter().all(|name| name.starts_with("aside-2-")), "{names:?}");
    for name in [largest, "aside-1-data_00009"] {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"kept: there is no such file");
    }
}
