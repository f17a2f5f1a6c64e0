//! Values on their way from a request into a column: one with `PUT`, a slot stream with `POST`.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::http::StatusCode;
use coldstore::{Committed, Slot};
use coldstore_tools::slot_stream::{ItemHead, Parser, StreamError, WORD_BYTES};
use coldstore_tools::wire::{Decimal, StreamCommitted};
use tokio::task::spawn_blocking;

use super::body::Incoming;
use super::intake::{Admission, Answer, Intake, Items};
use super::limits::{Held, Memory};
use super::refused::{Refused, no_answer};

/// The most records that are queued at once, and the bytes of values from which on they are.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 8 << 20;

/// How many batches of one stream may wait for their answers: enough that the next commit has
/// something to write while one is flushed.
const BATCHES_IN_FLIGHT: usize = 8;

/// What an item takes in memory beside its value.
const ITEM_BYTES: usize = 64;

/// Receives one value and stores it.
pub(super) async fn put(
    intake: &Arc<Intake>,
    slot: Slot,
    mut body: Incoming,
    admission: Admission,
    memory: &Memory,
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
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let promised = promised.map_or(most, |promised| usize::try_from(promised).unwrap_or(most));
    let (mut value, mut held) = (Vec::new(), memory.hold());
    let received = async {
        body.receive(&mut value, most, promised, &mut held).await?;
        body.has_ended().await
    };
    match received.await {
        Ok(true) => {}
        Ok(false) => {
            body.drain();
            return Err(too_large(limit.saturating_add(1), true));
        }
        Err(error) => {
            body.drain();
            return Err(error.into());
        }
    }
    let mut answers = submit(intake, vec![(slot, value)], admission, held).await?;
    match answers.first_mut() {
        Some(answer) => Ok(answer.wait().await?),
        None => Err(no_answer().into()),
    }
}

async fn submit(
    intake: &Arc<Intake>,
    items: Items,
    admission: Admission,
    held: Held,
) -> Result<Vec<Answer>, Refused> {
    let intake = Arc::clone(intake);
    // It compresses, and blocks while the queue is full.
    let submitted = spawn_blocking(move || intake.submit(items, admission, held)).await;
    Ok(submitted.unwrap_or_else(|_| Err(no_answer()))?)
}

/// Receives a slot stream and stores its items in batches, several of them on their way at once.
/// After a failure the answer tells what is durable from the beginning of the stream on.
pub(super) async fn post(
    intake: &Arc<Intake>,
    body: Incoming,
    admission: Admission,
    memory: &Memory,
) -> Result<StreamCommitted, Refused> {
    let spec = intake.pipeline.spec();
    let mut stream = Stream {
        intake,
        body,
        admission,
        parser: Parser::new(spec.record_type, spec.max_value_bytes),
        memory,
        batch: Vec::new(),
        batch_bytes: 0,
        held: memory.hold(),
        in_flight: VecDeque::new(),
        done: StreamCommitted::default(),
    };
    let mut received = stream.receive().await;
    if !matches!(received, Err(Stop::Commit(_))) {
        // What came in whole before the stream broke is as good as what is committed.
        if let Err(refused) = stream.finish().await {
            received = Err(Stop::Commit(refused));
        }
    }
    match received {
        Ok(()) => Ok(stream.done),
        Err(Stop::Stream(refused) | Stop::Commit(refused)) => {
            stream.body.drain();
            Err(refused.behind(stream.done))
        }
    }
}

/// Why a stream ended before its end.
enum Stop {
    /// No more of it comes in.
    Stream(Refused),
    /// Something of it cannot be stored.
    Commit(Refused),
}

struct Stream<'a> {
    intake: &'a Arc<Intake>,
    body: Incoming,
    admission: Admission,
    parser: Parser,
    memory: &'a Memory,
    batch: Items,
    batch_bytes: usize,
    /// What the batch holds of the memory.
    held: Held,
    /// Batches that are queued, in the order of the stream.
    in_flight: VecDeque<Vec<Answer>>,
    done: StreamCommitted,
}

impl Stream<'_> {
    async fn receive(&mut self) -> Result<(), Stop> {
        while let Some(head) = self.head().await.map_err(Stop::Stream)? {
            let item = self.value(head).await.map_err(Stop::Stream)?;
            self.batch.push(item);
            if self.batch.len() >= BATCH_RECORDS || self.batch_bytes >= BATCH_BYTES {
                self.submit().await.map_err(Stop::Commit)?;
            }
        }
        Ok(())
    }

    /// The head of the next item, `None` at the end of the stream.
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

    async fn value(
        &mut self,
        ItemHead { slot, byte_len }: ItemHead,
    ) -> Result<(Slot, Vec<u8>), Refused> {
        let too_long = |_| Refused::malformed(format!("slot {slot}: no room for the value"));
        let byte_len = usize::try_from(byte_len).map_err(too_long)?;
        self.held.grow(ITEM_BYTES).await;
        let mut value = Vec::new();
        self.body.receive(&mut value, byte_len, byte_len, &mut self.held).await?;
        self.parser.skip(value.len());
        if value.len() < byte_len {
            let at = self.parser.offset();
            return Err(StreamError::Cut { at, slot: Some(slot) }.into());
        }
        self.batch_bytes += byte_len;
        Ok((slot, value))
    }

    async fn submit(&mut self) -> Result<(), Refused> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        let held = std::mem::replace(&mut self.held, self.memory.hold());
        let answers = submit(self.intake, batch, self.admission, held).await?;
        self.in_flight.push_back(answers);
        while self.in_flight.len() > BATCHES_IN_FLIGHT {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits for the first batch that is on its way.
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
        // What was queued before is settled also when nothing more is taken.
        let submitted = self.submit().await;
        while !self.in_flight.is_empty() {
            self.settle().await?;
        }
        submitted
    }
}

/// What a `PUT` answers: whether the value is new.
pub(super) fn put_status(committed: Committed) -> StatusCode {
    if committed.written > 0 { StatusCode::CREATED } else { StatusCode::OK }
}
