//! Static-file storage for finalized Ethereum consensus history: one writer, any number of
//! readers that map the files and hand out slices without copying.
//!
//! Finalized history is keyed by slot and never changes, so there is nothing to sort, merge or
//! compact. A *column* (blocks, block roots, state roots, state snapshots, state diffs, or one of
//! your own) is a directory with one data file and one offset file for every 8192 slots and one
//! small commit marker, `column.conf`. The bytes are those of Lighthouse's static cold store;
//! `src/format/FORMAT.md` is the contract.
//!
//! # What the crate promises
//! * **Durable on return.** After a put has returned `Ok`, no crash and no power cut loses it.
//! * **All or nothing.** After a crash in a put, or an error, the column holds all of the batch or
//!   nothing of it once it has been opened again; readers never see a part.
//! * **One writer.** A second one is refused at once, in whatever process it is.
//! * **Readers never wait and never change anything.** They take no lock and work on a read-only
//!   mount, beside a writer or without one. Nothing that a [`View`] has shown changes or goes
//!   away for as long as it is held.
//! * **No wrong value.** Bytes that contradict the format are [`Error::Corrupt`], with file,
//!   offset, what was wanted and what was found; never a panic. (The format has no checksum: a
//!   flipped byte inside an uncompressed value looks like a value.)
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
//! // SAFETY: nobody but writers of this format changes the files in `directory`.
//! let reader = unsafe { Reader::open(&directory, ReaderOptions::default()) }?;
//! let view = reader.view();
//! assert_eq!(view.get_stored(Slot(8192))?, Some(&b"era 1"[..]));
//! assert_eq!(view.get_stored(Slot(100))?, None);
//!
//! // Slots that were skipped can be filled later, behind the highest.
//! writer.put(Slot(100), b"between")?;
//! assert_eq!(view.get_stored(Slot(100))?, None, "a view does not change");
//! let view = reader.refresh()?;
//! let slots: Vec<u64> = view.range(..).map(|record| record.map(|r| r.slot().0)).collect::<Result<_, _>>()?;
//! assert_eq!(slots, [0, 100, 8192, 16384]);
//! # Ok(())
//! # }
//! ```
//!
//! # Platforms
//! Unix on 64-bit targets; compiling for others fails. Readers load 8-byte entries atomically from maps that
//! are read-only, which the language guarantees on 64-bit targets alone.
//!
//! # Where to go on
//! [`Writer`] and [`Reader`] work on one column, [`Archive`] and [`ArchiveWriter`] on the five of
//! an archive, [`era`] imports `.era` files, [`verify`] checks a column, [`inspect`] shows what
//! opening for writing would heal.

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "coldstore needs a 64-bit target: it loads entries of mapped offset files atomically, which is \
     guaranteed for memory mapped read-only on 64-bit targets alone"
);

pub mod archive;
pub mod column;
#[cfg(feature = "era")]
pub mod era;
pub mod error;
pub mod files;
pub mod format;
#[path = "docs/mod.rs"]
pub mod guide;
pub mod manifest;
pub mod occupancy;
pub mod read;
pub mod removal;
pub mod slot;
pub mod stat;
pub mod verify;
// Some of the writer serves the importer alone.
#[cfg_attr(not(feature = "era"), allow(dead_code))]
pub mod write;

pub use archive::{Archive, ArchivePipeline, ArchiveWriter};
pub use column::{Column, ColumnSpec, Compression};
pub use error::{Corruption, Error, IoError, Objection, ObjectionKind, Result};
pub use manifest::{Manifest, StatesPolicy};
pub use read::{
    Access, Arrival, FollowOptions, Follower, Look, OwnedRecord, Range, Reader, ReaderOptions,
    Record, Unmapped, View,
};
pub use slot::{FileId, SLOTS_PER_FILE, Slot};
pub use write::{
    BulkCommit, BulkError, BulkReport, Checksums, CommitInfo, Committed, CutReport, Door,
    HealAction, HealReport, Keep, Mended, Pipeline, PipelineOptions, Prepared, Queue,
    ReclaimReport, Reclaimed, Ticket, TrySubmitError, Writer, WriterOptions, inspect, inspect_cut,
    inspect_reclaim, inspect_with, reclaim, replace_by_copy,
};

/// The examples of the README are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
