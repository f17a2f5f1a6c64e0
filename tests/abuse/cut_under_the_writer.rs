//! Files that another tool cuts or removes while a writer has the column open.

use std::fs;

use coldstore::{Slot, Writer};

use crate::column::{SLOTS, everything, make, open_scratch, outcome, value};

/// A put into the file, by whichever door, and what it says.
fn puts(writer: &mut Writer, slot: Slot) -> [String; 2] {
    let given = value(slot);
    let batch = writer.put_batch(&[(slot, &given)]);
    let stream = writer.put_from(slot, given.len() as u64, &mut given.as_slice());
    [batch, stream].map(|put| match put {
        Err(error) => error.to_string(),
        Ok(_) => "put".to_owned(),
    })
}

/// Guards against a commit whose records lie behind a hole, or whose table has lost what was
/// committed: the length is looked at before anything is written.
#[test]
fn a_writer_notices_that_its_file_was_cut_or_removed_and_writes_nothing() {
    for (slot, id) in [(Slot(20_001), "data_00002"), (Slot(2), "data_00000")] {
        for name in [id.to_owned(), format!("{id}.off")] {
            for harm in ["cut by a byte", "emptied", "removed"] {
                let scratch = open_scratch();
                let column = scratch.path().join("column");
                let mut writer = make(&column, true);
                // The writer knows both files by now, and that they were whole.
                writer.put(Slot(3), b"three").unwrap();
                writer.put(Slot(20_003), b"three").unwrap();
                let path = column.join(&name);
                let whole = fs::read(&path).unwrap();
                match harm {
                    "removed" => fs::remove_file(&path).unwrap(),
                    _ => {
                        let kept = if harm == "emptied" { 0 } else { whole.len() as u64 - 1 };
                        fs::File::options().write(true).open(&path).unwrap().set_len(kept).unwrap();
                    }
                }
                let before = everything(&column);
                for said in puts(&mut writer, slot) {
                    let what = format!("{name} {harm}: {said}");
                    assert!(said.contains(&name) && said.contains("corrupt"), "{what}");
                }
                assert_eq!(everything(&column), before, "{name} {harm}");
                assert!(!writer.is_poisoned());
                // What is put elsewhere goes on.
                let elsewhere = if slot == Slot(2) { Slot(20_005) } else { Slot(8_205) };
                writer.put(elsewhere, b"elsewhere").unwrap();
                // Put back as it was, the file is written to again.
                fs::write(&path, &whole).unwrap();
                writer.put(slot, &value(slot)).unwrap();
            }
        }
    }
}

/// Guards against a value being called the same, or another one, by bytes that are no more.
#[test]
fn a_put_compared_with_a_truncated_file_is_corrupt() {
    let scratch = open_scratch();
    let column = scratch.path().join("column");
    let mut writer = make(&column, true);
    let file = fs::File::options().write(true).open(column.join("data_00002")).unwrap();
    file.set_len(4096).unwrap();
    let again = writer.put(SLOTS[2], &value(SLOTS[2]));
    assert_eq!(outcome(again, |_| "put".to_owned()), "corrupt");
}
