//! Section 5.2: the order of a commit.

use super::*;

/// Guards against any change in the order of the five steps: an entry on disk before its record, a
/// conf before either, a new file whose name is lost, an intent that comes too late.
#[test]
fn the_steps_of_a_commit_are_in_order() {
    for scenario in SCENARIOS {
        let name = scenario.name;
        let dir = scratch();
        scenario.build(dir.path());
        let (before, after) = scenario.files();
        let conf_before = RawConf::parse(&before["column.conf"]);
        let disk = TestDisk::new();
        let mut writer = open_on(&disk, dir.path(), scenario.backfill);
        disk.take_calls();
        writer.put_batch(&scenario.items()).unwrap();
        let calls = disk.take_calls();
        let renames = rename_positions(&calls);
        let confs: Vec<RawConf> = calls
            .iter()
            .filter_map(|call| match call {
                Call::Write { file, bytes, .. } if file == "column.conf.tmp" => {
                    Some(RawConf::parse(bytes))
                }
                _ => None,
            })
            .collect();
        assert_eq!(confs.len(), renames.len(), "{name}: a conf is written at once: {calls:?}");

        // 1. The intent, and only where one is needed. It names the file with its present length.
        let intents = usize::from(scenario.intent.is_some());
        assert_eq!(renames.len(), intents + 1, "{name}: commits: {calls:?}");
        if let Some(file) = scenario.intent {
            let present = before.get(&data_name(file)).map_or(0, Vec::len) as u64;
            let wanted = RawConf { backfill: Some((file, present)), ..conf_before.clone() };
            assert_eq!(confs[0], wanted, "{name}: intent");
            let flushed = calls[renames[0] + 1..].iter().position(Call::is_flush);
            let changed = calls
                .iter()
                .position(|call| changed_file(call).is_some_and(|file| file.starts_with("data_")));
            assert_eq!(flushed, Some(0), "{name}: the intent is flushed: {calls:?}");
            assert!(changed > Some(renames[0] + 1), "{name}: intent first: {calls:?}");
        }
        let last = *renames.last().unwrap();
        assert_eq!(confs.last().unwrap().bytes(), after["column.conf"], "{name}: last conf");
        assert_eq!(
            calls[last + 1..],
            [Call::SyncDir(dir.path().to_owned())],
            "{name}: the directory is flushed after the commit point, and that is the end"
        );

        // 2 to 5. What lies under the commit.
        let start = if intents == 1 { renames[0] + 1 } else { 0 };
        let commit = &calls[start..last];
        let flushed_before = |at: usize, file: &str| {
            let changed = commit[..at].iter().rposition(|call| changed_file(call) == Some(file));
            let flushed =
                commit[..at].iter().rposition(|call| *call == Call::Sync(file.to_owned()));
            changed.is_none() || flushed > changed
        };
        for (at, call) in commit.iter().enumerate() {
            match call {
                Call::Write { file, at: offset, bytes } if file.ends_with(".off") => {
                    assert!(offset % 8 == 0 && bytes.len() % 8 == 0, "{name}: aligned: {call:?}");
                    let data = file.strip_suffix(".off").unwrap();
                    assert!(
                        commit[..at].iter().any(|call| changed_file(call) == Some(data)),
                        "{name}: entries of {data} without a record: {calls:?}"
                    );
                }
                Call::Write { file, at: offset, .. } if file.starts_with("data_") => {
                    let len = before.get(file).map_or(0, Vec::len) as u64;
                    assert!(*offset >= len, "{name}: below the committed length: {call:?}");
                }
                Call::SetLen { file, .. } => {
                    assert!(file.ends_with(".off"), "{name}: the length of data: {call:?}");
                }
                Call::Remove(_) | Call::Rename { .. } | Call::CreateDir(_) => {
                    panic!("{name}: no step of a commit: {call:?}")
                }
                _ => {}
            }
        }
        let tmp = commit
            .iter()
            .position(|call| *call == Call::Create("column.conf.tmp".to_owned()))
            .unwrap_or_else(|| panic!("{name}: column.conf.tmp is made anew: {calls:?}"));
        // Everything is written, then everything is flushed, then the conf is renamed.
        let flushes = commit[tmp..].iter().position(Call::is_flush).map(|at| tmp + at);
        let flushes = flushes.unwrap_or_else(|| panic!("{name}: nothing is flushed: {calls:?}"));
        assert!(commit[flushes..].iter().all(Call::is_flush), "{name}: {calls:?}");
        let first = commit.iter().position(|call| changed_file(call).is_some()).unwrap_or(tmp);
        assert!(!commit[first..flushes].iter().any(Call::is_flush), "{name}: {calls:?}");
        let mut touched: BTreeSet<&str> = commit.iter().filter_map(changed_file).collect();
        for file in &touched {
            assert!(flushed_before(commit.len(), file), "{name}: {file} first: {calls:?}");
        }
        assert!(touched.remove("column.conf.tmp"), "{name}: {calls:?}");
        let creates = |call: &Call| matches!(call, Call::Create(file) if file != "column.conf.tmp");
        let named = commit[first..].iter().any(|call| matches!(call, Call::SyncDir(_)));
        assert_eq!(named, commit.iter().any(creates), "{name}: new names first: {calls:?}");

        // Nobody else's file is touched.
        let files: BTreeSet<String> = scenario
            .batch
            .iter()
            .filter(|slot| !scenario.before().contains_key(slot))
            .flat_map(|slot| [data_name(slot / PER_FILE), offsets_name(slot / PER_FILE)])
            .chain(["column.check".to_owned()])
            .collect();
        let touched: BTreeSet<String> = touched.into_iter().map(str::to_owned).collect();
        assert_eq!(touched, files, "{name}: the files of the batch, and no other");
    }
}

