//! The library itself, compiled once more with Shuttle's locks, threads and channels in place of
//! the standard library's, so that tests can run it under every order of steps that a scheduler
//! comes up with. See `build.rs` for what is replaced.
#![allow(missing_docs, missing_debug_implementations, clippy::all, reason = "see the original")]
#![allow(unsafe_code, unused, unreachable_pub, rust_2018_idioms, reason = "see the original")]

pub mod interleaved;

include!(concat!(env!("OUT_DIR"), "/coldstore/lib.rs"));
