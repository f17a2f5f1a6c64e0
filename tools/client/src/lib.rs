//! Programs that talk to the daemon of the `coldstore` command.
//!
//! `coldstore write` owns an archive and serves it over HTTP on a Unix socket. [`client::Client`]
//! is the other end, for programs that embed it; `coldstore send` is built on it. [`slot_stream`]
//! is how many values travel at once, [`wire`] what is said about them.

pub mod client;
pub mod slot_stream;
pub mod wire;
