//! Roots of a real chain of every fork, against those from the consensus specification's own code, and
//! roots of damaged bytes.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]
#![allow(clippy::disallowed_methods, reason = "the tests make and damage files by hand")]

mod damage;
mod json;
mod replay;
mod roots;
