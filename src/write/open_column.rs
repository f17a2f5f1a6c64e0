//! The state of a column that is open for writing, and its lock.

use std::io::{self, Read};
use std::sync::Arc;

use crate::column::Compression;
use crate::error::{CorruptItem, Error, Result};
use crate::files::disk::{Access, Lock};
use crate::format::conf::Conf;
use crate::format::record::HEADER_BYTES;
use crate::format::witness::Witness;
use crate::slot::{FileId, Slot};
use crate::write::aside::Asides;
use crate::write::column_dir::ColumnDir;
use crate::write::compare::{StoredReader, Uncomparable, compare};
use crate::write::conf_file::{self, CommitError};
use crate::write::file_state::{FileState, FileStates};
use crate::write::fsync_pool::FsyncPool;
use crate::write::heal;
use crate::write::heal_action::HealReport;
use crate::write::options::WriterOptions;

/// A column that is open for writing.
#[derive(Debug)]
pub(super) struct OpenColumn {
    pub(super) directory: ColumnDir,
    pub(super) conf: Conf,
    pub(super) witness: Witness,
    pub(super) files: FileStates,
    pub(super) fsync_pool: FsyncPool,
    pub(super) asides: Asides,
    pub(super) healed: HealReport,
    pub(super) deferred: Option<Deferred>,
    /// The error that poisoned the writer.
    pub(super) poisoned: Option<Error>,
    /// Released last. `None` while the column is still to be created, and for the new content of a column,
    /// which is built under the lock of the old.
    pub(super) lock: Option<Box<dyn Lock>>,
}

/// A change that opening has deferred to the first write.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deferred {
    /// Create the column.
    Column(WriterOptions),
    /// Replace this conf, which is in force, by the one in memory.
    Conf(Conf),
}

impl OpenColumn {
    /// A column with nothing put aside, healed or deferred. The caller holds the lock.
    pub(super) fn new(
        directory: ColumnDir,
        conf: Conf,
        witness: Witness,
        keeps_sums: bool,
    ) -> Self {
        Self {
            files: FileStates::new(directory.clone(), keeps_sums),
            directory,
            conf,
            witness,
            fsync_pool: FsyncPool::default(),
            asides: Asides::default(),
            healed: HealReport::default(),
            deferred: None,
            poisoned: None,
            lock: None,
        }
    }

    /// The offset entry of a slot; 0 if it has no record.
    pub(super) fn entry(&self, slot: Slot) -> Result<u64> {
        self.entries()(slot)
    }

    /// [`Self::entry`] for many slots: the state of a file is looked up once for neighbouring slots.
    pub(super) fn entries(&self) -> impl FnMut(Slot) -> Result<u64> {
        let mut file: Option<(FileId, Arc<FileState>)> = None;
        move |slot| {
            if Some(slot) > self.conf.highest {
                return Ok(0);
            }
            let id = slot.file_id();
            let state = match file.take().filter(|(file_id, _)| *file_id == id) {
                Some((_, state)) => state,
                None => self.files.get(&self.conf, id)?,
            };
            let entry = state.table.get(slot.index_in_file());
            file = Some((id, state));
            Ok(entry)
        }
    }

    /// Returns true if the slot holds this value, and false if it has no record.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it holds another value.
    pub(super) fn holds(&self, slot: Slot, value: &mut dyn Read) -> Result<bool> {
        let entry = self.entry(slot)?;
        if entry == 0 {
            return Ok(false);
        }
        let state = self.files.get_flushed(&self.conf, slot.file_id())?;
        let bound = state.data_len;
        let data = self.directory.open_data(slot.file_id(), Access::Read, bound)?;
        let end = data.end_of(self.conf.spec.record_type, slot, entry, bound)?;
        let path = data.path();
        let stored = StoredReader { data: &data, offset: entry + HEADER_BYTES, end };
        let mut held: Box<dyn Read> = match self.conf.spec.compression {
            Compression::None => Box::new(stored),
            Compression::Snappy => Box::new(snap::read::FrameDecoder::new(stored)),
        };
        match compare(&mut *held, value) {
            Ok(true) => Ok(true),
            Ok(false) => Err(Error::Conflict { slot }),
            Err(Uncomparable::Given(error)) => Err(Error::io(path, "compare a value with", error)),
            Err(Uncomparable::Held(error)) => Err(match error.downcast::<Error>() {
                Ok(error) => error,
                Err(error) => {
                    let wanted = format!("snappy frames of the value of slot {slot}");
                    let at = entry + HEADER_BYTES;
                    Error::corrupt(path, at, CorruptItem::Payload, wanted, error.to_string())
                }
            }),
        }
    }

