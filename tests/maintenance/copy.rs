//! A copy is what views of the archive showed, whatever is written meanwhile and wherever it is interrupted.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this is a test")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use coldstore::verify::{Severity, VerifyOptions, verify_column};
use coldstore::write::copy::{MARK, copy};
use coldstore::{
    Archive, ArchiveWriter, ArchiveWriterOptions, Checksums, Column, Error, ReaderOptions, Result,
    Slot, View, WriterOptions, removal,
};
use test_support::{StopOnDrop, scratch};

fn value(slot: u64) -> Vec<u8> {
    test_support::value_of_len(slot, 500 + usize::try_from(slot % 3000).unwrap())
}

fn open(root: &Path) -> ArchiveWriter {
    try_open(root).unwrap()
}

fn try_open(root: &Path) -> Result<ArchiveWriter> {
    let options = ArchiveWriterOptions::default().columns([Column::Blocks, Column::BlockRoots]);
    let options = options.backfill(Column::StateSnapshots).checksums(Checksums::On);
    ArchiveWriter::open(root, options.raw(true).far(true))
}

fn put(archive: &mut ArchiveWriter, column: Column, slots: &[u64]) {
    let batch: Vec<_> = slots
        .iter()
        .map(|slot| {
            (Slot(*slot), if column == Column::BlockRoots { vec![7; 32] } else { value(*slot) })
        })
        .collect();
    let writer = archive.writer(column).unwrap();
    writer.put_bulk(&batch, |_| {}).unwrap();
}

fn records(view: &View) -> BTreeMap<u64, Vec<u8>> {
    let records = view.range(..).map(|record| record.unwrap());
    records.map(|record| (record.slot().0, record.value().unwrap().into_owned())).collect()
}

fn views(root: &Path) -> BTreeMap<&'static str, BTreeMap<u64, Vec<u8>>> {
    let archive = test_support::open_archive(root);
    let columns = Column::ALL.into_iter().filter(|column| root.join(column.dir_name()).exists());
    columns
        .map(|column| (column.dir_name(), records(&archive.column(column).unwrap().view())))
        .collect()
}

/// It heals to nothing, and nothing in it is damaged.
#[track_caller]
fn assert_clean(root: &Path) {
    for column in Column::ALL {
        let directory = root.join(column.dir_name());
        if !directory.exists() {
            continue;
        }
        let report = coldstore::inspect(&directory).unwrap();
        assert!(report.is_clean(), "{column}: {report:?}");
        let mut damage = Vec::new();
        let mut report = |finding: coldstore::verify::Finding| {
            damage.extend((finding.severity == Severity::Damage).then_some(finding));
        };
        let options = VerifyOptions::default().deep(true);
        verify_column(&directory, None, &options, &mut report).unwrap();
        assert!(damage.is_empty(), "{damage:?}");
    }
    assert!(!root.join(MARK).exists());
}

#[test]
fn a_copy_shows_what_the_archive_shows_and_has_nothing_to_heal() {
    let scratch = scratch();
    let (root, copied) = (scratch.path().join("archive"), scratch.path().join("a/copy"));
    let mut archive = open(&root);
    put(&mut archive, Column::Blocks, &[1, 5, 8191, 8192, 20_000]);
    put(&mut archive, Column::BlockRoots, &[1, 2, 3]);
    put(&mut archive, Column::StateSnapshots, &[10, 30_000]);
    // A sealed file, the one that the conf names, and the current one.
    put(&mut archive, Column::StateSnapshots, &[7, 9000, 9001, 25_000]);
    let done = copy(&root, &copied, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(done.iter().map(|column| column.records).sum::<u64>(), 5 + 3 + 6);
    assert_eq!(views(&copied), views(&root));
    assert_clean(&copied);
    // What is there is another archive by now.
    let refused = copy(&root, &copied, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(refused.to_string().contains("no unfinished copy"), "{refused}");
    drop(archive);
    let mut again = open(&copied);
    put(&mut again, Column::StateSnapshots, &[8, 9002, 30_001]);
    assert_eq!(views(&copied)["bss"].len(), 9);
}

#[test]
fn leftovers_of_a_commit_that_never_happened_are_not_copied() {
    let scratch = scratch();
    let (root, copied) = (scratch.path().join("archive"), scratch.path().join("copy"));
    let mut archive = open(&root);
    put(&mut archive, Column::StateSnapshots, &[10, 9000, 30_000]);
    let before = views(&root);
    let writer = archive.writer(Column::StateSnapshots).unwrap();
    // Written, flushed, and not committed: into the sealed file, and into the current one.
    let prepared =
        writer.prepare_batch(&[(Slot(9001), value(9001)), (Slot(29_000), value(1))]).unwrap();
    copy(&root, &copied, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(views(&copied), before);
    assert_clean(&copied);
    drop(prepared);
}

/// Every view of a writer that goes on is some moment of it: what it commits is in order.
#[test]
fn a_copy_beside_a_writer_is_one_of_its_commits() {
    let scratch = scratch();
    let root = scratch.path().join("archive");
    put(&mut open(&root), Column::StateSnapshots, &[0, 70_000]);
    let (stop, copies) = (AtomicBool::new(false), 12);
    std::thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        let writer = scope.spawn(|| {
            let mut archive = open(&root);
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                // Backfill that changes file with every commit, and records above the highest.
                let behind = (n % 8) * 8192 + 1 + n / 8;
                put(&mut archive, Column::StateSnapshots, &[behind]);
                put(&mut archive, Column::Blocks, &[n]);
                put(&mut archive, Column::BlockRoots, &[n]);
            }
            n
        });
        for index in 0..copies {
            let copied = scratch.path().join(format!("copy-{index}"));
            // Not before the other columns are there.
            while !root.join("bbr/column.conf").exists() {
                assert!(!writer.is_finished(), "the writer failed");
                std::thread::yield_now();
            }
            copy(&root, &copied, &mut |_| ControlFlow::Continue(())).unwrap();
            assert_clean(&copied);
            let shown = views(&copied);
            for (slot, found) in shown["bss"].iter().chain(&shown["blk"]) {
                assert!(*found == value(*slot), "slot {slot}");
            }
            let (roots, blocks) = (shown["bbr"].len(), shown["blk"].len());
            assert!(roots <= blocks, "no root is ahead of its block: {roots} > {blocks}");
            // What was backfilled is there without a hole in any file.
            for file in 0..8 {
                let slots =
                    shown["bss"].keys().filter(|slot| *slot / 8192 == file && *slot % 8192 > 0);
                let slots: Vec<u64> =
                    slots.map(|slot| slot % 8192).filter(|at| *at < 4464).collect();
                assert!(
                    slots.windows(2).all(|pair| pair[0] + 1 == pair[1]),
                    "file {file}: {slots:?}"
                );
            }
        }
        drop(stopping);
        assert!(writer.join().unwrap() > 0);
    });
}

