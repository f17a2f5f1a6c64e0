//! The subjects, one file each.

mod coldstore;
mod fjall;
mod floors;
mod lmdb;
#[cfg(feature = "mdbx")]
mod mdbx;
mod open_per_get;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;

pub use coldstore::{Coldstore, ReadInto};
pub use fjall::Fjall;
pub use floors::{Append, Mapped, Marked, Pread};
pub use lmdb::Lmdb;
#[cfg(feature = "mdbx")]
pub use mdbx::Mdbx;
pub use open_per_get::OpenPerGet;
pub use redb::Redb;
#[cfg(feature = "rocksdb")]
pub use rocksdb::Rocksdb;

/// A big-endian key, for subjects that order keys as bytes.
fn key(slot: u64) -> [u8; 8] {
    slot.to_be_bytes()
}
