//! States that are streamed into the column.

use std::sync::Arc;

use coldstore::{ArchivePipeline, ArchiveWriterOptions, Column, PipelineOptions, Slot};
use coldstore_consensus::transition::{BeaconState, ChainRules};
use coldstore_consensus::{Config, Preset};
use coldstore_history::reconstruct::{PipelineSink, StateSink};
use test_support::chain_content::MINIMAL_CONFIG;
use test_support::scratch;

/// Validators of a state that is too long to be held by the queue.
const MANY: usize = 80_000;

#[test]
fn a_long_state_is_stored_whole_and_a_refused_one_is_an_error() {
    let rules = ChainRules::new(Preset::Minimal, &Config::parse(MINIMAL_CONFIG).unwrap()).unwrap();
    let [state, other] =
        [1, 2].map(|seed| BeaconState::synthetic(&Arc::new(rules.clone()), MANY, seed));
    let slot = Slot(state.slot());
    assert!(state.ssz_len() > 10 << 20);
    let archive = scratch();
    let columns = ArchiveWriterOptions::default();
    let pipeline =
        ArchivePipeline::open(archive.path(), columns, |_| PipelineOptions::default()).unwrap();
    let mut sink = PipelineSink::new(pipeline.column(Column::StateSnapshots).clone());
    for _ in 0..2 {
        sink.put(slot, &state).unwrap();
        let stored = pipeline.get(Column::StateSnapshots, slot).unwrap();
        assert!(stored.unwrap() == state.to_ssz());
    }
    let conflict = sink.put(slot, &other).unwrap_err().to_string();
    assert!(conflict.contains(&format!("slot {slot}")), "{conflict}");
    let next = Slot(slot.0 + 1);
    let wrong = sink.put(next, &state).unwrap_err().to_string();
    assert!(wrong.contains(&format!("that of slot {slot}")), "{wrong}");
    assert_eq!(sink.finish().unwrap(), 1, "the second time it was there");
    assert_eq!(pipeline.get(Column::StateSnapshots, next).unwrap(), None);
}
