//! The read path: [`Reader`] → [`View`] → a slice of a mapped file.

mod access;
mod ask;
pub(crate) mod decode;
mod descriptors;
mod direct;
pub(crate) mod files;
mod follow;
pub(crate) mod frame_stream;
mod look;
mod map_cache;
mod reader;
mod record;
mod scan;
mod sums;
mod tracker;
pub(crate) mod unmapped;
mod view;

pub use access::Access;
pub use follow::{Arrival, FollowOptions, Follower};
pub use look::{Look, SlotTable};
pub use reader::{Reader, ReaderOptions};
pub use record::{OwnedRecord, Record};
pub use scan::Range;
pub use unmapped::Unmapped;
pub use view::View;
