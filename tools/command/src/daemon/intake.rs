//! From values that came in to jobs of the library's pipeline, one intake for each column.
//!
//! A job must not both fill a gap and go past the highest slot, and fills gaps in one file. What
//! is highest when a job's turn comes is not known when it is queued, but it lies between what is
//! committed (`C`) and the highest slot that anybody has queued before (`H`). Slots up to `C` fill
//! gaps for certain, slots above `H` go past the highest for certain; the few in between, where
//! several producers append at once, each get a job of their own, which can break no rule.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use coldstore::{Column, Committed, Error, Pipeline, Reader, Result, Slot, View};
use tokio::sync::oneshot;

use super::limits::Held;
use super::refused::no_answer;
use super::spool::Spool;

/// Slots with their values.
pub(super) type Items = Vec<(Slot, Vec<u8>)>;

/// What a request says of its values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Admission {
    /// They may be in any encoding.
    pub(super) raw: bool,
    /// Their slots may lie far above the archive's highest.
    pub(super) far: bool,
}

/// One column's way in, and its readers.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) column: Column,
    pub(super) pipeline: Pipeline,
    reader: Reader,
    /// The highest slot that was queued. Whoever queues slots above the committed ones holds it
    /// until they are queued, so that it is true of everything before them.
    queued: Mutex<Option<Slot>>,
    poisoned: OnceLock<Error>,
}

/// The answer to one job, when it comes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) first: Slot,
    pub(super) last: Slot,
    pub(super) records: u64,
    outcome: oneshot::Receiver<Result<Committed>>,
}

impl Answer {
    /// Waits until the job is durable, or has failed.
    pub(super) async fn wait(&mut self) -> Result<Committed> {
        (&mut self.outcome).await.unwrap_or_else(|_| Err(no_answer()))
    }
}

impl Intake {
    pub(super) fn new(column: Column, pipeline: Pipeline, reader: Reader) -> Self {
        let (queued, poisoned) = (Mutex::new(None), OnceLock::new());
        Self { column, pipeline, reader, queued, poisoned }
    }

    /// A view of what is committed now. Makes system calls.
    pub(super) fn view(&self) -> Result<View> {
        self.reader.refresh()
    }

    /// The failure after which nothing more is written.
    pub(super) fn poisoned(&self) -> Option<&Error> {
        self.poisoned.get()
    }

    /// Queues ascending items in as few jobs as are safe, and blocks while the queue is full.
    /// `held` is given back when the last of them is answered.
    pub(super) fn submit(
        self: &Arc<Self>,
        mut items: Items,
        admission: Admission,
        held: Held,
    ) -> Result<Vec<Answer>> {
        let way_in = self.pipeline.clone().raw(admission.raw).far(admission.far);
        let held = Arc::new(held);
        let mut answers = Vec::new();
        let committed = self.view()?.highest_written_slot();
        let mut above = items.split_off(gaps(&items, committed));
        for job in by_file(items) {
            answers.push(self.queue(&way_in, job, &held)?);
        }
        if above.is_empty() {
            return Ok(answers);
        }
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        if self.pipeline.queue().jobs == 0 {
            // Also forgets the slots of jobs that failed.
            *queued = self.view()?.highest_written_slot();
        }
        let sequential = above.split_off(gaps(&above, *queued));
        let last = sequential.last().map(|(slot, _)| *slot);
        for item in above {
            answers.push(self.queue(&way_in, vec![item], &held)?);
        }
        if last.is_some() {
            *queued = last;
            answers.push(self.queue(&way_in, sequential, &held)?);
        }
        Ok(answers)
    }

