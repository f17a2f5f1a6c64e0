//! Stores values from requests: one with `PUT`, a slot stream with `POST`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use coldstore::{Column, Committed, Slot};
use coldstore_client::slot_stream::{ItemHead, Parser, StreamError, WORD_BYTES};
use coldstore_client::wire::{Admission, Decimal, StreamCommitted};
use tokio::task::{block_in_place, spawn_blocking};

use super::body::{BodyError, Incoming, Value};
use super::intake::{Answer, Intake, Items};
use super::limits::{Held, Memory, SPOOL_FROM};
use super::refused::{Refused, no_answer};
use super::spool::{Spool, Spools};
use super::states::States;

/// Maximum number of records in a batch, and the number of value bytes that completes one.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 8 << 20;

/// Maximum number of unanswered batches per stream, so that the next commit has work during a flush.
const BATCHES_IN_FLIGHT: usize = 8;

/// How long an incomplete batch waits for more of its stream.
const BATCH_LINGER: Duration = Duration::from_secs(1);

/// Memory of an item beside its value.
const ITEM_BYTES: usize = 64;

/// Resources shared by all requests.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) memory: Memory,
    pub(super) spools: Spools,
    /// Takes values for `bsd`; `None` in a daemon that takes any.
    pub(super) states: Option<States>,
}

impl Room {
    fn states_for(&self, intake: &Intake, admission: Admission) -> Option<&States> {
        let is_checked = intake.column == Column::StateDiffs && !admission.raw;
        self.states.as_ref().filter(|_| is_checked)
    }
}

/// Receives one value and stores it.
pub(super) async fn put(
    intake: &Arc<Intake>,
    slot: Slot,
    mut body: Incoming,
    admission: Admission,
    room: &Room,
) -> Result<Committed, Refused> {
    let limit = intake.pipeline.spec().max_value_bytes;
    let too_large = |byte_len: u64, at_least: bool| {
        let bound = "the column's bound";
        Refused::from(coldstore::Error::TooLarge { slot, byte_len, at_least, limit, bound })
    };
    let promised = body.promised_len();
    if let Some(byte_len) = promised.filter(|byte_len| *byte_len > limit) {
        body.drain();
        return Err(too_large(byte_len, false));
    }
    let mut held = room.memory.hold(promised);
    let received = async {
        let value = body.receive(limit, promised, &mut held, &room.spools).await?;
        Ok((value, body.has_ended().await?))
    };
    let value = match received.await {
        Ok((value, true)) => value,
        Ok((_, false)) => {
            body.drain();
            return Err(too_large(limit.saturating_add(1), true));
        }
        Err(error) => {
            body.drain();
            return Err(BodyError::into(error));
        }
    };
    let value = match room.states_for(intake, admission) {
        None => value,
        Some(states) => match states.take(slot, value).await? {
            Some(value) => value,
            None => return Ok(Committed { written: 0, unchanged: 1 }),
        },
    };
    let mut answers = match value {
        Value::Held(value) => submit(intake, vec![(slot, value)], admission, held).await?,
        Value::Spooled(spool) => vec![submit_spool(intake, slot, spool, admission).await?],
    };
    match answers.first_mut() {
        Some(answer) => Ok(answer.wait().await?),
        None => Err(no_answer().into()),
    }
}

async fn submit_spool(
    intake: &Arc<Intake>,
    slot: Slot,
    spool: Spool,
    admission: Admission,
) -> Result<Answer, Refused> {
    let intake = Arc::clone(intake);
    let submitted = spawn_blocking(move || intake.submit_spool(slot, spool, admission)).await;
    Ok(submitted.unwrap_or_else(|_| Err(no_answer()))?)
}

async fn submit(
    intake: &Arc<Intake>,
    items: Items,
    admission: Admission,
    held: Held,
) -> Result<Vec<Answer>, Refused> {
    let intake = Arc::clone(intake);
    // Compresses, and blocks while the queue is full.
    let submitted = spawn_blocking(move || intake.submit(items, admission, held)).await;
    Ok(submitted.unwrap_or_else(|_| Err(no_answer()))?)
}

/// Receives a slot stream and stores its items in batches, several of them in flight. After a failure
/// the answer has the durable prefix of the stream.
pub(super) async fn post(
    intake: &Arc<Intake>,
    body: Incoming,
    admission: Admission,
    room: &Room,
) -> Result<StreamCommitted, Refused> {
    let spec = intake.pipeline.spec();
    let held = room.memory.hold(body.promised_len());
    let mut stream = Stream {
        intake,
        body,
        admission,
        parser: Parser::new(spec.record_type, spec.max_value_bytes),
        room,
        batch: Vec::new(),
        batch_bytes: 0,
        held,
        in_flight: VecDeque::new(),
        done: StreamCommitted::default(),
    };
    let mut received = stream.receive().await;
    if !matches!(received, Err(Stop::Commit(_))) {
        // Items received whole before the stream broke are committed too.
        if let Err(refused) = stream.finish().await {
            received = Err(Stop::Commit(refused));
        }
    }
    match received {
        Ok(()) => Ok(stream.done),
        Err(Stop::Stream(refused) | Stop::Commit(refused)) => {
            stream.body.drain();
            Err(refused.after(stream.done))
        }
    }
}

