//! What other stores got wrong, and this one must not: one test for each mistake.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;
use std::path::Path;

use coldstore::{ColumnSpec, Compression, Error, Slot, Writer, WriterOptions};
use test_support::*;

/// Row 1: backfill moved to another sealed file before the marker named it, and a crash left half of
/// a batch visible. The intent step: killed after any call, a batch in another sealed file is there
/// as a whole or not at all, for readers who come before any healing.
#[test]
fn half_a_backfill_batch_in_another_sealed_file_is_never_visible() {
    let base = [1, 9000, 17_000, 33_000, 9001];
    let gaps = [2, 3, 4];
    let (before, after) = (content(base), content(base.into_iter().chain(gaps)));
    let mut seen = [0, 0];
    for n in 0.. {
        let dir = scratch();
        column(dir.path(), true, base);
        assert_eq!(RawConf::read(dir.path()).backfill.unwrap().0, 1, "another file is named");
        let disk = TestDisk::new();
        let mut writer = open_on(&disk, dir.path(), true);
        disk.fail_at(n, Fault::Dead);
        let result = writer.put_batch(&batch(gaps));
        if !disk.was_hit() {
            result.unwrap();
            break;
        }
        drop(writer);
        let bytes = files_of(dir.path());
        let shown = shown(dir.path());
        assert!(shown == before || shown == after, "killed at call {n}: {:?}", shown.keys());
        seen[usize::from(shown == after)] += 1;
        // There was a window in which half of it lay there.
        assert_files(dir.path(), &bytes, "looking changes nothing");
        drop(test_support::writer(dir.path(), true));
        assert_shows(&view(dir.path()), &shown, &format!("killed at call {n}, healed"));
    }
    assert!(seen[0] > 5 && seen[1] > 0, "killed before and after the commit: {seen:?}");
}

/// Row 2: state in memory advanced before the commit, and a later put persisted a marker that mixed
/// two files. Here the marker fails for a batch into the next file, and nothing of that batch gets
/// into any later marker.
#[test]
fn a_marker_that_fails_leaves_no_trace_in_the_next_one() {
    for at_rename in [0, 1] {
        let dir = scratch();
        column(dir.path(), true, [1, 2, 7000]);
        let conf = RawConf::read(dir.path());
        let disk = TestDisk::new();
        let mut writer = open_on(&disk, dir.path(), true);

        // Where the rename comes, counted on a twin.
        let twin = scratch();
        copy_dir(dir.path(), twin.path());
        let twin_disk = TestDisk::new();
        let mut twin_writer = open_on(&twin_disk, twin.path(), true);
        twin_disk.take_calls();
        twin_writer.put_batch(&batch([8191, 8192, 8193])).unwrap();
        let rename = *rename_positions(&twin_disk.take_calls()).last().unwrap();

        disk.fail_at(rename - at_rename, Fault::Once);
        let error = writer.put_batch(&batch([8191, 8192, 8193])).unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error:?}");
        assert_eq!(writer.highest_written_slot(), Some(Slot(7000)), "memory did not advance");
        assert_eq!(writer.conf().encode(), conf.bytes(), "memory did not advance");
        assert!(!writer.contains(Slot(8191)).unwrap());
        for slot in [3, 7001, 8192, 9000] {
            let error = writer.put(Slot(slot), &value(slot)).unwrap_err();
            assert!(matches!(error, Error::Poisoned { .. }), "{error:?}");
        }
        assert_eq!(RawConf::read(dir.path()), conf, "the marker is the old one");
        drop(writer);

        let mut writer = test_support::writer(dir.path(), true);
        writer.put(Slot(7001), &value(7001)).unwrap();
        let after = RawConf::read(dir.path());
        assert_eq!((after.highest, after.len), (7001, data_len(dir.path(), 0)));
        writer.put(Slot(8193), &value(8193)).unwrap();
        assert_shows(&view(dir.path()), &content([1, 2, 7000, 7001, 8193]), "in the end");
    }
}

