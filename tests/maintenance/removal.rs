//! Rewind and prune of an archive, and processes that are killed in them.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use coldstore::manifest::Intent;
use coldstore::removal::{Removal, finish_intents, inspect, remove, remove_on};
use coldstore::{
    ArchiveWriter, ArchiveWriterOptions, Column, Error, Manifest, ReaderOptions, Slot, Writer,
    WriterOptions,
};
use test_support::*;

const SLOTS: [u64; 6] = [1, 7, 9000, 9005, 17_000, 17_003];
/// Two columns of one kind of value and one with backfill.
const COLUMNS: [Column; 3] = [Column::BlockRoots, Column::StateRoots, Column::StateSnapshots];

fn root_of(slot: u64) -> Vec<u8> {
    value_of_len(slot, 32)
}

/// An archive with these slots in three columns, known to its manifest.
fn archive(root: &Path, slots: &[u64]) {
    fs::create_dir_all(root).unwrap();
    for column in COLUMNS {
        let backfill = column == Column::StateSnapshots;
        let options = WriterOptions::create(column.spec()).allow_backfill(backfill);
        let mut writer = Writer::open(root.join(column.dir_name()), options).unwrap();
        for slot in slots {
            writer.put(Slot(*slot), &root_of(*slot)).unwrap();
        }
    }
    Manifest::update(root, |manifest| {
        manifest.unproved_state = slots.last().copied().map(Slot);
        for column in COLUMNS {
            manifest.raise_highest(column, slots.last().copied().map(Slot));
        }
        Ok(())
    })
    .unwrap();
}

fn content(slots: impl IntoIterator<Item = u64>) -> Content {
    slots.into_iter().map(|slot| (slot, root_of(slot))).collect()
}

fn shown_of(root: &Path, column: Column) -> Content {
    content_of(
        &open_reader(&root.join(column.dir_name()), ReaderOptions::default()).unwrap().view(),
    )
}

#[track_caller]
fn assert_holds(root: &Path, slots: &[u64], context: &str) {
    for column in COLUMNS {
        let found = shown_of(root, column);
        assert!(found == content(slots.iter().copied()), "{context}: {column}: {:?}", found.keys());
    }
}

/// Guards against a column that is left out, and a manifest that goes on to demand what was removed.
#[test]
fn a_rewind_takes_every_column_and_the_manifest_back() {
    let scratch = scratch();
    let root = scratch.path().join("archive");
    archive(&root, &SLOTS);
    let removal = Removal::Rewind(Some(Slot(9004)));
    let dry = inspect(&root, removal, &Column::ALL).unwrap();
    assert_holds(&root, &SLOTS, "inspected");
    let removed = remove(&root, removal, &Column::ALL).unwrap();
    assert_eq!(removed, dry);
    assert_eq!(removed.iter().map(|removed| removed.column).collect::<Vec<_>>(), COLUMNS);
    assert_holds(&root, &SLOTS[..3], "rewound");
    let manifest = Manifest::read(&root).unwrap().unwrap();
    for column in COLUMNS {
        assert_eq!(manifest.column(column).highest, Some(Slot(9000)), "{column}");
        assert_eq!(manifest.column(column).pruned_before, None, "{column}");
    }
    assert!(manifest.intents().is_empty());
    assert_eq!(manifest.unproved_state, None);

    // One column, and then all of them to nothing.
    remove(&root, Removal::Rewind(Some(Slot(7))), &[Column::BlockRoots]).unwrap();
    assert_eq!(shown_of(&root, Column::BlockRoots), content([1, 7]));
    assert_eq!(shown_of(&root, Column::StateRoots), content(SLOTS[..3].iter().copied()));
    remove(&root, Removal::Rewind(None), &Column::ALL).unwrap();
    assert_holds(&root, &[], "to nothing");
    let manifest = Manifest::read(&root).unwrap().unwrap();
    assert_eq!(manifest.column(Column::BlockRoots).highest, None);
}

/// Guards against a prune that the manifest does not know of, and a snapshot that goes although a
/// diff may build on it.
#[test]
fn a_prune_keeps_the_snapshot_that_diffs_may_build_on() {
    let scratch = scratch();
    let root = scratch.path().join("archive");
    archive(&root, &SLOTS);
    let pruned = |column| Manifest::read(&root).unwrap().unwrap().column(column).pruned_before;
    // A diff above the limit.
    let directory = root.join(Column::StateDiffs.dir_name());
    let options = WriterOptions::create(Column::StateDiffs.spec()).allow_backfill(true);
    Writer::open(&directory, options).unwrap().put(Slot(16_999), b"a diff").unwrap();
    remove(&root, Removal::Prune(Slot(16_990)), &Column::ALL).unwrap();
    for (column, left, before) in [
        (Column::BlockRoots, &SLOTS[4..], 16_384),
        (Column::StateRoots, &SLOTS[4..], 16_384),
        // The newest at or below the limit is that of slot 9005.
        (Column::StateSnapshots, &SLOTS[2..], 8192),
    ] {
        assert_eq!(shown_of(&root, column), content(left.iter().copied()), "{column}");
        assert_eq!(pruned(column), Some(Slot(before)), "{column}");
        let highest = Manifest::read(&root).unwrap().unwrap().column(column).highest;
        assert_eq!(highest, Some(Slot(17_003)), "{column}");
    }
    // Nothing more, and nothing that was pruned is forgotten.
    remove(&root, Removal::Prune(Slot(1)), &Column::ALL).unwrap();
    assert_eq!(pruned(Column::StateRoots), Some(Slot(16_384)));
    // No diff needs it any more.
    remove(&root, Removal::Rewind(Some(Slot(16_000))), &[Column::StateDiffs]).unwrap();
    remove(&root, Removal::Prune(Slot(16_384)), &Column::ALL).unwrap();
    assert_eq!(shown_of(&root, Column::StateSnapshots), content([17_000, 17_003]));
}

