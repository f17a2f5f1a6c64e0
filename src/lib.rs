//! Static-file storage for finalized Ethereum consensus history: one writer, and any number of
//! readers. [`Reader::open`] reads with `pread` and returns copies; [`Reader::open_mapped`] maps the
//! files and returns slices of them.
//!
//! Finalized history is keyed by slot and never changes, so there is nothing to sort, merge or
//! compact. A *column* (blocks, block roots, state roots, state snapshots, state diffs, or one of
//! your own) is a directory with one data file and one offset file for every 8192 slots and one
//! small commit marker, `column.conf`. The files are byte-compatible with Lighthouse's static cold
//! store; `src/format/FORMAT.md` is the contract.
//!
//! # What the crate promises
//! * **Durable on return.** After a put has returned `Ok`, no crash and no power cut loses it.
//! * **All or nothing.** After a crash during a put, or an error, reopening the column yields all of
//!   the batch or none of it; readers never see a part.
//! * **One writer.** A second writer, in this or another process, is refused at once.
//! * **Readers never wait and never change anything.** They take no lock and work on a read-only
//!   mount, beside a writer or without one. A [`View`] is a snapshot: nothing it has shown changes
//!   or disappears while it is held.
//! * **No wrong value.** Bytes that contradict the format are [`Error::Corrupt`], with the file, the
//!   offset, the wanted and the found bytes; never a panic. (Records carry no checksum of their own:
//!   a flipped byte inside an uncompressed value looks like a value. Checksum files,
//!   [`Checksums`], detect it.)
//!
//! # Example
//! ```
//! use coldstore::{Column, Reader, ReaderOptions, Slot, Writer, WriterOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let directory = scratch.path().join("bss");
//! let options = WriterOptions::create(Column::StateSnapshots.spec()).allow_backfill(true);
//! let mut writer = Writer::open(&directory, options)?;
//! writer.put(Slot(0), b"genesis")?;
//! writer.put_batch(&[(Slot(8192), "era 1"), (Slot(16384), "era 2")])?;
//!
//! let reader = Reader::open(&directory, ReaderOptions::default())?;
//! let view = reader.view();
//! assert_eq!(view.get(Slot(8192))?, Some(b"era 1".to_vec()));
//! assert_eq!(view.get(Slot(100))?, None);
//!
//! // With backfill, skipped slots below the highest can be filled later.
//! writer.put(Slot(100), b"between")?;
//! assert_eq!(view.get(Slot(100))?, None, "a view does not change");
//! let view = reader.refresh()?;
//! let slots: Vec<u64> = view.range(..).map(|record| record.map(|r| r.slot().0)).collect::<Result<_, _>>()?;
//! assert_eq!(slots, [0, 100, 8192, 16384]);
//! # Ok(())
//! # }
//! ```
//!
//! # Platforms
//! Unix on 64-bit targets; compiling for other targets fails. Readers load 8-byte entries atomically
//! from read-only maps, which Rust guarantees on 64-bit targets only. Local file systems: on a network
//! file system `flock`, coherent maps and inotify do not hold between machines ([limits](guide::limits)).
//!
//! # The API by use
//! * **Read a column**: [`Reader::open`] reads with `pread` and copies; its snapshots are [`PreadView`]s.
//!   [`Reader::open_mapped`] (`unsafe`) maps the files; its snapshots are [`View`]s, which return slices and
//!   [`Record`]s, and [`Access`] chooses the advice to the kernel. [`Snapshot`] is the trait over both.
//!   [`OwnedRange`] iterates over [`OwnedRecord`]s, [`Reader::wait_for`] waits for a slot, and a [`Follower`]
//!   shows each new one.
//! * **Write a column**: [`Writer`] and [`WriterOptions`]; [`Pipeline`] shares one writer between threads
//!   and answers with [`Ticket`]s. [`Door`] checks values, [`Checksums`] detect rot.
//! * **An archive** of the five columns: [`Archive`], [`ArchiveWriter`], [`ArchivePipeline`].
//! * **`.era` files**: [`era::import`] and [`era::EraExport`].
//! * **Maintenance**: [`verify::verify_column`] checks a column, [`inspect`] reports what opening for writing
//!   would heal ([`HealReport`]).
//! * **Common terms**: [`Slot`], [`FileId`], [`Column`], [`ColumnSpec`], [`Compression`]; [`Error`] with its
//!   [`ErrorKind`].
//!
//! Modules without documentation are for the tests and tools of this repository and may change.

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "coldstore needs a 64-bit target: it loads 8-byte entries of mapped offset files atomically, and \
     Rust guarantees this for read-only memory on 64-bit targets only"
);

#[doc(hidden)]
pub mod archive;
#[doc(hidden)]
pub mod column;
#[cfg(feature = "era")]
pub mod era;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod files;
#[doc(hidden)]
pub mod format;
#[path = "docs/mod.rs"]
pub mod guide;
#[doc(hidden)]
pub mod manifest;
#[doc(hidden)]
pub mod occupancy;
#[doc(hidden)]
pub mod read;
#[doc(hidden)]
pub mod removal;
#[doc(hidden)]
pub mod slot;
#[doc(hidden)]
pub mod stat;
mod sync;
pub mod verify;
// Parts of the writer are used by the importer only.
#[cfg_attr(not(feature = "era"), allow(dead_code))]
#[doc(hidden)]
pub mod write;

#[doc(hidden)]
pub use archive::MappedArchive;
pub use archive::{Archive, ArchivePipeline, ArchiveWriter, ArchiveWriterOptions};
pub use column::{Column, ColumnSpec, Compression};
pub use error::{CorruptItem, Corruption, Error, ErrorKind, IoError, ObjectionKind, Result};
#[doc(hidden)]
pub use format::conf::Conf;
#[doc(hidden)]
pub use manifest::Manifest;
pub use manifest::StatesPolicy;
#[doc(hidden)]
pub use read::MappedReader;
pub use read::{
    Access, Follower, OwnedRange, OwnedRecord, PreadView, Reader, ReaderOptions, Record, Snapshot,
    View,
};
pub use slot::{FileId, SLOTS_PER_FILE, Slot};
#[doc(hidden)]
pub use write::{
    BulkCommit, Committed, CutReport, HealAction, HealChange, Keep, Prepared, Queue, ReclaimReport,
    Reclaimed, inspect_cut, inspect_reclaim, inspect_with, reclaim, replace_by_copy,
};
pub use write::{
    BulkError, BulkReport, Checksums, CommitInfo, Door, HealReport, Pipeline, PipelineOptions,
    Ticket, TrySubmitError, Writer, WriterOptions, inspect,
};

/// The examples of the README are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
