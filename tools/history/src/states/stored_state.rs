//! A stored state that owns what it is read from, as a stream: no rules of its chain are needed.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use coldstore::{Column, Error, Manifest, MappedArchive, Result, Slot, View};
use coldstore_consensus::Preset;

use super::columns::{Columns, StateRef};
use super::hierarchy::Hierarchy;
use super::{PathFault, States};
use crate::replay::Source;

/// Pieces of at most a MiB that wait to be read.
const PIECES_AHEAD: usize = 2;

/// A state as an archive stores it. Keeps the record of its whole state mapped.
#[derive(Clone, Debug)]
pub struct StoredState {
    /// Of `bss`.
    directory: Arc<Path>,
    snapshots: View,
    /// The slot of the whole state.
    whole: Slot,
    /// What the state is on it; `None` for the whole state itself.
    columns: Option<Columns>,
}

impl StoredState {
    /// The state of a slot: whole in `bss`, or by the diffs in `bsd`. `None` if neither has it.
    ///
    /// # Errors
    /// Those of the columns; [`Error::Corrupt`] with the slot if a diff is damaged, another's, or names a base
    /// that is not there or that the layers in the manifest do not allow.
    pub fn read(archive: &MappedArchive, preset: Preset, slot: Slot) -> Result<Option<Self>> {
        let Some(reader) = archive.column_if_there(Column::StateSnapshots)? else {
            return Ok(None);
        };
        let snapshots = reader.refresh()?;
        if snapshots.contains(slot)? {
            let directory = reader.directory().into();
            return Ok(Some(Self { directory, snapshots, whole: slot, columns: None }));
        }
        match archive.column_if_there(Column::StateDiffs)? {
            Some(diffs) if diffs.refresh()?.contains(slot)? => {}
            _ => return Ok(None),
        }
        let root = archive.root();
        let manifest = Manifest::read(root)?.unwrap_or_default();
        let layers = Hierarchy::of_manifest(root, &manifest, preset)?;
        let states = States::of_stored(Source::of(archive)?, preset, layers).with_cache_bytes(0);
        let stored = states.stored_at(slot).map_err(|fault| damaged(root, slot, fault))?;
        Ok(stored.map(|view| Self {
            directory: reader.directory().into(),
            snapshots: states.source().snapshots.clone(),
            whole: view.whole,
            columns: Some(view.columns.clone()),
        }))
    }

    /// The state `columns` on the same whole state as `self`.
    pub(super) fn with(&self, columns: Columns) -> Self {
        Self { columns: Some(columns), ..self.clone() }
    }

    /// The bytes of the whole state, which are mapped.
    pub(super) fn base(&self) -> Result<Cow<'_, [u8]>> {
        let base = self.snapshots.get(self.whole)?;
        base.ok_or_else(|| {
            let wanted = format!("slot {}", self.whole);
            Error::corrupt(&*self.directory, None, "state snapshot", wanted, "none")
        })
    }

    /// The columns; those of a whole state are found in its bytes.
    pub(super) fn columns(&self, preset: Preset) -> Result<Columns> {
        match &self.columns {
            Some(columns) => Ok(columns.clone()),
            None => Columns::of_raw(preset, &self.base()?).map_err(|malformed| {
                let (wanted, found) = malformed.wanted_and_found();
                let wanted = format!("slot {}: {wanted}", self.whole);
                Error::corrupt(&*self.directory, None, "state snapshot", wanted, found)
            }),
        }
    }

    /// Whether the state is whole in `bss`.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.columns.is_none()
    }

    /// Length of the SSZ in bytes.
    ///
    /// # Errors
    /// Those of the column.
    pub fn ssz_len(&self) -> Result<u64> {
        let base = self.base()?;
        Ok(match &self.columns {
            Some(columns) => StateRef { base: &base, columns }.ssz_len(),
            None => base.len() as u64,
        })
    }

    /// Writes the SSZ, in pieces of at most a MiB.
    ///
    /// # Errors
    /// Those of `out`, and of the column.
    pub fn write_ssz(&self, out: &mut dyn Write) -> io::Result<()> {
        let base = self.base().map_err(io::Error::other)?;
        match &self.columns {
            Some(columns) => StateRef { base: &base, columns }.write_ssz(out),
            None => base.chunks(1 << 20).try_for_each(|piece| out.write_all(piece)),
        }
    }

    /// The SSZ as a stream. A thread writes it, some MiB ahead of its reader.
    ///
    /// # Errors
    /// Those of the column; [`Error::Io`] if there can be no thread.
    pub fn reader(&self) -> Result<impl Read + Send + use<>> {
        let left = self.ssz_len()?;
        let (sender, pieces) = sync_channel(PIECES_AHEAD);
        let state = self.clone();
        let written = move || {
            let mut pieces = Pieces(sender);
            if let Err(error) = state.write_ssz(&mut pieces) {
                // Without a reader nobody wants the error.
                let _ = pieces.0.send(Err(error));
            }
        };
        let started = thread::Builder::new().name("state".to_owned()).spawn(written);
        started.map_err(|error| Error::io(&*self.directory, "start a thread to read", error))?;
        Ok(PieceReader { pieces, piece: Vec::new(), taken: 0, left })
    }
}

/// The writing end of a stream.
struct Pieces(SyncSender<io::Result<Vec<u8>>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.send(Ok(bytes.to_vec()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reading end of a stream.
struct PieceReader {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    /// How much of the piece was read.
    taken: usize,
    /// Bytes of the stream that are still to come.
    left: u64,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.piece.len() {
            self.piece = match self.pieces.recv() {
                Ok(piece) => piece?,
                Err(_) if self.left == 0 => return Ok(0),
                Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            };
            (self.taken, self.left) = (0, self.left.saturating_sub(self.piece.len() as u64));
        }
        let count = (&self.piece[self.taken..]).read(buffer)?;
        self.taken += count;
        Ok(count)
    }
}

/// What is wrong with the state of a slot, which `bsd` holds.
fn damaged(root: &Path, slot: Slot, fault: PathFault) -> Error {
    match fault {
        PathFault::Storage { error, .. } => error,
        fault => {
            let directory = root.join(Column::StateDiffs.dir_name());
            let wanted = format!("slot {slot}: the diffs of its state");
            Error::corrupt(directory, None, "state diff", wanted, fault.to_string())
        }
    }
}
