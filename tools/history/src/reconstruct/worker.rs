//! Replays one stretch after another.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use coldstore::{Error, Slot};
use coldstore_consensus::transition::BeaconState;

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
    /// Returns what was done, and why it ended early: nothing, or several reasons of which the first is the
    /// oldest.
    pub(super) fn run(mut self) -> (ReconstructReport, Vec<Ended>) {
        let mut report = ReconstructReport::default();
        let mut ended = Vec::new();
        while let Some(stretch) =
            self.of.plan.stretches.get(self.next.fetch_add(1, Ordering::Relaxed))
        {
            self.observer.begun(stretch);
            let failed = match self.replay(stretch, &mut report) {
                Ok(()) => None,
                Err(Failed::Replay(error)) => {
                    Some(FailedEras { eras: stretch.eras.clone(), error })
                }
                Err(Failed::All(why)) => {
                    ended.push(why);
                    None
                }
            };
            // What was proved before a failure is durable before it is reported.
            match self.sink.finish() {
                Ok(new) => report.stored_states += new,
                Err(error) => ended.push(Ended::Sink(error)),
            }
            if ended.is_empty() || failed.is_some() {
                self.observer.ended(stretch, failed.as_ref());
            }
            report.failed.extend(failed);
            if !ended.is_empty() {
                self.stop.store(true, Ordering::Relaxed);
                break;
            }
        }
        (report, ended)
    }

    fn replay(&mut self, stretch: &Stretch, report: &mut ReconstructReport) -> Result<(), Failed> {
        let of = self.of;
        let Reconstruction { source, rules, options, .. } = of;
        // A replay that starts further back passes eras that are not asked for.
        let before = (stretch.eras.start() - 1) * rules.preset().slots_per_era();
        let chosen = before + 1..=stretch.end.0;
        // An era is done when all its chosen states are stored, so one waits for the comparison at the end.
        let mut missing = options.chosen.missing(&source.snapshots, &chosen);
        let first_missing = missing.next().transpose()?;
        let last_missing = missing.last().transpose()?.or(first_missing);
        let mut held = None;
        let (mut replay, wrong_start) = of.start(stretch)?;
        // The next run starts again from the wrong state, and reports it.
        let omitted = first_missing.filter(|_| wrong_start.is_some());
        while replay.slot() < stretch.end {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Failed::All(Ended::Stopped));
            }
            replay.step(&of.source)?;
            let slot = replay.slot();
            report.slots += 1;
            let slots_per_epoch = rules.preset().slots_per_epoch();
            report.checked_states += u64::from(options.check.is_at(slot.0, slots_per_epoch));
            if slot.0 > before && options.chosen.contains(slot) && Some(slot) != omitted {
                if !source.snapshots.contains(slot)? {
                    of.prove(&mut replay)?;
                    match Some(slot) == last_missing {
                        true => held = Some(replay.state().clone()),
                        false => self.put(slot, replay.state())?,
                    }
                } else if stretch.start < slot
                    && slot < stretch.end
                    && let Err(difference) = of.compare(&replay)
                {
                    // Unless the replayed state is the wrong one.
                    of.prove(&mut replay)?;
                    return Err(difference);
                }
            }
            if self.observer.replayed(slot).is_break() {
                return Err(Failed::All(Ended::Stopped));
            }
        }
        match stretch.ends_with_stored_state {
            true => of.compare(&replay)?,
            false => of.prove(&mut replay)?,
        }
        if let (Some(slot), Some(state)) = (last_missing, &held) {
            self.put(slot, state)?;
        }
        match stretch.ends_with_stored_state {
            true => report.equal_ends += 1,
            false => report.ends_by_root += 1,
        }
        if let Some(error) = wrong_start {
            return Err(error.into());
        }
        report.eras += stretch.eras.end() - stretch.eras.start() + 1;
        Ok(())
    }

    fn put(&mut self, slot: Slot, state: &BeaconState<'_>) -> Result<(), Failed> {
        self.sink.put(slot, state).map_err(|error| match error.downcast_ref::<Error>() {
            // Another producer has stored a different state.
            Some(Error::Conflict { slot }) => Error::Conflict { slot: *slot }.into(),
            _ => Failed::All(Ended::Sink(error)),
        })
    }
}

impl<S> Drop for Worker<'_, S> {
    /// A worker that panics ends the run of the others.
    fn drop(&mut self) {
        if thread::panicking() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Reconstruction {
    /// Starts the replay of a stretch. If its first state is wrong, returns why, and starts from the state at the
    /// beginning of the era.
    fn start(&self, stretch: &Stretch) -> Result<(Replay<'_>, Option<ReplayError>), Failed> {
        let slots_per_era = self.rules.preset().slots_per_era();
        match self.start_at(stretch.start) {
            Err(Failed::Replay(error)) => {
                match self.source.boundary_before(stretch.start, slots_per_era)? {
                    Some(boundary) => Ok((self.start_at(boundary)?, Some(error))),
                    None => Err(error.into()),
                }
            }
            started => Ok((started?, None)),
        }
    }

    fn start_at(&self, slot: Slot) -> Result<Replay<'_>, Failed> {
        let Self { rules, options, .. } = self;
        let mut replay = Replay::start(Arc::clone(rules), slot, self.stored(slot)?, options.check)?;
        // The tree is needed anyway, so a start that is damaged is found before hours of replay.
        if options.chosen != Chosen::Nothing || options.check != Check::Boundary {
            self.prove(&mut replay)?;
        }
        Ok(replay)
    }

    /// The stored state of a slot that the plan has found.
    fn stored(&self, slot: Slot) -> Result<Cow<'_, [u8]>, Failed> {
        // Nothing is no state, and is refused as one.
        Ok(self.source.snapshots.get(slot)?.unwrap_or_default())
    }

    /// Compares the state with the stored one of its slot, byte for byte.
    fn compare(&self, replay: &Replay<'_>) -> Result<(), Failed> {
        Ok(replay.compare_with(&self.stored(replay.slot())?)?)
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