/// Guards against a disk that takes less than it is given being believed to have taken all.
#[test]
fn short_writes_are_continued() {
    for scenario in SCENARIOS {
        let dir = scratch();
        scenario.build(dir.path());
        let disk = TestDisk::new();
        disk.shorten_writes(24);
        let mut writer = open_on(&disk, dir.path(), scenario.backfill);
        writer.put_batch(&scenario.items()).unwrap();
        assert_files(dir.path(), &scenario.files().1, scenario.name);
    }
}

/// Guards against an intent for every put where the conf already names the file, and against the
/// lack of one after it was moved away.
#[test]
fn the_intent_is_committed_only_when_the_conf_names_another_file() {
    let dir = scratch();
    column(dir.path(), true, [1, 9000, 17_000]);
    let disk = TestDisk::new();
    let mut writer = open_on(&disk, dir.path(), true);
    for (slot, commits) in
        [(5, 2), (6, 1), (7, 1), (16_999, 1), (8, 1), (9001, 2), (9002, 1), (9, 2), (17_001, 1)]
    {
        // The current file is put into in between: whether the conf goes on naming file 0 is left
        // to the writer, but it never commits twice where the conf does name the file.
        let named = RawConf::read(dir.path()).backfill.map(|(file, _)| file);
        disk.take_calls();
        writer.put(Slot(slot), &value(slot)).unwrap();
        let renames = rename_positions(&disk.take_calls()).len();
        let current = slot / PER_FILE == 2;
        let wanted = if current || named == Some(slot / PER_FILE) { 1 } else { 2 };
        assert_eq!(renames, wanted, "slot {slot}, the conf names {named:?}");
        if slot != 8 {
            assert_eq!(renames, commits, "slot {slot}");
        }
    }
}

/// Guards against an append that brings a stray entry to life: a sealed file is checked before the
/// conf names it, and left as it is when it is not in order.
#[test]
fn a_damaged_sealed_file_is_refused_before_the_intent() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 8] = [
        ("an entry at its end", |dir| set_entry(dir, 3, data_len(dir, 0))),
        ("an entry past its end", |dir| set_entry(dir, 8191, data_len(dir, 0) + 1)),
        ("an entry far past its end", |dir| set_entry(dir, 0, u64::MAX)),
        ("shorter than a version record", |dir| set_len(dir, "data_00000", 7)),
        ("empty", |dir| set_len(dir, "data_00000", 0)),
        ("records and no offset file", |dir| remove(dir, "data_00000.off")),
        ("an offset file that is too long", |dir| {
            append(dir, "data_00000.off", &[0; 8]);
        }),
        ("entries and no data file", |dir| remove(dir, "data_00000")),
    ];
    for (what, damage) in cases {
        let dir = scratch();
        column(dir.path(), true, [1, 9000, 17_000, 9001]);
        damage(dir.path());
        let before = files_of(dir.path());
        let mut writer = writer(dir.path(), true);
        assert!(writer.heal_report().is_clean(), "{what}: it is sealed, nobody named it");
        for slots in [&[5][..], &[5, 16_999]] {
            let error = writer.put_batch(&batch(slots.iter().copied())).unwrap_err();
            let Error::Corrupt(corruption) = &error else { panic!("{what}: {error:?}") };
            let file = corruption.file.file_name().unwrap().to_str().unwrap();
            assert!(file.starts_with("data_00000"), "{what}: {error}");
            assert_files(dir.path(), &before, what);
        }
        // The others go on.
        assert!(!writer.is_poisoned(), "{what}: nothing was written yet");
        writer.put(Slot(9002), &value(9002)).unwrap();
        writer.put(Slot(17_001), &value(17_001)).unwrap();
    }
}

