//! The column that is abused, and children that do it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use coldstore::{Compression, Error, Slot, View, Writer, WriterOptions};
use tempfile::TempDir;

use crate::system::set_mode;
use test_support::{Process, bytes_from, scratch, spec};

pub(crate) const COLUMN: &str = "COLDSTORE_TEST_COLUMN";
pub(crate) const CASE: &str = "COLDSTORE_TEST_CASE";

/// In a sealed file each; the last one is in the current file.
pub(crate) const SLOTS: [Slot; 3] = [Slot(1), Slot(8_200), Slot(20_000)];
/// Several pages, so that a file can be cut in the middle of a value.
pub(crate) const VALUE_BYTES: usize = 20_000;

pub(crate) fn value(slot: Slot) -> Vec<u8> {
    bytes_from(slot.0, VALUE_BYTES)
}

pub(crate) fn open(directory: &Path, backfill: bool) -> coldstore::Result<Writer> {
    let options = WriterOptions::create(spec(Compression::None, 1 << 20)).allow_backfill(backfill);
    Writer::open(directory, options)
}

/// Makes the column and returns its writer.
pub(crate) fn make(directory: &Path, backfill: bool) -> Writer {
    let mut writer = open(directory, backfill).unwrap();
    for slot in SLOTS {
        writer.put(slot, &value(slot)).unwrap();
    }
    writer
}

/// A directory that everybody may go through.
pub(crate) fn open_scratch() -> TempDir {
    let scratch = scratch();
    set_mode(scratch.path(), 0o755);
    scratch
}

/// What became of a read, in a word or two.
pub(crate) fn outcome<T>(result: Result<T, Error>, good: impl FnOnce(T) -> String) -> String {
    match result {
        Ok(found) => good(found),
        Err(error) => {
            let text = error.to_string();
            match error {
                Error::Corrupt(_) => "corrupt".to_owned(),
                Error::NoSuchColumn { .. } => "no column".to_owned(),
                Error::Io(_) => format!("io: {text}"),
                other => format!("{other:?}"),
            }
        }
    }
}

/// Reads every byte of a slot.
pub(crate) fn read(view: &View, slot: Slot) -> String {
    outcome(view.get(slot), |found| match found {
        None => "none".to_owned(),
        Some(found) if *found == *value(slot) => "value".to_owned(),
        Some(_) => "WRONG VALUE".to_owned(),
    })
}

/// How a child came to its end, and its lines that begin with a mark.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) said: Vec<String>,
    pub(crate) printed: String,
}

const MARK: &str = ">>> ";

/// Tells the parent.
pub(crate) fn say(text: &str) {
    println!("{MARK}{text}");
}

/// Runs a child to its end on a column.
pub(crate) fn run(child: &'static str, column: &Path, case: &str) -> Ended {
    let output = tempfile::NamedTempFile::new().unwrap();
    let environment = [(COLUMN, column.as_os_str()), (CASE, OsStr::new(case))];
    let mut process = Process::start(child, output.path().to_owned(), &environment);
    let status = process.wait();
    let printed = process.printed();
    let said =
        printed.lines().filter_map(|line| line.split_once(MARK)).map(|(_, text)| text.to_owned());
    Ended { status, said: said.collect(), printed }
}

/// [`run`] of a child that must end well.
#[track_caller]
pub(crate) fn run_well(child: &'static str, column: &Path, case: &str) -> Vec<String> {
    let ended = run(child, column, case);
    assert!(ended.status.success(), "{case}: {}\n{}", ended.status, ended.printed);
    ended.said
}

/// The column and the case of this process, when it was started as a child.
pub(crate) fn told() -> Option<(PathBuf, String)> {
    let column = std::env::var_os(COLUMN)?;
    Some((column.into(), std::env::var(CASE).ok()?))
}

/// Every file below a directory with its bytes; of links, where they lead.
pub(crate) fn everything(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            found.extend(everything(&path));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        } else if let Ok(target) = fs::read_link(&path) {
            found.push((path, target.into_os_string().into_encoded_bytes()));
        }
    }
    found.sort();
    found
}
