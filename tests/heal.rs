//! `FORMAT.md`, section 6: what opening for writing does about what a crash left, in every window of
//! section 5.2, and what it refuses to touch. Four of the tests come with the specification and bear
//! its names.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use coldstore::{Error, HealAction, Slot, Writer, WriterOptions};
use common::*;

/// Opens for writing, and checks that the dry run said the same before, that a second opening finds
/// nothing, and that a reader was shown the same before and after.
#[track_caller]
fn heal(dir: &Path, backfill: bool, wanted: &Content, context: &str) -> Vec<HealAction> {
    assert_reads(dir, wanted, &format!("{context}: before healing"));
    let before = files(dir);
    let dry = coldstore::inspect(dir).unwrap_or_else(|error| panic!("{context}: inspect: {error}"));
    assert_files(dir, &before, &format!("{context}: the dry run"));
    let writer = try_writer(dir, backfill).unwrap_or_else(|error| panic!("{context}: {error}"));
    let report = writer.heal_report();
    assert_eq!(format!("{report:?}"), format!("{dry:?}"), "{context}: against the dry run");
    assert_eq!(report.is_clean(), report.actions.is_empty(), "{context}");
    let actions = report.actions.clone();
    for action in &actions {
        assert!(!action.to_string().is_empty(), "{context}: {action:?} in words");
    }
    assert_shows(&view(dir), wanted, &format!("{context}: healed, the writer is open"));
    drop(writer);
    let healed = files(dir);
    assert!(!healed.contains_key("column.conf.tmp"), "{context}");
    assert!(coldstore::inspect(dir).unwrap().is_clean(), "{context}: a dry run after healing");
    let again = writer_report(dir, backfill);
    assert!(again.is_empty(), "{context}: healing twice: {again:?}");
    assert_files(dir, &healed, &format!("{context}: healing twice"));
    actions
}

#[track_caller]
fn writer_report(dir: &Path, backfill: bool) -> Vec<HealAction> {
    writer(dir, backfill).heal_report().actions.clone()
}

/// A V3 column with three files and the last backfill in file 0, which the conf names.
/// File 2, the current one, ends with a backfilled record as well.
const BASE: [u64; 8] = [1, 3, 9000, 17_000, 17_010, 17_005, 5, 6];

#[track_caller]
fn base(dir: &Path) -> Content {
    column(dir, true, BASE);
    let conf = RawConf::read(dir);
    assert_eq!((conf.highest, conf.len), (17_010, data_len(dir, 2)));
    assert_eq!(conf.backfill, Some((0, data_len(dir, 0))));
    content(BASE)
}

// ---------------------------------------------------------------------------- the four by name

/// Guards against leftovers of a crash that the next put adopts: bytes behind the committed length,
/// and entries that lead there.
#[test]
fn test_heal_truncates_data_and_zeros_dangling_offset_after_crash() {
    for backfill in [false, true] {
        let dir = temp_dir();
        column(dir.path(), backfill, [10, 20]);
        let committed = files(dir.path());
        let len = data_len(dir.path(), 0);
        let at = write_uncommitted(dir.path(), 30);
        assert_eq!(at, len);
        write_uncommitted(dir.path(), 31);
        append(dir.path(), "data_00000", &plain_record(32)[..9]);
        let torn = data_len(dir.path(), 0);

        let actions = heal(dir.path(), backfill, &content([10, 20]), "sequential");
        assert_files(dir.path(), &committed, "as before the crash");
        let path = |name: &str| dir.path().join(name);
        let truncated = HealAction::Truncated { file: path("data_00000"), from: torn, to: len };
        let cleared = HealAction::ClearedEntries {
            file: path("data_00000.off"),
            slots: vec![Slot(30), Slot(31)],
        };
        assert_eq!(actions.len(), 2, "{actions:?}");
        assert!(actions.contains(&truncated), "{actions:?}");
        assert!(actions.contains(&cleared), "{actions:?}");

        let mut writer = writer(dir.path(), backfill);
        writer.put(Slot(40), &value(40)).unwrap();
        assert_eq!(entry(dir.path(), 40), len);
        assert_shows(&view(dir.path()), &content([10, 20, 40]), "another slot than the lost ones");
    }
}

