//! Archives of the bundled chains, and their rules.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use coldstore::{Manifest, Slot, Snapshot, View};
use coldstore_consensus::Config;
use coldstore_consensus::transition::ChainRules;
use coldstore_history::replay::{ReplayError, Source, rules_of};
use coldstore_history::states::{StateView, States};
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

pub(crate) fn states_of(archive: &ImportedArchive, config: &str) -> States<View> {
    States::open(&archive.open(), Some(&Config::parse(config).unwrap())).unwrap()
}

pub(crate) fn minimal_states(archive: &ImportedArchive) -> States<View> {
    states_of(archive, MINIMAL_CONFIG)
}

/// The state of a slot as SSZ.
pub(crate) fn ssz_at(states: &States<View>, slot: u64) -> Result<Vec<u8>, ReplayError> {
    Ok(ssz_of(&states.at(Slot(slot))?))
}

pub(crate) fn ssz_of(state: &StateView<'_, impl Snapshot>) -> Vec<u8> {
    let mut ssz = Vec::new();
    state.write_ssz(&mut ssz).unwrap();
    assert_eq!(ssz.len() as u64, state.ssz_len());
    let mut read = Vec::new();
    state.reader().unwrap().read_to_end(&mut read).unwrap();
    assert!(read == ssz);
    ssz
}

/// Why there is no state of a slot.
#[track_caller]
pub(crate) fn error_at(states: &States<View>, slot: u64) -> ReplayError {
    states.at(Slot(slot)).map(drop).unwrap_err()
}
