//! A directory or a lock that is swapped for another while it is in use.

use std::fs;
use std::os::unix::fs::symlink;

use coldstore::Slot;

use crate::column::{SLOTS, everything, make, open, open_scratch, outcome, read};
use test_support::reader;

/// A reader holds the directory: it goes on with the one that it has opened.
#[test]
fn a_reader_keeps_the_directory_it_opened() {
    let scratch = open_scratch();
    let [column, moved, other] = ["column", "moved", "other"].map(|name| scratch.path().join(name));
    let mut writer = make(&column, true);
    let reader = reader(&column);
    let view = reader.view();
    writer.put(Slot(20_001), b"one more").unwrap();
    drop(writer);
    drop(open(&other, true).unwrap());
    fs::rename(&column, &moved).unwrap();
    symlink(&other, &column).unwrap();
    assert_eq!(read(&view, SLOTS[0]), "value");
    let view = reader.refresh().unwrap();
    assert!(view.contains(Slot(20_001)).unwrap());
    assert!(SLOTS.iter().all(|slot| read(&view, *slot) == "value"));
}

/// Guards against a commit at the lengths of one column into the files of another: a writer finds
/// its files by their paths.
#[test]
fn a_writer_refuses_a_directory_that_replaced_its_own() {
    for by_link in [false, true] {
        let scratch = open_scratch();
        let [column, moved, other] =
            ["column", "moved", "other"].map(|name| scratch.path().join(name));
        drop(make(&other, true));
        let before = everything(&other);
        let mut writer = make(&column, true);
        fs::rename(&column, &moved).unwrap();
        if by_link {
            symlink(&other, &column).unwrap();
        } else {
            fs::rename(&other, &column).unwrap();
        }
        let held = everything(&moved);
        for slot in [Slot(20_001), Slot(2)] {
            let refused = outcome(writer.put(slot, b"astray"), |_| "put".to_owned());
            assert!(refused.starts_with("io: ") && refused.contains("lock"), "{refused}");
        }
        let other = if by_link { other } else { column.clone() };
        let after: Vec<_> = everything(&other).into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(after, before.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>());
        assert_eq!(everything(&moved), held);
        // Put back, it goes on.
        if by_link {
            fs::remove_file(&column)
        } else {
            fs::rename(&column, other.with_extension("x"))
        }
        .unwrap();
        fs::rename(&moved, &column).unwrap();
        writer.put(Slot(20_001), b"at home").unwrap();
        assert!(reader(&column).view().contains(Slot(20_001)).unwrap());
    }
}

/// Guards against two writers: the lock of the first is on a file that nobody finds any more.
#[test]
fn a_writer_whose_lock_file_was_removed_stops() {
    let scratch = open_scratch();
    let column = scratch.path().join("column");
    let mut first = make(&column, true);
    fs::remove_file(column.join("lock")).unwrap();
    let refused = outcome(first.put(Slot(20_001), b"first"), |_| "put".to_owned());
    assert!(refused.starts_with("io: ") && refused.contains("lock"), "{refused}");
    let mut second = open(&column, true).unwrap();
    second.put(Slot(20_001), b"second").unwrap();
    let refused = outcome(first.put(Slot(20_002), b"first"), |_| "put".to_owned());
    assert!(refused.starts_with("io: ") && refused.contains("lock"), "{refused}");
    second.put(Slot(20_002), b"second").unwrap();
    let view = reader(&column).view();
    assert_eq!(view.get(Slot(20_002)).unwrap().as_deref(), Some(&b"second"[..]));
}
