//! The operating system: the one file that changes things ([`disk`]), the folder that maps (`map`),
//! the lock, and the watch on a directory.

mod deferred_close;
pub(crate) mod directory;
pub mod disk;
pub(crate) mod map;
mod owner;
pub mod pread;
pub(crate) mod watch;
