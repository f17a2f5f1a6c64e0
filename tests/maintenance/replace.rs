//! Columns that are replaced as a whole: `FORMAT.md`, section 10.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use coldstore::{
    Checksums, Error, FileId, HealAction, HealChange, Keep, ReaderOptions, Slot, Writer,
    WriterOptions,
};
use test_support::*;

const SLOTS: [u64; 6] = [1, 7, 9000, 9005, 17_000, 17_003];

fn is_replaced<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(Error::Replaced { .. }) => {}
        other => panic!("wanted Replaced, found {other:?}"),
    }
}

/// The names in the directory of the column, and in the one above.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Guards against a cut that keeps too much or too little, that touches a file that stays, or that
/// leaves something behind.
#[test]
fn a_cut_column_holds_exactly_the_kept_records() {
    for backfill in [false, true] {
        for to in [0, 1, 6, 7, 100, 8191, 8192, 9000, 9004, 9005, 16_999, 17_000, 17_003, 90_000] {
            let scratch = scratch();
            let dir = scratch.path().join("column");
            column(&dir, backfill, SLOTS);
            let inode = |name: &str| fs::metadata(dir.join(name)).map(|found| found.ino()).ok();
            let before = [0, 1, 2].map(|id| inode(&data_name(id)));
            let dry = coldstore::inspect_cut(&dir, Keep::UpTo(Slot(to))).unwrap();
            let report = writer(&dir, backfill).cut(Keep::UpTo(Slot(to))).unwrap();
            let context = format!("up to {to}, backfill {backfill}");
            assert_eq!(report, dry, "{context}");
            let left: Vec<u64> = SLOTS.into_iter().filter(|slot| *slot <= to).collect();
            assert_reads(&dir, &content(left.clone()), &context);
            assert_eq!(report.highest, left.last().map(|slot| Slot(*slot)), "{context}");
            assert_eq!(report.records, (SLOTS.len() - left.len()) as u64, "{context}");
            assert_eq!(report.changes, left.len() < SLOTS.len(), "{context}");
            assert_eq!(names(scratch.path()), ["column"], "{context}");
            for id in 0..3 {
                let highest = left.last().copied().unwrap_or_default();
                let is_below = left.iter().any(|slot| slot / PER_FILE > id);
                let is_cut = SLOTS.iter().any(|slot| slot / PER_FILE == id && *slot > highest);
                let kept = left.iter().any(|slot| slot / PER_FILE == id);
                let now = inode(&data_name(id));
                assert_eq!(now.is_some(), kept, "{context}: file {id}");
                if is_below || kept && !is_cut {
                    assert_eq!(now, before[usize::try_from(id).unwrap()], "{context}: file {id}");
                }
            }
            // It is a column as any other.
            let mut writer = writer(&dir, backfill);
            assert!(writer.heal_report().is_clean(), "{context}");
            let next = left.last().map_or(0, |slot| slot + 1);
            writer.put(Slot(next), b"another value").unwrap();
            drop(writer);
            let seen = view(&dir).get(Slot(next)).unwrap().unwrap().into_owned();
            assert_eq!(seen, b"another value", "{context}");
        }
    }
}

/// Guards against a prune that removes a file that is to stay, or the file that says how far the
/// column goes.
#[test]
fn a_column_that_is_pruned_keeps_the_files_from_there_on() {
    for backfill in [false, true] {
        for (first, left) in [(0, 6), (1, 4), (2, 2), (3, 2), (900, 2)] {
            let scratch = scratch();
            let dir = scratch.path().join("column");
            column(&dir, backfill, SLOTS);
            let dry = coldstore::inspect_cut(&dir, Keep::From(FileId(first))).unwrap();
            let report = writer(&dir, backfill).cut(Keep::From(FileId(first))).unwrap();
            let context = format!("from file {first}, backfill {backfill}");
            assert_eq!(report, dry, "{context}");
            assert_reads(&dir, &content(SLOTS.into_iter().skip(6 - left)), &context);
            assert_eq!(report.records, 6 - left as u64, "{context}");
            assert_eq!(report.highest, Some(Slot(17_003)), "{context}");
            let mut writer = writer(&dir, backfill);
            assert!(writer.heal_report().is_clean(), "{context}");
            writer.put(Slot(17_004), &value(17_004)).unwrap();
        }
    }
}