/// Guards against a prune that reads the newest snapshot below its limit: it may be large, or damaged.
#[test]
fn a_prune_searches_offset_tables_and_reads_no_record() {
    let scratch = scratch();
    let root = scratch.path().join("archive");
    archive(&root, &SLOTS);
    let directory = root.join(Column::StateDiffs.dir_name());
    let options = WriterOptions::create(Column::StateDiffs.spec()).allow_backfill(true);
    Writer::open(&directory, options).unwrap().put(Slot(16_999), b"a diff").unwrap();
    let snapshots = root.join(Column::StateSnapshots.dir_name());
    overwrite(&snapshots, &data_name(1), entry(&snapshots, 9005), &[0xff; 8 + 32]);
    assert!(view(&snapshots).get(Slot(9005)).is_err());
    let removed = remove(&root, Removal::Prune(Slot(16_990)), &Column::ALL).unwrap();
    let of = |column| removed.iter().find(|removed| removed.column == column).unwrap();
    assert_eq!(of(Column::StateSnapshots).pruned_before, Some(Slot(8192)));
}

/// Guards against slots that were pruned and are forgotten to be that.
#[test]
fn a_rewind_below_what_was_pruned_leaves_it_pruned() {
    let scratch = scratch();
    let root = scratch.path().join("archive");
    archive(&root, &SLOTS);
    remove(&root, Removal::Prune(Slot(17_000)), &Column::ALL).unwrap();
    remove(&root, Removal::Rewind(Some(Slot(9000))), &Column::ALL).unwrap();
    assert_holds(&root, &[], "rewound");
    let manifest = Manifest::read(&root).unwrap().unwrap();
    for column in COLUMNS {
        assert_eq!(manifest.column(column).pruned_before, Some(Slot(16_384)), "{column}");
        assert_eq!(manifest.column(column).highest, None, "{column}");
    }
    remove(&root, Removal::Rewind(None), &Column::ALL).unwrap();
    let manifest = Manifest::read(&root).unwrap().unwrap();
    assert_eq!(manifest.column(Column::BlockRoots).pruned_before, None, "it may begin anew");
}

/// Guards against an archive of which one half was rewound and the other half was written to.
#[test]
fn the_next_writer_finishes_a_removal() {
    let scratch = scratch();
    let root = scratch.path().join("archive");
    archive(&root, &SLOTS);
    let begin = |kind: &str| {
        let columns = COLUMNS.map(|column| column.dir_name().to_owned()).to_vec();
        let intent = Intent { kind: kind.to_owned(), columns, slot: Some(Slot(7)), path: None };
        Manifest::update(&root, |manifest| {
            manifest.push_intent(intent);
            Ok(())
        })
        .unwrap();
    };
    begin("rewind");
    ArchiveWriter::open(&root, ArchiveWriterOptions::default().column(Column::Blocks)).unwrap();
    assert_holds(&root, &SLOTS[..2], "finished by a writer of another column");
    assert!(Manifest::read(&root).unwrap().unwrap().intents().is_empty());
    assert_eq!(finish_intents(&root).unwrap(), []);

    // Of a later version.
    begin("rewrite");
    let blocks = ArchiveWriterOptions::default().column(Column::Blocks);
    let refused = ArchiveWriter::open(&root, blocks).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
    assert!(refused.to_string().contains("rewrite"), "{refused}");
}

/// Guards against a manifest that nobody can read, or that knows nothing, where there was none.
#[test]
fn an_archive_without_a_manifest_gets_one() {
    let scratch = scratch();
    let root = scratch.path().join("archive");
    archive(&root, &SLOTS);
    fs::remove_file(root.join("archive.toml")).unwrap();
    remove(&root, Removal::Rewind(Some(Slot(9004))), &[Column::StateRoots]).unwrap();
    let manifest = Manifest::read(&root).unwrap().unwrap();
    assert!(manifest.rebuilt);
    assert_eq!(manifest.column(Column::StateRoots).highest, Some(Slot(9000)));
    assert_eq!(manifest.column(Column::BlockRoots).highest, Some(Slot(17_003)));
}

