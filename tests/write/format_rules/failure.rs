//! Section 5.3: failure.

use super::*;

/// Every way of writing.
pub(crate) fn try_all_writes(
    writer: &mut Writer,
    slot: u64,
) -> Vec<(&'static str, Result<(), Error>)> {
    let value = value(slot);
    vec![
        ("put", writer.put(Slot(slot), &value).map(drop)),
        ("put_batch", writer.put_batch(&[(Slot(slot), &value)]).map(drop)),
        ("put_stored_batch", writer.put_stored_batch(&[(Slot(slot), &value)]).map(drop)),
        ("put_from", {
            writer.put_from(Slot(slot), value.len() as u64, &mut &value[..]).map(drop)
        }),
        ("put_bulk", {
            writer.put_bulk(&[(Slot(slot), &value)], |_| {}).map(drop).map_err(|error| error.error)
        }),
    ]
}

/// Guards against a writer that goes on after a failure: it would adopt leftovers, or retry a flush
/// that proves nothing. Whichever call fails, and however, the batch is there as a whole or not at
/// all, for readers before healing and for everybody after it.
#[test]
fn a_failing_call_of_a_put_poisons_the_writer_and_tears_no_batch() {
    for scenario in SCENARIOS {
        let (before, after) = (scenario.before(), scenario.after());
        let wanted_files = scenario.files().1;
        for fault in [Fault::Once, Fault::Torn, Fault::Dead] {
            for n in 0.. {
                let name = format!("{}: {fault:?} at call {n}", scenario.name);
                let dir = scratch();
                scenario.build(dir.path());
                let disk = TestDisk::new();
                let mut writer = open_on(&disk, dir.path(), scenario.backfill);
                let reader = reader_of(&writer);
                let old = reader.view();
                // Every file is touched, so that the view's bounds are those of now.
                assert_eq!(content_of(&old), before, "{name}: before the put");
                for (slot, _) in scenario.items() {
                    assert_eq!(old.contains(slot).unwrap(), before.contains_key(&slot.0));
                }
                disk.fail_at(n, fault);
                let result = writer.put_batch(&scenario.items());
                if !disk.was_hit() {
                    result.unwrap();
                    assert!(n > 5, "{name}: a commit has more calls than that");
                    break;
                }
                let calls = disk.take_calls();
                let error = result.expect_err(&name);
                let Error::Io(io) = &error else { panic!("{name}: {error:?}") };
                assert!(io.path.starts_with(dir.path()), "{name}: {error}");

                // Poisoned, for every way of writing, also of what is there already.
                if calls.iter().any(Call::changes) {
                    assert!(writer.is_poisoned(), "{name}: {calls:?}");
                }
                if writer.is_poisoned() {
                    let at_rest = files_of(dir.path());
                    for slot in [100_000, 2, *before.keys().next().unwrap_or(&1)] {
                        for (call, result) in try_all_writes(&mut writer, slot) {
                            let error = result.expect_err(call);
                            assert!(matches!(error, Error::Poisoned { .. }), "{call}: {error:?}");
                        }
                    }
                    assert_files(dir.path(), &at_rest, &format!("{name}: poisoned"));
                }

                // Reads go on.
                let seen = content_of(&reader.refresh().unwrap());
                assert!(seen == before || seen == after, "{name}: a part of the batch is seen");
                for &slot in before.keys() {
                    assert!(writer.contains(Slot(slot)).unwrap(), "{name}: slot {slot}");
                }
                assert_eq!(content_of(&old), before, "{name}: the view before");
                let fresh = shown(dir.path());
                assert!(fresh == before || fresh == after, "{name}: before healing");
                drop(writer);

                // Healed, it is one or the other, and the batch can be put again.
                let mut writer = test_support::writer(dir.path(), scenario.backfill);
                let healed = shown(dir.path());
                assert!(healed == before || healed == after, "{name}: after healing");
                assert_eq!(healed, fresh, "{name}: healing takes and adds nothing");
                writer.put_batch(&scenario.items()).unwrap();
                drop(writer);
                assert_shows(&view(dir.path()), &after, &name);
                assert_files(dir.path(), &wanted_files, &format!("{name}: as without a failure"));
                assert_eq!(content_of(&old), before, "{name}: the view before, in the end");
            }
        }
    }
}