/// Guards against healing by the rule for sequential data alone: what lies behind the record of the
/// highest slot, or in a sealed file, is committed too.
#[test]
fn test_heal_preserves_committed_backfill_data() {
    let dir = temp_dir();
    let wanted = base(dir.path());
    let committed = files(dir.path());
    let actions = heal(dir.path(), true, &wanted, "nothing to heal");
    assert_eq!(actions, []);
    // And with leftovers in both files, and behind them.
    write_uncommitted(dir.path(), 7);
    write_uncommitted(dir.path(), 17_006);
    write_uncommitted(dir.path(), 17_011);
    write_uncommitted(dir.path(), 30_000);
    let actions = heal(dir.path(), true, &wanted, "leftovers beside committed backfill");
    assert_eq!(actions.len(), 6, "two cut, two cleared, two removed: {actions:?}");
    assert_files(dir.path(), &committed, "as before the crash");
}

/// Guards against half a batch in a sealed file that readers see: its records are cut, and its slots
/// read as absent, before healing and after it.
#[test]
fn test_heal_truncates_uncommitted_backfill_in_sealed_file() {
    let dir = temp_dir();
    let wanted = base(dir.path());
    let committed = files(dir.path());
    let len = data_len(dir.path(), 0);
    // The conf names file 0: the crash came before the commit of two more records.
    write_uncommitted(dir.path(), 7);
    write_uncommitted(dir.path(), 0);
    for slot in [7, 0] {
        assert_absent(&view(dir.path()), slot, "before healing");
    }
    let actions = heal(dir.path(), true, &wanted, "sealed file");
    let cleared = HealAction::ClearedEntries {
        file: dir.path().join("data_00000.off"),
        slots: vec![Slot(0), Slot(7)],
    };
    assert!(actions.contains(&cleared), "{actions:?}");
    assert_eq!(data_len(dir.path(), 0), len);
    assert_eq!((entry(dir.path(), 7), entry(dir.path(), 0)), (0, 0));
    for slot in [7, 0] {
        assert_absent(&view(dir.path()), slot, "after healing");
    }
    assert_files(dir.path(), &committed, "as before the crash");
    // The gaps can be filled, with whatever value the next attempt brings.
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&[(Slot(0), b"another"), (Slot(7), b"value!!")]).unwrap();
    assert_eq!(entry(dir.path(), 0), len);
    let mut wanted = wanted;
    wanted.insert(0, b"another".to_vec());
    wanted.insert(7, b"value!!".to_vec());
    assert_shows(&view(dir.path()), &wanted, "put again");
}

/// Guards against healing that stops after the first leftover: many records and entries, in the
/// sealed file, in the current one, in files that come after it, the last record torn.
#[test]
fn test_heal_truncates_multiple_uncommitted_backfills() {
    let dir = temp_dir();
    let wanted = base(dir.path());
    let committed = files(dir.path());
    for slot in [0, 100, 2, 8191, 4000] {
        write_uncommitted(dir.path(), slot);
    }
    for slot in [16_384, 17_009, 17_001] {
        write_uncommitted(dir.path(), slot);
    }
    append(dir.path(), "data_00000", &[4, 0, 200]);
    append(dir.path(), "data_00002", &plain_record(17_002)[..8]);
    let actions = heal(dir.path(), true, &wanted, "many");
    for (file, slots) in [(0, &[0, 2, 100, 4000, 8191][..]), (2, &[16_384, 17_001, 17_009])] {
        let cleared = HealAction::ClearedEntries {
            file: dir.path().join(offsets_name(file)),
            slots: slots.iter().map(|&slot| Slot(slot)).collect(),
        };
        assert!(actions.contains(&cleared), "{actions:?}");
    }
    assert_files(dir.path(), &committed, "as before the crash");
    for slot in [0, 100, 2, 8191, 4000, 16_384, 17_009, 17_001] {
        assert_absent(&view(dir.path()), slot, "after healing");
    }
}

