//! Client library for the daemon of the `coldstore` command.
//!
//! `coldstore write` owns an archive and serves it over HTTP on a Unix socket. [`Client`] and
//! [`blocking::Client`] are its clients; `coldstore send` uses the latter. [`slot_stream`] is the format
//! for many values, [`wire`] has the JSON types.

pub mod blocking;
mod body;
mod client;
mod client_error;
mod connection;
mod scan;
pub mod slot_stream;
#[cfg(test)]
mod tests;
pub mod wire;

pub use client::Client;
pub use client_error::{ClientError, Result};
pub use scan::Scan;
