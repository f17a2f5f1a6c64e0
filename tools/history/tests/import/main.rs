//! Proved imports: intact files are imported, and damage anywhere is refused by its place, with nothing
//! of its era stored.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]
#![allow(clippy::disallowed_methods, reason = "the tests make and damage files by hand")]

mod damage;
mod era_file;
mod layered;
mod run;
mod trust;
mod unknown;
