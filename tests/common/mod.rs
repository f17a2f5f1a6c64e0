//! Helpers of the integration tests: directories as maps, deterministic values, the golden data,
//! and the formats of `FORMAT.md` written a second time, by hand, so that the tests do not believe
//! the library when it describes its own files.

#![allow(dead_code, unused_imports, reason = "every test binary uses another part of this file")]
#![allow(clippy::disallowed_methods, reason = "the tests damage stores by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod by_hand;
mod directories;
mod golden;
mod looking;
mod opening;
mod scenarios;
#[path = "../support/scratch.rs"]
mod scratch;
#[path = "../support/size.rs"]
pub(crate) mod size;
mod test_disk;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) use by_hand::*;
use coldstore::files::disk::{Access, Disk, DiskFile, LockAttempt, OsDisk, write_all_at};
use coldstore::format::conf::Conf;
use coldstore::format::witness::Witness;
use coldstore::{
    Archive, ColumnSpec, Compression, Error, MappedArchive, MappedReader, Reader, ReaderOptions,
    Slot, View, Writer, WriterOptions,
};
pub(crate) use directories::*;
pub(crate) use golden::*;
pub(crate) use looking::*;
pub(crate) use opening::*;
pub(crate) use scenarios::*;
pub(crate) use scratch::scratch as temp_dir;
pub(crate) use test_disk::*;
pub(crate) use values::*;

/// Slots per file, as FORMAT.md says it.
pub(crate) const PER_FILE: u64 = 8192;
/// The length of every whole offset file.
pub(crate) const OFFSETS_LEN: u64 = 65_536;
/// The e2store version record that starts every data file.
pub(crate) const VERSION: [u8; 8] = [0x65, 0x32, 0, 0, 0, 0, 0, 0];
/// The stream identifier chunk of a framed snappy stream.
pub(crate) const SNAPPY_IDENTIFIER: [u8; 10] = *b"\xff\x06\x00\x00sNaPpY";

/// An uncompressed column with the spec of `bss`.
pub(crate) const PLAIN: ColumnSpec =
    ColumnSpec { record_type: [4, 0], compression: Compression::None, max_value_bytes: 1 << 30 };
/// A compressed column with the spec of `blk`.
pub(crate) const SNAPPY: ColumnSpec =
    ColumnSpec { record_type: [1, 0], compression: Compression::Snappy, max_value_bytes: 10 << 20 };

/// What a column should show: slot and value.
pub(crate) type Content = BTreeMap<u64, Vec<u8>>;
/// A directory: file name and bytes. `lock` is left out, it does not count.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;
