//! Archives of the small chain, and their reconstruction.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};

use coldstore::{ArchivePipeline, ArchiveWriterOptions, Column, Manifest, PipelineOptions, Slot};
use coldstore_consensus::Config;
use coldstore_history::reconstruct::{
    Chosen, EndedEarly, PipelineSink, Plan, ReconstructObserver, ReconstructOptions,
    ReconstructReport, Reconstruction, StateSink,
};
use coldstore_history::replay::{Check, Source, rules_of};
use test_support::chain_content::MINIMAL_CONFIG;
use test_support::{ImportedArchive, MINIMAL, era_files};

pub(crate) const SLOTS_PER_ERA: u64 = 64;

/// The files of these eras of the small chain.
pub(crate) fn minimal(eras: RangeInclusive<usize>) -> ImportedArchive {
    ImportedArchive::of(&era_files(MINIMAL)[eras])
}

pub(crate) fn every(slots: u64) -> Chosen {
    Chosen::Every(NonZeroU64::new(slots).unwrap())
}

/// A reconstruction to run, with one worker unless it is told otherwise.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) options: ReconstructOptions,
    pub(crate) jobs: usize,
    /// Stops when this many slots were replayed.
    pub(crate) stop_after: u64,
    pub(crate) config: String,
}

pub(crate) fn storing(chosen: Chosen) -> Run {
    Run {
        options: ReconstructOptions { eras: None, chosen, check: Check::Boundary },
        jobs: 1,
        stop_after: u64::MAX,
        config: MINIMAL_CONFIG.to_owned(),
    }
}

impl Run {
    pub(crate) fn prepared(&self, archive: &ImportedArchive) -> Reconstruction {
        let archive = archive.open();
        let config = Config::parse(&self.config).unwrap();
        let source = Source::of(&archive).unwrap();
        let manifest = Manifest::read(archive.root()).unwrap().unwrap_or_default();
        let rules = rules_of(&manifest, &source, Some(&config)).unwrap();
        Reconstruction::new(&archive, rules, self.options.clone()).unwrap()
    }

    pub(crate) fn plan(&self, archive: &ImportedArchive) -> Plan {
        self.prepared(archive).plan().clone()
    }

    pub(crate) fn try_run(
        &self,
        archive: &ImportedArchive,
    ) -> Result<ReconstructReport, EndedEarly> {
        let column = self.options.chosen.column().unwrap_or(Column::StateSnapshots);
        let columns = ArchiveWriterOptions::default().backfill(column);
        let pipeline =
            ArchivePipeline::open(archive.path(), columns, |_| PipelineOptions::default()).unwrap();
        let states = pipeline.column(column);
        self.run_with(archive, (0..self.jobs).map(|_| PipelineSink::new(states.clone())).collect())
    }

    pub(crate) fn run_with<S: StateSink>(
        &self,
        archive: &ImportedArchive,
        sinks: Vec<S>,
    ) -> Result<ReconstructReport, EndedEarly> {
        let observer = StopAfter { slots: AtomicU64::new(self.stop_after) };
        self.prepared(archive).run(sinks, &observer)
    }

    #[track_caller]
    pub(crate) fn run(&self, archive: &ImportedArchive) -> ReconstructReport {
        self.try_run(archive).unwrap()
    }
}

struct StopAfter {
    slots: AtomicU64,
}

impl ReconstructObserver for StopAfter {
    fn replayed(&self, _slot: Slot) -> ControlFlow<()> {
        match self.slots.fetch_sub(1, Ordering::Relaxed) {
            ..=1 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// The stored states.
pub(crate) fn stored(archive: &ImportedArchive) -> BTreeMap<u64, Vec<u8>> {
    let view = archive.open().column(Column::StateSnapshots).unwrap().view();
    let records = view.range(..).map(|record| {
        let record = record.unwrap();
        (record.slot().0, record.stored().to_vec())
    });
    records.collect()
}

/// Asserts that these slots, and no others, have the right state.
#[track_caller]
pub(crate) fn assert_stored(
    archive: &ImportedArchive,
    truth: &BTreeMap<u64, Vec<u8>>,
    slots: impl IntoIterator<Item = u64>,
) {
    let stored = stored(archive);
    let mut wanted: Vec<u64> = slots.into_iter().collect();
    wanted.sort_unstable();
    wanted.dedup();
    assert_eq!(stored.keys().copied().collect::<Vec<_>>(), wanted);
    for (slot, state) in &stored {
        assert!(*state == truth[slot], "the state of slot {slot}");
    }
}

/// The slots at the ends of these eras.
pub(crate) fn boundaries(eras: RangeInclusive<u64>) -> impl Iterator<Item = u64> {
    eras.map(|era| era * SLOTS_PER_ERA)
}
