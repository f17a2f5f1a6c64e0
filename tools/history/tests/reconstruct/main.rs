//! Reconstructions of the small chain: what is stored, what is proved, and what damage stops.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test may damage an archive")]

mod archive;
mod damage;
mod keep;
mod run;
mod sink;
