//! A ticket for the answer to a job: block on it, or await it.

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};
use crate::slot::Slot;
use crate::sync::{Arc, Condvar, Mutex, PoisonError};
use crate::write::batch::Committed;

/// The answer to one job. Wait for it on this thread ([`Ticket::wait`]), or await it in any runtime: a
/// ticket is a [`Future`]. Dropping it does not stop the job.
#[derive(Debug)]
pub struct Ticket {
    answer: Arc<Answer>,
    slots: Option<(Slot, Slot)>,
    records: u64,
}

#[derive(Debug, Default)]
struct Answer {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<Result<Committed>>,
    waker: Option<Waker>,
}

impl Ticket {
    /// Creates the ticket of a job with these ascending slots, and its answerer.
    pub(super) fn new(
        directory: &Path,
        mut slots: impl DoubleEndedIterator<Item = Slot> + ExactSizeIterator,
    ) -> (Self, Answerer) {
        let (records, answer) = (slots.len() as u64, Arc::<Answer>::default());
        let first = slots.next();
        let slots = first.map(|first| (first, slots.next_back().unwrap_or(first)));
        let answerer = Answerer { answer: Some(Arc::clone(&answer)), directory: directory.into() };
        (Self { answer, slots, records }, answerer)
    }

    /// Waits until the job is durable, or has failed.
    ///
    /// # Errors
    /// As [`Writer::put_batch`](crate::Writer::put_batch).
    pub fn wait(self) -> Result<Committed> {
        let mut state = self.answer.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(outcome) = state.outcome.take() {
                return outcome;
            }
            state = self.answer.answered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The first and the last slot of the job; `None` for a job without records.
    #[must_use]
    pub fn slots(&self) -> Option<(Slot, Slot)> {
        self.slots
    }

    /// Records of the job.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }
}

/// Ready once the job is durable or has failed: what [`Ticket::wait`] returns.
impl Future for Ticket {
    type Output = Result<Committed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.answer.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Answers a job. Dropped without an answer, it fails the job: the writer's thread has ended.
pub(super) struct Answerer {
    answer: Option<Arc<Answer>>,
    directory: Box<Path>,
}

impl Answerer {
    pub(super) fn answer(mut self, outcome: Result<Committed>) {
        self.set(|_| outcome);
    }

    fn set(&mut self, outcome: impl FnOnce(&Path) -> Result<Committed>) {
        let Some(answer) = self.answer.take() else { return };
        let mut state = answer.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.outcome = Some(outcome(&self.directory));
        let waker = state.waker.take();
        drop(state);
        answer.answered.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.set(|directory| Err(Error::ShuttingDown { directory: directory.into() }));
    }
}
