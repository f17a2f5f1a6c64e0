//! What is left when something other than the disk fails: a caller's stream, an earlier process.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this is a test")]

use std::fs;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use coldstore::{
    ArchiveWriter, ArchiveWriterOptions, Checksums, Column, Committed, Error, Slot, Writer,
    WriterOptions,
};
use test_support::{Call, Fault, PLAIN, TestDisk, files_of, scratch};

/// Ten bytes, then what it is told to do.
struct Failing {
    given: bool,
    panics: bool,
}

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !std::mem::replace(&mut self.given, true) {
            buffer[..10].fill(7);
            return Ok(10);
        }
        assert!(!self.panics, "the stream panics");
        Err(io::Error::other("the stream fails"))
    }
}

fn open(disk: &TestDisk, path: &Path) -> Writer {
    open_with(disk, path, Checksums::Off)
}

fn open_with(disk: &TestDisk, path: &Path, checksums: Checksums) -> Writer {
    let options = WriterOptions::create(PLAIN).allow_backfill(true).checksums(checksums);
    Writer::open_on(disk.shared(), path, options).unwrap()
}

/// Slots 1 and 20,000 are there: file 0 is sealed, file 1 does not exist, file 2 is current.
fn column(disk: &TestDisk, path: &Path) -> Writer {
    let mut writer = open(disk, path);
    writer.put_batch(&[(Slot(1), "one"), (Slot(20_000), "last")]).unwrap();
    writer
}

/// Guards against a cut that a power cut takes back: the file, by then sealed, would be one that
/// healing may not touch and readers call corrupt.
#[test]
fn leftovers_of_a_failing_stream_are_truncated_and_flushed() {
    for (slot, expected) in [
        (
            5,
            vec![
                Call::SetLen { file: "data_00000".into(), byte_len: 19 },
                Call::Sync("data_00000".into()),
            ],
        ),
        (9000, vec![Call::Remove("data_00001".into()), Call::SyncDir("".into())]),
        (
            20_005,
            vec![
                Call::SetLen { file: "data_00002".into(), byte_len: 20 },
                Call::Sync("data_00002".into()),
            ],
        ),
    ] {
        let (dir, disk) = (scratch(), TestDisk::new());
        let mut writer = column(&disk, dir.path());
        disk.take_calls();
        let mut stream = Failing { given: false, panics: false };
        let error = writer.put_from(Slot(slot), 100, &mut stream).unwrap_err();
        assert!(matches!(&error, Error::Io(io) if io.source.to_string() == "the stream fails"));
        let expected: Vec<Call> = expected
            .into_iter()
            .map(|call| match call {
                Call::SyncDir(_) => Call::SyncDir(dir.path().to_owned()),
                call => call,
            })
            .collect();
        let calls = disk.take_calls();
        assert_eq!(calls[calls.len() - 2..], expected, "slot {slot}: {calls:?}");

        assert!(!writer.is_poisoned());
        assert!(!writer.contains(Slot(slot)).unwrap());
        let done = writer.put_from(Slot(slot), 5, &mut &b"value"[..]).unwrap();
        assert_eq!(done, Committed { written: 1, unchanged: 0 });
        drop(writer);
        let again = open(&disk, dir.path());
        assert!(again.heal_report().is_clean(), "{:?}", again.heal_report());
        assert!(again.contains(Slot(slot)).unwrap());
    }
}

/// Guards against a writer that goes on beside the leftovers of a commit that never ended: the next
/// one would seal them into history.
#[test]
fn a_panic_in_a_stream_poisons_the_writer() {
    for slot in [5, 9000, 20_005] {
        let (dir, disk) = (scratch(), TestDisk::new());
        let mut writer = column(&disk, dir.path());
        let put = || {
            let mut stream = Failing { given: false, panics: true };
            writer.put_from(Slot(slot), 100, &mut stream)
        };
        assert!(catch_unwind(AssertUnwindSafe(put)).is_err());
        assert!(matches!(writer.put(Slot(30_000), b"next"), Err(Error::Poisoned { .. })));
        drop(writer);
        let mut again = open(&disk, dir.path());
        assert!(!again.heal_report().is_clean());
        again.put(Slot(slot), b"value").unwrap();
    }
}

