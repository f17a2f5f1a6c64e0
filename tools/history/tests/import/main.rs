//! Proved imports: intact files are imported, and damage anywhere is refused by its place, with nothing
//! of its era stored.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]
#![allow(clippy::disallowed_methods, reason = "the tests make and damage files by hand")]

#[path = "../../../consensus/tests/truth/chain.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod chain;
mod damage;
mod era_file;
mod run;
#[path = "../../../../tests/support/scratch.rs"]
mod scratch;
mod trust;
mod unknown;
