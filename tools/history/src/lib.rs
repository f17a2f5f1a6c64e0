//! What an archive of finalized consensus history means.
//!
//! [`import`] proves `.era` files on their way into an archive, [`deep`] proves an archive from its
//! own columns, [`roots`] finds the slot of a root. What blocks and states hash to is told by
//! `coldstore_consensus`; how values lie on the disk by `coldstore`.

pub mod atomic_file;
pub mod deep;
pub mod import;
pub mod roots;