// ---------------------------------------------------------------------------- the windows of 5.2

struct Window {
    name: String,
    files: Files,
    /// What healing makes of it.
    healed: Files,
    committed: bool,
}

/// Every state that a crash leaves in the course of a commit, in the order of its steps, made from
/// the files before it and after it.
fn windows(scenario: &Scenario) -> Vec<Window> {
    let (before, after) = scenario.files();
    let mut windows = Vec::new();
    let mut now = before.clone();
    let mut healed = before.clone();
    let mut add = |name: String, files: &Files, healed: &Files, committed: bool| {
        let healed = healed.clone();
        windows.push(Window { name, files: files.clone(), healed, committed });
    };

    // 1. The intent.
    if let Some(file) = scenario.intent {
        let mut conf = RawConf::parse(&before["column.conf"]);
        conf.backfill = Some((file, before.get(&data_name(file)).map_or(0, Vec::len) as u64));
        for (name, len) in [("empty", 0), ("half", 26), ("whole", 52)] {
            let mut files = now.clone();
            files.insert("column.conf.tmp".to_owned(), conf.bytes()[..len].to_vec());
            add(format!("intent, {name} tmp"), &files, &healed, false);
        }
        now.insert("column.conf".to_owned(), conf.bytes());
        healed = now.clone();
        if conf.backfill == Some((file, 0)) {
            // A file that is put back later is no leftover.
            conf.backfill = Some((u64::MAX, 0));
            healed.insert("column.conf".to_owned(), conf.bytes());
        }
        add("after the intent".to_owned(), &now, &healed, false);
    }

    // 2. The records. Files reach the medium in any order, so the last one also comes first.
    let mut ids: Vec<u64> = scenario
        .batch
        .iter()
        .filter(|slot| !scenario.before().contains_key(slot))
        .map(|slot| slot / PER_FILE)
        .collect();
    ids.dedup();
    if let [_, .., last] = ids[..] {
        let name = data_name(last);
        let mut files = now.clone();
        files.insert(name.clone(), after[&name].clone());
        add(format!("{name} alone"), &files, &healed, false);
    }
    for &id in &ids {
        let name = data_name(id);
        let new = &after[&name];
        let old = before.get(&name).map_or(0, Vec::len);
        let mut cuts: Vec<usize> =
            [0, 1, 7, 8, 9, 12, 16, 17].into_iter().map(|more| old + more).collect();
        cuts.extend([usize::midpoint(old, new.len()), new.len() - 1, new.len()]);
        cuts.retain(|cut| *cut <= new.len());
        for cut in cuts {
            let mut files = now.clone();
            files.insert(name.clone(), new[..cut].to_vec());
            add(format!("{name} up to {cut} of {}", new.len()), &files, &healed, false);
        }
        // The length has reached the medium, the bytes have not.
        let mut zeros = new[..old].to_vec();
        zeros.resize(new.len(), 0);
        let mut files = now.clone();
        files.insert(name.clone(), zeros);
        add(format!("{name}, zeros behind {old}"), &files, &healed, false);
        now.insert(name, new.clone());
    }

    // 3. The entries.
    for &id in &ids {
        let name = offsets_name(id);
        let new = &after[&name];
        let zeros = vec![0; new.len()];
        let old = before.get(&name);
        let changed: Vec<usize> = (0..new.len())
            .step_by(8)
            .filter(|&at| new[at..at + 8] != old.unwrap_or(&zeros)[at..at + 8])
            .collect();
        let (first, last) = (changed[0], *changed.last().unwrap());
        let mut put = |what: &str, bytes: Vec<u8>| {
            let mut files = now.clone();
            files.insert(name.clone(), bytes);
            add(format!("{name}: {what}"), &files, &healed, false);
        };
        if old.is_none() {
            for len in [0, 8, 4096, 65_535, 65_536] {
                put(&format!("{len} zeros"), vec![0; len]);
            }
            put("cut behind its last entry", new[..last + 8].to_vec());
        }
        for (what, at) in [("the first entry alone", first), ("the last entry alone", last)] {
            let mut bytes = old.unwrap_or(&zeros).clone();
            bytes[at..at + 8].copy_from_slice(&new[at..at + 8]);
            put(what, bytes);
        }
        put("all entries", new.clone());
        now.insert(name, new.clone());
    }

    // 5. The commit.
    let conf = &after["column.conf"];
    for len in [0, 1, 8, conf.len() / 2, conf.len() - 1, conf.len()] {
        let mut files = now.clone();
        files.insert("column.conf.tmp".to_owned(), conf[..len].to_vec());
        add(format!("tmp of {len} bytes"), &files, &healed, false);
    }
    now.insert("column.conf".to_owned(), conf.clone());
    assert_eq!(difference(&now, &after), None, "{}: these are all files", scenario.name);
    add("renamed".to_owned(), &now, &after, true);
    windows
}

