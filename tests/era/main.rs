//! `.era` files: import, export, copies of archives, refusals, and memory.

#![allow(clippy::disallowed_methods, reason = "the tests make and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod archive;
mod blinding;
mod copy;
mod export;
mod import;
mod memory;
mod refusals;
