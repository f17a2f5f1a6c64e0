//! Runs the fuzzers' inputs on a stable compiler, without a fuzzer.
//!
//! `tests/fuzz/corpus` has a minimal set of inputs with the fuzzers' full coverage, packed into one
//! file per target. `tests/fuzz/regressions` has inputs that once failed.
#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "../../../tests/fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::io::Read as _;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use test_support::size::quick_or_whole;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz")
}

/// The inputs of a packed corpus, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let packed = fs::File::open(fuzz().join(format!("corpus/{target}.tar.zst"))).unwrap();
    let mut tar = tar::Archive::new(zstd::Decoder::new(packed).unwrap());
    let inputs = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    });
    inputs.collect()
}

fn regressions(target: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(fuzz().join("regressions").join(target)) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}

#[track_caller]
fn replay(name: &str) {
    let (_, target) = targets::TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let corpus = corpus(name);
    assert!(corpus.len() >= 10, "the corpus of {name} has only {} inputs", corpus.len());
    let sample = corpus.into_iter().step_by(quick_or_whole(4, 1));
    for (input, data) in sample.chain(regressions(name)) {
        assert!(catch_unwind(|| target(&data)).is_ok(), "{name} failed with {input}");
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

#[test]
fn blocks() {
    replay("blocks");
}

#[test]
fn diffs_of_states() {
    replay("diffs");
}

/// A corpus without a target would never run.
#[test]
fn every_corpus_and_every_folder_of_regressions_belongs_to_a_target() {
    for kind in ["corpus", "regressions"] {
        // The folder of regressions is missing if there are none.
        for entry in fs::read_dir(fuzz().join(kind)).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let of = name.strip_suffix(".tar.zst").unwrap_or(&name);
            assert!(targets::TARGETS.iter().any(|(target, _)| *target == of), "{kind}/{name}");
        }
    }
}
