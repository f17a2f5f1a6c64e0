//! Where proved states go.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::io::{self, Read, Write};
use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use coldstore::{Column, Pipeline, Slot, Ticket};
use coldstore_consensus::transition::BeaconState;

/// An error of a [`StateSink`].
pub type SinkError = Box<dyn StdError + Send + Sync>;

/// Stores states that are proved. Each worker has its own.
pub trait StateSink: Send {
    /// Stores the state of a slot. It may be durable later.
    ///
    /// # Errors
    /// If this state, or one before, cannot be stored.
    fn put(&mut self, slot: Slot, state: &BeaconState<'_>) -> Result<(), SinkError>;

    /// Stores diffs, ascending, with all that they refer to before them. They may be durable later; those
    /// between them are never durable before.
    ///
    /// # Errors
    /// As [`StateSink::put`].
    fn put_diffs(&mut self, items: Vec<(Slot, Vec<u8>)>) -> Result<(), SinkError>;

    /// Waits until every state is durable. Returns how many were new since the last call: others may have been
    /// stored by another producer.
    ///
    /// # Errors
    /// If one cannot be stored.
    fn finish(&mut self) -> Result<u64, SinkError>;
}

/// A state with more bytes is written to the file from the worker's memory, in pieces and in a commit of its
/// own. Smaller ones share commits.
const STREAMED_BYTES: u64 = 8 << 20;
/// States of a worker that wait for a commit.
const MAX_PENDING: usize = 64;
/// Pieces of a streamed state between the worker and the writer's thread. Each has about a MiB.
const PIECES: usize = 2;

/// Stores states through the [`Pipeline`] of an archive's `bss`, or diffs through that of its `bsd`.
#[derive(Debug)]
pub struct PipelineSink {
    pipeline: Pipeline,
    pending: VecDeque<Ticket>,
    /// New states since the last [`StateSink::finish`].
    written: u64,
}

impl PipelineSink {
    /// A sink for one worker.
    #[must_use]
    pub fn new(pipeline: Pipeline) -> Self {
        Self { pipeline, pending: VecDeque::new(), written: 0 }
    }

    fn submit(&mut self, items: Vec<(Slot, Vec<u8>)>) -> Result<(), SinkError> {
        self.pending.extend(self.pipeline.submit_bulk(items)?);
        while self.pending.len() > MAX_PENDING {
            self.wait_for_oldest()?;
        }
        Ok(())
    }

    fn wait_for_oldest(&mut self) -> Result<(), SinkError> {
        if let Some(ticket) = self.pending.pop_front() {
            self.written += ticket.wait()?.written;
        }
        Ok(())
    }
}

impl StateSink for PipelineSink {
    fn put(&mut self, slot: Slot, state: &BeaconState<'_>) -> Result<(), SinkError> {
        debug_assert_eq!(self.pipeline.spec(), Column::StateSnapshots.spec());
        let byte_len = state.ssz_len();
        if byte_len <= STREAMED_BYTES {
            return self.submit(vec![(slot, state.to_ssz())]);
        }
        let (sender, receiver) = sync_channel(PIECES);
        let source = PieceReader { receiver, piece: Vec::new(), at: 0 };
        let ticket = self.pipeline.submit_from(slot, byte_len, Box::new(source))?;
        let written = state.write_ssz(&mut PieceWriter(sender));
        // If the writer refuses the state it stops reading, and its error tells why.
        self.written += ticket.wait()?.written;
        Ok(written?)
    }

    fn put_diffs(&mut self, items: Vec<(Slot, Vec<u8>)>) -> Result<(), SinkError> {
        debug_assert_eq!(self.pipeline.spec(), Column::StateDiffs.spec());
        self.submit(items)
    }

    fn finish(&mut self) -> Result<u64, SinkError> {
        while !self.pending.is_empty() {
            self.wait_for_oldest()?;
        }
        Ok(mem::take(&mut self.written))
    }
}

/// The worker's end of a streamed state.
struct PieceWriter(SyncSender<Vec<u8>>);

impl Write for PieceWriter {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let sent = self.0.send(piece.to_vec());
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end of the writer's thread.
struct PieceReader {
    receiver: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            // The worker has sent everything, or has failed.
            let Ok(piece) = self.receiver.recv() else { return Ok(0) };
            (self.piece, self.at) = (piece, 0);
        }
        let count = (&self.piece[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}
