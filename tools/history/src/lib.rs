//! Semantics of an archive of finalized consensus history.
//!
//! [`import`] proves `.era` files during an import, [`deep`] proves an archive from its own columns,
//! [`replay`] rebuilds states from an archive's own blocks: [`states`] gives the state of any slot,
//! [`reconstruct`] stores those between the boundary states. [`lacking`] finds what an archive lacks,
//! [`roots`] finds the slot of a root, [`pubkeys`] the validator of a public key.
//! `coldstore_consensus` knows the protocol; `coldstore` stores values. The [`guide`] shows how to embed an
//! archive.

pub mod atomic_file;
pub mod deep;
pub mod guide;
pub mod import;
pub mod lacking;
pub mod occupancy;
pub mod pubkeys;
pub mod reconstruct;
pub mod replay;
pub mod roots;
mod segment;
pub mod states;
