//! What a view keeps showing.

use super::*;

/// Guards against a view that changes under whoever holds it, when the current file grows.
#[test]
fn sequential_puts_do_not_change_a_view() {
    for backfill in [false, true] {
        let dir = scratch();
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
    let dir = scratch();
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
fn backfill_of_files_in_use_does_not_change_a_view() {
    let dir = scratch();
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
            assert_eq!(&content_of(view), wanted, "{name}");
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
fn a_late_first_access_to_a_file_shows_one_committed_state() {
    let dir = scratch();
    let base = [1, 5, 9000, 33_000];
    column(dir.path(), true, base);
    let mut writer = writer(dir.path(), true);
    let late = view(dir.path());
    writer.put_batch(&batch([2, 3])).unwrap();
    writer.put_batch(&batch([8999, 9001])).unwrap();
    writer.put_batch(&batch([32_999])).unwrap();
    writer.put_batch(&batch([33_001, 50_000])).unwrap();
    let first = content_of(&late);
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
    assert_eq!(content_of(&late), first, "what it has shown stays");
    assert_shows(&late, &first, "by every way of asking");
}

/// Guards against a sealed file whose length is taken for its bound while a batch is being written
/// into it: under a conf that names the file, the conf's length counts, also in an older view.
#[test]
fn a_late_first_access_under_an_intent_shows_nothing_of_the_uncommitted_batch() {
    let dir = scratch();
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
fn a_v2_view_stays_valid_when_the_column_is_upgraded_and_filled() {
    for touched in [false, true] {
        let dir = scratch();
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
        let first = content_of(&view);
        for slot in BASE {
            assert_eq!(first[&slot], value(slot), "slot {slot}");
        }
        // A crash in the middle of more of it, then a look from the old view.
        write_uncommitted(dir.path(), 17_008);
        write_uncommitted(dir.path(), 4);
        assert_absent(&view, 17_008, "uncommitted, in the current file");
        assert_absent(&view, 4, "uncommitted, in the sealed file that the conf names");
        assert_eq!(content_of(&view), first, "what it has shown stays");
        let all = content(BASE.into_iter().chain(gaps.map(|(slot, _)| slot)));
        assert_shows(&reader.refresh().unwrap(), &all, "refreshed");
    }
}

/// Guards against a map of a file that was removed and made again: healing removes a backfill file
/// that was never committed, and the next batch makes another one under its name.
#[test]
fn a_file_removed_and_created_again_is_reread() {
    let dir = scratch();
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
fn a_file_replaced_by_one_of_equal_length_is_reread() {
    for name in ["data_00000", "data_00000.off"] {
        let dir = scratch();
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
fn a_restored_or_downgraded_conf_is_noticed() {
    for put_back in [true, false] {
        let dir = scratch();
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
fn changes_are_noticed_when_the_watch_overflows() {
    let dir = scratch();
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
        assert_eq!(content_of(&view), wanted, "round {round}");
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
    assert_eq!(content_of(&view), wanted);
    writer.put(Slot(8193), &value(8193)).unwrap();
    wanted.insert(8193, value(8193));
    assert_ne!(RawConf::read(dir.path()), conf);
    // As the intent of a put into the first file is.
    conf.commit(dir.path());
    assert_eq!(content_of(&reader.refresh().unwrap()), wanted, "the same bytes, but another conf");
}

/// Guards against trusting a sealed file because our own writer always announces that it will grow:
/// other software does not. A view that has looked there stays as it is, and once the batch is
/// committed the next view shows it.
#[test]
fn a_sealed_file_growing_without_an_intent_does_not_change_a_view_that_maps_it() {
    let dir = scratch();
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
        let dir = scratch();
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
        let dir = scratch();
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
