//! Reads a stored state as a stream, by its records alone: no rules of its chain are needed.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use coldstore::{Column, Error, Manifest, MappedArchive, Result, Slot, Snapshot as _, View};
use coldstore_consensus::Preset;

use super::columns::{Columns, StateRef};
use super::hierarchy::{Hierarchy, MAX_STEPS};
use super::kind::check_difference;
use super::value::{DiffContext, DiffFault, DiffValue, apply_path};
use crate::replay::Source;

const DIFFERENCE: &str = "state difference";

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
    /// The state of a slot: whole in `bss`, or by the differences in `bsd`. `None` if neither has it.
    ///
    /// # Errors
    /// Those of the columns; [`Error::Corrupt`] with the slot if a difference is damaged, another's, or names a base
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
            Some(differences) if differences.refresh()?.contains(slot)? => {}
            _ => return Ok(None),
        }
        let source = Source::of(archive)?;
        let manifest = Manifest::read(archive.root())?.unwrap_or_default();
        let hierarchy = Hierarchy::of_manifest(archive.root(), &manifest, preset)?;
        Chain { root: archive.root(), preset, hierarchy, source }.read(slot).map(Some)
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

/// The columns of an archive from which differences are read.
struct Chain<'a> {
    root: &'a Path,
    preset: Preset,
    hierarchy: Hierarchy,
    source: Source<View>,
}

impl Chain<'_> {
    /// 1. Follow the differences down to a whole state.
    /// 2. Apply them to it.
    fn read(self, slot: Slot) -> Result<StoredState> {
        // 1.
        let (mut at, mut values) = (slot, Vec::new());
        while !self.source.snapshots.contains(at)? {
            let value = self.difference(at, values.last().map(|(slot, _)| *slot))?;
            let parsed = DiffValue::parse(at, &value).map_err(|fault| self.damaged(&fault))?;
            let base = parsed.base_slot();
            if base >= at || !self.hierarchy.allows(at, base) {
                let wanted = format!(
                    "slot {at}: a difference to one of the slots that the layers in archive.toml allow"
                );
                return Err(self.corrupt(wanted, format!("slot {base}")));
            }
            values.push((at, value));
            if values.len() as u64 > MAX_STEPS {
                let wanted = format!("slot {slot}: at most {MAX_STEPS} differences in a chain");
                return Err(self.corrupt(wanted, "more".to_owned()));
            }
            at = base;
        }
        // 2.
        let directory = self.root.join(Column::StateSnapshots.dir_name()).into();
        let snapshots = self.source.snapshots.clone();
        let state = StoredState { directory, snapshots, whole: at, columns: None };
        let from = state.columns(self.preset)?;
        let path = values.iter().rev().map(|(slot, value)| DiffValue::parse(*slot, value));
        let path = path.collect::<Result<Vec<_>, DiffFault>>();
        let base = state.base()?;
        let applied = path.and_then(|path| {
            apply_path(self.preset, &base, &from, &path, DiffContext::new(&self.source))
        });
        Ok(state.with(applied.map_err(|fault| self.damaged(&fault))?))
    }

    /// The value of a slot, to which the difference of the slot `above` refers.
    fn difference(&self, slot: Slot, above: Option<Slot>) -> Result<Vec<u8>> {
        let view = self.source.differences.as_ref();
        let value = match view {
            Some(view) => view.value(slot)?,
            None => None,
        };
        let Some(value) = value else {
            let above = above.unwrap_or(slot);
            let wanted =
                format!("the state of slot {slot} in bss or bsd, to which slot {above} refers");
            return Err(self.corrupt(wanted, "none".to_owned()));
        };
        check_difference(slot, &value).map_err(|foreign| {
            self.corrupt(format!("slot {slot}: a difference of coldstore"), foreign.to_string())
        })?;
        Ok(value)
    }

    fn damaged(&self, fault: &DiffFault) -> Error {
        let base = fault.base.map_or_else(String::new, |base| format!(", on slot {base}"));
        let field = fault.field.map_or_else(String::new, |field| format!(", {field}"));
        let wanted = format!("slot {}{base}{field}: {}", fault.slot, fault.wanted);
        self.corrupt(wanted, fault.found.clone())
    }

    fn corrupt(&self, wanted: String, found: String) -> Error {
        let directory = self.root.join(Column::StateDiffs.dir_name());
        Error::corrupt(directory, None, DIFFERENCE, wanted, found)
    }
}
