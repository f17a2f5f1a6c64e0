//! Turns received values into jobs of the library's pipeline; one intake per column.

use std::sync::Arc;

use coldstore::{Column, Committed, MappedReader, Pipeline, Result, Slot, Ticket, View};
use coldstore_client::wire::Admission;
use tokio::task::JoinHandle;

use super::limits::Held;
use super::refused::no_answer;
use super::spool::Spool;

/// Slots with their values.
pub(super) type Items = Vec<(Slot, Vec<u8>)>;

/// The pipeline of one column, and its readers.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) column: Column,
    pub(super) pipeline: Pipeline,
    reader: MappedReader,
}

/// The future answer to one job.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) first: Slot,
    pub(super) last: Slot,
    pub(super) records: u64,
    outcome: JoinHandle<Result<Committed>>,
}

impl Answer {
    /// Releases `held` when the job is answered, even if nobody waits for it.
    fn new<H: Send + 'static>(ticket: Ticket, held: H) -> Self {
        let (first, last) = ticket.slots().unwrap_or_default();
        let records = ticket.records();
        let outcome = tokio::spawn(async move {
            let outcome = ticket.await;
            drop(held);
            outcome
        });
        Self { first, last, records, outcome }
    }

    /// Waits until the job is durable, or has failed.
    pub(super) async fn wait(&mut self) -> Result<Committed> {
        (&mut self.outcome).await.unwrap_or_else(|_| Err(no_answer()))
    }
}

impl Intake {
    pub(super) fn new(column: Column, pipeline: Pipeline, reader: MappedReader) -> Self {
        Self { column, pipeline, reader }
    }

    /// A view of the current commit. Makes system calls.
    pub(super) fn view(&self) -> Result<View> {
        self.reader.refresh()
    }

    /// Queues ascending items, and blocks while the queue is full. `held` is released when the last
    /// job is answered.
    pub(super) fn submit(
        &self,
        items: Items,
        admission: Admission,
        held: Held,
    ) -> Result<Vec<Answer>> {
        let tickets = self.way_in(admission).submit_bulk(items)?;
        let held = Arc::new(held);
        Ok(tickets.into_iter().map(|ticket| Answer::new(ticket, Arc::clone(&held))).collect())
    }

    /// Queues one spooled value; blocks while the queue is full.
    pub(super) fn submit_spool(
        &self,
        slot: Slot,
        spool: Spool,
        admission: Admission,
    ) -> Result<Answer> {
        let byte_len = spool.byte_len();
        let ticket = self.way_in(admission).submit_from(slot, byte_len, Box::new(spool))?;
        Ok(Answer::new(ticket, ()))
    }

    fn way_in(&self, admission: Admission) -> Pipeline {
        self.pipeline.clone().raw(admission.raw).far(admission.far)
    }
}