/// Guards against a wrong value, a false "no record" and a false `Corrupt` in a reader whose column
/// was replaced under it.
#[test]
fn views_keep_what_they_have_mapped_and_the_rest_is_replaced() {
    for backfill in [false, true] {
        for keep in [Keep::UpTo(Slot(9000)), Keep::UpTo(Slot(7)), Keep::From(FileId(2))] {
            let scratch = scratch();
            let dir = scratch.path().join("column");
            column(&dir, backfill, SLOTS);
            let reader = reader(&dir);
            let view = reader.view();
            let held = [9000, 9005, 17_000].map(|slot| view.get(Slot(slot)).unwrap().unwrap());
            let untouched = reader_of_all(&dir);
            let mut follower = reader.follow(Slot(17_004)).unwrap();
            writer(&dir, backfill).cut(keep).unwrap();
            // Other values for the slots that went, and more.
            let mut writer = writer(&dir, backfill);
            let next = writer.highest_written_slot().unwrap().0 + 1;
            for slot in next..next + 20 {
                writer.put(Slot(slot), b"another value").unwrap();
            }
            for (slot, held) in [9000, 9005, 17_000].into_iter().zip(held) {
                assert_eq!(held, value(slot), "{keep:?}: slot {slot} under the view");
                assert_eq!(view.get(Slot(slot)).unwrap().unwrap(), value(slot), "{keep:?}");
            }
            is_replaced(view.get(Slot(1)));
            is_replaced(view.contains(Slot(7)));
            is_replaced(view.range(..).next().unwrap());
            is_replaced(untouched.view().range(..).next().unwrap());
            is_replaced(untouched.view().get(Slot(9000)));
            is_replaced(reader.refresh());
            is_replaced(reader.wait_for(Slot(90_000), Some(test_support::HANG)));
            is_replaced(follower.next_slot(Some(test_support::HANG)));
            is_replaced(reader.follow(Slot(0)));
            let again = test_support::view(&dir);
            assert_eq!(again.get(Slot(next)).unwrap().unwrap().as_ref(), b"another value");
        }
    }
}

/// A reader that has mapped the current file alone.
fn reader_of_all(dir: &Path) -> coldstore::MappedReader {
    open_reader(dir, ReaderOptions::default()).unwrap()
}

/// Guards against a follower that sleeps on: nothing happens any more in the directory that it watches.
#[test]
fn a_follower_that_waits_is_woken_when_the_column_is_replaced() {
    let scratch = scratch();
    let dir = scratch.path().join("column");
    column(&dir, true, SLOTS);
    let mut follower = reader(&dir).follow(Slot(17_004)).unwrap();
    let waiting = std::thread::spawn(move || follower.next_slot(Some(HANG)));
    writer(&dir, true).cut(Keep::UpTo(Slot(7))).unwrap();
    is_replaced(waiting.join().unwrap());
}

/// Guards against checksums that are computed anew from records that may have rotted meanwhile, and
/// against damage that is carried over as if it were whole.
#[test]
fn a_rewritten_file_keeps_the_checksums_of_its_records() {
    let options =
        |checksums| WriterOptions::create(PLAIN).allow_backfill(true).checksums(checksums);
    let build = |dir: &Path| {
        let mut writer = Writer::open(dir, options(Checksums::Off)).unwrap();
        writer.put_batch(&batch([1, 2])).unwrap();
        drop(writer);
        let mut writer = Writer::open(dir, options(Checksums::On)).unwrap();
        writer.put_batch(&batch([3, 4, 5])).unwrap();
    };
    let scratch = scratch();
    let dir = scratch.path().join("column");
    build(&dir);
    writer(&dir, true).cut(Keep::UpTo(Slot(4))).unwrap();
    assert_reads(&dir, &content([1, 2, 3, 4]), "cut");
    let sums = fs::read(dir.join("data_00000.sum")).unwrap();
    let known = |slot: usize| sums[32 + 8 * slot..40 + 8 * slot] != [0; 8];
    assert_eq!([1, 2, 3, 4, 5].map(known), [false, false, true, true, false]);
    let checked = open_reader(&dir, ReaderOptions::default().checksums(true)).unwrap();
    assert_shows(&checked.view(), &content([1, 2, 3, 4]), "with checksums");

    // One byte of the record of slot 3 has rotted.
    let other = scratch.path().join("other");
    build(&other);
    overwrite(&other, &data_name(0), entry(&other, 3) + 9, b"\xff");
    let before = files_of(&other);
    let refused = writer(&other, true).cut(Keep::UpTo(Slot(4))).unwrap_err();
    assert!(refused.to_string().contains("slot 3"), "{refused}");
    assert_files(&other, &before, "refused");
    assert_eq!(names(scratch.path()), ["column", "other"]);
}

/// Guards against a cut that loses what somebody keeps beside the column's files, or a directory that
/// its readers may no longer enter.
#[test]
fn foreign_files_and_modes_are_kept() {
    let scratch = scratch();
    let real = scratch.path().join("disk").join("column");
    let dir = scratch.path().join("link");
    fs::create_dir(scratch.path().join("disk")).unwrap();
    symlink(&real, &dir).unwrap();
    column(&real, true, SLOTS);
    fs::write(real.join("notes"), "of an operator").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o2750)).unwrap();
    fs::set_permissions(real.join("column.conf"), fs::Permissions::from_mode(0o640)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    writer(&dir, true).cut(Keep::UpTo(Slot(9000))).unwrap();
    assert_eq!(mode(&real.join(data_name(1))), 0o640, "written anew");
    writer(&dir, true).cut(Keep::UpTo(Slot(7))).unwrap();
    assert_eq!(fs::read_to_string(real.join("notes")).unwrap(), "of an operator");
    assert_eq!(fs::metadata(real.join("notes")).unwrap().nlink(), 1);
    assert_eq!(mode(&real), 0o2750);
    assert_eq!(mode(&real.join("column.conf")), 0o640);
    assert!(fs::symlink_metadata(&dir).unwrap().is_symlink());
    assert_eq!(names(&scratch.path().join("disk")), ["column"]);
    assert_reads(&dir, &content([1, 7]), "through a link");

    // What cannot be kept is refused, before anything is changed.
    fs::create_dir(real.join("directory")).unwrap();
    let refused = writer(&dir, true).cut(Keep::UpTo(Slot(1))).unwrap_err();
    assert!(refused.to_string().contains("column/directory"), "{refused}");
    fs::remove_dir(real.join("directory")).unwrap();
    assert_reads(&dir, &content([1, 7]), "refused");
    assert_eq!(names(&scratch.path().join("disk")), ["column"]);
}

