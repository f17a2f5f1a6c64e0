//! Reading: what a snapshot shows, access patterns, followers, and threads that share a reader.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod access;
mod follow;
mod opening;
mod reader_rules;
mod threads;