/// Guards against a rewind beside a writer.
#[test]
fn nothing_is_removed_while_another_process_writes() {
    let scratch = scratch();
    let root = scratch.path().join("archive");
    archive(&root, &SLOTS);
    let options = WriterOptions::default();
    let writer = Writer::open(root.join(Column::StateSnapshots.dir_name()), options).unwrap();
    let refused = remove(&root, Removal::Rewind(Some(Slot(7))), &Column::ALL).unwrap_err();
    assert!(matches!(refused, Error::AlreadyOpen { .. }), "{refused}");
    drop(writer);
    assert_holds(&root, &SLOTS, "refused");
    assert!(Manifest::read(&root).unwrap().unwrap().intents().is_empty());
}

const ROOT: &str = "COLDSTORE_TEST_ROOT";
const KILLED_AT: &str = "COLDSTORE_TEST_KILLED_AT";

#[test]
#[ignore = "started by the test below as a process of its own"]
fn child_that_is_killed() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let left = AtomicU64::new(std::env::var(KILLED_AT).unwrap().parse().unwrap());
    let disk = HookedDisk::shared(move |_| {
        if left.fetch_sub(1, Ordering::Relaxed) == 0 {
            kill_self();
        }
        Ok(())
    });
    let removal = Removal::Rewind(Some(Slot(9004)));
    remove_on(&disk, Path::new(&root), removal, &Column::ALL).unwrap();
}

/// Guards against a process that dies anywhere in a rewind and leaves an archive of which a part was
/// rewound, readers that are shown something wrong, or a column that does not open.
#[test]
fn a_killed_rewind_is_complete_or_finished_by_the_next_writer() {
    let scratch = scratch();
    let mut rewound = [0, 0];
    for step in 0.. {
        let root = scratch.path().join(format!("archive-{step}"));
        archive(&root, &SLOTS);
        // A live reader, of which one file is mapped.
        let readers = COLUMNS.map(|column| reader(&root.join(column.dir_name())));
        let views = readers.each_ref().map(coldstore::MappedReader::view);
        for view in &views {
            assert_eq!(view.get(Slot(9005)).unwrap().unwrap(), root_of(9005));
        }
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "removal::child_that_is_killed"])
            .env(ROOT, &root)
            .env(KILLED_AT, step.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let context = format!("killed at step {step}");
        for (column, (reader, view)) in COLUMNS.into_iter().zip(readers.iter().zip(&views)) {
            assert_eq!(view.get(Slot(9005)).unwrap().unwrap(), root_of(9005), "{context}");
            match view.get(Slot(1)) {
                Ok(value) => assert_eq!(value.unwrap(), root_of(1), "{context}: {column}"),
                Err(Error::Replaced { .. }) => {}
                Err(error) => panic!("{context}: {column}: {error}"),
            }
            match reader.refresh() {
                Ok(view) => {
                    assert!(view.contains(Slot(17_003)).unwrap(), "{context}: {column}");
                }
                Err(Error::Replaced { .. }) => {}
                Err(error) => panic!("{context}: {column}: {error}"),
            }
            let found = shown_of(&root, column);
            let (old, new) = (content(SLOTS), content(SLOTS[..3].iter().copied()));
            assert!(found == old || found == new, "{context}: {column}: {:?}", found.keys());
        }
        ArchiveWriter::open(&root, ArchiveWriterOptions::default().columns(COLUMNS)).unwrap();
        let is_old = shown_of(&root, COLUMNS[0]) == content(SLOTS);
        let left = if is_old { &SLOTS[..] } else { &SLOTS[..3] };
        assert_holds(&root, left, &context);
        rewound[usize::from(!is_old)] += 1;
        assert!(Manifest::read(&root).unwrap().unwrap().intents().is_empty(), "{context}");
        let names = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name());
        let hidden = names.filter(|name| name.to_str().unwrap().starts_with('.'));
        assert_eq!(hidden.count(), 0, "{context}");
        // Other records for the same slots.
        for column in COLUMNS {
            let options = WriterOptions::default();
            let mut writer = Writer::open(root.join(column.dir_name()), options).unwrap();
            assert!(writer.heal_report().is_clean(), "{context}: {column}");
            writer.put(Slot(left.last().unwrap() + 1), &root_of(5)).unwrap();
        }
        fs::remove_dir_all(&root).unwrap();
        if child.success() {
            assert!(!is_old, "{context}");
            break;
        }
    }
    println!("killed at {} steps: {rewound:?} old and new", rewound[0] + rewound[1]);
    assert!(rewound[0] > 2 && rewound[1] > 40, "{rewound:?}");
}

/// Ends this process as `kill -9` does.
fn kill_self() {
    let own = libc::pid_t::try_from(std::process::id()).unwrap();
    // SAFETY: the call touches no memory.
    #[expect(unsafe_code, reason = "the process ends as by kill -9")]
    unsafe {
        libc::kill(own, libc::SIGKILL);
    }
}
