//! The bytes on disk: no I/O, and nothing allocated but the few bytes of an encoded conf.
//!
//! [`FORMAT.md`](https://docs.rs/crate/coldstore/latest/source/src/format/FORMAT.md) in this
//! folder is the contract; the structs here are its other half, and golden bytes hold the two
//! together.

// Numbers from a disk can be anything: no arithmetic here may overflow, and none may panic.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod conf;
pub(crate) mod faults;
pub mod fit;
pub mod frames;
pub(crate) mod hex;
pub mod names;
pub mod offsets;
pub mod record;
pub mod ssz;
pub mod sums;
pub mod witness;