/// The files of a window, and the witness as a commit leaves it that was under way, or is done.
fn write_window(dir: &Path, window: &Window, after: &Files) {
    write_files(dir, &window.files);
    write_witness(dir, &[&window.files["column.conf"], &after["column.conf"]]);
}

/// Guards against a window of the commit in which a crash leaves something that readers see in part,
/// that healing does not undo exactly, or on which the retry fails or leaves other files.
#[test]
fn every_window_of_a_commit_heals_to_the_last_commit_and_takes_the_batch_again() {
    for scenario in SCENARIOS {
        let after = scenario.files().1;
        let windows = windows(scenario);
        assert!(windows.len() > 15, "{}: {} windows", scenario.name, windows.len());
        for window in windows {
            let name = format!("{}: {}", scenario.name, window.name);
            let dir = temp_dir();
            write_window(dir.path(), &window, &after);
            let wanted = if window.committed { scenario.after() } else { scenario.before() };
            let actions = heal(dir.path(), scenario.backfill, &wanted, &name);
            let aside = asides(dir.path());
            // Complete, and without the next conf: the conf may have rotted into the one before.
            let may_be = ["all entries", "entry alone"].iter().any(|end| name.ends_with(end));
            assert!(aside.is_empty() || may_be, "{name}: {aside:?}");
            let mut healed = files(dir.path());
            healed.retain(|name, _| !aside.contains(name));
            assert_eq!(difference(&healed, &window.healed), None, "{name}: healed");
            let witness =
                |action: &&HealAction| !matches!(action, HealAction::ClearedWitness { .. });
            let changed = actions.iter().any(|action| witness(&action));
            assert_eq!(!changed, window.files == window.healed, "{name}: {actions:?}");

            let mut writer = writer(dir.path(), scenario.backfill);
            let committed = writer.put_batch(&scenario.items()).unwrap();
            let new = (scenario.after().len() - scenario.before().len()) as u64;
            assert_eq!(committed.written, if window.committed { 0 } else { new }, "{name}");
            assert_files(dir.path(), &after, &format!("{name}: put again"));
        }
    }
}

/// Guards against healing that is not safe itself: it is stopped at each of its calls, in each way,
/// and the next opening still comes to the same files.
#[test]
fn healing_may_be_interrupted_anywhere() {
    let picked =
        ["zeros behind", "cut behind", "all entries", "tmp of 26 bytes", "tmp of 18 bytes"];
    for scenario in SCENARIOS {
        let windows = windows(scenario);
        let after = scenario.files().1;
        let mut interrupted = 0;
        let dirty = windows.iter().filter(|w| picked.iter().any(|text| w.name.contains(text)));
        for window in dirty {
            for fault in [Fault::Torn, Fault::Dead] {
                for n in 0.. {
                    let name = format!("{}: {}: {fault:?} at {n}", scenario.name, window.name);
                    let dir = temp_dir();
                    write_window(dir.path(), window, &after);
                    let held = view(dir.path());
                    let disk = TestDisk::new();
                    disk.fail_at(n, fault);
                    let options = WriterOptions::create(PLAIN).allow_backfill(scenario.backfill);
                    let result = Writer::open_on(disk.shared(), dir.path(), options);
                    if !disk.was_hit() {
                        result.unwrap();
                        break;
                    }
                    interrupted += 1;
                    let error = result.map(drop).expect_err(&name);
                    assert!(matches!(error, Error::Io(_)), "{name}: {error:?}");
                    let wanted = scenario.before();
                    heal(dir.path(), scenario.backfill, &wanted, &name);
                    let mut healed = files(dir.path());
                    healed.retain(|name, _| !name.starts_with("aside"));
                    assert_eq!(difference(&healed, &window.healed), None, "{name}: healed");
                    assert_shows(&held, &wanted, &format!("{name}: a view held all the time"));
                }
            }
        }
        assert!(interrupted > 20, "{}: {interrupted}", scenario.name);
    }
}

