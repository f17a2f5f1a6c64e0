//! `coldstore load`

use std::io::{BufReader, Read};
use std::mem;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use coldstore::{BulkCommit, Slot, Writer};
use coldstore_client::slot_stream::{Item, SlotStream};

use crate::acknowledgements::Acknowledgements;
use crate::arguments::{ColumnOf, DoorOptions};
use crate::failure::Answer;
use crate::input::Input;

/// Write the items of a slot stream in durable batches
///
/// After each commit one line is printed and flushed: COMMITTED, the first slot, the last slot, and the
/// number of records in the commit. Records already stored count too.
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    of: ColumnOf,
    /// The slot stream; standard input if `-` or missing
    file: Option<PathBuf>,
    /// Turn backfill on for the column: missing slots may be filled from now on
    #[arg(long)]
    backfill: bool,
    /// Maximum number of records per commit
    #[arg(long, value_name = "N", default_value = "1024")]
    batch: NonZeroUsize,
    #[command(flatten)]
    door: DoorOptions,
}

/// Maximum bytes of values in one batch.
const BATCH_BYTES: u64 = 64 << 20;
/// A larger value is streamed into the column in a commit of its own.
const STREAMED_BYTES: u64 = 8 << 20;
const READ_BUFFER_BYTES: usize = 256 << 10;

impl Load {
    pub(crate) fn run(self) -> Result<Answer> {
        let mut input = Input::open(self.file.as_deref())?;
        let input_len = input.byte_len();
        let mut archive = self.door.open(&self.of, self.backfill)?;
        let writer = archive.writer(self.of.column)?;
        let spec = writer.conf().spec;
        let input = BufReader::with_capacity(READ_BUFFER_BYTES, input);
        let mut stream = SlotStream::start(input, spec.record_type, spec.max_value_bytes)?;
        let mut loader = Loader {
            writer,
            batch: Vec::new(),
            batch_bytes: 0,
            batch_limit: self.batch.get(),
            acknowledgements: Acknowledgements::of(&format!("load {}", self.of.column), input_len),
        };
        loop {
            match stream.next_item() {
                Ok(Some(item)) => loader.take(item)?,
                Ok(None) => break,
                // Items received whole before the stream broke are committed too.
                Err(error) => {
                    loader.commit()?;
                    return Err(error.into());
                }
            }
            loader.acknowledgements.set_position(stream.offset());
        }
        loader.commit()?;
        Ok(Answer::Yes)
    }
}

struct Loader<'w> {
    writer: &'w mut Writer,
    batch: Vec<(Slot, Vec<u8>)>,
    batch_bytes: u64,
    batch_limit: usize,
    acknowledgements: Acknowledgements,
}

impl Loader<'_> {
    fn take<R: Read>(&mut self, mut item: Item<'_, R>) -> Result<()> {
        let (slot, byte_len) = (item.slot, item.byte_len);
        if byte_len > STREAMED_BYTES {
            self.commit()?;
            let put = self.writer.put_from(slot, byte_len, &mut item);
            put.with_context(|| format!("slot {slot}"))?;
            self.acknowledgements.print(&BulkCommit { first: slot, last: slot, records: 1 });
            return self.acknowledgements.check();
        }
        if self.batch_bytes + byte_len > BATCH_BYTES {
            self.commit()?;
        }
        self.batch.push((slot, item.into_value()?));
        self.batch_bytes += byte_len;
        if self.batch.len() >= self.batch_limit {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        let batch = mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let (Some((first, _)), Some((last, _))) = (batch.first(), batch.last()) else {
            return Ok(());
        };
        let run = self.writer.put_bulk(&batch, |commit| self.acknowledgements.print(commit));
        run.map_err(|stopped| stopped.error).with_context(|| format!("slots {first} to {last}"))?;
        self.acknowledgements.check()
    }
}
