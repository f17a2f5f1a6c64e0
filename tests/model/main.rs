//! The engine against a plain map.
//!
//! A case is a column of some kind and a short list of operations: puts of every sort, refused ones
//! among them, views that are held and looked at again later, reopening, and crashes, which leave on
//! disk what a writer that stops midway leaves. Slots come from a few places in a few files, so that
//! boundaries, sealed files, skipped files and the current file all occur in a short list.
//!
//! The model knows nothing of files but that 8192 slots share one. What it says of a view is
//! `FORMAT.md`, section 7: see [`Held`].
//!
//! `PROPTEST_CASES` sets the number of cases per test: 2,000 by default, 300 at the quick size.
#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "what a crash leaves is made by hand")]

mod case;
mod held;
mod places;
mod plain_map;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use case::*;
use coldstore::format::conf::{BackfillTarget, Conf};
use coldstore::verify::{VerifyOptions, verify_column};
use coldstore::{
    BulkCommit, Compression, Error, FileId, MappedReader, ReaderOptions, SLOTS_PER_FILE, Slot,
    View, Writer, WriterOptions,
};
use held::*;
use places::*;
use plain_map::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use test_support::size::quick_or_whole;
use test_support::{
    Progress, append_to, assert_same_files, bytes_from, files_of, open_reader, reader, reader_of,
    scan, scratch, spec,
};

fn run(compression: Compression, case: &Case) {
    let scratch = scratch();
    let mut run = Run::start(&scratch.path().join("column"), compression, case);
    for op in &case.ops {
        run.step(op);
    }
    run.finish();
}

fn config() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = quick_or_whole(300, 2_000);
    }
    config
}

fn run_cases(compression: Compression) {
    let progress = Progress::watched("model");
    let outcome = TestRunner::new(config()).run(&case(), |case| {
        progress.step();
        run(compression, &case);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn an_uncompressed_column_behaves_like_a_map() {
    run_cases(Compression::None);
}

#[test]
fn a_compressed_column_behaves_like_a_map() {
    run_cases(Compression::Snappy);
}

/// The bound may be raised after a view was taken, and a larger value come into a sealed file that
/// the view looks at only then.
#[test]
fn a_view_older_than_a_raised_bound_reads_what_came_later() {
    for compression in [Compression::None, Compression::Snappy] {
        let scratch = scratch();
        let options = |bound| WriterOptions::create(spec(compression, bound)).allow_backfill(true);
        let mut writer = Writer::open(scratch.path(), options(10)).unwrap();
        writer.put_batch(&[(Slot(1), [1; 10]), (Slot(20_000), [2; 10])]).unwrap();
        let view = reader(scratch.path()).view();
        drop(writer);
        let mut writer = Writer::open(scratch.path(), options(100)).unwrap();
        writer.put(Slot(2), &[3; 100]).unwrap();
        let shown = scan(&view, ..);
        let old = [(1, vec![1; 10]), (20_000, vec![2; 10])];
        let new = [(1, vec![1; 10]), (2, vec![3; 100]), (20_000, vec![2; 10])];
        assert!(shown == old || shown == new, "{shown:?}");
    }
}

/// A scan and a look at one slot agree, also when a file appears between them that was skipped.
#[test]
fn a_view_that_has_scanned_agrees_with_itself_later() {
    let scratch = scratch();
    let options = WriterOptions::create(spec(Compression::None, 10)).allow_backfill(true);
    let mut writer = Writer::open(scratch.path(), options).unwrap();
    writer.put_batch(&[(Slot(1), [1; 10]), (Slot(90_000), [2; 10])]).unwrap();
    let view = reader(scratch.path()).view();
    assert_eq!(view.at_or_after(Slot(80_000)).unwrap().unwrap().slot(), Slot(90_000));
    writer.put(Slot(20_000), &[3; 10]).unwrap();
    let is_there = view.contains(Slot(20_000)).unwrap();
    let is_scanned = scan(&view, ..).iter().any(|(slot, _)| *slot == 20_000);
    assert_eq!(is_there, is_scanned);
    assert_eq!(view.at_or_after(Slot(2)).unwrap().unwrap().slot().0 == 20_000, is_there);
    assert_eq!(view.at_or_before(Slot(80_000)).unwrap().unwrap().slot().0 == 20_000, is_there);
}

/// The last possible slot: between it and the others lie more files than one could ever look for.
#[test]
fn a_scan_crosses_a_gap_of_any_number_of_files() {
    let scratch = scratch();
    let column = scratch.path().to_owned();
    test_support::without_hanging("reading across the gap", move || {
        let options = WriterOptions::create(spec(Compression::None, 10)).allow_backfill(true);
        let mut writer = Writer::open(&column, options).unwrap();
        writer.put(Slot(3), b"three").unwrap();
        writer.put(Slot::MAX, b"last").unwrap();
        let view = reader(&column).view();
        assert_eq!(view.highest_written_slot(), Some(Slot::MAX));
        let slots: Vec<u64> = scan(&view, ..).into_iter().map(|(slot, _)| slot).collect();
        assert_eq!(slots, [3, Slot::MAX.0]);
        assert_eq!(view.range(..).next_back().unwrap().unwrap().slot(), Slot::MAX);
        let before = view.at_or_before(Slot(Slot::MAX.0 - 1)).unwrap();
        assert_eq!(before.unwrap().slot(), Slot(3));
        assert_eq!(view.at_or_after(Slot(4)).unwrap().unwrap().slot(), Slot::MAX);
        assert_eq!(view.get(Slot::MAX).unwrap().as_deref(), Some(&b"last"[..]));
        writer.put(Slot(1 << 60), b"between").unwrap();
        assert_eq!(scan(&reader(&column).view(), ..).len(), 3);
        drop(writer);
        let writer = Writer::open(&column, WriterOptions::default()).unwrap();
        assert!(writer.heal_report().is_clean());
    });
}