/// Row 3: after an error the next write adopted the leftovers at the end of the file. Here a flush of
/// the data fails, the same writer refuses to go on, and the next one appends where the commit ended:
/// the files are those of a column in which nothing ever failed.
#[test]
fn leftovers_of_a_failed_put_are_not_adopted() {
    let twin = scratch();
    column(twin.path(), true, [1, 9000, 5, 6, 9001]);
    let dir = scratch();
    column(dir.path(), true, [1, 9000, 5]);
    for slot in [7, 9002] {
        let disk = TestDisk::new();
        let mut writer = open_on(&disk, dir.path(), true);
        let n = {
            // The flush of the data file, the first flush after its write.
            let twin = scratch();
            copy_dir(dir.path(), twin.path());
            let disk = TestDisk::new();
            let mut writer = open_on(&disk, twin.path(), true);
            disk.take_calls();
            writer.put(Slot(slot), &value(slot)).unwrap();
            let calls = disk.take_calls();
            calls.iter().position(|c| *c == Call::Sync(data_name(slot / PER_FILE))).unwrap()
        };
        disk.fail_at(n, Fault::Once);
        let len = data_len(dir.path(), slot / PER_FILE);
        writer.put(Slot(slot), &value(slot)).unwrap_err();
        assert!(data_len(dir.path(), slot / PER_FILE) > len, "there are leftovers");
        let at_rest = files_of(dir.path());
        for again in [slot, slot + 1] {
            let error = writer.put(Slot(again), &value(again)).unwrap_err();
            assert!(matches!(error, Error::Poisoned { .. }), "{error:?}");
        }
        assert_files(dir.path(), &at_rest, "poisoned");
    }
    let mut writer = writer(dir.path(), true);
    for slot in [6, 9001] {
        writer.put(Slot(slot), &value(slot)).unwrap();
    }
    assert_files(dir.path(), &files_of(twin.path()), "against a column without a failure");
}

/// Row 4: leftover later files became data when the high-water mark jumped past them. Here they are
/// removed on opening, and their slots stay skipped.
#[test]
fn leftover_later_files_do_not_become_data() {
    let dir = scratch();
    column(dir.path(), false, [1]);
    for slot in [8192, 9000, 17_000] {
        write_uncommitted(dir.path(), slot);
    }
    let mut writer = writer(dir.path(), false);
    for name in ["data_00001", "data_00001.off", "data_00002", "data_00002.off"] {
        assert!(!dir.path().join(name).exists(), "{name} is removed on opening");
    }
    writer.put(Slot(100_000), &value(100_000)).unwrap();
    for slot in [8192, 9000, 17_000] {
        assert_absent(&view(dir.path()), slot, "below the new highest slot");
    }
    assert_shows(&view(dir.path()), &content([1, 100_000]), "in the end");
}

/// Row 5: a lost conf was replaced by an empty one and the archive was wiped. Here it is `Corrupt`,
/// however the column is opened, and every file stays.
#[test]
fn a_lost_conf_is_corrupt_and_wipes_nothing() {
    for backfill in [false, true] {
        let dir = scratch();
        column(dir.path(), backfill, [1, 9000, 17_000]);
        let conf = files_of(dir.path())["column.conf"].clone();
        remove(dir.path(), "column.conf");
        assert_writer_refuses(dir.path(), "without the conf");
        assert_writer_refuses(dir.path(), "and again");
        fs::write(dir.path().join("column.conf"), conf).unwrap();
        assert_shows(&view(dir.path()), &content([1, 9000, 17_000]), "the conf is back");
    }
}

