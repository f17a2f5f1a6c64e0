#![doc = include_str!("docs/overview.md")]

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
