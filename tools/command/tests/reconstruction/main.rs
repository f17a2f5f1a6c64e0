//! Reconstruction as in production: `.era` files first, then many senders fill the gaps through one
//! daemon while readers serve. The daemon is killed repeatedly.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "these are no files of a column, or damaged on purpose"
)]

mod chain_mainnet_preset;
mod chain_minimal;
mod flow;
#[path = "../daemon/host.rs"]
#[allow(dead_code, reason = "shared with the tests of the daemon")]
mod host;
mod keep;
mod reader;
mod replay;
#[path = "../command/support.rs"]
#[allow(dead_code, reason = "shared with the tests of the other verbs")]
mod support;
mod truth;