/// Row 6: a missing offset file read as "all skipped", then backfill recreated it blank. Here it is
/// `Corrupt` to read from it and to write to it, and nobody makes another one.
#[test]
fn a_missing_offset_file_is_not_all_skipped() {
    let dir = scratch();
    column(dir.path(), true, [1, 5, 9000, 17_000]);
    remove(dir.path(), "data_00000.off");
    let before = files_of(dir.path());
    let held = view(dir.path());
    for slot in [1, 3, 5] {
        assert_corrupt(&held.get(Slot(slot)).unwrap_err(), "data_00000.off", "a read");
        assert_corrupt(&held.contains(Slot(slot)).unwrap_err(), "data_00000.off", "contains");
    }
    let mut writer = writer(dir.path(), true);
    for slot in [1, 3, 5] {
        assert!(writer.contains(Slot(slot)).unwrap_err().is_corrupt());
        let error = writer.put(Slot(slot), &value(slot)).unwrap_err();
        assert_corrupt(&error, "data_00000.off", "a write");
        assert_files(dir.path(), &before, "nobody makes another one");
    }
    // Where the conf names the file, opening says so.
    let named = scratch();
    column(named.path(), true, [1, 5, 9000, 3]);
    remove(named.path(), "data_00000.off");
    assert_writer_refuses(named.path(), "the backfill file");
}

/// Row 7: no lock, so that a second opener truncated under the first. Here the lock comes before
/// anything else: the second one is told at once, and even leftovers stay as they are.
#[test]
fn a_second_writer_is_refused_before_it_touches_anything() {
    let dir = scratch();
    let mut first = writer(dir.path(), true);
    first.put_batch(&batch([1, 9000])).unwrap();
    // As if the first one were in the middle of a put.
    for slot in [9001, 17_000] {
        write_uncommitted(dir.path(), slot);
    }
    fs::write(dir.path().join("column.conf.tmp"), b"being written").unwrap();
    let before = stamps(dir.path());
    let second = [
        WriterOptions::create(PLAIN),
        WriterOptions::default(),
        WriterOptions::create(PLAIN).allow_backfill(true),
        WriterOptions::default().max_value_bytes(1 << 40),
        WriterOptions::create(ColumnSpec { record_type: [9, 9], ..PLAIN }),
    ];
    for options in second {
        let error = Writer::open(dir.path(), options).unwrap_err();
        let Error::AlreadyOpen { pid, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*pid, Some(std::process::id()), "the holder is named: {error}");
        assert_eq!(stamps(dir.path()), before, "the second opener touched something");
    }
    let error = coldstore::inspect(dir.path()).unwrap_err();
    assert!(matches!(error, Error::AlreadyOpen { .. }), "a dry run waits for nobody: {error:?}");
    assert_eq!(stamps(dir.path()), before);
    assert_shows(&view(dir.path()), &content([1, 9000]), "a reader needs no lock");
    drop(first);
    assert!(!writer(dir.path(), true).heal_report().is_clean(), "now it is open to the next one");
    // A lock file by itself locks nobody out, whatever is in it.
    fs::write(dir.path().join("lock"), b"4294967295 and more").unwrap();
    writer(dir.path(), true).put(Slot(9001), &value(9001)).unwrap();
    let pid = fs::read_to_string(dir.path().join("lock")).unwrap();
    assert_eq!(pid.trim(), std::process::id().to_string(), "the text is the holder's pid");
}

/// Row 8: write accepted what read rejects. Here the one bound is checked before the first byte, by
/// every way of writing, and what is exactly at the bound comes back.
#[test]
fn whatever_can_be_written_can_be_read() {
    for compression in [Compression::None, Compression::Snappy] {
        let dir = scratch();
        let spec = ColumnSpec { record_type: [7, 0], compression, max_value_bytes: 5000 };
        let options = WriterOptions::create(spec).allow_backfill(true);
        let mut writer = Writer::open(dir.path(), options).unwrap();
        let mut wanted = Content::new();
        for (slot, len) in [(10, 4999), (30, 5000)] {
            // Noise, which is longer when stored, and zeros, which are shorter.
            for (slot, value) in [(slot, value_of_len(slot, len)), (slot + 1, vec![0; len])] {
                writer.put(Slot(slot), &value).unwrap();
                wanted.insert(slot, value);
            }
        }
        let before = files_of(dir.path());
        for slot in [20, 50] {
            for large in [value_of_len(slot, 5001), vec![0; 5001], vec![0; 10 << 20]] {
                for (call, result) in [
                    ("put", writer.put(Slot(slot), &large)),
                    ("put_batch", writer.put_batch(&[(Slot(slot), &large)])),
                    ("put_from", {
                        writer.put_from(Slot(slot), large.len() as u64, &mut &large[..])
                    }),
                ] {
                    let error = result.expect_err(call);
                    assert!(
                        matches!(error, Error::TooLarge { limit: 5000, .. }),
                        "{call}: {error:?}"
                    );
                    assert_files(dir.path(), &before, call);
                }
                let error = writer.put_bulk(&[(Slot(slot), &large)], |_| {}).unwrap_err();
                assert!(matches!(error.error, Error::TooLarge { .. }), "{error:?}");
                assert_files(dir.path(), &before, "put_bulk");
            }
        }
        assert_shows(&view(dir.path()), &wanted, &format!("{compression}"));
    }
}

