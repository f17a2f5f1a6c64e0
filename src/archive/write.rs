//! An archive, open for writing.

use std::path::{Path, PathBuf};

use super::held;
use super::record::{self, Recorder};
use crate::column::Column;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::removal;
use crate::sync::thread;
use crate::write::{Checksums, Door, Locked, Writer, WriterOptions, settle};

/// The columns that [`ArchiveWriter::open`] opens, and how it opens them. The default names no column.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArchiveWriterOptions {
    /// By [`Column::index`]: whether to open the column, and whether to turn backfill on for it.
    columns: [bool; Column::ALL.len()],
    backfill: [bool; Column::ALL.len()],
    checksums: Checksums,
    refill: bool,
    raw: bool,
    far: bool,
    is_deferred: bool,
}

impl ArchiveWriterOptions {
    /// Opens a column, and creates it if it is missing.
    #[must_use]
    pub fn column(mut self, column: Column) -> Self {
        self.columns[column.index()] = true;
        self
    }

    /// Opens several columns: see [`Self::column`].
    #[must_use]
    pub fn columns(self, columns: impl IntoIterator<Item = Column>) -> Self {
        columns.into_iter().fold(self, Self::column)
    }

    /// Opens a column and turns backfill on for it: [`WriterOptions::allow_backfill`].
    #[must_use]
    pub fn backfill(mut self, column: Column) -> Self {
        self.backfill[column.index()] = true;
        self.column(column)
    }

    /// Whether to keep checksums of records (default: [`Checksums::Off`]).
    #[must_use]
    pub fn checksums(self, checksums: Checksums) -> Self {
        Self { checksums, ..self }
    }

    /// Whether to open columns that have lost records according to the manifest, in order to restore them
    /// (default: no, [`Error::Lost`]).
    #[must_use]
    pub fn refill(self, refill: bool) -> Self {
        Self { refill, ..self }
    }

    /// Whether to accept any values, and roots with gaps (default: no): see [`Door::raw`].
    #[must_use]
    pub fn raw(self, raw: bool) -> Self {
        Self { raw, ..self }
    }

    /// Whether to accept slots far above the archive's highest (default: no): see [`Door::far`].
    #[must_use]
    pub fn far(self, far: bool) -> Self {
        Self { far, ..self }
    }

    /// Whether to defer the changes of opening other than healing (creating a missing column, turning
    /// backfill on) until the first write or [`ArchiveWriter::settle`] (default: no). A caller that finds
    /// nothing to write then leaves the archive unchanged. Existing columns are locked at once, missing
    /// ones when they are created.
    #[must_use]
    pub fn deferred(self, is_deferred: bool) -> Self {
        Self { is_deferred, ..self }
    }

    /// The columns to open, in the order of their locks.
    fn named(&self) -> impl Iterator<Item = Column> {
        Column::ALL.into_iter().filter(|column| self.columns[column.index()])
    }

    /// The options of one column. Its door knows the chain from the archive's manifest.
    fn of_column(&self, column: Column, known: Option<&Manifest>) -> WriterOptions {
        let mut door = Door::new(column).raw(self.raw).far(self.far);
        if let Some(known) = known {
            door = door.genesis_validators_root(known.genesis_validators_root);
            door = known.slots_per_era.map_or(door, |slots| door.slots_per_era(slots));
        }
        WriterOptions::create(column.spec())
            .allow_backfill(self.backfill[column.index()])
            .checksums(self.checksums)
            .door(door)
            .deferred(true)
    }
}

/// An archive, open for writing: a [`Writer`] for each column that its options name. Values must pass the
/// column's [`Door`], which knows the chain from the archive's manifest.
///
/// After [`Error::Poisoned`], open the archive again.
#[derive(Debug)]
pub struct ArchiveWriter {
    pub(super) root: PathBuf,
    /// Declared before the columns so that it is dropped, and updates the manifest, while they are locked.
    pub(super) recorder: Recorder,
    pub(super) columns: [Option<Writer>; Column::ALL.len()],
}

