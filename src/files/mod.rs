//! The operating system: all changes to files ([`disk`]), all maps (`map`), reads with `pread`, and the
//! watch on a directory.

mod deferred_close;
pub(crate) mod directory;
pub mod disk;
pub(crate) mod map;
mod owner;
pub mod pread;
pub(crate) mod watch;
