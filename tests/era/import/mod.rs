//! Importing `.era` files: the two real chains, and everything that may come in an import's way.

#![allow(clippy::disallowed_methods, reason = "the tests make files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod files;
mod gaps;
mod interruptions;
mod states;
mod whole;

use std::fs;
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::archive::*;
use coldstore::era::{
    EraOutcome, EraReport, ImportError, ImportOptions, ImportPlan, ImportProgress, ImportReport,
    IndexEncoding, Phase, StateOutcome, import_columns,
};
use coldstore::{Column, Slot, StatesPolicy};

fn every(eras: u64) -> StatesPolicy {
    StatesPolicy::Every(NonZeroU64::new(eras).unwrap())
}

fn eras(report: &ImportReport) -> Vec<u64> {
    report.eras.iter().map(|era| era.era).collect()
}

fn encoding(report: &EraReport) -> Option<IndexEncoding> {
    match report.outcome {
        EraOutcome::Imported { index_encoding, .. } => index_encoding,
        _ => None,
    }
}