    /// Fails if the writer is poisoned or has lost its lock.
    pub(super) fn check_writable(&self) -> Result<()> {
        if let Some(poisoned) = self.poisoned() {
            return Err(poisoned);
        }
        let Some(lock) = &self.lock else { return Ok(()) };
        self.directory.check_lock(&**lock)
    }

    /// [`Error::Poisoned`] if the writer is poisoned.
    pub(super) fn poisoned(&self) -> Option<Error> {
        let cause = Box::new(self.poisoned.clone()?);
        Some(Error::Poisoned { directory: self.directory.path().into(), cause })
    }

    /// Runs a change of the column's files. A panic, or an error after the first write, poisons the writer.
    pub(super) fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<T, CommitError>,
    ) -> Result<T> {
        // Poison first: a panic (in a caller's stream, say) may leave the change half done.
        let interrupted = io::Error::other("a panic interrupted it");
        let error = Error::io(self.directory.path(), "finish a commit to", interrupted);
        self.poisoned = Some(error);
        match change(self) {
            Ok(done) => {
                self.poisoned = None;
                Ok(done)
            }
            Err(CommitError { error, poisons }) => {
                self.poisoned = poisons.then(|| error.clone());
                if poisons {
                    tracing::error!(column = %self.directory.path().display(), %error, "poisoned");
                }
                Err(error)
            }
        }
    }

    /// Removes the remnants of an abandoned commit, as the next opening would, and clears the cached file
    /// states: healing may have removed, extended or completed any file.
    pub(super) fn take_back(&mut self) -> Result<()> {
        self.change(|Self { directory, conf, witness, files, .. }| {
            let healed = heal::take_back(directory, conf);
            files.clear();
            let settled = healed.and_then(|()| conf_file::settle(directory, witness, conf));
            settled.map(drop).map_err(conf_file::poisoning)
        })
    }

    /// Whether the column is still to be created.
    pub(super) fn is_to_be_created(&self) -> bool {
        matches!(self.deferred, Some(Deferred::Column(_)))
    }

    /// Turns backfill on, or raises the bound on values, if that was deferred.
    pub(super) fn settle_conf(&mut self) -> Result<()> {
        if let Some(Deferred::Conf(in_force)) = self.deferred {
            conf_file::replace_alone(
                &self.directory,
                &mut self.witness,
                Some(&in_force),
                self.conf,
            )?;
            self.deferred = None;
        }
        Ok(())
    }

    /// Turns backfill on. It stays on.
    pub(super) fn allow_backfill(&mut self) -> Result<()> {
        let asked = self.conf.allowing_backfill();
        conf_file::replace_alone(&self.directory, &mut self.witness, Some(&self.conf), asked)?;
        self.conf = asked;
        Ok(())
    }

    /// Removes files that were put aside and whose records are committed again. The commit does not depend
    /// on it: after an error, the next opening removes them.
    pub(super) fn remove_asides(&mut self) {
        let Self { directory, conf, asides, healed, .. } = self;
        if asides.is_empty() {
            return;
        }
        let removed = asides.done_with(directory, conf, false).and_then(|actions| {
            for action in &actions {
                directory.remove(&action.file)?;
                healed.asides.retain(|aside| *aside != action.file);
            }
            if actions.is_empty() { Ok(()) } else { directory.sync() }
        });
        if let Err(error) = removed {
            tracing::warn!(column = %directory.path().display(), %error, "files put aside remain");
        }
    }
}
