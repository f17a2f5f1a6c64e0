//! Hard links: a file that is known by a second name, which may be another file of the archive.

use std::fs;

use coldstore::Slot;

use crate::column::{SLOTS, everything, make, open, open_scratch, read};
use test_support::reader;

/// Guards against healing one name of a file at the cost of another: under a copied conf, what is a
/// tail here is committed there.
#[test]
fn healing_refuses_to_cut_or_to_clear_a_file_that_has_another_name() {
    for file in ["data_00002", "data_00002.off"] {
        let scratch = open_scratch();
        let [column, other] = ["column", "other"].map(|name| scratch.path().join(name));
        drop(make(&column, true));
        let conf = fs::read(column.join("column.conf")).unwrap();
        open(&column, true).unwrap().put(Slot(20_001), b"one more").unwrap();
        // Another column, with the file of this one, and the last commit taken back here.
        fs::create_dir(&other).unwrap();
        for name in ["data_00002", "data_00002.off", "column.conf"] {
            fs::copy(column.join(name), other.join(name)).unwrap();
        }
        fs::remove_file(other.join(file)).unwrap();
        fs::hard_link(column.join(file), other.join(file)).unwrap();
        fs::write(column.join("column.conf"), conf).unwrap();
        let before = [everything(&column), everything(&other)];

        for refused in [
            coldstore::inspect(&column).map(|_| ()).unwrap_err().to_string(),
            open(&column, true).map(|_| ()).unwrap_err().to_string(),
        ] {
            assert!(refused.contains(file) && refused.contains("2 names"), "{refused}");
        }
        assert_eq!([everything(&column), everything(&other)], before);
        assert!(reader(&other).view().contains(Slot(20_001)).unwrap());

        // With a copy in its place it is healed.
        fs::copy(column.join(file), column.join("copy")).unwrap();
        fs::rename(column.join("copy"), column.join(file)).unwrap();
        assert!(!open(&column, true).unwrap().heal_report().is_clean());
        assert_eq!(read(&reader(&column).view(), SLOTS[2]), "value");
        assert_eq!(everything(&other), before[1]);
    }
}

/// Copies by hard links are an old way to make a snapshot: nothing is wrong with them as long as
/// nothing is to be taken back.
#[test]
fn a_column_whose_files_have_other_names_is_read_and_written() {
    let scratch = open_scratch();
    let [column, other] = ["column", "other"].map(|name| scratch.path().join(name));
    drop(make(&column, true));
    fs::create_dir(&other).unwrap();
    for (path, _) in everything(&column) {
        fs::hard_link(&path, other.join(path.file_name().unwrap())).unwrap();
    }
    let mut writer = open(&column, true).unwrap();
    assert!(writer.heal_report().is_clean());
    writer.put(Slot(20_001), b"on").unwrap();
    for (column, has_new) in [(&column, true), (&other, false)] {
        let view = reader(column).view();
        assert_eq!(SLOTS.map(|slot| read(&view, slot)), ["value"; 3]);
        assert_eq!(view.contains(Slot(20_001)).unwrap(), has_new);
    }
}

/// Guards against a lock file that is another name of somebody's file: taking the lock writes the
/// holder's pid into it.
#[test]
fn taking_the_lock_does_not_write_into_a_linked_file() {
    let scratch = open_scratch();
    let column = scratch.path().join("column");
    drop(make(&column, true));
    let lock = column.join("lock");
    assert_eq!(fs::read_to_string(&lock).unwrap(), std::process::id().to_string());
    fs::remove_file(&lock).unwrap();
    fs::hard_link(column.join("data_00000"), &lock).unwrap();
    let before = fs::read(&lock).unwrap();
    let mut writer = open(&column, true).unwrap();
    writer.put(Slot(20_001), b"on").unwrap();
    assert!(open(&column, true).is_err(), "it is locked all the same");
    assert_eq!(fs::read(&lock).unwrap(), before);
    assert_eq!(read(&reader(&column).view(), SLOTS[0]), "value");
}
