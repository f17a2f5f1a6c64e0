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
mod state_store;
mod survey;
mod value_reader;
mod verified_era;

pub use era_file::EraFile;
pub use export_error::ExportError;
pub use exporter::{EraExport, Exported};
pub use group::{EraGroup, EraSlots};
pub use import_error::{BadFile, ImportError, ImportFailure};
pub use import_options::{COLUMNS, ImportOptions};
pub use import_plan::{ImportPlan, PlannedFile};
pub use import_report::{ImportProgress, ImportReport};
pub use importer::import;

// For the tools and tests of this workspace.
#[doc(hidden)]
pub use {
    blinding::ExecutionPayload,
    e2store::RecordAt,
    group::{EraBlock, EraState},
    group_walk::GroupWalk,
    import_options::ImportColumns,
    import_report::{EraOutcome, EraReport, Phase, StateOutcome},
    importer::import_columns,
    prover::{EraAt, EraProof, Prover},
    slot_index::IndexEncoding,
    state_store::StateStore,
};

#[doc(hidden)]
pub use crate::format::ssz;