/// Guards against a prepared batch that is seen before it is committed, and against one that is given
/// up and leaves anything behind.
#[test]
fn a_prepared_batch_is_invisible_until_committed() {
    for (slot, gap) in [(5, 7), (9000, 9002), (20_005, 20_004), (60_000, 70_000)] {
        let (dir, disk) = (scratch(), TestDisk::new());
        drop(column(&disk, dir.path()));
        let before = test_support::files_of(dir.path());
        let mut writer = open(&disk, dir.path());
        let batch = [(Slot(slot.min(gap)), "a"), (Slot(slot.max(gap)), "b")];
        let prepared = writer.prepare_batch(&batch).unwrap();
        let reader = test_support::reader(dir.path());
        assert!(reader.view().get(Slot(slot)).unwrap().is_none());
        disk.take_calls();
        drop(prepared);
        assert!(disk.take_calls().iter().any(Call::is_flush), "what is taken away is flushed");
        assert!(!writer.is_poisoned());
        assert!(!writer.contains(Slot(slot)).unwrap());
        // Where a sealed file was to be filled, the conf names it.
        let after = test_support::files_of(dir.path());
        let but_the_conf = |mut files: test_support::Files| {
            files.retain(|name, _| name != "column.conf");
            files
        };
        assert_eq!(but_the_conf(after), but_the_conf(before), "slot {slot}");

        let prepared = writer.prepare_batch(&batch).unwrap();
        disk.take_calls();
        assert_eq!(prepared.commit().unwrap(), Committed { written: 2, unchanged: 0 });
        let rename = Call::Rename { from: "column.conf.tmp".into(), to: "column.conf".into() };
        assert_eq!(disk.take_calls(), [rename, Call::SyncDir(dir.path().into())]);
        assert!(test_support::reader(dir.path()).view().get(Slot(slot)).unwrap().is_some());
        let nothing = writer.prepare_batch(&batch).unwrap();
        assert_eq!(nothing.commit().unwrap(), Committed { written: 0, unchanged: 2 });
        drop(writer);
        assert!(open(&disk, dir.path()).heal_report().is_clean());
    }
}

/// Guards against a writer that remembers files as they were before a batch was given up, and fails or
/// is poisoned at the next put: what healing removed, extended or completed is what it must know.
#[test]
fn after_an_abandoned_batch_the_writer_continues_from_the_healed_files() {
    for checksums in [Checksums::Off, Checksums::On] {
        for damage in [Damage::None, Damage::ShortTable, Damage::LoneTable] {
            for slot in [5, 9000, 20_005, 60_000] {
                let (dir, disk) = (scratch(), TestDisk::new());
                drop(column(&disk, dir.path()));
                damage.of_file_1(dir.path());
                let mut writer = open_with(&disk, dir.path(), checksums);
                for _ in 0..2 {
                    drop(writer.prepare_batch(&[(Slot(slot), "given up")]).unwrap());
                }
                let done = writer.put(Slot(slot), b"kept");
                assert!(done.is_ok(), "{checksums:?}, {damage:?}, slot {slot}: {done:?}");
                drop(writer);
                let mut again = open_with(&disk, dir.path(), checksums);
                assert!(again.heal_report().is_clean(), "{:?}", again.heal_report());
                assert_eq!(again.put(Slot(slot), b"kept").unwrap().unchanged, 1);
                let view = test_support::reader(dir.path()).view();
                assert_eq!(view.get_stored(Slot(slot)).unwrap(), Some(&b"kept"[..]));
            }
        }
    }
}

/// What another writer may have left of a sealed file without a record.
#[derive(Clone, Copy, Debug)]
enum Damage {
    None,
    /// A data file with its version record, and an offset file that is shorter than a whole one.
    ShortTable,
    /// An offset file alone, of zeros.
    LoneTable,
}

impl Damage {
    fn of_file_1(self, directory: &Path) {
        let table =
            |byte_len| fs::write(directory.join("data_00001.off"), vec![0; byte_len]).unwrap();
        match self {
            Damage::None => {}
            Damage::ShortTable => {
                fs::write(directory.join("data_00001"), b"e2\0\0\0\0\0\0").unwrap();
                table(100);
            }
            Damage::LoneTable => table(65_536),
        }
    }
}