    /// Queues one value that was spooled; blocks while the queue is full. In a job of its own it can
    /// break no rule.
    pub(super) fn submit_spool(
        self: &Arc<Self>,
        slot: Slot,
        spool: Spool,
        admission: Admission,
    ) -> Result<Answer> {
        let way_in = self.pipeline.clone().raw(admission.raw).far(admission.far);
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, told) = self.answer(slot, slot, 1);
        way_in.submit_from_then(slot, spool.byte_len(), Box::new(spool), told)?;
        *queued = (*queued).max(Some(slot));
        Ok(answer)
    }

    /// An answer to come, and the function that gives it.
    fn answer(
        self: &Arc<Self>,
        first: Slot,
        last: Slot,
        records: u64,
    ) -> (Answer, impl FnOnce(Result<Committed>) + Send + use<>) {
        let (sender, outcome) = oneshot::channel();
        let intake = Arc::clone(self);
        let runtime = tokio::runtime::Handle::current();
        let told = move |answer: Result<Committed>| {
            if let Err(error) = &answer {
                intake.note(error, &runtime);
            }
            // A client that is gone does not want to know.
            drop(sender.send(answer));
        };
        (Answer { first, last, records, outcome }, told)
    }

    fn queue(self: &Arc<Self>, way_in: &Pipeline, job: Items, held: &Arc<Held>) -> Result<Answer> {
        let slots = job.first().zip(job.last()).map(|((first, _), (last, _))| (*first, *last));
        let (first, last) = slots.unwrap_or_default();
        let (answer, told) = self.answer(first, last, job.len() as u64);
        let held = Arc::clone(held);
        way_in.submit_then(job, move |outcome| {
            drop(held);
            told(outcome);
        })?;
        Ok(answer)
    }

    /// Learns whether a failure has poisoned the writer: then an empty job fails too.
    fn note(self: &Arc<Self>, error: &Error, runtime: &tokio::runtime::Handle) {
        match error {
            Error::Poisoned { .. } => {
                // The first to notice tells of it.
                self.poisoned.get_or_init(|| {
                    tracing::error!(column = %self.column, %error, "poisoned");
                    error.clone()
                });
            }
            Error::Io(_) => {
                let (intake, handle) = (Arc::clone(self), runtime.clone());
                runtime.spawn_blocking(move || {
                    let told = Arc::clone(&intake);
                    let submitted = intake.pipeline.submit_then(Vec::new(), move |answer| {
                        if let Err(error @ Error::Poisoned { .. }) = &answer {
                            told.note(error, &handle);
                        }
                    });
                    // When no more jobs are taken nobody needs to know either.
                    drop(submitted);
                });
            }
            _ => {}
        }
    }
}

/// How many of the items lie at or below the highest slot.
fn gaps(items: &Items, highest: Option<Slot>) -> usize {
    items.partition_point(|(slot, _)| Some(*slot) <= highest)
}

fn by_file(items: Items) -> Vec<Items> {
    let mut jobs: Vec<Items> = Vec::new();
    for item in items {
        let file_id = item.0.file_id();
        match jobs.last_mut() {
            Some(job) if job.last().is_some_and(|(slot, _)| slot.file_id() == file_id) => {
                job.push(item);
            }
            _ => jobs.push(vec![item]),
        }
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_fills_gaps_keeps_to_one_file() {
        let items: Items = [5, 8191, 8192, 30_000, 30_001].map(|n| (Slot(n), vec![])).into();
        let jobs = by_file(items);
        let slots: Vec<Vec<u64>> =
            jobs.iter().map(|job| job.iter().map(|(slot, _)| slot.0).collect()).collect();
        assert_eq!(slots, [vec![5, 8191], vec![8192], vec![30_000, 30_001]]);
        assert_eq!(by_file(Vec::new()).len(), 0);
    }

    #[test]
    fn nothing_is_a_gap_in_an_empty_column() {
        let items: Items = [0, 1].map(|n| (Slot(n), vec![])).into();
        assert_eq!(gaps(&items, None), 0);
        assert_eq!(gaps(&items, Some(Slot(0))), 1);
        assert_eq!(gaps(&items, Some(Slot(9))), 2);
    }
}