/// Guards against the removal of a directory that only looks like a leftover, and against a leftover
/// that stays.
#[test]
fn only_a_directory_with_the_columns_lock_is_a_leftover() {
    let scratch = scratch();
    let dir = scratch.path().join("column");
    column(&dir, true, SLOTS);
    let [new, old] = [".column.new", ".column.old"].map(|name| scratch.path().join(name));
    // A copy of a whole archive, say, in which the link was not kept as one.
    fs::create_dir(&new).unwrap();
    fs::write(new.join("lock"), "").unwrap();
    fs::write(new.join("data_00000"), "something").unwrap();
    assert!(coldstore::inspect(&dir).unwrap().is_clean());
    assert!(writer(&dir, true).heal_report().is_clean());
    let refused = writer(&dir, true).cut(Keep::UpTo(Slot(7))).unwrap_err();
    assert!(refused.to_string().contains(".column.new"), "{refused}");
    assert!(refused.to_string().contains("move it away"), "{refused}");
    assert_eq!(fs::read(new.join("data_00000")).unwrap(), b"something");
    assert_reads(&dir, &content(SLOTS), "refused");
    fs::remove_dir_all(&new).unwrap();

    // Killed while it was being built, or behind the exchange.
    for leftover in [&new, &old] {
        fs::create_dir(leftover).unwrap();
        fs::hard_link(dir.join("lock"), leftover.join("lock")).unwrap();
        fs::hard_link(dir.join("data_00002"), leftover.join("data_00002")).unwrap();
        let dry = coldstore::inspect(&dir).unwrap();
        // Another kind of writer has been here since, and died.
        write_uncommitted(&dir, 17_004);
        let healed = writer(&dir, true).heal_report().actions.clone();
        let first = HealAction { file: leftover.clone(), change: HealChange::RemovedLeftover };
        assert_eq!(healed.first(), Some(&first), "{healed:?}");
        assert_eq!(dry.actions, [first]);
        assert_eq!(healed.len(), 3, "{healed:?}");
        assert!(!leftover.exists());
        assert_eq!(fs::metadata(dir.join("data_00002")).unwrap().nlink(), 1);
        assert_reads(&dir, &content(SLOTS), "healed");
    }
}

/// Guards against an empty column that is made where the old one has just been renamed, on a file
/// system that cannot exchange two names.
#[test]
fn a_column_whose_directory_is_between_two_renames_is_put_in_place() {
    for existing in [false, true] {
        let scratch = scratch();
        let dir = scratch.path().join("column");
        column(&dir, true, SLOTS);
        let [new, old] = [".column.new", ".column.old"].map(|name| scratch.path().join(name));
        column(&new, true, [1, 7]);
        fs::remove_file(new.join("lock")).unwrap();
        fs::hard_link(dir.join("lock"), new.join("lock")).unwrap();
        fs::rename(&dir, &old).unwrap();
        let options = match existing {
            true => WriterOptions::default(),
            false => WriterOptions::create(PLAIN),
        };
        let writer = Writer::open(&dir, options).unwrap();
        let first = HealAction { file: old.clone(), change: HealChange::RemovedLeftover };
        assert_eq!(writer.heal_report().actions, [first]);
        drop(writer);
        assert_reads(&dir, &content([1, 7]), "put in place");
        assert_eq!(names(scratch.path()), ["column"]);
    }
}

/// Guards against a column that cannot be healed from a copy because the copy holds what was put aside.
#[test]
fn a_copy_may_hold_the_records_that_healing_put_aside() {
    let (dir, copy) = (scratch(), scratch());
    column(dir.path(), false, [1, 2]);
    column(copy.path(), false, [1, 2, 3]);
    remove(dir.path(), "column.check");
    write_uncommitted(dir.path(), 3);
    drop(writer(dir.path(), false));
    let kept = asides(dir.path());
    assert_eq!(kept.len(), 2, "{kept:?}");
    let options = WriterOptions::create(PLAIN);
    let records = coldstore::replace_by_copy(dir.path(), &view(copy.path()), options, |_| Ok(()));
    assert_eq!(records.unwrap(), 3);
    assert_reads(dir.path(), &content([1, 2, 3]), "replaced");
    assert_eq!(asides(dir.path()), kept);
    drop(writer(dir.path(), false));
    assert!(asides(dir.path()).is_empty(), "all of it is committed");
}
