//! The read path: [`Reader`] → [`View`] → a slice of a mapped file.

pub(crate) mod decode;
mod file_table;
pub(crate) mod files;
mod follow;
mod reader;
mod record;
mod scan;
mod tracker;
mod view;

pub use follow::{Arrival, FollowOptions, Follower};
pub use reader::{Reader, ReaderOptions};
pub use record::{OwnedRecord, Record};
pub use scan::Range;
pub use view::View;