// ---------------------------------------------------------------------------- flushes

/// Guards against trusting what a process before us wrote and never flushed: the files, the
/// directory and its parent are flushed before anything is changed, and again after it was.
#[test]
fn opening_flushes_what_it_trusts_before_it_changes_anything() {
    for dirty in [false, true] {
        let root = temp_dir();
        let dir = root.path().join("column");
        base(&dir);
        if dirty {
            for slot in [7, 17_006, 17_011, 30_000] {
                write_uncommitted(&dir, slot);
            }
            fs::write(dir.join("column.conf.tmp"), b"torn").unwrap();
        }
        let disk = TestDisk::new();
        let writer = open_on(&disk, &dir, true);
        assert_eq!(writer.heal_report().is_clean(), !dirty);
        let calls = disk.take_calls();
        let first_change = calls.iter().position(Call::changes).unwrap_or(calls.len());
        assert_eq!(first_change == calls.len(), !dirty, "{calls:?}");
        for file in ["data_00000", "data_00000.off", "data_00002", "data_00002.off"] {
            let flush = Call::Sync(file.to_owned());
            assert!(calls[..first_change].contains(&flush), "{file} first: {calls:?}");
        }
        for path in [&dir, root.path()] {
            let flush = Call::SyncDir(path.to_owned());
            assert!(calls[..first_change].contains(&flush), "{} first: {calls:?}", path.display());
        }
        assert_flushed(&calls, &dir);
        drop(writer);

        // The current file alone, where no other is named.
        let calls = {
            RawConf::edit(&dir, |conf| conf.backfill = Some((2, 8)));
            let disk = TestDisk::new();
            open_on(&disk, &dir, true);
            disk.take_calls()
        };
        for file in ["data_00002", "data_00002.off"] {
            assert!(calls.contains(&Call::Sync(file.to_owned())), "{file}: {calls:?}");
        }
        assert!(!calls.iter().any(Call::changes), "{calls:?}");
    }
}

/// Guards against every start of a node rewriting and flushing tables for nothing.
#[test]
fn opening_a_clean_column_touches_no_file() {
    for backfill in [false, true] {
        for slots in [&[][..], &[5], &[1, 9000, 17_000]] {
            let dir = temp_dir();
            column(dir.path(), backfill, slots.iter().copied());
            if backfill && slots.len() == 3 {
                column(dir.path(), true, [6, 9001, 16_999]);
            }
            let before = stamps(dir.path());
            let disk = TestDisk::new();
            let writer = open_on(&disk, dir.path(), backfill);
            assert!(writer.heal_report().is_clean());
            drop(writer);
            let changes: Vec<Call> = disk.take_calls().into_iter().filter(Call::changes).collect();
            assert_eq!(changes, [], "{backfill} {slots:?}");
            let without_lock = |mut stamps: std::collections::BTreeMap<PathBuf, Stamp>| {
                stamps.remove(Path::new("lock"));
                stamps
            };
            assert_eq!(without_lock(stamps(dir.path())), without_lock(before));
        }
    }
}

