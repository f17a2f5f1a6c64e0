//! Stores that an independent program wrote: they open, read, and the same puts made by us give the
//! same files, byte for byte.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::collections::BTreeMap;

use coldstore::{Column, Slot, View, Writer, WriterOptions};
use sha2::{Digest as _, Sha256};
use test_support::*;

/// Folders in `tests/data/golden`. A folder that is lost, or not found by the walk, tests nothing.
const WITHOUT_CRASH: usize = 6;
const WITH_CRASH: usize = 20;

/// Golden folders of one kind; there are as many as when this was written.
fn folders(crash: bool) -> Vec<Golden> {
    let found: Vec<Golden> =
        golden().into_iter().filter(|folder| folder.is_crash() == crash).collect();
    assert_eq!(found.len(), if crash { WITH_CRASH } else { WITHOUT_CRASH }, "golden folders");
    found
}

fn options(conf: &RawConf) -> WriterOptions {
    WriterOptions::create(spec_of(conf)).allow_backfill(conf.backfill.is_some())
}

/// The values in `puts` whose slots `expect.tsv` lists; their lengths and hashes are those listed.
#[track_caller]
fn expected(folder: &Golden) -> Content {
    let puts: BTreeMap<u64, &[u8]> = folder
        .sequential
        .iter()
        .chain(&folder.backfill)
        .map(|(slot, value)| (*slot, &value[..]))
        .collect();
    folder
        .expect
        .iter()
        .map(|(slot, byte_len, sha256)| {
            let value = puts[slot];
            assert_eq!(value.len() as u64, *byte_len, "{}: slot {slot}", folder.name);
            assert_eq!(&hex(&Sha256::digest(value)), sha256, "{}: slot {slot}", folder.name);
            (*slot, value.to_vec())
        })
        .collect()
}

/// Every slot listed and no other, by every way of asking, and every slot of every file around.
#[track_caller]
fn assert_shows_expected(view: &View, folder: &Golden) {
    let wanted = expected(folder);
    assert_shows(view, &wanted, &folder.name);
    for (slot, byte_len, sha256) in &folder.expect {
        let value = view.get(Slot(*slot)).unwrap().unwrap();
        assert_eq!(value.len() as u64, *byte_len, "{}: slot {slot}", folder.name);
        assert_eq!(&hex(&Sha256::digest(&value)), sha256, "{}: slot {slot}", folder.name);
    }
    let files = wanted.keys().next_back().map_or(1, |slot| slot / PER_FILE + 2);
    for slot in (0..files * PER_FILE).filter(|slot| !wanted.contains_key(slot)) {
        assert_eq!(view.get(Slot(slot)).unwrap(), None, "{}: slot {slot}", folder.name);
    }
}

/// Guards against a reader that needs healing first, shows what a crash left behind, or writes.
#[test]
fn reader_shows_exactly_what_is_expected_and_changes_nothing() {
    for folder in folders(false).iter().chain(&folders(true)) {
        // The checkout itself is read: a reader that changes something would change it there too,
        // and the comparison with the commit would tell.
        let dir = scratch();
        copy_dir(&folder.path, dir.path());
        let before = stamps(dir.path());
        assert_shows_expected(&view(&dir.path().join(&folder.column)), folder);
        assert_eq!(stamps(dir.path()), before, "{}: the reader changed something", folder.name);
        assert_shows_expected(&view(&folder.column_dir()), folder);
        assert_files(
            &dir.path().join(&folder.column),
            &files_of(&folder.column_dir()),
            &folder.name,
        );
    }
}

/// Guards against an archive that trips over the other files beside its columns.
#[test]
fn archive_shows_the_golden_column_and_no_other() {
    for folder in folders(false).iter().chain(&folders(true)) {
        let before = stamps(&folder.path);
        let archive = open_archive(&folder.path);
        let column: Column = folder.column.parse().unwrap();
        assert_eq!(archive.columns().unwrap(), [column], "{}", folder.name);
        assert_shows_expected(&archive.column(column).unwrap().view(), folder);
        for other in Column::ALL.into_iter().filter(|other| *other != column) {
            let error = archive.column(other).unwrap_err();
            assert!(matches!(error, coldstore::Error::NoSuchColumn { .. }), "{error:?}");
        }
        assert_eq!(stamps(&folder.path), before, "{}", folder.name);
    }
}

/// Guards against every difference in the bytes that we write, in data, offset and conf files.
#[test]
fn the_same_puts_give_the_same_files_byte_for_byte() {
    for folder in folders(false) {
        let wanted = files_of(&folder.column_dir());
        let conf = RawConf::read(&folder.column_dir());
        let dir = scratch();
        let path = dir.path().join(&folder.column);
        let mut writer = Writer::open(&path, options(&conf)).unwrap();
        for (slot, value) in folder.sequential.iter().chain(&folder.backfill) {
            let committed = writer.put(Slot(*slot), value).unwrap();
            assert_eq!(committed.written, 1, "{}: slot {slot}", folder.name);
        }
        assert_files(&path, &wanted, &folder.name);
        drop(writer);
        assert_files(&path, &wanted, &format!("{}, after closing", folder.name));
    }
}