/// Guards against a value whose source ends early, or fails, and leaves half a record that a later
/// put adopts. It is no failure of the disk, so the writer goes on, and the files end up as if it had
/// never been tried.
#[test]
fn a_failing_source_leaves_nothing_of_its_value() {
    struct Failing<'a>(&'a [u8]);
    impl std::io::Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match std::io::Read::read(&mut self.0, buffer)? {
                0 => Err(std::io::Error::other("the source failed")),
                count => Ok(count),
            }
        }
    }
    let base = [1, 9000, 33_000];
    for (what, slot) in [
        ("the current file", 33_001),
        ("the next file", 50_000),
        ("a gap in the current file", 32_999),
        ("a gap in a sealed file", 2),
        ("a gap in a file that never existed", 20_000),
        ("a slot that is there", 9000),
    ] {
        for spec in [PLAIN, SNAPPY] {
            let dir = scratch();
            let options = WriterOptions::create(spec).allow_backfill(true);
            let mut writer = Writer::open(dir.path(), options).unwrap();
            writer.put_batch(&batch(base)).unwrap();
            let before = files_of(dir.path());
            let twin = scratch();
            write_files(twin.path(), &before);
            for source in [&mut Failing(&[7; 1000]) as &mut dyn std::io::Read, &mut &[7; 1000][..]]
            {
                let error = writer.put_from(Slot(slot), 5000, source).unwrap_err();
                let is_right = match &error {
                    Error::Io(_) => true,
                    // Its first bytes are others, which may be noticed first.
                    Error::Conflict { .. } => slot == 9000,
                    _ => false,
                };
                assert!(is_right, "{what}: {error:?}");
                assert!(!writer.is_poisoned(), "{what}: the disk did not fail");
                assert_shows(&view(dir.path()), &content(base), what);
                // An intent may have been committed, but nothing else is left.
                let mut left = files_of(dir.path());
                left.insert("column.conf".to_owned(), before["column.conf"].clone());
                assert_eq!(difference(&left, &before), None, "{what}");
            }
            if slot != 9000 {
                let mut twin_writer = Writer::open(twin.path(), options).unwrap();
                for writer in [&mut writer, &mut twin_writer] {
                    let value = value_of_len(slot, 5000);
                    let committed = writer.put_from(Slot(slot), 5000, &mut &value[..]).unwrap();
                    assert_eq!(committed.written, 1);
                }
            }
            drop(writer);
            assert_files(dir.path(), &files_of(twin.path()), what);
            let writer = Writer::open(dir.path(), options).unwrap();
            assert!(writer.heal_report().is_clean(), "{what}");
        }
    }
}

/// Guards against a run that says it came further than it did, or not as far.
#[test]
fn a_failing_call_of_a_run_reports_the_commits_made() {
    let base = [1, 9000, 17_000, 33_000];
    let run = [2, 3, 9001, 17_001, 20_000, 25_000, 32_999, 33_001, 33_002, 41_000];
    // What can be there: whole files of gaps, in order, then the sequential rest.
    let steps: Vec<Content> = [0, 2, 3, 5, 6, 7, 9, 10]
        .into_iter()
        .map(|count| content(base.into_iter().chain(run[..count].iter().copied())))
        .collect();
    let mut partial = BTreeSet::new();
    for fault in [Fault::Torn, Fault::Dead] {
        for n in 0.. {
            let name = format!("{fault:?} at call {n}");
            let dir = scratch();
            column(dir.path(), true, base);
            let disk = TestDisk::new();
            let mut writer = open_on(&disk, dir.path(), true);
            disk.fail_at(n, fault);
            let result = writer.put_bulk(&batch(run), |_| {});
            if !disk.was_hit() {
                assert_eq!(result.unwrap().last, Some(Slot(41_000)));
                break;
            }
            let error = result.expect_err(&name);
            assert!(matches!(error.error, Error::Io(_)), "{name}: {error:?}");
            let done = usize::try_from(error.done.written).unwrap();
            assert_eq!(error.done.last.map(|slot| slot.0), run[..done].last().copied(), "{name}");
            let fresh = shown(dir.path());
            assert!(steps.contains(&fresh), "{name}: {:?}", fresh.keys());
            assert!(fresh.len() >= base.len() + done, "{name}: durable, said the error");
            drop(writer);
            let mut writer = test_support::writer(dir.path(), true);
            assert_eq!(shown(dir.path()), fresh, "{name}: healing takes and adds nothing");
            partial.insert(fresh.len());
            let report = writer.put_bulk(&batch(run), |_| {}).unwrap();
            assert_eq!(report.written + report.unchanged, 10, "{name}");
            assert_shows(&view(dir.path()), steps.last().unwrap(), &name);
        }
    }
    assert!(partial.len() >= 4, "the run was cut in several places: {partial:?}");
}

