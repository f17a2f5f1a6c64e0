//! Writing: the rules for puts, the order of a commit, healing, pipelines, and the golden files.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod backfill;
mod door;
mod format_rules;
mod golden;
mod heal;
mod interrupted;
mod pipeline;