/// Guards against a data file that ends within its version record, and so far holds nothing: what is
/// appended would stand at the wrong place, or behind half a version record.
#[test]
fn a_sealed_file_shorter_than_a_version_record_is_refused_before_the_intent() {
    for len in 0..8 {
        for with_offsets in [false, true] {
            let dir = scratch();
            column(dir.path(), true, [9000, 17_000]);
            fs::write(dir.path().join("data_00000"), &VERSION[..len]).unwrap();
            if with_offsets {
                set_len(dir.path(), "data_00000.off", OFFSETS_LEN);
            }
            let before = files_of(dir.path());
            let mut writer = writer(dir.path(), true);
            let error = writer.put(Slot(5), &value(5)).unwrap_err();
            assert_corrupt(&error, "data_00000", &format!("{len} bytes"));
            assert_files(dir.path(), &before, &format!("{len} bytes"));
            assert!(!writer.is_poisoned());
        }
    }
}

/// Guards against bytes at the end of a sealed file being written over: a reader may have taken the
/// file's length for a bound.
#[test]
fn backfill_appends_at_the_present_length_of_a_sealed_file() {
    let dir = scratch();
    column(dir.path(), true, [1, 9000, 17_000]);
    // Left by software without the intent step: a record that no entry leads to, and half of one.
    append(dir.path(), "data_00000", &plain_record(77));
    append(dir.path(), "data_00000", &plain_record(78)[..11]);
    let present = fs::read(dir.path().join("data_00000")).unwrap();
    assert_reads(dir.path(), &content([1, 9000, 17_000]), "with a tail");
    let mut writer = writer(dir.path(), true);
    writer.put(Slot(5), &value(5)).unwrap();
    let wanted = [&present[..], &plain_record(5)].concat();
    assert_eq!(fs::read(dir.path().join("data_00000")).unwrap(), wanted);
    assert_eq!(entry(dir.path(), 5), present.len() as u64);
    drop(writer);
    assert!(test_support::writer(dir.path(), true).heal_report().is_clean());
    assert_shows(&view(dir.path()), &content([1, 5, 9000, 17_000]), "behind the tail");
}

/// Guards against a sequential batch over files that is committed file by file.
#[test]
fn a_sequential_batch_over_files_is_one_commit() {
    let dir = scratch();
    column(dir.path(), false, [1]);
    let disk = TestDisk::new();
    let mut writer = open_on(&disk, dir.path(), false);
    let slots: Vec<u64> = (2..60).map(|n| n * 1000).collect();
    disk.take_calls();
    let committed = writer.put_batch(&batch(slots.iter().copied())).unwrap();
    assert_eq!(committed.written, 58);
    assert_eq!(rename_positions(&disk.take_calls()).len(), 1);
    assert_shows(&view(dir.path()), &content(slots.into_iter().chain([1])), "one commit");
}

/// Guards against a look-ahead conf that costs more than it saves, names a file with a wrong length,
/// or loses the batch that it commits: where the files exist, a run pays for one switch, the first.
#[test]
fn a_run_commits_once_per_file_and_once_ahead() {
    let dir = scratch();
    let base = [1, 9000, 17_000, 33_000, 50_000];
    column(dir.path(), true, base);
    let disk = TestDisk::new();
    let mut writer = open_on(&disk, dir.path(), true);
    let mut all = content(base);
    // Files 0, 1, 2, 4 and 6, which is the current one; then 3 and 5, which do not exist, between
    // others; then all of them and past the highest slot. At most so many confs.
    let runs: [(&[u64], usize); 3] = [
        (&[2, 3, 9001, 9002, 17_001, 33_001, 49_999], 5 + 1),
        (&[4, 17_002, 25_000, 33_002, 49_000, 49_998], 2 * 6),
        (&[5, 9003, 17_003, 25_001, 33_003, 49_001, 49_997, 50_001, 60_000], 8 + 1),
    ];
    for (run, most) in runs {
        disk.take_calls();
        let report = writer.put_bulk(&batch(run.iter().copied()), |_| {}).unwrap();
        let calls = disk.take_calls();
        let renames = rename_positions(&calls).len();
        assert_flushed(&calls, dir.path());
        assert!(renames <= most, "{renames} confs: {report:?}");
        assert_eq!(report.last.map(|slot| slot.0), run.last().copied());
        all.extend(content(run.iter().copied()));
        assert_shows(&view(dir.path()), &all, "after the run");
    }
    drop(writer);
    assert!(test_support::writer(dir.path(), true).heal_report().is_clean());
    assert_shows(&view(dir.path()), &all, "after another opening");
}
