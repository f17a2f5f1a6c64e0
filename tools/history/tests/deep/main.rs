//! The proof of an archive from its columns, and the findings for damage.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]
#![allow(clippy::disallowed_methods, reason = "the tests make and damage files by hand")]

mod anchor;
mod archive;
mod damage;
mod diffs;
mod lacking;
mod seal;
