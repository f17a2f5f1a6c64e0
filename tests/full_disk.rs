//! A disk that is full at every moment of a commit, on a real file system.
//!
//! The file system is small. A file takes all of its room but for a little, which grows from nothing
//! in steps until the commit goes through: so it fails at one call after the other. After each failure
//! readers see what they saw, and when there is room again the column opens with its last commit and
//! goes on.
//!
//! `COLDSTORE_FULL_DISK` names a directory on a small file system that is the test's alone (see
//! `filesystems.sh`). Without it a tmpfs is mounted in a namespace, where that is permitted.
//! `COLDSTORE_FULL_DISK_STEP` is the step in bytes (default 4096).
#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "the file that fills the disk is none of a column")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use coldstore::verify::{VerifyOptions, verify_column};
use coldstore::write::copy::{self, MARK};
use coldstore::{
    ArchiveWriter, ArchiveWriterOptions, Column, Compression, Error, MappedReader, Result, Slot,
    Writer, WriterOptions,
};
use rustix::fs::{FallocateFlags, fallocate, syncfs};
use rustix::io::Errno;
use test_support::{bytes_from, reader, scan, spec};

const DIRECTORY: &str = "COLDSTORE_FULL_DISK";
const STEP: &str = "COLDSTORE_FULL_DISK_STEP";

const PAGE: u64 = 4096;
/// Up to here the room grows by a step, then it doubles.
const FINE_BYTES: u64 = 40 * PAGE;
/// The most room that there ever is.
const MOST_BYTES: u64 = 32 << 20;

/// What is committed on a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    CurrentFile,
    NewFile,
    OverTwoFiles,
    SealedFile,
    MissingFile,
    Stream,
}

impl Step {
    const ALL: [Step; 7] = [
        Step::Create,
        Step::CurrentFile,
        Step::NewFile,
        Step::OverTwoFiles,
        Step::SealedFile,
        Step::MissingFile,
        Step::Stream,
    ];

    fn slots(self) -> Vec<u64> {
        match self {
            Step::Create => vec![1],
            Step::CurrentFile => (20_001..20_006).collect(),
            Step::NewFile => (30_000..30_005).collect(),
            Step::OverTwoFiles => vec![20_001, 24_575, 24_576, 40_000],
            Step::SealedFile => (2..7).collect(),
            Step::MissingFile => (8_192..8_197).collect(),
            Step::Stream => vec![20_001],
        }
    }

    fn put(self, writer: &mut Writer) -> Result<()> {
        if self == Step::Stream {
            let value = large_value();
            return writer.put_from(Slot(20_001), value.len() as u64, &mut &*value).map(drop);
        }
        let items: Vec<_> =
            self.slots().into_iter().map(|slot| (Slot(slot), value(slot))).collect();
        writer.put_batch(&items).map(drop)
    }
}

fn value(slot: u64) -> Vec<u8> {
    bytes_from(slot, 9_000)
}

fn large_value() -> Vec<u8> {
    bytes_from(0, 300_000)
}

type Content = BTreeMap<u64, Vec<u8>>;

fn content(reader: &MappedReader) -> Content {
    scan(&reader.refresh().unwrap(), ..).into_iter().collect()
}

fn open(column: &Path, compression: Compression) -> Result<Writer> {
    let options = WriterOptions::create(spec(compression, 1 << 20)).allow_backfill(true);
    Writer::open(column, options)
}

/// Takes all room of the file system, but for some.
struct Ballast(PathBuf);

impl Ballast {
    fn leave(name: PathBuf, room: u64) -> Self {
        let file = File::create(&name).unwrap();
        let mut byte_len = 0;
        for piece in [1 << 20, 64 << 10, PAGE] {
            loop {
                match fallocate(&file, FallocateFlags::empty(), byte_len, piece) {
                    Ok(()) => byte_len += piece,
                    Err(Errno::NOSPC) => break,
                    Err(error) => panic!("the ballast: {error}"),
                }
            }
        }
        file.set_len(byte_len.saturating_sub(room)).unwrap();
        settle(&name);
        Ballast(name)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
        settle(&self.0);
    }
}

/// Some file systems give room back only when they have written down that it is free.
fn settle(ballast: &Path) {
    let directory = File::open(ballast.parent().unwrap()).unwrap();
    syncfs(directory).unwrap();
}

