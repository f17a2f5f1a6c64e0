//! Import and export of `.era` files, in which clients exchange history.
//!
//! An `.era` file is a sequence of e2store records: the blocks of an era, the state after them, and an
//! index (e2store-format-specs, `formats/era.md`). [`EraFile`] reads a file,
//! [`import`] writes the records of many files to the columns of an archive, and
//! [`EraExport`] writes a file from the columns. Bytes from a file are suspect: any content yields a
//! value, or an error that names its place.

// Numbers from a file are untrusted, so no arithmetic here may overflow or panic.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod archive_roots;
mod bad_file;
mod blinding;
mod consistency;
mod e2store;
mod era_commit;
mod era_file;
mod era_position;
mod export_error;
mod exporter;
mod group;
mod group_walk;
mod import_error;
mod import_options;
mod import_plan;
mod import_progress;
mod import_report;
mod importer;
mod prover;
mod record_sink;
mod slot_index;
mod survey;
mod value_reader;
mod verified_era;

pub use bad_file::BadFile;
pub use era_file::EraFile;
pub use export_error::ExportError;
pub use exporter::{EraExport, ExportColumns, Exported};
pub use group::{EraBlock, EraGroup, EraSlots, EraState};
pub use import_error::{ImportError, ImportFailure};
pub use import_options::{ImportColumns, ImportOptions};
pub use import_plan::{ImportPlan, PlannedFile};
pub use import_report::{
    EraOutcome, EraReport, ImportProgress, ImportReport, Observer, Phase, StateOutcome,
};
pub use importer::import;
pub use slot_index::IndexEncoding;

// For the tools and tests of this workspace.
#[doc(hidden)]
pub use {
    blinding::ExecutionPayload,
    e2store::RecordAt,
    group_walk::GroupWalk,
    prover::{EraAt, EraProof, Prover},
};

#[doc(hidden)]
pub use crate::format::ssz;
