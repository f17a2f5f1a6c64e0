//! States rebuilt from an archive's own blocks, against the true ones.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]
#![allow(clippy::disallowed_methods, reason = "the tests damage archives by hand")]

mod archive;
mod damage;
mod diff_damage;
mod diffs;
mod edits;
mod golden;
mod layered;
#[path = "../../benches/support/mod.rs"]
mod made;
mod mainnet;
mod replay;
mod rules;
mod slots;
mod synthetic;