#[test]
fn a_copy_that_was_interrupted_anywhere_is_resumed() {
    let scratch = scratch();
    let root = scratch.path().join("archive");
    let mut archive = open(&root);
    put(&mut archive, Column::Blocks, &(0..40).map(|n| n * 1000).collect::<Vec<_>>());
    put(&mut archive, Column::StateSnapshots, &[10, 30_000]);
    for stop in 1..=7 {
        let copied = scratch.path().join(format!("copy-{stop}"));
        let mut left = stop;
        let stopped = copy(&root, &copied, &mut |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(stopped.is_err(), "{stop}");
        assert!(copied.join(MARK).exists() && !copied.join("blk/column.conf").exists());
        let options = WriterOptions::create(Column::Blocks.spec());
        if copied.join("blk/data_00000").exists() {
            assert!(
                coldstore::Writer::open(copied.join("blk"), options).is_err(),
                "it does not open"
            );
        }
        // Torn, as a power cut may have left it.
        if let Ok(file) = fs::OpenOptions::new().write(true).open(copied.join("blk/data_00000")) {
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }
        put(&mut archive, Column::Blocks, &[50_000 + stop]);
        let done = copy(&root, &copied, &mut |_| ControlFlow::Continue(())).unwrap();
        let found = done.iter().map(|column| column.bytes_found).sum::<u64>();
        assert!(found > 0 || stop < 3, "{stop}: nothing was found");
        assert_eq!(views(&copied), views(&root));
        assert_clean(&copied);
    }
}

/// Whoever opens an archive: a reader, a writer, what finishes a removal, another copy.
fn openings(root: &Path) -> Vec<(&'static str, coldstore::Result<()>)> {
    let beside = root.with_extension("again");
    // SAFETY: nothing is read.
    #[expect(unsafe_code, reason = "opening is what is tested")]
    let read = unsafe { Archive::open_mapped(root, ReaderOptions::default()) };
    vec![
        ("read", read.map(drop)),
        ("write", try_open(root).map(drop)),
        ("finish_intents", removal::finish_intents(root).map(drop)),
        ("copy", copy(root, beside, &mut |_| ControlFlow::Continue(())).map(drop)),
    ]
}

/// Its confs come before the mark is removed: for a while nothing but the mark tells.
#[test]
fn an_unfinished_copy_is_told_from_an_archive_by_its_mark() {
    let scratch = scratch();
    let (root, copied) = (scratch.path().join("archive"), scratch.path().join("copy"));
    put(&mut open(&root), Column::Blocks, &[1, 9000]);
    copy(&root, &copied, &mut |_| ControlFlow::Continue(())).unwrap();
    fs::write(copied.join(MARK), "").unwrap();
    for (who, opened) in openings(&copied) {
        let Err(error @ Error::UnfinishedCopy { .. }) = opened else { panic!("{who}: {opened:?}") };
        let wanted =
            " is an unfinished copy of an archive; run `coldstore copy` again to finish it";
        assert_eq!(error.to_string(), format!("{}{wanted}", copied.display()));
    }
    assert!(!scratch.path().join("copy.again").exists());
    copy(&root, &copied, &mut |_| ControlFlow::Continue(())).unwrap();
    for (who, opened) in openings(&copied) {
        opened.unwrap_or_else(|error| panic!("{who}: {error}"));
    }
}

#[test]
fn anything_but_an_archive_is_refused() {
    let scratch = scratch();
    let (root, copied) = (scratch.path().join("archive"), scratch.path().join("copy"));
    let copy = |from: &Path, to: &Path| copy(from, to, &mut |_| ControlFlow::Continue(()));
    fs::create_dir(&root).unwrap();
    assert!(matches!(copy(&root, &copied).unwrap_err(), Error::NoSuchColumn { .. }));
    assert!(!copied.exists());
    put(&mut open(&root), Column::Blocks, &[1]);
    fs::create_dir(&copied).unwrap();
    fs::write(copied.join("notes"), "mine").unwrap();
    assert!(copy(&root, &copied).unwrap_err().to_string().contains("no unfinished copy"));
    assert!(copy(&root, &root).unwrap_err().to_string().contains("no unfinished copy"));
    assert_eq!(fs::read_dir(&copied).unwrap().count(), 1);
    // Of a column without its conf nobody knows what is committed.
    fs::remove_file(root.join("blk/column.conf")).unwrap();
    assert!(copy(&root, &scratch.path().join("other")).unwrap_err().is_corrupt());
    assert!(!scratch.path().join("other").exists());
}
