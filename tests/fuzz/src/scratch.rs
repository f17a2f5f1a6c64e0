//! Directories in memory, bytes taken apart, and what an error must say.

use std::path::Path;

use coldstore::{Access, Error, MappedReader, Reader, ReaderOptions};
use tempfile::TempDir;

/// The most bytes that a reader of a target decodes a value to, and the longest values that are
/// copied here.
pub const CEILING: u64 = 1 << 20;

/// A directory in memory where there is one: no target is about a power cut.
pub fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("coldstore-fuzz-").tempdir_in(parent).unwrap()
}

/// Opens a reader of a directory that only the target changes.
pub fn open_reader(directory: &Path) -> coldstore::Result<MappedReader> {
    open_reader_with(directory, 0)
}

/// The same, with a way of access and a limit on maps chosen by a byte. They change nothing about
/// what is read.
pub fn open_reader_with(directory: &Path, choice: u8) -> coldstore::Result<MappedReader> {
    open(directory, choice, false)
}

/// The same, and every record is compared with its checksum.
pub fn open_checking_reader(directory: &Path, choice: u8) -> coldstore::Result<MappedReader> {
    open(directory, choice, true)
}

fn open(directory: &Path, choice: u8, checksums: bool) -> coldstore::Result<MappedReader> {
    let access = [Access::Mixed, Access::Random, Access::Sequential, Access::Unadvised];
    let access = access[usize::from(choice) % access.len()];
    let options =
        ReaderOptions::default().value_ceiling(CEILING).access(access).checksums(checksums);
    let options = match (choice >> 2) % 8 {
        0 => options,
        files => options.max_mapped_files(usize::from(files) - 1),
    };
    // SAFETY: the directory is the target's own. While a reader is used, nothing but a writer
    // changes the files in it.
    unsafe { Reader::open_mapped(directory, options) }
}

/// An error that the bytes on disk are to blame for names the file; one that a caller's request
/// is to blame for names the slot.
#[track_caller]
pub fn check_error(error: &Error, directory: &Path) {
    let text = error.to_string();
    match error {
        Error::Io(_)
        | Error::Corrupt(_)
        | Error::Unsupported { .. }
        | Error::ConfMismatch { .. }
        | Error::NoSuchColumn { .. } => {
            assert!(text.contains(directory.to_str().unwrap()), "names no file: {text}");
        }
        Error::Conflict { .. }
        | Error::BackfillDisabled { .. }
        | Error::TooLarge { .. }
        | Error::Undecodable { .. } => assert!(text.contains("slot "), "names no slot: {text}"),
        other => panic!("not an answer to this: {other:?}"),
    }
}

/// Takes an input apart. Behind its end come zeros.
#[derive(Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
