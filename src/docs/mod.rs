//! The guide: how to use, run and change this crate.
//!
//! | chapter | for |
//! |---|---|
//! | [`mod@format`] | every byte on disk, the order of a commit, healing, what a reader may show |
//! | [`architecture`] | contributors: the read path and the write path, file by file |
//! | [`durability`] | what the guarantees rest on, and how they are tested |
//! | [`security`] | hostile files, other users, other tools |
//! | [`limits`] | what the format cannot notice; sizes and bounds |
//! | [`operating`] | descriptors, memory, backups, replaced columns |
//! | [`reconstruction`] | states from blocks, the pipeline, the daemon |
//! | [`performance`] | what costs what, and which option to choose |
//! | `coldstore_history::guide::any_state` | the state of any slot, rebuilt from the archive's own blocks |
//! | `coldstore_history::guide::lighthouse` | embedders: a client's cold store over an archive, with its root index |

// The chapters are prose and are read as files too.
#![allow(clippy::doc_markdown)]

#[doc = include_str!("../format/FORMAT.md")]
pub mod format {}

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("durability.md")]
pub mod durability {}

#[doc = include_str!("security.md")]
pub mod security {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("operating.md")]
pub mod operating {}

/// [`Pipeline`]: crate::Pipeline
/// [`Ticket`]: crate::Ticket
///
#[doc = include_str!("reconstruction.md")]
pub mod reconstruction {}

/// [`Pipeline`]: crate::Pipeline
///
#[doc = include_str!("performance.md")]
pub mod performance {}
