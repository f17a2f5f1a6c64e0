//! Replays one stretch after another.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use coldstore::{Error, Slot};
use coldstore_consensus::transition::BeaconState;

use super::encoder::{Batches, Encoder};
use super::endpoint::Endpoint;
use super::keep::Diffs;
use super::plan::{ChosenSlots, Stretch};
use super::report::{Ended, FailedEras, ReconstructReport};
use super::sink::{SinkError, StateSink};
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
        match &self.of.chosen {
            ChosenSlots::Diffs(diffs) => self.store_diffs(stretch, diffs, report),
            chosen => self.store_whole(stretch, chosen, report),
        }
    }

    /// Replays a stretch, and stores the chosen states whole.
    fn store_whole(
        &mut self,
        stretch: &Stretch,
        chosen: &ChosenSlots,
        report: &mut ReconstructReport,
    ) -> Result<(), Failed> {
        let of = self.of;
        let before = of.before(stretch);
        // An era is done when all its chosen states are stored, so one waits for the comparison at the end.
        let mut missing = chosen.missing(of.source(), &(before + 1..=stretch.end.0));
        let first_missing = missing.next().transpose()?;
        let last_missing = missing.last().transpose()?.or(first_missing);
        let mut held = None;
        let (mut replay, wrong_start) = of.start(stretch)?;
        // The next run starts again from the wrong state, and reports it.
        let omitted = first_missing.filter(|_| wrong_start.is_some());
        while replay.slot() < stretch.end {
            let slot = self.step(&mut replay, report)?;
            if slot.0 > before && chosen.contains_whole(slot) && Some(slot) != omitted {
                if !of.source().snapshots.contains(slot)? {
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
            self.tell(slot)?;
        }
        of.check_end(stretch, &mut replay)?;
        if let (Some(slot), Some(state)) = (last_missing, &held) {
            self.put(slot, state)?;
        }
        report.count_end(stretch);
        if let Some(error) = wrong_start {
            return Err(error.into());
        }
        report.eras += stretch.eras.end() - stretch.eras.start() + 1;
        Ok(())
    }

    /// Replays a stretch, and stores the chosen states as diffs, those of an era at its end.
    fn store_diffs(
        &mut self,
        stretch: &Stretch,
        diffs: &Diffs,
        report: &mut ReconstructReport,
    ) -> Result<(), Failed> {
        let of = self.of;
        let slots_per_era = of.rules.preset().slots_per_era();
        let (stored, mut replay) = of.start_at(stretch.start)?;
        let needs_tree = of.options.check != Check::Boundary;
        if !needs_tree {
            replay.drop_tree();
        }
        let mut encoder = Encoder::new(of, diffs, stretch, &stored, &mut replay)?;
        let before = of.before(stretch);
        while replay.slot() < stretch.end {
            let slot = self.step(&mut replay, report)?;
            if slot.0 > before {
                encoder.visit(&mut replay)?;
            }
            if slot.0.is_multiple_of(slots_per_era) && slot < stretch.end {
                of.prove(&mut replay)?;
                if !needs_tree {
                    replay.drop_tree();
                }
                self.put_diffs(encoder.hand_out(&replay)?, report)?;
            }
            self.tell(slot)?;
        }
        of.check_end(stretch, &mut replay)?;
        self.put_diffs(encoder.hand_out(&replay)?, report)?;
        report.count_end(stretch);
        report.eras += stretch.eras.end() - stretch.eras.start() + 1;
        Ok(())
    }

    /// Moves a replay to its next slot, unless the run is stopped.
    fn step(
        &self,
        replay: &mut Replay<'_>,
        report: &mut ReconstructReport,
    ) -> Result<Slot, Failed> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failed::All(Ended::Stopped));
        }
        let Reconstruction { rules, options, .. } = self.of;
        replay.step(self.of.source())?;
        let slot = replay.slot();
        report.slots += 1;
        let is_checked = options.check.is_at(slot.0, rules.preset().slots_per_epoch());
        report.checked_states += u64::from(is_checked);
        Ok(slot)
    }

    fn tell(&self, slot: Slot) -> Result<(), Failed> {
        match self.observer.replayed(slot).is_break() {
            true => Err(Failed::All(Ended::Stopped)),
            false => Ok(()),
        }
    }

    fn put(&mut self, slot: Slot, state: &BeaconState<'_>) -> Result<(), Failed> {
        self.sink.put(slot, state).map_err(of_sink)
    }

    fn put_diffs(
        &mut self,
        batches: Batches,
        report: &mut ReconstructReport,
    ) -> Result<(), Failed> {
        for batch in batches {
            for (slot, value) in &batch {
                report.count(self.of.chosen.layer(*slot), value.len());
            }
            self.sink.put_diffs(batch).map_err(of_sink)?;
        }
        Ok(())
    }
}

fn of_sink(error: SinkError) -> Failed {
    match error.downcast_ref::<Error>() {
        // Another producer has stored a different state.
        Some(Error::Conflict { slot }) => Error::Conflict { slot: *slot }.into(),
        _ => Failed::All(Ended::Sink(error)),
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
    /// The slot before the first era that a stretch is about: a replay that starts further back passes eras that
    /// are not asked for.
    fn before(&self, stretch: &Stretch) -> u64 {
        (stretch.eras.start() - 1) * self.rules.preset().slots_per_era()
    }

    /// Starts the replay of a stretch. If its first state is wrong, returns why, and starts from the state at the
    /// beginning of the era.
    fn start(&self, stretch: &Stretch) -> Result<(Replay<'_>, Option<ReplayError>), Failed> {
        let slots_per_era = self.rules.preset().slots_per_era();
        match self.start_at(stretch.start) {
            Err(Failed::Replay(error)) => {
                match self.source().boundary_before(stretch.start, slots_per_era)? {
                    Some(boundary) => Ok((self.start_at(boundary)?.1, Some(error))),
                    None => Err(error.into()),
                }
            }
            started => Ok((started?.1, None)),
        }
    }

    fn start_at(&self, slot: Slot) -> Result<(Endpoint<'_>, Replay<'_>), Failed> {
        let stored = self.stored(slot)?;
        let mut replay = stored.replay(&self.rules, self.options.check)?;
        // The tree is needed anyway, so a start that is damaged is found before hours of replay.
        if self.options.chosen.stores() || self.options.check != Check::Boundary {
            self.prove(&mut replay)?;
        }
        Ok((stored, replay))
    }

    /// The stored state of a slot that the plan has found.
    fn stored(&self, slot: Slot) -> Result<Endpoint<'_>, Failed> {
        Ok(Endpoint::read(&self.states, slot)?)
    }

    /// Compares the state with the stored one of its slot.
    fn compare(&self, replay: &Replay<'_>) -> Result<(), Failed> {
        Ok(self.stored(replay.slot())?.compare_with(replay)?)
    }

    /// Compares the state at the end of a stretch with the stored one, or its root.
    fn check_end(&self, stretch: &Stretch, replay: &mut Replay<'_>) -> Result<(), Failed> {
        match stretch.ends_with_stored_state {
            true => self.compare(replay),
            false => self.prove(replay),
        }
    }

    /// Compares the root of the state with the one in `bsr`, which must be there.
    fn prove(&self, replay: &mut Replay<'_>) -> Result<(), Failed> {
        let slot = replay.slot();
        match replay.check_root(self.source())? {
            true => Ok(()),
            false => Err(ReplayError::NoStateRoot { slot }.into()),
        }
    }
}