#[track_caller]
fn assert_disk_full(error: &Error, what: &str) {
    let cause = match error {
        Error::Poisoned { cause, .. } => cause,
        other => other,
    };
    let Error::Io(failed) = cause else { panic!("{what}: {error}") };
    let kind = failed.source.kind();
    assert!(kind == io::ErrorKind::StorageFull, "{what}: {error}");
}

/// What failing did in a step, and how often.
#[derive(Debug, Default)]
struct Counts {
    failed: u64,
    poisoned: u64,
    reopened_while_full: u64,
    /// What failed, by its operation.
    operations: BTreeMap<&'static str, u64>,
}

impl Counts {
    fn count(&mut self, error: &Error) {
        self.failed += 1;
        if let Error::Io(failed) = error {
            *self.operations.entry(failed.operation).or_default() += 1;
        }
    }
}

/// One commit with so much room. True when it went through.
fn attempt(
    directory: &Path,
    step: Step,
    compression: Compression,
    room: u64,
    counts: &mut Counts,
) -> bool {
    let column = directory.join("column");
    let what = format!("{step:?}, {compression}, {room} bytes free");
    let mut before = Content::new();
    let mut writer = None;
    if step != Step::Create {
        let mut open = open(&column, compression).unwrap();
        for slot in [1, 20_000] {
            open.put(Slot(slot), &value(slot)).unwrap();
            before.insert(slot, value(slot));
        }
        writer = Some(open);
    }
    let mut after = before.clone();
    for slot in step.slots() {
        after.insert(slot, if step == Step::Stream { large_value() } else { value(slot) });
    }
    let reader_before = writer.is_some().then(|| reader(&column));

    let ballast = Ballast::leave(directory.join("ballast"), room);
    let outcome = match &mut writer {
        Some(writer) => step.put(writer),
        None => open(&column, compression).and_then(|mut open| {
            let outcome = step.put(&mut open);
            writer = Some(open);
            outcome
        }),
    };
    let went_through = outcome.is_ok();
    let expected = if went_through { &after } else { &before };
    if let Err(error) = outcome {
        assert_disk_full(&error, &what);
        counts.count(&error);
        if let Some(writer) = &mut writer
            && writer.is_poisoned()
        {
            counts.poisoned += 1;
            let error = step.put(writer).unwrap_err();
            assert!(matches!(error, Error::Poisoned { .. }), "{what}: {error}");
        }
    }
    if let Some(reader) = &reader_before {
        assert!(content(reader) == *expected, "{what}: a reader sees something else");
    }
    drop(writer);
    // Opening heals, and may need no room for it. When it does, it says so.
    match open(&column, compression) {
        Ok(_) => counts.reopened_while_full += 1,
        Err(error) => assert_disk_full(&error, &what),
    }
    if let Some(reader) = &reader_before {
        assert!(content(reader) == *expected, "{what}: a reader sees something else");
    }

    drop(ballast);
    let mut writer = open(&column, compression).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(content(&reader(&column)) == *expected, "{what}: not the last commit");
    step.put(&mut writer).unwrap_or_else(|error| panic!("{what}, then enough: {error}"));
    assert!(content(&reader(&column)) == after, "{what}, then enough");
    let summary =
        verify_column(&column, None, &VerifyOptions::default().deep(true), &mut |finding| {
            println!("{finding:?}");
        });
    assert_eq!(summary.unwrap().damages, 0, "{what}");
    drop(writer);
    fs::remove_dir_all(&column).unwrap();
    went_through
}

