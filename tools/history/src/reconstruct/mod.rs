//! The states between the stored ones, replayed from an archive's own blocks and proved.
//!
//! Eras are replayed in parallel, each from the state at its beginning to the next stored one, which must be
//! equal to the state reached, byte for byte. A state goes to the [`StateSink`] only after its own root
//! has been compared with the one in `bsr`, so nothing is stored that is not proved, and a run that was
//! killed resumes with the first chosen state that is missing.
//!
//! Full states are not held back until the end of their era: those of a mainnet era have gigabytes. Their
//! roots prove them already, provided that `bsr` was proved when it was imported; the comparison at
//! the end of an era then also finds an error in what no root covers: the replay itself. Only the last chosen
//! state waits for it: an era that fails at its end is not done, and fails again in the next run.

mod plan;
mod report;
mod sink;
mod worker;

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use coldstore::{MappedArchive, Result, Slot, View};
use coldstore_consensus::transition::ChainRules;

pub use self::plan::{Chosen, Plan, Stretch};
pub use self::report::{Ended, EndedEarly, FailedEras, ReconstructReport, of_eras};
pub use self::sink::{PipelineSink, SinkError, StateSink};

use self::worker::Worker;
use crate::replay::{Check, Source};

/// What to replay, and which states to store.
#[derive(Clone, Debug)]
pub struct ReconstructOptions {
    /// The eras (default: all); era N ends with the state of slot `N * slots_per_era`.
    pub eras: Option<RangeInclusive<u64>>,
    /// The states to store.
    pub chosen: Chosen,
    /// Where roots are compared besides those of the stored states.
    pub check: Check,
}

/// Follows a reconstruction, from the threads of its workers.
pub trait ReconstructObserver: Sync {
    /// A slot was replayed. [`ControlFlow::Break`] ends the reconstruction; what was stored stays.
    fn replayed(&self, slot: Slot) -> ControlFlow<()>;

    /// The replay of these eras begins.
    fn begun(&self, _stretch: &Stretch) {}

    /// The replay of these eras has ended, or failed.
    fn ended(&self, _stretch: &Stretch, _failed: Option<&FailedEras>) {}
}

/// A reconstruction of an archive's states, on one snapshot of its columns.
#[derive(Debug)]
pub struct Reconstruction {
    source: Source<View>,
    rules: Arc<ChainRules>,
    options: ReconstructOptions,
    plan: Plan,
}

impl Reconstruction {
    /// Plans the work. Reads offset tables only.
    ///
    /// # Errors
    /// As [`coldstore::Archive::views`], and [`coldstore::Error::Corrupt`] for a damaged offset table.
    pub fn new(
        archive: &MappedArchive,
        rules: Arc<ChainRules>,
        options: ReconstructOptions,
    ) -> Result<Self> {
        let source = Source::of(archive)?;
        let slots_per_era = rules.preset().slots_per_era();
        let (eras, chosen) = (options.eras.as_ref(), &options.chosen);
        let plan = Plan::new(&source, slots_per_era, eras, chosen, options.check)?;
        Ok(Self { source, rules, options, plan })
    }

    /// The work.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether a state that is to be stored lies below the column's highest: `bss` must then be open for
    /// backfill.
    #[must_use]
    pub fn needs_backfill(&self) -> bool {
        let highest = self.source.snapshots.highest_written_slot();
        let stores = self.options.chosen != Chosen::Nothing;
        stores && self.plan.stretches.iter().any(|stretch| Some(stretch.start) < highest)
    }

    /// Whether `bss` is open for backfill.
    #[must_use]
    pub fn allows_backfill(&self) -> bool {
        self.source.snapshots.conf().allows_backfill()
    }

    /// The memory that a worker takes, in bytes: the state without what stays in the mapped file, and the nodes
    /// of its tree. Measured, with a margin: 1.25 times the encoded state. The copy of the last chosen state has
    /// at most 0.6 times as much again. `None` if there is nothing to replay, or the state cannot be read.
    #[must_use]
    pub fn worker_bytes(&self) -> Option<u64> {
        let last = self.plan.stretches.last()?;
        let byte_len = self.source.snapshots.record(last.start).ok()??.stored_len() as u64;
        let copy = if self.options.chosen == Chosen::Nothing { 0 } else { byte_len * 5 / 8 };
        Some(byte_len * 5 / 4 + copy)
    }

    /// Replays the eras, one worker for each sink.
    ///
    /// # Errors
    /// [`EndedEarly`]. Eras that fail do not end the others: [`ReconstructReport::failed`].
    pub fn run<S: StateSink>(
        &self,
        sinks: Vec<S>,
        observer: &dyn ReconstructObserver,
    ) -> Result<ReconstructReport, EndedEarly> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let worker = |sink| Worker { of: self, next: &next, stop: &stop, observer, sink };
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = sinks
                .into_iter()
                .map(|sink| {
                    let worker = worker(sink);
                    scope.spawn(move || worker.run())
                })
                .collect();
            let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
            joined.map(|joined| joined.unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        });
        let mut done = ReconstructReport { done_eras: self.plan.done_eras, ..Default::default() };
        let mut ended = Vec::new();
        for (report, why) in outcomes {
            done.merge(report);
            ended.extend(why);
        }
        done.failed.sort_by_key(|failed| *failed.eras.start());
        match ended.into_iter().min_by_key(Ended::distance_from_cause) {
            None => Ok(done),
            Some(why) => Err(EndedEarly { done, why }),
        }
    }
}
