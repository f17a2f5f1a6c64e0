//! Import and export of `.era` files, in which clients exchange history.
//!
//! An `.era` file is a sequence of e2store records: the blocks of an era, the state after them, and an
//! index (e2store-format-specs, `formats/era.md`). [`EraFile`] reads a file,
//! [`import`](import::import) writes the records of many files to the columns of an archive, and
//! [`EraExport`] writes a file from the columns. Bytes from a file are suspect: any content yields a
//! value, or an error that names its place.

// Numbers from a file are untrusted, so no arithmetic here may overflow or panic.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod archive_roots;
mod bad_file;
mod blinding;
mod check;
mod columns;
mod commit;
pub mod e2store;
mod era_position;
mod error;
pub mod export;
mod export_error;
mod frames;
mod group;
mod group_records;
pub mod import;
mod index;
mod lacks;
mod plan;
mod progress;
mod prove;
mod reader;
mod report;
mod tee_decode;
mod verify;
mod walk;

pub use bad_file::{BadFile, Looks};
pub use blinding::ExecutionPayload;
pub use error::{AnotherChain, ImportError, ImportFailure};
pub use export::{EraExport, ExportColumns, Exported};
pub use export_error::ExportError;
pub use group::{EraSlots, Group};
pub use group_records::{EraBlock, EraState, Limits};
pub use index::{IndexEncoding, IndexMismatch, MAX_SLOTS_PER_ERA, SlotIndex};
pub use plan::{Plan, PlannedFile};
pub use prove::{EraAt, EraProof, Prover};
pub use reader::EraFile;
pub use report::{
    EraOutcome, EraReport, ImportReport, ImportSummary, Observer, Phase, Progress, StateOutcome,
};
pub use walk::GroupWalk;

use crate::format::hex;
pub use crate::format::ssz;
