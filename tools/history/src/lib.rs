//! Semantics of an archive of finalized consensus history.
//!
//! [`import`] proves `.era` files during an import, [`deep`] proves an archive from its own columns,
//! [`roots`] finds the slot of a root, [`states`] gives the state of any slot, by a [`replay`] of the blocks. `coldstore_consensus` hashes blocks and states; `coldstore`
//! stores values. The [`guide`] shows how to embed an archive.

pub mod atomic_file;
pub mod deep;
pub mod guide;
pub mod import;
pub mod occupancy;
pub mod replay;
pub mod roots;
pub mod states;
