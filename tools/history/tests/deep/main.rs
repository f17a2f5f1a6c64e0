//! The proof of an archive from its columns, and the findings for damage.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]
#![allow(clippy::disallowed_methods, reason = "the tests make and damage files by hand")]

mod anchor;
mod archive;
#[path = "../../../consensus/tests/truth/chain.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod chain;
mod damage;
#[path = "../../../../tests/support/scratch.rs"]
mod scratch;
mod seal;