/// Row 9: a flipped bit in the conf made healing truncate good data. Here every flip of every bit is
/// refused with nothing touched, or changes nothing that was committed.
#[test]
fn no_flipped_bit_in_the_conf_makes_healing_cut_good_data() {
    // Lengths of the records in all files differ, so that no single flip of a length or of a file id
    // leads to the end of another record: that the format could not tell from a crash.
    let build = |dir: &Path, backfill: bool| -> Content {
        column(dir, backfill, [1, 2, 9000, 17_000, 17_003]);
        let more: &[u64] = if backfill { &[17_001, 9001, 3, 4] } else { &[] };
        column(dir, backfill, more.iter().copied());
        content([1, 2, 9000, 17_000, 17_003].into_iter().chain(more.iter().copied()))
    };
    for backfill in [false, true] {
        let template = scratch();
        let wanted = build(template.path(), backfill);
        let good = files_of(template.path());
        let (mut refused, mut opened) = (0, Vec::new());
        for bit in 0..good["column.conf"].len() * 8 {
            for leftovers in [false, true] {
                let dir = scratch();
                write_files(dir.path(), &good);
                if leftovers {
                    write_uncommitted(dir.path(), 17_010);
                    write_uncommitted(dir.path(), 25_000);
                }
                let mut conf = good["column.conf"].clone();
                conf[bit / 8] ^= 1 << (bit % 8);
                fs::write(dir.path().join("column.conf"), &conf).unwrap();
                let before = files_of(dir.path());
                let name = format!("bit {bit}, backfill {backfill}, leftovers {leftovers}");
                match Writer::open(dir.path(), WriterOptions::default()) {
                    Err(error) => {
                        assert!(
                            matches!(error, Error::Corrupt(_) | Error::Unsupported { .. }),
                            "{name}: {error:?}"
                        );
                        assert_files(dir.path(), &before, &name);
                        refused += 1;
                    }
                    Ok(writer) => {
                        drop(writer);
                        let after = files_of(dir.path());
                        for (file, bytes) in &good {
                            if file != "column.conf" {
                                assert!(after.get(file) == Some(bytes), "{name}: {file} changed");
                            }
                        }
                        opened.push(bit);
                    }
                }
                // The right conf again, and everything is there.
                fs::write(dir.path().join("column.conf"), &good["column.conf"]).unwrap();
                assert_shows(&view(dir.path()), &wanted, &name);
            }
        }
        // The highest slot, the length of the current file and the type of the records (bytes 8 to
        // 25) are in the files as well. What may pass is what no file says otherwise, and a backfill
        // file that is the current one.
        for bit in &opened {
            assert!(bit / 8 >= 26, "bit {bit} made no difference");
        }
        assert!(refused > 300, "{refused} refused, opened: {opened:?}");
    }
}

