//! Client library for the daemon of the `coldstore` command.
//!
//! `coldstore write` owns an archive and serves it over HTTP on a Unix socket. [`client::Client`] is
//! the client for programs that embed one; `coldstore send` uses it. [`slot_stream`] is the format for
//! many values, [`wire`] has the JSON types.

pub mod client;
pub mod slot_stream;
pub mod wire;