// ---------------------------------------------------------------------------- what is healed

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
            let dir = temp_dir();
            let wanted = if backfill {
                base(dir.path())
            } else {
                column(dir.path(), false, [1, 17_010]);
                content([1, 17_010])
            };
            let committed = files(dir.path());
            let len = data_len(dir.path(), bound_of);
            for &slot in slots {
                set_entry(dir.path(), slot, len.saturating_add(past));
            }
            let table = fs::read(dir.path().join(offsets_name(bound_of))).unwrap();
            let name = format!("{slots:?}, {past} past the end");
            let mut actions = heal(dir.path(), backfill, &wanted, &name);
            // At and below the highest slot it may be rot: nothing lies where the entries lead to.
            let is_copy = |action: &HealAction| matches!(action, HealAction::CopiedAside { .. });
            let copies: Vec<HealAction> = actions.extract_if(.., |a| is_copy(a)).collect();
            let is_low = slots.iter().any(|&slot| slot <= 17_010);
            assert_eq!(copies.len(), 2 * usize::from(is_low), "{name}: {copies:?}");
            for name in asides(dir.path()) {
                let copy = fs::read(dir.path().join(&name)).unwrap();
                assert_eq!(copy, if name.ends_with(".off") { &table[..] } else { b"" }, "{name}");
                remove(dir.path(), &name);
            }
            let cleared = HealAction::ClearedEntries {
                file: dir.path().join(offsets_name(bound_of)),
                slots: slots.iter().map(|&slot| Slot(slot)).collect(),
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
    let dir = temp_dir();
    column(dir.path(), false, [1, 17_000, 17_005, 17_010]);
    let committed = files(dir.path());
    for entry in [data_len(dir.path(), 2), 1 << 40, u64::MAX] {
        set_entry(dir.path(), 17_005, entry);
        assert!(view(dir.path()).get(Slot(17_005)).unwrap_err().is_corrupt());
        assert_writer_refuses(dir.path(), "an entry past the end");
    }
    let error = Writer::open(dir.path(), WriterOptions::existing()).unwrap_err();
    assert!(error.to_string().contains("heal --discard"), "{error}");
    let discarding = WriterOptions::existing().discard(true);
    let cleared = HealAction::ClearedEntries {
        file: dir.path().join("data_00002.off"),
        slots: vec![Slot(17_005)],
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
        let dir = temp_dir();
        column(dir.path(), true, [1, 17_000]);
        let committed = files(dir.path());
        RawConf::edit(dir.path(), |conf| conf.backfill = Some((1, 0)));
        leave(dir.path());
        let left: Vec<Vec<u8>> = files(dir.path())
            .into_iter()
            .filter_map(|(name, bytes)| name.starts_with("data_00001").then_some(bytes))
            .collect();
        let actions = heal(dir.path(), true, &content([1, 17_000]), what);
        assert_eq!(actions.len(), left.len() + 1, "{what}: {actions:?}");
        assert_eq!(asides(dir.path()), kept, "{what}");
        for (name, bytes) in kept.iter().zip(&left) {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), *bytes, "{what}: {name}");
        }
        let mut found = files(dir.path());
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
            let dir = temp_dir();
            let wanted = base(dir.path());
            let committed = files(dir.path());
            set_len(dir.path(), &offsets_name(file), len);
            let actions = heal(dir.path(), true, &wanted, &format!("file {file}, {len} bytes"));
            let extended = HealAction::ExtendedOffsets {
                file: dir.path().join(offsets_name(file)),
                from: len,
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
        let dir = temp_dir();
        let wanted = base(dir.path());
        let committed = files(dir.path());
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
        let dir = temp_dir();
        column(dir.path(), true, []);
        leave(dir.path());
        write_uncommitted(dir.path(), 0);
        let actions = heal(dir.path(), true, &Content::new(), what);
        assert_eq!(actions.len(), count + 2, "{what}: {actions:?}");
        assert_eq!(files(dir.path()).len(), 1, "{what}: nothing but the conf");
    }
}

