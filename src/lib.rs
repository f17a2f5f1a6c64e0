//! Static-file storage for finalized Ethereum consensus history: one writer, any number of
//! readers that map the files and hand out slices without copying.

pub mod archive;
pub mod column;
pub mod error;
pub mod files;
pub mod format;
pub mod read;
pub mod slot;
pub mod stat;
pub mod verify;
pub mod write;

pub use archive::{Archive, ArchiveWriter};
pub use column::{Column, ColumnSpec, Compression};
pub use error::{Corruption, Error, IoError, Result};
pub use read::{
    Arrival, FollowOptions, Follower, OwnedRecord, Range, Reader, ReaderOptions, Record, View,
};
pub use slot::{FileId, SLOTS_PER_FILE, Slot};
pub use write::{
    Committed, HealAction, HealReport, RunCommit, RunError, RunReport, Writer, WriterOptions,
    inspect,
};
