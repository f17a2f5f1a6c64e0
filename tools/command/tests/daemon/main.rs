//! The daemon as its clients meet it: each test runs the binary and talks HTTP to it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "these are no files of a column, or damaged on purpose"
)]

mod bad_input;
mod client;
mod copy;
mod disk_full;
mod ending;
mod host;
mod memory;
mod observed;
mod routes;
mod send;
mod slow_clients;
mod sockets;
#[path = "../command/support.rs"]
#[allow(dead_code, reason = "shared with the tests of the other verbs")]
mod support;
