//! Helpers of the tests: directories as maps, deterministic values, the golden data, and the formats of
//! `FORMAT.md` written a second time, by hand, so that no test relies on what the library says of its own
//! files.

#![allow(missing_debug_implementations, missing_docs, reason = "tests only")]
#![allow(clippy::disallowed_methods, reason = "the tests damage stores by hand")]
#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a helper that fails is a failed test"
)]

pub mod allocations;
mod bad_sectors;
mod by_hand;
#[cfg(feature = "chains")]
pub mod chain_content;
mod chains;
#[cfg(feature = "diffs")]
pub mod diffs;
mod directories;
pub mod e2store;
mod golden;
mod hooked_disk;
#[cfg(feature = "chains")]
mod imported;
mod looking;
mod opening;
mod process;
mod reference;
mod scenarios;
mod scratch;
pub mod size;
mod sums;
#[cfg(target_os = "linux")]
pub mod system_calls;
mod test_disk;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, IoSlice, Write as _};
use std::ops::RangeBounds;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coldstore::files::disk::{Access, Disk, DiskFile, LockAttempt, OsDisk, write_all_at};
use coldstore::format::conf::Conf;
use coldstore::format::witness::Witness;
use coldstore::read::Taken;
use coldstore::{
    Archive, ColumnSpec, Compression, Error, MappedArchive, MappedReader, Reader, ReaderOptions,
    Slot, View, Writer, WriterOptions,
};

pub use bad_sectors::BadSectors;
pub use by_hand::*;
pub use chains::*;
pub use directories::*;
pub use golden::*;
pub use hooked_disk::{HookedDisk, Operation};
#[cfg(feature = "chains")]
pub use imported::ImportedArchive;
pub use looking::*;
pub use opening::*;
pub use process::*;
pub use reference::*;
pub use scenarios::*;
pub use scratch::scratch;
pub use sums::*;
pub use test_disk::*;
pub use values::*;

/// Slots per file, as FORMAT.md says it.
pub const PER_FILE: u64 = 8192;
/// The length of every whole offset file.
pub const OFFSETS_LEN: u64 = 65_536;
/// The e2store version record that starts every data file.
pub const VERSION: [u8; 8] = [0x65, 0x32, 0, 0, 0, 0, 0, 0];
/// The stream identifier chunk of a framed snappy stream.
pub const SNAPPY_IDENTIFIER: [u8; 10] = *b"\xff\x06\x00\x00sNaPpY";

/// An uncompressed column with the spec of `bss`.
pub const PLAIN: ColumnSpec =
    ColumnSpec { record_type: [4, 0], compression: Compression::None, max_value_bytes: 1 << 30 };
/// A compressed column with the spec of `blk`.
pub const SNAPPY: ColumnSpec =
    ColumnSpec { record_type: [1, 0], compression: Compression::Snappy, max_value_bytes: 10 << 20 };

/// What a column should show: slot and value.
pub type Content = BTreeMap<u64, Vec<u8>>;
/// A directory: file name and bytes. `lock` is left out, it does not count.
pub type Files = BTreeMap<String, Vec<u8>>;
