//! Archives of the bundled chains, and their rules.

use std::path::PathBuf;
use std::sync::Arc;

use coldstore::{Manifest, Snapshot};
use coldstore_consensus::Config;
use coldstore_consensus::transition::ChainRules;
use coldstore_history::replay::{Source, rules_of};
use test_support::chain_content::MINIMAL_CONFIG;
use test_support::{ImportedArchive, MINIMAL, era_files};

/// The small chain from this era on; the states that it has are those at the ends of eras.
pub(crate) fn minimal_from(era: usize) -> ImportedArchive {
    let files: Vec<PathBuf> = era_files(MINIMAL).split_off(era);
    ImportedArchive::of(&files)
}

pub(crate) fn minimal_rules(source: &Source<impl Snapshot>) -> Arc<ChainRules> {
    let config = Config::parse(MINIMAL_CONFIG).unwrap();
    rules_of(&Manifest::default(), source, Some(&config)).unwrap()
}