/// Guards against a failure while a column is made or upgraded that leaves something nobody can
/// open again.
#[test]
fn after_a_failing_call_of_an_opening_the_next_succeeds() {
    type Build = fn(&Path);
    let cases: [(&str, bool, u64, Build); 5] = [
        ("a new column", false, 1 << 30, |_| {}),
        ("a new column with backfill", true, 1 << 30, |_| {}),
        ("an upgrade", true, 1 << 30, |dir| column(dir, false, [1, 9000])),
        ("a larger bound", false, 1 << 31, |dir| column(dir, false, [1, 9000])),
        ("an upgrade with leftovers", true, 1 << 31, |dir| {
            column(dir, false, [1, 9000]);
            write_uncommitted(dir, 9001);
            write_uncommitted(dir, 17_000);
            fs::write(dir.join("column.conf.tmp"), b"LHST").unwrap();
        }),
    ];
    for (what, backfill, max_value_bytes, build) in cases {
        for fault in [Fault::Once, Fault::Torn, Fault::Dead] {
            for n in 0.. {
                let name = format!("{what}: {fault:?} at call {n}");
                let root = scratch();
                let dir = root.path().join("column");
                build(&dir);
                let wanted = if dir.exists() { shown(&dir) } else { Content::new() };
                let disk = TestDisk::new();
                disk.fail_at(n, fault);
                let spec = ColumnSpec { max_value_bytes, ..PLAIN };
                let options = WriterOptions::create(spec).allow_backfill(backfill);
                let result = Writer::open_on(disk.shared(), &dir, options);
                if !disk.was_hit() {
                    result.unwrap();
                    break;
                }
                let error = result.map(drop).expect_err(&name);
                assert!(matches!(error, Error::Io(_)), "{name}: {error:?}");
                if !wanted.is_empty() {
                    assert_shows(&view(&dir), &wanted, &name);
                }
                let mut writer = Writer::open(&dir, options).unwrap();
                assert_eq!(writer.conf().encode(), fs::read(dir.join("column.conf")).unwrap());
                let conf = RawConf::read(&dir);
                assert_eq!((conf.max, conf.backfill.is_some()), (max_value_bytes, backfill));
                assert_shows(&view(&dir), &wanted, &name);
                writer.put(Slot(50_000), &value(50_000)).unwrap();
                assert_eq!(shown(&dir).len(), wanted.len() + 1, "{name}");
            }
        }
    }
}

#[test]
fn a_poisoned_writer_is_opened_again_and_a_busy_column_tried_later() {
    let directory: Box<Path> = Path::new("/a").into();
    let full = Error::io("/a/data_00000", "write to", io::ErrorKind::StorageFull.into());
    let poisoned = Error::Poisoned { directory: directory.clone(), cause: full.clone().into() };
    let busy = Error::AlreadyOpen { directory, pid: None };
    let corrupt = Error::corrupt("/a/data_00000", 8, CorruptItem::RecordHeader, "a", "b");
    let slot = Slot(5);
    for (error, kind) in [
        (full, ErrorKind::Io),
        (poisoned, ErrorKind::Poisoned),
        (busy, ErrorKind::Busy),
        (corrupt, ErrorKind::Corrupt),
        (Error::Conflict { slot }, ErrorKind::Usage),
    ] {
        assert_eq!(error.kind(), kind, "{error}");
    }
}
