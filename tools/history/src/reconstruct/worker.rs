//! Replays one stretch after another.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use coldstore::{Error, Slot};

use super::plan::{Chosen, Stretch};
use super::report::{Ended, FailedEras, ReconstructReport};
use super::sink::StateSink;
use super::{ReconstructObserver, Reconstruction};
use crate::replay::{Check, Replay, ReplayError};

/// A thread that takes the next stretch until none is left.
pub(super) struct Worker<'a, S> {
    pub(super) of: &'a Reconstruction,
    pub(super) next: &'a AtomicUsize,
    pub(super) stop: &'a AtomicBool,
    pub(super) observer: &'a dyn ReconstructObserver,
    pub(super) sink: S,
}

/// Why a stretch was not replayed to its end.
enum Failed {
    /// This stretch alone.
    Replay(ReplayError),
    /// All of them.
    All(Ended),
}

impl From<ReplayError> for Failed {
    fn from(error: ReplayError) -> Self {
        Self::Replay(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Replay(error.into())
    }
}

impl<S: StateSink> Worker<'_, S> {
    pub(super) fn run(mut self) -> (ReconstructReport, Option<Ended>) {
        let mut report = ReconstructReport::default();
        while let Some(stretch) =
            self.of.plan.stretches.get(self.next.fetch_add(1, Ordering::Relaxed))
        {
            self.observer.begun(stretch);
            let replayed = self.replay(stretch, &mut report);
            // What was proved before a failure is durable before it is reported.
            let finished = self.sink.finish().map_err(Ended::Sink);
            let failed = match (replayed, finished) {
                (Err(Failed::All(why)), _) | (_, Err(why)) => {
                    self.stop.store(true, Ordering::Relaxed);
                    return (report, Some(why));
                }
                (Ok(()), Ok(())) => None,
                (Err(Failed::Replay(error)), Ok(())) => {
                    Some(FailedEras { eras: stretch.eras.clone(), error })
                }
            };
            self.observer.ended(stretch, failed.as_ref());
            report.failed.extend(failed);
        }
        (report, None)
    }

    fn replay(&mut self, stretch: &Stretch, report: &mut ReconstructReport) -> Result<(), Failed> {
        let of = self.of;
        let Reconstruction { source, rules, options, .. } = of;
        let stores = options.chosen != Chosen::Nothing;
        // A replay that starts further back passes eras that are not asked for.
        let before = (stretch.eras.start() - 1) * rules.preset().slots_per_era();
        let mut replay = Replay::start(
            Arc::clone(rules),
            stretch.start,
            of.stored(stretch.start)?,
            options.check,
        )?;
        // The tree is needed anyway, so a start that is damaged is found before hours of replay.
        if stores || options.check != Check::Boundary {
            of.prove(&mut replay)?;
        }
        while replay.slot() < stretch.end {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Failed::All(Ended::Stopped));
            }
            replay.step(&of.source)?;
            let slot = replay.slot();
            report.slots += 1;
            let is_chosen = slot.0 > before && options.chosen.contains(slot);
            if is_chosen && !source.snapshots.contains(slot)? {
                of.prove(&mut replay)?;
                let put = self.sink.put(slot, replay.state());
                put.map_err(|error| Failed::All(Ended::Sink(error)))?;
                report.stored_states += 1;
            }
            if self.observer.replayed(slot).is_break() {
                return Err(Failed::All(Ended::Stopped));
            }
        }
        if stretch.ends_with_stored_state {
            replay.compare_with(&of.stored(stretch.end)?)?;
            report.equal_ends += 1;
        } else {
            of.prove(&mut replay)?;
            report.ends_by_root += 1;
        }
        report.eras += stretch.eras.end() - stretch.eras.start() + 1;
        Ok(())
    }
}

impl Reconstruction {
    /// The stored state of a slot that the plan has found.
    fn stored(&self, slot: Slot) -> Result<Cow<'_, [u8]>, Failed> {
        // Nothing is no state, and is refused as one.
        Ok(self.source.snapshots.get(slot)?.unwrap_or_default())
    }

    /// Compares the root of the state with the one in `bsr`, which must be there.
    fn prove(&self, replay: &mut Replay<'_>) -> Result<(), Failed> {
        let slot = replay.slot();
        match replay.check_root(&self.source)? {
            true => Ok(()),
            false => Err(ReplayError::NoStateRoot { slot }.into()),
        }
    }
}
