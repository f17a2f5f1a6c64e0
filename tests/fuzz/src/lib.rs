//! What the fuzzers run. Nothing in here needs a fuzzer: the tests of the tools include this very
//! file and run the committed inputs on a stable compiler.
//!
//! Every target takes any bytes at all. It panics when the library panics, hands out a wrong
//! value, changes what it may not change, or fails with an error that does not name a place.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a target that fails must panic")]
#![allow(clippy::disallowed_methods, reason = "hostile files are made by hand")]
#![allow(clippy::cast_possible_truncation, reason = "any byte is as good as any other")]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "inputs are short")]
#![allow(dead_code, reason = "only the fuzzers need new seeds")]
#![allow(unsafe_code, reason = "opening a reader maps files")]
#![allow(missing_docs, unreachable_pub, reason = "the targets and the replay use it, nobody else")]

pub mod blocks;
pub mod column;
pub mod conf;
pub mod diffs;
pub mod era;
pub mod operations;
pub mod scratch;
pub mod slots;
pub mod snappy;

/// A name, and what is done with the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets by name: the name of the corpus directory, too.
pub const TARGETS: [Target; 8] = [
    ("conf", conf::run),
    ("column", column::run),
    ("snappy", snappy::run),
    ("era", era::run),
    ("slots", slots::run),
    ("operations", operations::run),
    ("blocks", blocks::run),
    ("diffs", diffs::run),
];
