//! What an import refuses. Whatever is wrong with a file, the error names it and the place, and
//! nothing of the file is committed.

#![allow(clippy::disallowed_methods, reason = "the tests make and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod chains;
mod content;
mod records;

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::archive::*;
use coldstore::era::{EraFile, ImportError, ImportOptions, ImportPlan, import_columns};
use coldstore::{Column, ColumnSpec, StatesPolicy, Writer, WriterOptions};
use tempfile::TempDir;

/// An archive of the minimal chain, and a place for files that it must not take.
struct Wall {
    archive: Archive,
    before: BTreeMap<PathBuf, Vec<u8>>,
    files: TempDir,
}

impl Wall {
    /// Holds the eras in front of this one.
    fn before(era: usize) -> Self {
        Self::holding(0..=era - 1)
    }

    fn holding(eras: RangeInclusive<usize>) -> Self {
        let archive = Archive::of(&era_files(MINIMAL)[eras]);
        let before = archive.files();
        Self { archive, before, files: scratch() }
    }

    /// The error for a file with these bytes, which names the file and has all of `parts`.
    #[track_caller]
    fn refuses(&self, bytes: &[u8], parts: &[&str]) -> ImportError {
        let path = write(&self.files, "suspect.era", bytes);
        let failure = self.archive.import(&[path]).expect_err("the file is refused");
        let text = failure.to_string();
        for part in ["suspect.era"].iter().chain(parts) {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
        assert!(self.archive.files() == self.before, "something was committed");
        failure.error
    }
}

fn parts(era: usize) -> Parts {
    Parts::read(&era_files(MINIMAL)[era])
}

fn original(era: usize) -> Vec<u8> {
    fs::read(&era_files(MINIMAL)[era]).unwrap()
}

fn rebuilt(era: usize, change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = parts(era);
    change(&mut parts);
    parts.build(Encoding::Rule)
}

/// The era's file with the bytes at a place replaced.
fn patched(era: usize, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut whole = original(era);
    whole[at..at + bytes.len()].copy_from_slice(bytes);
    whole
}

fn at(offset: usize) -> String {
    format!("at offset {offset}:")
}

/// Where in the file of an era its block index and its state index start.
fn indices(era: usize) -> (usize, usize) {
    let offsets = offsets(&original(era));
    (offsets[offsets.len() - 2], offsets[offsets.len() - 1])
}

/// Where in the file of an era the record of a block starts.
fn block_at(era: usize, slot: u64) -> usize {
    offsets(&original(era))[1 + parts(era).block(slot).unwrap()]
}

// Era 3 of the minimal chain: slots 128 to 191, of which 128, 140, 161 and 191 are skipped.
const ERA: usize = 3;
