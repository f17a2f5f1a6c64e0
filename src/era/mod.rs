//! `.era` files: history as clients exchange it, and its way into an archive.
//!
//! An `.era` file is a sequence of e2store records: the blocks of an era of slots, the state behind
//! them, and an index (e2store-format-specs, `formats/era.md`). [`EraFile`] reads one,
//! [`import`](import::import) brings many of them into the columns of an archive, and
//! [`EraExport`] writes them out of the columns again. Bytes from a
//! file are suspect: whatever is in it, the answer is a value or an error that names the place.

// Numbers from a disk can be anything: no arithmetic here may overflow, and none may panic.
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
