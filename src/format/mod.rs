//! The on-disk format as structs. This module does no I/O.
//!
//! [`FORMAT.md`](https://docs.rs/crate/coldstore/latest/source/src/format/FORMAT.md) in this
//! folder is the contract. The structs here implement it, and tests with golden bytes keep the two
//! consistent.

// Numbers read from disk are untrusted: arithmetic on them must not overflow or panic.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod conf;
pub mod conf_check;
pub(crate) mod corruption;
pub mod frames;
pub(crate) mod hex;
pub mod names;
pub mod offsets;
pub mod record;
pub mod ssz;
pub mod sums;
pub mod witness;
