//! The read path: [`Reader`] → [`PreadView`] → an owned value, or [`MappedReader`] → [`View`] → a slice
//! of a mapped file.
//!
//! From the bottom up: `files` establishes which bytes of a file are committed, and opens or maps it; a
//! `commit` is one conf with these files; `pread_view` reads them with `pread_record`, or `mapped` holds
//! their maps, and `record` and `range` read from these; a `view` is a handle to `mapped`; `snapshot` is
//! what both views have in common; a `reader` takes the next one; `follow` waits for it.

mod backfill_cursor;
mod checks;
mod commit;
pub(crate) mod decode;
mod fd_cache;
pub(crate) mod file_pair;
pub(crate) mod files;
mod follow;
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

pub use follow::Follower;
pub use options::{Access, ReaderOptions};
pub use owned_range::OwnedRange;
pub use pread_view::PreadView;
pub use reader::{MappedReader, Reader};
pub use record::{OwnedRecord, Record};
pub use snapshot::{SlotTable, Snapshot, Taken};
pub use view::View;
