//! The inputs that the fuzzers have found are run again, on a stable compiler and without a fuzzer.
//!
//! `tests/fuzz/corpus` holds the smallest inputs that together reach what the fuzzers reached,
//! `tests/fuzz/regressions` those that made a target fail once.
#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "../../../tests/support/size.rs"]
mod size;
#[path = "../../../tests/fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use size::quick_or_whole;

fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz");
    let Ok(entries) = fs::read_dir(fuzz.join(kind).join(target)) else {
        return Vec::new();
    };
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    inputs
}

#[track_caller]
fn replay(name: &str) {
    let (_, target) = targets::TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let corpus = inputs("corpus", name);
    assert!(corpus.len() >= 10, "tests/fuzz/corpus/{name} has only {} inputs", corpus.len());
    let sample = corpus.into_iter().step_by(quick_or_whole(4, 1));
    for input in sample.chain(inputs("regressions", name)) {
        let data = fs::read(&input).unwrap();
        assert!(catch_unwind(|| target(&data)).is_ok(), "failed with {}", input.display());
    }
}

#[test]
fn confs() {
    replay("conf");
}

#[test]
fn columns() {
    replay("column");
}

#[test]
fn payloads() {
    replay("snappy");
}

#[test]
fn era_files() {
    replay("era");
}

#[test]
fn slot_streams() {
    replay("slots");
}

#[test]
fn operations() {
    replay("operations");
}

/// A corpus without a target would be run by nobody.
#[test]
fn every_folder_of_inputs_belongs_to_a_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz");
    for kind in ["corpus", "regressions"] {
        // There is no folder of regressions as long as there are none.
        for entry in fs::read_dir(fuzz.join(kind)).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(targets::TARGETS.iter().any(|(target, _)| *target == name), "{kind}/{name}");
        }
    }
}
