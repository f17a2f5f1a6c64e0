//! Where a worker's states go.

use std::mem;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use coldstore::{Column, Error, Slot};
use coldstore_client::ClientError;
use coldstore_client::blocking::Client;
use coldstore_client::wire::RefusalKind;
use coldstore_consensus::transition::BeaconState;
use coldstore_history::reconstruct::{PipelineSink, SinkError, StateSink};

/// Where a worker's states go.
pub(super) enum Sink {
    /// Nothing is stored.
    Nowhere,
    Archive(PipelineSink),
    Daemon(DaemonSink),
}

impl StateSink for Sink {
    fn put(&mut self, slot: Slot, state: &BeaconState<'_>) -> Result<(), SinkError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Archive(sink) => sink.put(slot, state),
            Self::Daemon(DaemonSink { client, new }) => {
                let put = client.put(Column::StateSnapshots, slot, state.to_ssz());
                *new += u64::from(put.map_err(|error| sink_error(error, slot))?);
                Ok(())
            }
        }
    }

    fn put_diffs(&mut self, items: Vec<(Slot, Vec<u8>)>) -> Result<(), SinkError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Archive(sink) => sink.put_diffs(items),
            Self::Daemon(DaemonSink { client, new }) => {
                let first = items.first().map_or(Slot(0), |(slot, _)| *slot);
                let items: Vec<(Slot, Bytes)> =
                    items.into_iter().map(|(slot, value)| (slot, value.into())).collect();
                let put = client.put_batch(Column::StateDiffs, &items);
                *new += put.map_err(|error| sink_error(error, first))?.committed.0;
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<u64, SinkError> {
        match self {
            Self::Archive(sink) => sink.finish(),
            // A put is durable when it returns.
            Self::Daemon(sink) => Ok(mem::take(&mut sink.new)),
            Self::Nowhere => Ok(0),
        }
    }
}

/// An error of the daemon about a put that begins with this slot.
fn sink_error(error: ClientError, slot: Slot) -> SinkError {
    match error.refusal_kind() {
        Some(RefusalKind::Conflict) => SinkError::from(Error::Conflict { slot }),
        _ => error.into(),
    }
}

/// Sends states to the daemon.
pub(super) struct DaemonSink {
    client: Client,
    /// New states since the last [`StateSink::finish`].
    new: u64,
}

impl DaemonSink {
    /// Refuses the daemon of another archive.
    pub(super) fn connect(socket: &Path, archive: &Path, retry: Duration) -> Result<Self> {
        let mut client = Client::new(socket).context("cannot start")?.retry_for(retry);
        let theirs = client.status()?.archive;
        let ours = std::fs::canonicalize(archive)
            .with_context(|| format!("{}: cannot resolve the path", archive.display()))?;
        ensure!(
            Path::new(&theirs) == ours,
            "{}: the daemon has the archive {theirs}, not {}",
            socket.display(),
            ours.display()
        );
        Ok(Self { client, new: 0 })
    }
}