/// Guards against a value that is acknowledged because it equals one that is visible, and gone
/// after a power cut: another kind of writer may have died in a sealed file before it flushed it.
#[test]
fn a_sealed_file_is_flushed_before_a_value_in_it_is_acknowledged_or_built_on() {
    let (dir, disk) = (scratch(), TestDisk::new());
    drop(column(&disk, dir.path()));
    for (slot, value) in [(1, "one"), (2, "two")] {
        let mut writer = open(&disk, dir.path());
        disk.take_calls();
        writer.put(Slot(slot), value.as_bytes()).unwrap();
        let flushes: Vec<Call> = disk.take_calls().into_iter().filter(Call::is_flush).collect();
        let wanted = [Call::Sync("data_00000".into()), Call::Sync("data_00000.off".into())];
        assert_eq!(flushes[..2], wanted, "slot {slot}");
    }
}

/// Guards against an archive that a power cut takes away as a whole: the process that made its
/// directory may have died before it flushed the name.
#[test]
fn the_names_of_all_directories_above_a_new_column_are_flushed() {
    let (dir, disk) = (scratch(), TestDisk::new());
    let archive = dir.path().join("a/b");
    std::fs::create_dir_all(&archive).unwrap();
    open(&disk, &archive.join("bss"));
    let calls = disk.take_calls();
    for above in [&archive, &dir.path().join("a"), &dir.path().to_owned()] {
        assert!(calls.contains(&Call::SyncDir(above.clone())), "{}: {calls:?}", above.display());
    }
}

/// Guards against an archive that a power cut takes away as a whole although a later process has put
/// records into it: that one finds a conf, and does not flush the names of the directories again.
#[test]
fn the_names_above_a_new_column_are_flushed_before_there_is_a_conf() {
    let (dir, disk) = (scratch(), TestDisk::new());
    open(&disk, &dir.path().join("a/b/bss"));
    let calls = disk.take_calls();
    let conf = test_support::rename_positions(&calls)[0];
    for above in [dir.path().join("a/b"), dir.path().join("a"), dir.path().to_owned()] {
        assert!(calls[..conf].contains(&Call::SyncDir(above)), "{calls:?}");
    }
    // Also where the directories were made by a process that died then.
    std::fs::create_dir_all(dir.path().join("c/d/bss")).unwrap();
    open(&disk, &dir.path().join("c/d/bss"));
    let calls = disk.take_calls();
    let conf = test_support::rename_positions(&calls)[0];
    for above in [dir.path().join("c/d"), dir.path().join("c"), dir.path().to_owned()] {
        assert!(calls[..conf].contains(&Call::SyncDir(above)), "{calls:?}");
    }
}

/// Guards against a range that never ends when every file fails.
#[test]
fn a_range_over_a_column_that_is_gone_ends() {
    let (dir, disk) = (scratch(), TestDisk::new());
    let mut writer = open(&disk, dir.path());
    writer.put_batch(&[(Slot(1), "one"), (Slot(1 << 60), "far")]).unwrap();
    let view = test_support::view(dir.path());
    std::fs::remove_file(dir.path().join("column.conf")).unwrap();
    assert!(view.range(..).filter(Result::is_err).count() <= 2);
    assert!(view.range(..).rev().filter(Result::is_err).count() <= 2);
}

/// Guards against entries that come back: a flush of the offset file failed, the page cache shows
/// them cleared, the medium still has them. The data file that is too long tells of it, so it is cut
/// last, and until then the table is written whole.
#[test]
fn healing_writes_the_whole_table_before_it_cuts_the_data_file() {
    let (dir, disk) = (scratch(), TestDisk::new());
    drop(column(&disk, dir.path()));
    let data = dir.path().join("data_00002");
    let mut bytes = std::fs::read(&data).unwrap();
    let committed = bytes.len() as u64;
    bytes.extend_from_slice(b"left behind");
    std::fs::write(&data, &bytes).unwrap();
    disk.take_calls();
    let writer = open(&disk, dir.path());
    assert_eq!(writer.heal_report().actions.len(), 1);
    let changes: Vec<Call> = disk
        .take_calls()
        .into_iter()
        .filter(|call| call.changes() || matches!(call, Call::Sync(_)))
        .collect();
    let at = changes.iter().position(Call::changes).unwrap();
    let table = std::fs::read(dir.path().join("data_00002.off")).unwrap();
    assert_eq!(table.len(), 65_536);
    assert_eq!(
        changes[at..],
        [
            Call::Write { file: "data_00002.off".into(), at: 0, bytes: table },
            Call::Sync("data_00002.off".into()),
            Call::SetLen { file: "data_00002".into(), byte_len: committed },
            Call::Sync("data_00002".into()),
        ]
    );
}

