//! Maintenance: checksums, verification, copies, removal, and the reclaiming of dead bytes.

#![allow(clippy::disallowed_methods, reason = "the tests look at and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod checksums;
mod copy;
mod reclaim;
mod removal;
mod replace;
mod rot;
mod verification;
