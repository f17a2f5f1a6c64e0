//! Several columns are opened at once: all of them or none, and nothing changes before that is known.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use coldstore::{ArchiveWriter, ArchiveWriterOptions, Column, Error, Slot, Writer, WriterOptions};
use test_support::scratch;

/// All columns; `bss` and `bsd` with backfill.
fn all() -> ArchiveWriterOptions {
    let all = ArchiveWriterOptions::default().columns(Column::ALL);
    all.backfill(Column::StateSnapshots).backfill(Column::StateDiffs)
}

/// Every file with a digest of its bytes, and every directory; not the locks.
fn tree(directory: &Path) -> BTreeSet<(PathBuf, u64)> {
    let digest = |path: &Path| {
        let mut hasher = std::hash::DefaultHasher::new();
        fs::read(path).unwrap().hash(&mut hasher);
        hasher.finish()
    };
    let mut found = BTreeSet::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert((path, 0));
        } else if !path.ends_with("lock") {
            found.insert((path.clone(), digest(&path)));
        }
    }
    found
}

/// Guards against two that begin at the same moment and refuse each other.
#[test]
fn one_of_two_simultaneous_openings_succeeds() {
    for round in 0..40 {
        let scratch = scratch();
        let root = scratch.path().join("archive");
        if round % 2 == 0 {
            // There already.
            ArchiveWriter::open(&root, all()).unwrap();
        }
        let (begin, end) = (Barrier::new(2), Barrier::new(2));
        let open = || {
            begin.wait();
            let archive = ArchiveWriter::open(&root, all()).map_err(|error| error.to_string());
            end.wait();
            archive.map(drop)
        };
        let outcomes = std::thread::scope(|scope| {
            let threads = [(); 2].map(|()| scope.spawn(open));
            threads.map(|thread| thread.join().unwrap())
        });
        let refused: Vec<_> =
            outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        let pid = format!("process {}", std::process::id());
        assert_eq!(refused.len(), 1, "round {round}: {outcomes:?}");
        assert!(refused[0].contains("open for writing by"), "{refused:?} of {pid}");
    }
}

#[test]
fn a_held_lock_prevents_any_change() {
    let scratch = scratch();
    let root = scratch.path().join("archive");
    let held = WriterOptions::create(Column::StateSnapshots.spec());
    let held = Writer::open(root.join("bss"), held).unwrap();
    ArchiveWriter::open(&root, ArchiveWriterOptions::default().column(Column::StateDiffs)).unwrap();
    let before = tree(&root);
    let refused = ArchiveWriter::open(&root, all()).unwrap_err();
    assert!(matches!(refused, Error::AlreadyOpen { .. }), "{refused}");
    assert_eq!(tree(&root), before);
    drop(held);
    ArchiveWriter::open(&root, all()).unwrap();
}

#[test]
fn deferred_work_is_done_by_the_first_write_or_on_demand() {
    let scratch = scratch();
    let root = scratch.path().join("a/archive");
    let mut archive = ArchiveWriter::open(&root, all().deferred(true)).unwrap();
    let block_roots = archive.writer(Column::BlockRoots).unwrap();
    assert!(!block_roots.contains(Slot(1)).unwrap());
    assert!(!scratch.path().join("a").exists());
    block_roots.put(Slot(1), &[1; 32]).unwrap();
    assert!(root.join("bbr/column.conf").exists() && !root.join("blk").exists());
    archive.settle().unwrap();
    drop(archive);
    let before = tree(&root);
    let asked = Column::ALL.into_iter().fold(all(), ArchiveWriterOptions::backfill);
    let mut archive = ArchiveWriter::open(&root, asked.deferred(true)).unwrap();
    assert!(archive.writer(Column::StateSnapshots).unwrap().conf().allows_backfill());
    let block_roots = archive.writer(Column::BlockRoots).unwrap();
    assert_eq!(block_roots.put(Slot(1), &[1; 32]).unwrap().unchanged, 1, "a look");
    assert_eq!(tree(&root), before);
    let block_roots = archive.writer(Column::BlockRoots).unwrap();
    block_roots.put_batch(&[(Slot(0), [0; 32])]).unwrap();
    drop(archive);
    let confs = |column: &str| fs::read(root.join(column).join("column.conf")).unwrap();
    assert_eq!(confs("bbr")[..8], *b"LHSTBLK3");
    assert_eq!(confs("blk")[..8], *b"LHSTBLK2");
}

/// What fails in the middle takes away what was made before it, the directories above included.
#[test]
fn a_column_that_cannot_be_created_leaves_none_of_the_others() {
    let scratch = scratch();
    let root = scratch.path().join("a/archive");
    let mut archive = ArchiveWriter::open(&root, all().deferred(true)).unwrap();
    // The last of them is another's by now.
    let other = WriterOptions::create(Column::StateDiffs.spec());
    let mut other = Writer::open(root.join("bsd"), other).unwrap();
    let before = tree(&root);
    assert!(matches!(archive.settle().unwrap_err(), Error::AlreadyOpen { .. }));
    assert_eq!(tree(&root), before);
    other.put(Slot(1), b"somebody's").unwrap();
    drop(other);
    let before = tree(&root);
    let refused = archive.settle().unwrap_err().to_string();
    assert!(refused.contains("bsd") && refused.contains("start again"), "{refused}");
    assert_eq!(tree(&root), before);
    fs::remove_dir_all(scratch.path().join("a")).unwrap();
    // A file where a directory belongs.
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("bsd"), b"").unwrap();
    assert!(archive.settle().is_err());
    let names: Vec<_> =
        fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["bsd"]);
    fs::remove_dir_all(scratch.path().join("a")).unwrap();
    archive.settle().unwrap();
    assert!(
        Column::ALL.iter().all(|column| root.join(column.dir_name()).join("column.conf").exists())
    );
}