/// Row 10: a process was killed after the rename and before the directory flush, and the next one
/// acknowledged a re-put of what a power cut then took away. Here opening flushes what it is going to
/// trust: before the identical re-put returns, file, offsets, directory and parent were flushed.
#[test]
fn an_identical_put_after_a_kill_is_acknowledged_only_after_a_flush() {
    for (base, slots) in
        [(&[1, 9000][..], &[9001, 9002][..]), (&[1, 9000, 17_000], &[2, 3]), (&[1], &[9000])]
    {
        let root = scratch();
        let dir = root.path().join("column");
        column(&dir, true, base.iter().copied());
        let disk = TestDisk::new();
        let mut writer = open_on(&disk, &dir, true);
        disk.take_calls();
        let twin = scratch();
        copy_dir(&dir, twin.path());
        let n = {
            let disk = TestDisk::new();
            let mut writer = open_on(&disk, twin.path(), true);
            disk.take_calls();
            writer.put_batch(&batch(slots.iter().copied())).unwrap();
            rename_positions(&disk.take_calls()).last().unwrap() + 1
        };
        disk.fail_at(n, Fault::Dead);
        writer.put_batch(&batch(slots.iter().copied())).unwrap_err();
        drop(writer);
        assert_files(&dir, &files_of(twin.path()), "the rename was done, and not flushed");

        let disk = TestDisk::new();
        let mut writer = open_on(&disk, &dir, true);
        let committed = writer.put_batch(&batch(slots.iter().copied())).unwrap();
        assert_eq!((committed.written, committed.unchanged), (0, slots.len() as u64));
        let calls = disk.take_calls();
        let file = slots[0] / PER_FILE;
        for flush in [
            Call::Sync(data_name(file)),
            Call::Sync(offsets_name(file)),
            Call::SyncDir(dir.clone()),
            Call::SyncDir(root.path().to_owned()),
        ] {
            assert!(calls.contains(&flush), "{flush:?} before it is acknowledged: {calls:?}");
        }
    }
}

/// Row 11: every clean open rewrote and flushed the offset tail. Here a clean open writes nothing.
#[test]
fn a_clean_open_writes_nothing() {
    for backfill in [false, true] {
        let dir = scratch();
        column(dir.path(), backfill, [1, 8191, 8192, 17_000]);
        if backfill {
            column(dir.path(), true, [2, 9000, 16_999]);
        }
        let bytes = files_of(dir.path());
        let stamped = stamps(dir.path());
        for _ in 0..3 {
            let disk = TestDisk::new();
            let writer = open_on(&disk, dir.path(), backfill);
            assert!(writer.heal_report().is_clean());
            drop(writer);
            let calls = disk.take_calls();
            assert!(!calls.iter().any(Call::changes), "{calls:?}");
        }
        assert_files(dir.path(), &bytes, "three clean openings");
        for (path, stamp) in stamps(dir.path()) {
            // The lock tells its holder's pid.
            if path != Path::new("lock") {
                assert_eq!(Some(&stamp), stamped.get(&path), "{}", path.display());
            }
        }
    }
}

/// Row 12: a read-only open repaired, or needed the lock. Here readers only read: beside a writer,
/// after a crash, without a lock file.
#[test]
fn a_reader_needs_no_lock_and_repairs_nothing() {
    let dir = scratch();
    column(dir.path(), true, [1, 9000]);
    for slot in [2, 9001, 17_000] {
        write_uncommitted(dir.path(), slot);
    }
    set_len(dir.path(), "data_00001.off", (9001 % PER_FILE + 1) * 8);
    fs::write(dir.path().join("column.conf.tmp"), b"torn").unwrap();
    let left = files_of(dir.path());
    // Without the intent nobody knows that slot 2 is not committed, so it does not count here.
    let read = |context: &str| {
        let before = stamps(dir.path());
        let view = view(dir.path());
        for slot in [1, 9000] {
            assert_eq!(view.get(Slot(slot)).unwrap().unwrap(), value(slot), "{context}");
        }
        for slot in [9001, 17_000] {
            assert_absent(&view, slot, context);
        }
        assert_eq!(stamps(dir.path()), before, "{context}");
    };
    remove(dir.path(), "lock");
    read("without a lock file");
    assert!(!dir.path().join("lock").exists());
    assert_files(dir.path(), &left, "nothing is repaired");
    let _writer = writer(dir.path(), true);
    read("beside a writer");
}

