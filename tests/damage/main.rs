//! Damage of every kind: a read gives the right value or an error that names the place.
//!
//! A small store of each kind is damaged in one place, read in every way, verified, opened for
//! writing, and restored; thousands of times. Beside the library stands a second reader of the
//! format ([`Reference`], in `test_support`), written from `FORMAT.md` and as naive as can be. Where the library gives
//! something else than what was put, the reference must say the same, and the cause must be one of
//! [`Unnoticed`]: the closed list of what the format cannot notice. What the list has is counted and
//! printed (`cargo test --test damage -- --nocapture`).
//!
//! No read may panic, hang, or allocate much: this binary's allocator keeps the largest request.
#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test that damages files writes them itself")]

mod damages;
mod predicted;
mod reading;
mod store;
mod unnoticed;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use coldstore::verify::{Finding, Summary, VerifyOptions, verify_column};
use coldstore::{Compression, Error, MappedReader, ReaderOptions, Slot, Writer, WriterOptions};
use damages::*;
use predicted::*;
use store::*;
use tempfile::TempDir;
use test_support::allocations::{Counting, largest};
use test_support::size::quick_or_whole;
use test_support::{
    Files, PER_FILE, Progress, RawConf, Reference, Shown, Table, assert_same_files, data_name,
    differing_files, files_of, id_of, offsets_name, open_reader, scratch, spec,
};
use unnoticed::*;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// No value here has more than a few hundred bytes.
const LARGEST_ALLOCATION: usize = 8 << 20;

const TABLE_BYTES: usize = 65_536;
const CONF: &str = "column.conf";
