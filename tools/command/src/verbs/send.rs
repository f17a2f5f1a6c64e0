//! `coldstore send`

use std::io::BufReader;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use coldstore::{BulkCommit, Column, Slot};
use coldstore_client::client::{Client, ClientError};
use coldstore_client::slot_stream::SlotStream;
use coldstore_client::wire::StreamCommitted;

use crate::acknowledgements::Acknowledgements;
use crate::cli::{DoorOptions, column_parser};
use crate::failure::Answer;
use crate::input::Input;

/// Send a slot stream to the daemon
///
/// The stream goes out in requests. After each of them is durable one line is printed, flushed at
/// once: COMMITTED, the first and the last slot of the request, and how many records are in it.
/// Sending a stream again is fine: records that are there already count.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The daemon's socket
    socket: PathBuf,
    /// The column's name
    #[arg(value_parser = column_parser())]
    column: Column,
    /// The slot stream; `-` or nothing is standard input
    file: Option<PathBuf>,
    /// The most records in one request
    #[arg(long, value_name = "N", default_value = "1024")]
    batch: NonZeroUsize,
    /// When the daemon is gone, try for this long to go on behind the last COMMITTED
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    retry: u64,
    #[command(flatten)]
    door: DoorOptions,
}

/// From this many bytes of values on a request is sent. They are kept until it is answered.
const REQUEST_BYTES: usize = 64 << 20;
const READ_BUFFER_BYTES: usize = 256 << 10;

/// The pauses between attempts double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

impl Send {
    pub(crate) fn run(self) -> Result<Answer> {
        let mut input = Input::open(self.file.as_deref())?;
        let name = format!("send {}", self.column);
        let acknowledgements = Acknowledgements::of(&name, input.byte_len());
        let input = BufReader::with_capacity(READ_BUFFER_BYTES, input);
        // The daemon knows what its column allows; a record holds no more than this.
        let limit = u64::from(u32::MAX);
        let mut stream = SlotStream::start(input, self.column.spec().record_type, limit)?;
        let client = Client::new(&self.socket).context("cannot start")?;
        let mut sender = Sender {
            client: client.admit(self.door.raw, self.door.far),
            column: self.column,
            retry: Duration::from_secs(self.retry),
            acknowledgements,
        };
        let (mut batch, mut batch_bytes) = (Vec::new(), 0);
        loop {
            let item = match stream.next_item() {
                Ok(Some(item)) => {
                    let slot = item.slot;
                    item.into_value().map(|value| Some((slot, value)))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            match item {
                Ok(Some((slot, value))) => {
                    batch_bytes += value.len();
                    batch.push((slot, Bytes::from(value)));
                }
                Ok(None) => break,
                // What came in whole before the stream broke is as good as what is committed.
                Err(error) => {
                    sender.send(batch)?;
                    return Err(error.into());
                }
            }
            if batch.len() >= self.batch.get() || batch_bytes >= REQUEST_BYTES {
                sender.send(std::mem::take(&mut batch))?;
                batch_bytes = 0;
                sender.acknowledgements.set_position(stream.offset());
            }
        }
        sender.send(batch)?;
        Ok(Answer::Yes)
    }
}

struct Sender {
    client: Client,
    column: Column,
    retry: Duration,
    acknowledgements: Acknowledgements,
}

impl Sender {
    /// Sends a batch until all of it is durable.
    fn send(&mut self, mut batch: Vec<(Slot, Bytes)>) -> Result<()> {
        let (mut since, mut pause) = (Instant::now(), FIRST_PAUSE);
        while let (Some((first, _)), Some((last, _))) = (batch.first(), batch.last()) {
            let (first, last) = (*first, *last);
            let error = match self.client.put_batch(self.column, &batch) {
                Ok(committed) => {
                    self.acknowledge(committed);
                    break;
                }
                Err(error) => error,
            };
            if let ClientError::Refused { refusal, .. } = &error
                && let Some(prefix) = refusal.prefix
                && let Some(durable) = self.acknowledge(prefix)
            {
                batch.retain(|(slot, _)| *slot > durable);
                (since, pause) = (Instant::now(), FIRST_PAUSE);
            }
            if !may_pass(&error) || since.elapsed() >= self.retry {
                let message = format!("slots {first} to {last}");
                return Err(anyhow::Error::new(error).context(message));
            }
            tracing::info!(%error, "trying again");
            sleep(pause);
            pause = (2 * pause).min(LAST_PAUSE);
        }
        self.acknowledgements.check()
    }

    /// Prints what is durable, and returns its last slot.
    fn acknowledge(&mut self, committed: StreamCommitted) -> Option<Slot> {
        let (first, last) = (Slot(committed.first?.0), Slot(committed.last?.0));
        self.acknowledgements.print(&BulkCommit { first, last, records: committed.committed.0 });
        Some(last)
    }
}

/// True for what another daemon, or the same one later, may not say again.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Connection { .. } => true,
        ClientError::Refused { refusal, .. } => {
            matches!(refusal.error.as_str(), "ShuttingDown" | "Stalled" | "TooSlow")
        }
        _ => false,
    }
}
