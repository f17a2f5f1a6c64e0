//! The operating system: the one file that changes things ([`disk`]), the one that maps
//! (`map`), the lock, and the watch on a directory.

mod closer;
pub(crate) mod directory;
pub mod disk;
pub(crate) mod map;
mod owner;
pub mod pread;
pub(crate) mod touched;
pub(crate) mod watch;
