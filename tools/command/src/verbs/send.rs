//! `coldstore send`

use std::io::BufReader;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use coldstore::{BulkCommit, Column, Slot};
use coldstore_client::ClientError;
use coldstore_client::blocking::Client;
use coldstore_client::slot_stream::SlotStream;
use coldstore_client::wire::{Decimal, StreamCommitted};

use crate::acknowledgements::Acknowledgements;
use crate::arguments::{DoorOptions, column_parser};
use crate::failure::Answer;
use crate::input::Input;

/// Send a slot stream to the daemon
///
/// The stream is sent in several requests. When a request is durable, one line is printed and flushed:
/// COMMITTED, the first slot, the last slot, and the number of records in the request. Sending a stream
/// again is safe: records already stored count too.
#[derive(Debug, Args)]
pub(crate) struct SendStream {
    /// The daemon's socket
    socket: PathBuf,
    /// The column's name
    #[arg(value_parser = column_parser())]
    column: Column,
    /// The slot stream; standard input if `-` or missing
    file: Option<PathBuf>,
    /// Maximum number of records per request
    #[arg(long, value_name = "N", default_value = "1024")]
    batch: NonZeroUsize,
    /// If the daemon is unreachable, retry for this long, resuming after the last COMMITTED slot
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    retry: u64,
    #[command(flatten)]
    door: DoorOptions,
}

/// A request is sent when its values reach this many bytes. They are kept until it is answered.
const REQUEST_BYTES: usize = 64 << 20;
const READ_BUFFER_BYTES: usize = 256 << 10;

impl SendStream {
    pub(crate) fn run(self) -> Result<Answer> {
        let mut input = Input::open(self.file.as_deref())?;
        let name = format!("send {}", self.column);
        let acknowledgements = Acknowledgements::of(&name, input.byte_len());
        let input = BufReader::with_capacity(READ_BUFFER_BYTES, input);
        // The daemon enforces the column's bound; no record exceeds this one.
        let limit = u64::from(u32::MAX);
        let mut stream = SlotStream::start(input, self.column.spec().record_type, limit)?;
        let client = Client::new(&self.socket).context("cannot start")?;
        let client = client.raw(self.door.raw).far(self.door.far);
        let mut sender = Sender {
            client: client.retry_for(Duration::from_secs(self.retry)),
            column: self.column,
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
                // Items received whole before the stream broke are committed too.
                Err(error) => {
                    sender.send(&batch)?;
                    return Err(error.into());
                }
            }
            if batch.len() >= self.batch.get() || batch_bytes >= REQUEST_BYTES {
                sender.send(&batch)?;
                batch.clear();
                batch_bytes = 0;
                sender.acknowledgements.set_position(stream.offset());
            }
        }
        sender.send(&batch)?;
        Ok(Answer::Yes)
    }
}

struct Sender {
    client: Client,
    column: Column,
    acknowledgements: Acknowledgements,
}

impl Sender {
    /// Sends a batch until all of it is durable.
    fn send(&mut self, batch: &[(Slot, Bytes)]) -> Result<()> {
        let (Some((first, _)), Some((last, _))) = (batch.first(), batch.last()) else {
            return Ok(());
        };
        match self.client.put_batch(self.column, batch) {
            Ok(committed) => self.acknowledge(committed),
            Err(error) => {
                if let ClientError::Refused { refusal, .. } = &error {
                    self.acknowledge(refusal.prefix.unwrap_or_default());
                }
                return Err(error).with_context(|| format!("slots {first} to {last}"));
            }
        }
        self.acknowledgements.check()
    }

    /// Prints a `COMMITTED` line, if anything was committed.
    fn acknowledge(&mut self, committed: StreamCommitted) {
        if let (Some(Decimal(first)), Some(Decimal(last))) = (committed.first, committed.last) {
            let (first, last, records) = (Slot(first), Slot(last), committed.committed.0);
            self.acknowledgements.print(&BulkCommit { first, last, records });
        }
    }
}