impl ArchiveWriter {
    /// Locks and heals the columns that `options` names, and creates those that are missing. Finishes
    /// operations that an earlier process began ([`removal::finish_intents`]). After an error of opening or
    /// creating a column, none of the missing ones exists; if updating the manifest fails, they do.
    ///
    /// # Errors
    /// As [`Writer::open`]; [`Error::Lost`] for a column that holds less than the manifest recorded;
    /// [`Error::UnfinishedCopy`].
    pub fn open(root: impl AsRef<Path>, options: ArchiveWriterOptions) -> Result<Self> {
        let root = root.as_ref().to_owned();
        let (mut writers, has_manifest, rebuilt) = loop {
            removal::finish_intents(&root)?;
            let known = Manifest::read(&root)?;
            let mut rebuilt = None;
            match &known {
                None => rebuilt = record::rebuilt(&root)?,
                Some(_) if options.refill => {}
                Some(known) => options
                    .named()
                    .try_for_each(|column| held::check_recorded(&root, known, column))?,
            }
            let writers = open_columns(&root, &options, known.as_ref())?;
            // Checks again under the locks: another process may have begun an operation and died before
            // they were taken.
            let locked = Manifest::read(&root)?;
            if locked.as_ref().is_none_or(|manifest| manifest.intents().is_empty()) {
                break (writers, locked.is_some(), rebuilt);
            }
        };
        if !options.is_deferred {
            settle(&mut writers, || Ok::<_, Error>(()))?;
        }
        let mut columns = [const { None }; Column::ALL.len()];
        for (column, writer) in options.named().zip(writers) {
            columns[column.index()] = Some(writer);
        }
        let archive = Self { recorder: Recorder::new(&root, options.named()), root, columns };
        if !options.is_deferred || has_manifest || rebuilt.is_some() {
            archive.record_opened(rebuilt)?;
        }
        Ok(archive)
    }

    /// The archive's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The writer of a column.
    ///
    /// # Errors
    /// [`Error::NotOpened`] if the options did not name the column.
    pub fn writer(&mut self, column: Column) -> Result<&mut Writer> {
        self.columns[column.index()].as_mut().ok_or(Error::NotOpened { column })
    }

    /// By [`Column::index`]: the writers of the columns that the options named.
    #[cfg(feature = "era")]
    pub(crate) fn writers(&mut self) -> [Option<&mut Writer>; Column::ALL.len()] {
        self.columns.each_mut().map(Option::as_mut)
    }

    /// Makes the [deferred](ArchiveWriterOptions::deferred) changes of all columns. After an error of
    /// opening or creating a column, none of the missing ones exists; if updating the manifest fails, they
    /// do.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn settle(&mut self) -> Result<()> {
        self.settle_with(|| Ok(()))
    }

    /// As [`Self::settle`], and runs the caller's `last_check` when all columns exist and are locked, but
    /// before any conf is replaced. If the check fails, the archive stays unchanged.
    ///
    /// # Errors
    /// As [`Writer::open`], and the errors of the check.
    pub fn settle_with<T, E: From<Error>>(
        &mut self,
        last_check: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let settled = settle(self.columns.iter_mut().flatten(), last_check)?;
        self.record_opened(None)?;
        Ok(settled)
    }

    /// Records in the manifest which columns exist, and their highest slots. `rebuilt` replaces a missing
    /// manifest.
    fn record_opened(&self, rebuilt: Option<Manifest>) -> Result<()> {
        let mut made = Vec::new();
        for (column, writer) in Column::ALL.into_iter().zip(&self.columns) {
            if let Some(writer) = writer
                && held::Held::of(&self.root, column)? != held::Held::Nothing
            {
                made.push((column, writer.highest_written_slot()));
            }
        }
        if made.is_empty() && rebuilt.is_none() {
            return Ok(());
        }
        let recorded = Manifest::update(&self.root, |manifest| {
            if let Some(rebuilt) = rebuilt.filter(|_| *manifest == Manifest::default()) {
                *manifest = rebuilt;
            }
            for (column, _) in &made {
                manifest.column_mut(*column);
            }
            record::raise(manifest, made);
            Ok(())
        });
        recorded.map(drop)
    }
}

/// Opens the columns in the order of [`Column::ALL`]. Leaves all changes except healing to [`settle`].
///
/// Takes all locks before it heals any column. Each column is healed on its own thread, so that the file
/// system can combine their flushes.
fn open_columns(
    root: &Path,
    options: &ArchiveWriterOptions,
    known: Option<&Manifest>,
) -> Result<Vec<Writer>> {
    let lock = |column: Column| {
        Locked::of(&root.join(column.dir_name()), options.of_column(column, known))
    };
    let mut locked = options.named().map(lock).collect::<Result<Vec<_>>>()?;
    if locked.len() == 1 {
        return locked.drain(..).map(Writer::open_locked).collect();
    }
    thread::scope(|scope| {
        let threads: Vec<_> = locked
            .into_iter()
            .map(|column| scope.spawn(move || Writer::open_locked(column)))
            .collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|opened| opened.unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    })
}
