//! The read path: [`Reader`] → [`View`] → a slice of a mapped file.
//!
//! From the bottom up: `files` establishes which bytes of a file are committed, and maps them; a
//! `snapshot` is one conf with the maps of its files; `record` and `scan` read from a snapshot; a `view`
//! is a handle to a snapshot; a `reader` takes the next view; `follow` waits for it.

mod backfill_cursor;
mod checks;
mod commit;
pub(crate) mod decode;
mod fd_cache;
pub(crate) mod file_pair;
pub(crate) mod files;
mod follow;
pub(crate) mod frame_stream;
mod mapped;
mod options;
mod owned_range;
mod pread_record;
mod pread_view;
mod prefetch;
mod range;
mod reader;
mod record;
mod snapshot;
pub(crate) mod sums;
mod view;

pub use follow::{Arrival, FollowOptions, Follower};
pub use options::{Access, ReaderOptions};
pub use owned_range::OwnedRange;
pub use pread_view::PreadView;
pub use range::Range;
pub use reader::{MappedReader, Reader};
pub use record::{OwnedRecord, Record};
pub use snapshot::{SlotTable, Snapshot, Taken};
pub use view::View;