/// Guards against a half-written next conf that stays for ever, is taken for the conf, or keeps the
/// next commit from making its own.
#[test]
fn a_leftover_conf_tmp_is_removed() {
    let good = {
        let dir = temp_dir();
        base(dir.path());
        let mut conf = RawConf::read(dir.path());
        conf.highest += 1;
        conf.bytes()
    };
    for tmp in [&b""[..], &[0; 52], &good[..30], &good, &[0xff; 5000]] {
        let dir = temp_dir();
        let wanted = base(dir.path());
        let committed = files(dir.path());
        fs::write(dir.path().join("column.conf.tmp"), tmp).unwrap();
        let actions = heal(dir.path(), true, &wanted, "a tmp");
        let removed = HealAction::RemovedTmp { file: dir.path().join("column.conf.tmp") };
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
        let dir = temp_dir();
        base(dir.path());
        damage(dir.path());
        let sealed = |dir: &Path| {
            let mut stamps = stamps(dir);
            stamps.retain(|path, _| path.to_str().unwrap().starts_with("data_00001"));
            stamps
        };
        let (bytes, stamped) = (files(dir.path()), sealed(dir.path()));
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
        let dir = temp_dir();
        let wanted = base(dir.path());
        RawConf::edit(dir.path(), |conf| conf.backfill = Some((2, len)));
        let committed = files(dir.path());
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
fn a_conf_that_looks_ahead_heals_by_the_file_that_it_names() {
    for (next, slot) in [(1, 9001), (2, 20_000)] {
        let dir = temp_dir();
        let base = [1, 9000, 40_000, 5];
        column(dir.path(), true, base);
        let present = if next == 1 { data_len(dir.path(), 1) } else { 0 };
        RawConf::edit(dir.path(), |conf| conf.backfill = Some((next, present)));
        let wanted = content(base);
        // A file that was never made is not named for ever: somebody may put it back.
        let dropped = HealAction::DroppedBackfillFile { file: dir.path().join("column.conf") };
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
    let dir = temp_dir();
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

// ---------------------------------------------------------------------------- what is refused

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
            let dir = temp_dir();
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
        let dir = temp_dir();
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
            for name in files(dir).into_keys().filter(|name| name != "column.conf") {
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
        let dir = temp_dir();
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
        let dir = temp_dir();
        for name in names {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        let error = Writer::open(dir.path(), WriterOptions::existing()).unwrap_err();
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
    let dir = temp_dir();
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
        HealAction::Truncated {
            file: path("data_00000"),
            from: data_len(dir.path(), 0),
            to: sealed,
        },
        HealAction::Truncated {
            file: path("data_00002"),
            from: data_len(dir.path(), 2),
            to: current,
        },
        HealAction::ClearedEntries { file: path("data_00000.off"), slots: slots(7) },
        HealAction::ClearedEntries { file: path("data_00002.off"), slots: slots(17_011) },
        HealAction::ExtendedOffsets { file: path("data_00000.off"), from: 64 },
        HealAction::RemovedFile { file: path("data_00003"), byte_len: data_len(dir.path(), 3) },
        HealAction::RemovedFile { file: path("data_00003.off"), byte_len: OFFSETS_LEN },
        HealAction::RemovedTmp { file: path("column.conf.tmp") },
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
        let dir = temp_dir();
        column(dir.path(), true, [1, 17_000]);
        fs::write(dir.path().join("data_00001"), &left).unwrap();
        let before = files(dir.path());
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

        let options = WriterOptions::existing().orphans_aside(true);
        let dry = coldstore::inspect_with(dir.path(), options).unwrap();
        assert_files(dir.path(), &before, what);
        let mut writing = Writer::open(dir.path(), options).unwrap();
        assert_eq!(*writing.heal_report(), dry, "{what}");
        let aside = dir.path().join("aside-1-data_00001");
        let moved = HealAction::MovedAside {
            file: dir.path().join("data_00001"),
            aside: aside.clone(),
            byte_len: left.len() as u64,
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
    let options = WriterOptions::existing().orphans_aside(true);
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
        let dir = temp_dir();
        column(dir.path(), backfill, [1, 9000, 17_000]);
        make(dir.path());
        if what != "with an offset file" {
            remove(dir.path(), "data_00001.off");
        }
        let before = files(dir.path());
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