/// A copy fails at one file after the other, names it, and is resumed when there is room.
fn copy_to_a_full_disk(directory: &Path) {
    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    let archive = elsewhere.path().join("archive");
    let options = ArchiveWriterOptions::default().raw(true).far(true);
    let options = options.backfill(Column::Blocks).backfill(Column::StateSnapshots);
    let mut writer = ArchiveWriter::open(&archive, options).unwrap();
    for (column, slots) in
        [(Column::Blocks, [1, 9000, 20_000]), (Column::StateSnapshots, [1, 2, 3])]
    {
        let items = slots.map(|slot| (Slot(slot), value(slot)));
        writer.writer(column).unwrap().put_bulk(&items, |_| {}).unwrap();
    }
    drop(writer);
    let destination = directory.join("copied");
    let copy = || copy::copy(&archive, &destination, &mut |_| ControlFlow::Continue(()));
    let mut named = BTreeSet::new();
    let mut room = 0;
    loop {
        assert!(room < MOST_BYTES, "a copy never goes through");
        let ballast = Ballast::leave(directory.join("ballast"), room);
        let copied = copy();
        drop(ballast);
        let what = format!("a copy, {room} bytes free");
        let Err(error) = copied else { break };
        assert_disk_full(&error, &what);
        let Error::Io(failed) = error else { unreachable!("it was looked at above") };
        let name =
            failed.path.strip_prefix(&destination).unwrap_or_else(|_| panic!("{what}: {failed}"));
        named.insert(name.to_owned());
        if destination.join(MARK).exists() {
            let refused = copy::check_finished(&destination).unwrap_err();
            assert!(matches!(refused, Error::UnfinishedCopy { .. }), "{what}: {refused}");
        }
        let done = copy().unwrap_or_else(|error| panic!("{what}, then enough: {error}"));
        assert_eq!(done.iter().map(|column| column.records).sum::<u64>(), 6, "{what}");
        for column in [Column::Blocks, Column::StateSnapshots] {
            let [wanted, found] = [&archive, &destination]
                .map(|root| content(&reader(&root.join(column.dir_name()))));
            assert!(found == wanted, "{what}: {column}");
        }
        fs::remove_dir_all(&destination).unwrap();
        room += PAGE;
    }
    fs::remove_dir_all(&destination).unwrap();
    assert!(named.len() > 4, "the disk was never full: {named:?}");
}

fn fill(directory: &Path) {
    let mut all = Counts::default();
    let finer = std::env::var(STEP).map_or(PAGE, |bytes| bytes.parse().unwrap());
    // Most of the room is never needed.
    let _ballast = Ballast::leave(directory.join("most"), MOST_BYTES);
    for compression in [Compression::None, Compression::Snappy] {
        for step in Step::ALL {
            let mut counts = Counts::default();
            let mut room = 0;
            while !attempt(directory, step, compression, room, &mut counts) {
                room = if room < FINE_BYTES { room + finer } else { 2 * room };
                assert!(room < MOST_BYTES, "{step:?} never goes through");
            }
            println!("{step:?}, {compression}: goes through with {room} bytes free; {counts:?}");
            all.failed += counts.failed;
            all.poisoned += counts.poisoned;
            all.reopened_while_full += counts.reopened_while_full;
            for (operation, count) in counts.operations {
                *all.operations.entry(operation).or_default() += count;
            }
        }
    }
    copy_to_a_full_disk(directory);
    assert!(all.failed > 20 && all.poisoned > 10, "the disk was never full: {all:?}");
    // Not by `print!`, which the test harness keeps to itself.
    let told = format!(
        "full disk: {} commits failed, {} poisoned their writer, {} columns opened while it was \
         full; what failed: {:?}\n",
        all.failed, all.poisoned, all.reopened_while_full, all.operations
    );
    io::stdout().write_all(told.as_bytes()).unwrap();
}

#[test]
#[ignore = "started by the test below in a namespace of its own"]
fn child_with_a_small_disk() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        fill(Path::new(&directory));
    }
}

#[test]
fn a_full_disk_loses_no_commit_and_disturbs_no_reader() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        fill(Path::new(&directory));
        return;
    }
    let mount = tempfile::tempdir().unwrap();
    let mounted = |then: &[&str]| {
        let mut command = Command::new("unshare");
        let script = r#"mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@""#;
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command.arg(mount.path()).args(then).env(DIRECTORY, mount.path()).output()
    };
    if !mounted(&["true"]).is_ok_and(|output| output.status.success()) {
        println!("this system lets nobody mount a tmpfs: nothing was tested");
        return;
    }
    let binary = std::env::current_exe().unwrap();
    let child = "child_with_a_small_disk";
    let output =
        mounted(&[binary.to_str().unwrap(), child, "--exact", "--ignored", "--nocapture"]).unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{complaint}");
    let told = printed.lines().find(|line| line.starts_with("full disk: ")).unwrap();
    io::stdout().write_all(format!("tmpfs: {told}\n").as_bytes()).unwrap();
}