/// Guards against an archive whose column stays refused although the error says to open it again.
#[test]
fn an_archive_opens_a_poisoned_column_again() {
    let dir = scratch();
    let options = ArchiveWriterOptions::default().column(Column::StateDiffs);
    let mut archive = ArchiveWriter::open(dir.path(), options).unwrap();
    archive.writer(Column::StateDiffs).unwrap().put(Slot(1), b"one").unwrap();
    // Somebody's file is in the way of the next conf.
    std::fs::write(dir.path().join("bsd/column.conf.tmp"), b"in the way").unwrap();
    let writer = archive.writer(Column::StateDiffs).unwrap();
    assert!(matches!(writer.put(Slot(2), b"two"), Err(Error::Io(_))));
    assert!(matches!(writer.put(Slot(2), b"two"), Err(Error::Poisoned { .. })));
    drop(archive);
    let mut archive = ArchiveWriter::open(dir.path(), options).unwrap();
    let writer = archive.writer(Column::StateDiffs).unwrap();
    assert!(!writer.heal_report().is_clean());
    writer.put(Slot(2), b"two").unwrap();
}

/// Guards against healing that removes what it could not put aside, and against copies that fill the disk
/// further.
#[test]
fn opening_without_room_for_asides_fails_and_changes_nothing() {
    let dir = scratch();
    drop(column(&TestDisk::new(), dir.path()));
    // Nobody vouches for the conf, so a copy of what follows the end is kept.
    std::fs::remove_file(dir.path().join("column.check")).unwrap();
    let data = std::fs::read(dir.path().join("data_00002")).unwrap();
    let record = [&data[..], &data[8..]].concat();
    std::fs::write(dir.path().join("data_00002"), &record).unwrap();
    let before = files_of(dir.path());
    let open =
        |disk: &TestDisk| Writer::open_on(disk.shared(), dir.path(), WriterOptions::default());
    let mut failed = 0;
    for at in 0.. {
        let disk = TestDisk::new();
        disk.fail_at(at, Fault::Once);
        let opened = open(&disk);
        let calls = disk.take_calls();
        let copies = |call: &Call| match call {
            Call::Create(file) | Call::Write { file, .. } | Call::Sync(file) => file == "aside.tmp",
            Call::Rename { from, .. } => from == "aside.tmp",
            _ => false,
        };
        let Some(call) = calls.get(at) else { panic!("nothing of it was copied") };
        if !copies(call) {
            if failed > 0 && opened.is_err() && files_of(dir.path()) != before {
                // From here on the copies are whole.
                break;
            }
            assert_eq!(files_of(dir.path()), before, "call {at}: {call:?}");
            continue;
        }
        let text = opened.unwrap_err().to_string();
        let names_a_way = matches!(call, Call::Rename { .. }) || text.contains("heal --discard");
        assert!(names_a_way, "call {at}: {call:?}: {text}");
        assert_eq!(files_of(dir.path()), before, "call {at}: {call:?}");
        failed += 1;
    }
    // Two copies, of the data file's end and of the entries: each is made, written, flushed, renamed.
    assert_eq!(failed, 8);
}

/// Guards against a mark that says too much, and against one that a commit depends on.
#[test]
fn a_commit_is_marked_after_its_rename_is_flushed_and_survives_without_the_mark() {
    for fails in [false, true] {
        let (dir, disk) = (scratch(), TestDisk::new());
        let mut writer = column(&disk, dir.path());
        disk.take_marks();
        if fails {
            disk.fail_marks();
        }
        for slot in [30_000, 30_001] {
            writer.put(Slot(slot), b"x").unwrap();
            assert!(!writer.is_poisoned());
        }
        let flushed = Some(Call::SyncDir(dir.path().into()));
        assert_eq!(disk.take_marks(), [flushed.clone(), flushed]);
        let check = std::fs::read(dir.path().join("column.check")).unwrap();
        let conf = test_support::RawConf::read(dir.path()).bytes();
        let conf = coldstore::format::conf::Conf::decode(Path::new(""), &conf).unwrap();
        let witness = coldstore::format::witness::Witness::from_bytes(&check);
        let vouched = witness.vouched_len(&conf, Slot(30_001).file_id());
        // Where a mark is missing the checksum of the last record does not vouch for it.
        let last = test_support::entry(dir.path(), 30_001);
        assert_eq!(vouched, if fails { last } else { u64::MAX });
        drop(writer);
        assert!(open(&disk, dir.path()).heal_report().is_clean());
    }
}
