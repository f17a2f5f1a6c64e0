//! The read path: [`Reader`] → [`View`] → a slice of a mapped file.
//!
//! From the bottom up: `files` establishes which bytes of a file are committed, and maps them; a
//! `snapshot` is one conf with the maps of its files; `record` and `scan` read from a snapshot; a `view`
//! is a handle to a snapshot; a `reader` takes the next view; `follow` waits for it.

mod backfill_cursor;
pub(crate) mod decode;
mod fd_cache;
pub(crate) mod files;
mod follow;
pub(crate) mod frame_stream;
mod look;
mod options;
mod prefetch;
mod read_into;
mod reader;
mod record;
mod scan;
mod snapshot;
pub(crate) mod sums;
pub(crate) mod unmapped;
mod view;

pub use follow::{Arrival, FollowOptions, Follower};
pub use look::{Look, SlotTable};
pub use options::{Access, ReaderOptions};
pub use reader::Reader;
pub use record::{OwnedRecord, Record};
pub use scan::Range;
pub use unmapped::Unmapped;
pub use view::View;