/// Guards against files that depend on how a run of puts is cut into commits.
#[test]
fn the_same_sequential_puts_as_one_batch_give_the_same_files() {
    let mut compared = 0;
    for folder in folders(false) {
        let conf = RawConf::read(&folder.column_dir());
        if !folder.backfill.is_empty() {
            continue;
        }
        compared += 1;
        let dir = scratch();
        let mut writer = Writer::open(dir.path(), options(&conf)).unwrap();
        let items: Vec<(Slot, &[u8])> =
            folder.sequential.iter().map(|(slot, value)| (Slot(*slot), &value[..])).collect();
        writer.put_batch(&items).unwrap();
        assert_files(dir.path(), &files_of(&folder.column_dir()), &folder.name);
    }
    assert_eq!(compared, 3, "folders without backfill");
}

/// Guards against a clean store that is found dirty, or rewritten by being opened; and against a
/// store of another program on which our writer does not go on.
#[test]
fn golden_store_opens_clean_for_writing_and_accepts_the_same_puts() {
    for folder in folders(false) {
        let dir = scratch();
        let path = dir.path().join(&folder.column);
        copy_dir(&folder.column_dir(), &path);
        let before: BTreeMap<_, _> = stamps(&path);
        let mut writer = Writer::open(&path, WriterOptions::default()).unwrap();
        assert!(writer.heal_report().is_clean(), "{}: {:?}", folder.name, writer.heal_report());
        for (slot, value) in folder.sequential.iter().chain(&folder.backfill) {
            let committed = writer.put(Slot(*slot), value).unwrap();
            assert_eq!((committed.written, committed.unchanged), (0, 1), "{}", folder.name);
        }
        for (name, stamp) in &before {
            if name.as_os_str() != "" {
                assert_eq!(stamps(&path)[name], *stamp, "{}: {}", folder.name, name.display());
            }
        }
        let next = writer.highest_written_slot().map_or(0, |slot| slot.0 + 1);
        writer.put(Slot(next), &value(next)[..1]).unwrap();
        drop(writer);
        let mut wanted = expected(&folder);
        wanted.insert(next, value(next)[..1].to_vec());
        assert_shows(&view(&path), &wanted, &folder.name);
    }
}

/// Guards against healing that takes too much or too little, that is not idempotent, or that leaves
/// a store in which the interrupted put fails or ends up elsewhere.
#[test]
fn writer_heals_every_crash_and_the_interrupted_put_then_succeeds() {
    for folder in folders(true) {
        let name = &folder.name;
        let conf = RawConf::read(&folder.column_dir());
        let dir = scratch();
        let path = dir.path().join(&folder.column);
        copy_dir(&folder.column_dir(), &path);
        let committed_conf = files_of(&path)["column.conf"].clone();

        let dry = coldstore::inspect(&path).unwrap();
        assert_files(&path, &files_of(&folder.column_dir()), &format!("{name}: dry run"));
        let writer = Writer::open(&path, options(&conf)).unwrap();
        assert!(!writer.heal_report().is_clean(), "{name}: something was to be healed");
        assert_eq!(format!("{:?}", writer.heal_report()), format!("{dry:?}"), "{name}");
        drop(writer);
        let healed = files_of(&path);
        assert_eq!(healed["column.conf"], committed_conf, "{name}: healing moves no marker");
        assert!(!healed.contains_key("column.conf.tmp"), "{name}");
        assert_shows_expected(&view(&path), &folder);

        let writer = Writer::open(&path, options(&conf)).unwrap();
        assert!(writer.heal_report().is_clean(), "{name}: {:?}", writer.heal_report());
        assert_files(&path, &healed, &format!("{name}: healing twice"));
        drop(writer);

        let mut writer = Writer::open(&path, WriterOptions::default()).unwrap();
        let (slot, value) = folder.interrupted();
        assert_eq!(writer.put(Slot(slot), value).unwrap().written, 1, "{name}: slot {slot}");
        let mut wanted = expected(&folder);
        assert_eq!(wanted.insert(slot, value.to_vec()), None, "{name}: slot {slot} was pending");
        assert_shows(&view(&path), &wanted, name);
        drop(writer);

        // And nothing tells that there ever was a crash.
        let twin = scratch();
        let mut writer = Writer::open(twin.path(), options(&conf)).unwrap();
        for (slot, value) in folder.sequential.iter().chain(&folder.backfill) {
            writer.put(Slot(*slot), value).unwrap();
        }
        drop(writer);
        assert_files(
            &path,
            &files_of(twin.path()),
            &format!("{name}: against a run without crash"),
        );
    }
}