/// Row 13: SIGBUS when a file was cut under a map. Here healing cuts what no view shows, and a file
/// that is shorter than its bound is noticed when it is mapped.
#[test]
fn a_cut_file_is_no_crash_of_the_reader() {
    let dir = scratch();
    column(dir.path(), true, [1, 9000, 17_000, 2]);
    let wanted = content([1, 2, 9000, 17_000]);
    // Pages of leftovers behind the current file and behind the backfill file.
    for name in ["data_00000", "data_00002"] {
        append(dir.path(), name, &vec![0xee; 3 << 20]);
    }
    let (touched, untouched) = (view(dir.path()), view(dir.path()));
    assert_shows(&touched, &wanted, "with leftovers");
    drop(writer(dir.path(), true));
    assert!(data_len(dir.path(), 0) < 4096 && data_len(dir.path(), 2) < 4096, "cut");
    assert_shows(&touched, &wanted, "cut under the map");
    assert_shows(&untouched, &wanted, "cut before it was mapped");

    // Cut by somebody else, below the bound.
    let untouched = view(dir.path());
    for (file, slot) in [(0, 1), (2, 17_000)] {
        let dir_of_copy = scratch();
        write_files(dir_of_copy.path(), &files_of(dir.path()));
        for len in [0, 8, 20, data_len(dir.path(), file) - 1] {
            set_len(dir_of_copy.path(), &data_name(file), len);
            let error = match try_reader(dir_of_copy.path()) {
                Ok(reader) => reader.view().get(Slot(slot)).map(drop).unwrap_err(),
                Err(error) => error,
            };
            assert_corrupt(&error, &data_name(file), &format!("file {file}, {len} bytes"));
        }
    }
    set_len(dir.path(), "data_00000", 16);
    let error = untouched.get(Slot(1)).unwrap_err();
    assert_corrupt(&error, "data_00000", "an old view, cut before it was mapped");
}

/// Row 14: an index entry of garbage panicked. Here it is checked: `Corrupt` with file and offset.
#[test]
fn an_index_entry_of_garbage_is_corrupt_with_file_and_offset() {
    for backfill in [false, true] {
        for (slot, file) in [(2, 0), (9001, 1), (17_001, 2)] {
            let dir = scratch();
            column(dir.path(), backfill, [1, 9000, 17_000, 17_010]);
            let bound = data_len(dir.path(), file);
            let garbage = [
                1,
                7,
                9,
                bound - 1,
                bound - 7,
                bound - 8,
                bound,
                bound + 1,
                u64::from(u32::MAX),
                1 << 47,
                1 << 63,
                u64::MAX - 7,
                u64::MAX,
            ];
            for entry in garbage {
                set_entry(dir.path(), slot, entry);
                let name = format!("slot {slot}, entry {entry}, backfill {backfill}");
                // In the current file the largest entry has to fit the conf, or nothing opens.
                let opened = try_reader(dir.path()).map(|reader| reader.view());
                let result = opened.and_then(|view| {
                    let scanned = view.range(..).filter_map(Result::ok).count();
                    assert_eq!(scanned, 4, "{name}: a scan shows the rest");
                    view.get(Slot(slot)).map(|value| value.map(std::borrow::Cow::into_owned))
                });
                if entry >= bound && backfill {
                    // Where backfill is on this is what a crash leaves.
                    assert_eq!(result.unwrap(), None, "{name}");
                } else {
                    let error = result.expect_err(&name);
                    let Error::Corrupt(corruption) = &error else { panic!("{name}: {error:?}") };
                    assert!(corruption.offset.is_some(), "{name}: {error}");
                    let file = corruption.file.to_str().unwrap();
                    assert!(file.contains(&data_name(slot / PER_FILE)), "{name}: {error}");
                    assert!(error.to_string().contains(file), "{name}: {error}");
                }
            }
        }
    }
}