/// Why a stream stopped early.
enum Stop {
    /// The stream cannot be read further.
    Stream(Refused),
    /// An item cannot be stored.
    Commit(Refused),
}

struct Stream<'a> {
    intake: &'a Arc<Intake>,
    body: Incoming,
    admission: Admission,
    parser: Parser,
    room: &'a Room,
    batch: Items,
    batch_bytes: usize,
    /// Memory held by the batch.
    held: Held,
    /// Queued batches, in the order of the stream.
    in_flight: VecDeque<Vec<Answer>>,
    done: StreamCommitted,
}

impl Stream<'_> {
    async fn receive(&mut self) -> Result<(), Stop> {
        loop {
            if !self.batch.is_empty() {
                let ready = self.body.is_ready_within(BATCH_LINGER).await;
                if !ready.map_err(|error| Stop::Stream(error.into()))? {
                    // The sender pauses; items received so far do not wait for more.
                    self.submit().await.map_err(Stop::Commit)?;
                }
            }
            let Some(head) = self.head().await.map_err(Stop::Stream)? else { return Ok(()) };
            let ItemHead { slot, byte_len } = head;
            if byte_len > SPOOL_FROM as u64 {
                // The next value may take long, and would keep memory held by this batch.
                self.submit().await.map_err(Stop::Commit)?;
            }
            match self.value(head).await.map_err(Stop::Stream)? {
                Value::Held(value) => self.batch.push((slot, value)),
                Value::Spooled(spool) => {
                    let admission = self.admission;
                    let answer = submit_spool(self.intake, slot, spool, admission).await;
                    let queued = vec![answer.map_err(Stop::Commit)?];
                    self.queue(queued).await.map_err(Stop::Commit)?;
                }
            }
            if self.batch.len() >= BATCH_RECORDS || self.batch_bytes >= BATCH_BYTES {
                self.submit().await.map_err(Stop::Commit)?;
            }
        }
    }

    /// Reads the head of the next item; `None` at the end of the stream.
    async fn head(&mut self) -> Result<Option<ItemHead>, Refused> {
        if self.body.is_stopping() {
            return Err(Refused::shutting_down());
        }
        loop {
            match self.body.word().await? {
                (_, 0) => {
                    self.parser.end()?;
                    return Ok(None);
                }
                (word, WORD_BYTES) => {
                    if let Some(head) = self.parser.word(word)? {
                        return Ok(Some(head));
                    }
                }
                (_, count) => {
                    let at = self.parser.offset() + count as u64;
                    return Err(StreamError::Cut { at, slot: None }.into());
                }
            }
        }
    }

    async fn value(&mut self, head: ItemHead) -> Result<Value, Refused> {
        let ItemHead { slot, byte_len } = head;
        self.held.grow(ITEM_BYTES).await;
        let (held, spools) = (&mut self.held, &self.room.spools);
        let value = self.body.receive(byte_len, Some(byte_len), held, spools).await?;
        self.parser.skip(usize::try_from(value.byte_len()).unwrap_or(usize::MAX));
        if value.byte_len() < byte_len {
            let at = self.parser.offset();
            return Err(StreamError::Cut { at, slot: Some(slot) }.into());
        }
        if let Some(states) = self.room.states_for(self.intake, self.admission) {
            block_in_place(|| states.check(slot, &value))?;
        }
        if let Value::Held(value) = &value {
            self.batch_bytes += value.len();
        }
        Ok(value)
    }

    async fn submit(&mut self) -> Result<(), Refused> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        let next = self.room.memory.hold(self.body.promised_len());
        let held = std::mem::replace(&mut self.held, next);
        let answers = submit(self.intake, batch, self.admission, held).await?;
        self.queue(answers).await
    }

    /// Adds a queued batch, and waits while too many are in flight.
    async fn queue(&mut self, answers: Vec<Answer>) -> Result<(), Refused> {
        self.in_flight.push_back(answers);
        while self.in_flight.len() > BATCHES_IN_FLIGHT {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits for the oldest batch in flight.
    async fn settle(&mut self) -> Result<(), Refused> {
        for mut answer in self.in_flight.pop_front().unwrap_or_default() {
            answer.wait().await?;
            let StreamCommitted { committed, first, last } = &mut self.done;
            committed.0 += answer.records;
            first.get_or_insert(Decimal(answer.first.0));
            *last = Some(Decimal(answer.last.0));
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Refused> {
        // Queued batches are settled even if the rest is refused.
        let submitted = self.submit().await;
        while !self.in_flight.is_empty() {
            self.settle().await?;
        }
        submitted
    }
}

/// The status of a `PUT`: whether the value is new.
pub(super) fn put_status(committed: Committed) -> StatusCode {
    if committed.written > 0 { StatusCode::CREATED } else { StatusCode::OK }
}
