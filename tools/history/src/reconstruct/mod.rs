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
//!
//! Diffs ([`Chosen::Kept`]) are small, so those of an era wait for its end: nothing of an era that fails is
//! stored. They are made again from the beginning of the era where some are missing.

mod encoder;
mod endpoint;
mod keep;
mod plan;
mod report;
mod sink;
mod worker;

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use coldstore::{Column, Manifest, MappedArchive, Result, Slot, Snapshot as _, View};
use coldstore_consensus::Preset;
use coldstore_consensus::transition::ChainRules;

pub use self::keep::Keep;
pub use self::plan::{Chosen, Plan, Stretch};
pub use self::report::{Ended, EndedEarly, FailedEras, ReconstructReport, StoredDiffs, of_eras};
pub use self::sink::{PipelineSink, SinkError, StateSink};

use self::plan::ChosenSlots;
use self::worker::Worker;
use crate::replay::{Check, Source};
use crate::states::States;
use crate::states::hierarchy::Hierarchy;

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
    states: States<View>,
    rules: Arc<ChainRules>,
    options: ReconstructOptions,
    chosen: ChosenSlots,
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
        let preset = rules.preset();
        let manifest = Manifest::read(archive.root())?.unwrap_or_default();
        let hierarchy = Hierarchy::of_manifest(archive.root(), &manifest, preset)?;
        let chosen = options.chosen.clone().slots(hierarchy.clone(), preset.slots_per_epoch());
        let slots_per_era = preset.slots_per_era();
        let plan =
            Plan::new(&source, slots_per_era, options.eras.as_ref(), &chosen, options.check)?;
        let states = States::of(source, Arc::clone(&rules), hierarchy).with_cache_bytes(0);
        Ok(Self { states, rules, options, chosen, plan })
    }

    fn source(&self) -> &Source<View> {
        self.states.source()
    }

    /// The chain's preset.
    #[must_use]
    pub fn preset(&self) -> Preset {
        self.rules.preset()
    }

    /// The work.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The column to which states go, if it must be open for backfill and is not: states are stored below its
    /// highest, or diffs of several eras at the same time.
    #[must_use]
    pub fn lacks_backfill(&self) -> Option<Column> {
        let stretches = &self.plan.stretches;
        let column = self.options.chosen.column()?;
        let view = match column {
            Column::StateDiffs => self.source().diffs.as_ref()?,
            _ => &self.source().snapshots,
        };
        let highest = view.highest_written_slot();
        let is_below = stretches.iter().any(|stretch| Some(stretch.start) < highest);
        let is_needed = is_below || column == Column::StateDiffs && stretches.len() > 1;
        (is_needed && !view.conf().allows_backfill()).then_some(column)
    }

    /// The memory that a worker takes, in bytes: the state without what stays in the mapped file, and the nodes
    /// of its tree. Measured, with a margin: 1.25 times the encoded state. The copy of the last chosen state has
    /// at most 0.6 times as much again; so have the columns of diffs, and those of an era. `None` if
    /// there is nothing to replay, or the state cannot be read.
    #[must_use]
    pub fn worker_bytes(&self) -> Option<u64> {
        let last = self.plan.stretches.last()?;
        let snapshots = &self.source().snapshots;
        let whole = snapshots.last_to(last.start).ok()??;
        let byte_len = snapshots.record(whole).ok()??.stored_len() as u64;
        let copy = if self.options.chosen.stores() { byte_len * 5 / 8 } else { 0 };
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
