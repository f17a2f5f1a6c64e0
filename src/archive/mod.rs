//! An archive: the five columns under one root directory.

pub mod check;
mod read;
mod record;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::read::Archive;
pub use self::record::record;

use self::record::Recorder;
use crate::column::Column;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::removal;
use crate::sync::thread;
use crate::write::{
    Checksums, Door, Locked, Pipeline, PipelineOptions, Writer, WriterOptions, settle,
};

/// An archive open for writing by many producers: one [`Pipeline`] per column.
#[derive(Clone, Debug)]
pub struct ArchivePipeline {
    root: PathBuf,
    /// Updates the manifest when the last clone is dropped, before the locks are released.
    recorder: Arc<Recorder>,
    columns: [Pipeline; Column::ALL.len()],
}

impl ArchivePipeline {
    /// Opens all five columns for writing and creates those that are missing. Turns backfill on for the
    /// columns in `backfill`.
    ///
    /// `options` returns the options of each column's pipeline, such as how many jobs may wait.
    ///
    /// # Errors
    /// As [`Writer::open`] and [`Pipeline::start`].
    pub fn open(
        root: impl AsRef<Path>,
        backfill: &[Column],
        options: impl FnMut(Column) -> PipelineOptions,
    ) -> Result<Self> {
        Self::start(ArchiveWriter::open(root), backfill, options)
    }

    /// As [`ArchivePipeline::open`], for an archive that is already open for writing.
    ///
    /// # Errors
    /// As [`Writer::open`] and [`Pipeline::start`].
    pub fn start(
        mut archive: ArchiveWriter,
        backfill: &[Column],
        mut options: impl FnMut(Column) -> PipelineOptions,
    ) -> Result<Self> {
        // Takes all locks before the first pipeline starts.
        archive.columns(Column::ALL.map(|column| (column, backfill.contains(&column))))?;
        let ArchiveWriter { root, recorder, columns: writers, .. } = archive;
        let mut columns = Vec::new();
        for (column, writer) in Column::ALL.into_iter().zip(writers.into_iter().flatten()) {
            columns.push(Pipeline::start(writer, options(column))?);
        }
        let columns = columns.try_into().unwrap_or_else(|_| unreachable!("one for each column"));
        Ok(Self { root, recorder: Arc::new(recorder), columns })
    }

    /// The archive's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The pipeline of a column.
    #[must_use]
    pub fn column(&self, column: Column) -> &Pipeline {
        &self.columns[column.index()]
    }

    /// Stops accepting jobs, finishes and answers those that wait, updates the manifest, and releases the
    /// locks.
    pub fn shutdown(&self) {
        let writers: Vec<_> = self.columns.iter().map(Pipeline::shutdown).collect();
        if writers.iter().any(Option::is_some) {
            self.recorder.end();
        }
    }
}

/// An archive, open for writing. Each column is opened and locked on first use. Values must pass the
/// column's [`Door`], which knows the chain from the archive's [`Manifest`].
#[derive(Debug)]
pub struct ArchiveWriter {
    root: PathBuf,
    checksums: Checksums,
    doors: [Door; Column::ALL.len()],
    is_deferred: bool,
    refill: bool,
    /// Declared before the columns so that it is dropped, and updates the manifest, while they are locked.
    recorder: Recorder,
    columns: [Option<Writer>; Column::ALL.len()],
}

impl ArchiveWriter {
    /// Prepares to write to the archive in the directory `root`. Opens nothing yet; the first column that
    /// is opened creates missing directories.
    #[must_use]
    pub fn open(root: impl AsRef<Path>) -> Self {
        let columns = std::array::from_fn(|_| None);
        let (root, checksums) = (root.as_ref().to_owned(), Checksums::Off);
        let doors = Column::ALL.map(Door::new);
        let (recorder, is_deferred, refill) = (Recorder::new(&root), false, false);
        Self { root, checksums, doors, is_deferred, refill, recorder, columns }
    }

    /// Whether to open columns that have lost records according to the manifest, in order to restore them
    /// (default: no, [`Error::Lost`]). Applies to columns opened from now on.
    #[must_use]
    pub fn refill(self, refill: bool) -> Self {
        Self { refill, ..self }
    }

    /// Whether to accept any values, and roots with gaps: see [`Door::raw`]. Applies to columns opened
    /// from now on.
    #[must_use]
    pub fn raw(self, raw: bool) -> Self {
        Self { doors: self.doors.map(|door| door.raw(raw)), ..self }
    }

    /// Whether to accept slots far above the archive's highest: see [`Door::far`]. Applies to columns
    /// opened from now on.
    #[must_use]
    pub fn far(self, far: bool) -> Self {
        Self { doors: self.doors.map(|door| door.far(far)), ..self }
    }

    /// Whether to defer the changes of opening other than healing (creating a missing column, turning
    /// backfill on) until the first write or [`Self::settle`] (default: no). A caller that finds nothing
    /// to write then leaves the archive unchanged. Existing columns are locked at once, missing ones when
    /// they are created.
    #[must_use]
    pub fn deferred(self, is_deferred: bool) -> Self {
        Self { is_deferred, ..self }
    }

    /// Makes the [deferred](Self::deferred) changes of all open columns. After an error, none of the
    /// missing columns exists.
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
        let mut columns: Vec<_> = self.columns.iter_mut().flatten().collect();
        let settled = settle(&mut columns, last_check)?;
        self.record_opened(None)?;
        Ok(settled)
    }

    /// Whether to keep checksums of records (default: off). Applies to columns opened from now on.
    #[must_use]
    pub fn checksums(self, checksums: Checksums) -> Self {
        Self { checksums, ..self }
    }

    /// The archive's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A column of the archive. Creates it if it is missing, and turns backfill on if requested.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn column(&mut self, column: Column, allow_backfill: bool) -> Result<&mut Writer> {
        let [writer] = self.columns([(column, allow_backfill)])?;
        Ok(writer)
    }

    /// Opens several columns at once, and returns them in the order requested.
    ///
    /// # Errors
    /// As [`Writer::open`].
    ///
    /// # Panics
    /// If a column is requested twice.
    pub fn columns<const N: usize>(
        &mut self,
        asked: [(Column, bool); N],
    ) -> Result<[&mut Writer; N]> {
        let indices = asked.map(|(column, _)| column.index());
        let is_asked_twice = self.columns.get_disjoint_mut(indices).is_err();
        assert!(!is_asked_twice, "a column is requested twice: {asked:?}");
        let mut to_open = Vec::new();
        for (column, allow_backfill) in asked {
            let cell = &mut self.columns[column.index()];
            // Reopens the column: healing and turning backfill on are part of opening.
            cell.take_if(|writer| {
                writer.is_poisoned() || allow_backfill && !writer.conf().allows_backfill()
            });
            if cell.is_none() {
                to_open.push((column, allow_backfill));
            }
        }
        to_open.sort_unstable_by_key(|(column, _)| column.index());
        let Opened { writers: mut opened, has_manifest, rebuilt } = self.open_finished(&to_open)?;
        if !self.is_deferred {
            settle(&mut opened.iter_mut().collect::<Vec<_>>(), || Ok::<_, Error>(()))?;
        }
        for ((column, _), writer) in to_open.iter().zip(opened) {
            self.columns[column.index()] = Some(writer);
        }
        if !to_open.is_empty() {
            self.recorder.begin();
            if !self.is_deferred || has_manifest || rebuilt.is_some() {
                self.record_opened(rebuilt)?;
            }
        }
        let cells = self.columns.get_disjoint_mut(indices);
        let cells = cells.unwrap_or_else(|_| unreachable!("checked above: no column twice"));
        Ok(cells.map(|cell| match cell {
            Some(writer) => writer,
            None => unreachable!("every requested column was opened above"),
        }))
    }

    /// Opens columns after finishing the operations of earlier processes ([`removal::finish_intents`]).
    fn open_finished(&mut self, to_open: &[(Column, bool)]) -> Result<Opened> {
        if to_open.is_empty() {
            return Ok(Opened::default());
        }
        loop {
            removal::finish_intents(&self.root)?;
            let known = Manifest::read(&self.root)?;
            let rebuilt = self.begin(known.as_ref(), to_open)?;
            let writers = open_writers(&self.root, self.checksums, &self.doors, to_open)?;
            // Checks again under the locks: another process may have begun an operation and died before
            // they were taken.
            let manifest = Manifest::read(&self.root)?;
            let has_manifest = manifest.is_some();
            if manifest.is_none_or(|manifest| manifest.intents().is_empty()) {
                return Ok(Opened { writers, has_manifest, rebuilt });
            }
        }
    }

    /// Prepares the opening of columns:
    ///
    /// 1. Tell the doors which chain this is.
    /// 2. Check that the columns hold what the manifest recorded.
    ///
    /// Without a manifest, does neither, and returns a rebuilt one if the archive holds records.
    fn begin(
        &mut self,
        known: Option<&Manifest>,
        to_open: &[(Column, bool)],
    ) -> Result<Option<Manifest>> {
        let Some(known) = known else { return record::rebuilt(&self.root) };
        // 1.
        let (root, slots) = (known.genesis_validators_root, known.slots_per_era);
        self.doors = self.doors.map(|door| {
            let door = door.genesis_validators_root(root);
            slots.map_or(door, |slots| door.slots_per_era(slots))
        });
        // 2.
        if !self.refill {
            for (column, _) in to_open {
                check::check_recorded(&self.root, known, *column)?;
            }
        }
        Ok(None)
    }

    /// Records in the manifest which columns exist, and their highest slots. `rebuilt` replaces a missing
    /// manifest.
    fn record_opened(&self, rebuilt: Option<Manifest>) -> Result<()> {
        let is_made =
            |column| check::Held::of(&self.root, column).map(|held| held != check::Held::Nothing);
        let mut made = Vec::new();
        for (column, writer) in Column::ALL.into_iter().zip(&self.columns) {
            if let Some(writer) = writer
                && is_made(column)?
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

/// The opened columns, and the state of the manifest.
#[derive(Default)]
struct Opened {
    writers: Vec<Writer>,
    has_manifest: bool,
    /// A new manifest, if the archive lost its own.
    rebuilt: Option<Manifest>,
}

/// Opens columns for writing, in the order of [`Column::ALL`], with backfill where requested. Leaves all
/// changes except healing to [`settle`].
///
/// Takes all locks before it heals any column. Each column is healed on its own thread, so that the file
/// system can combine their flushes.
fn open_writers(
    root: &Path,
    checksums: Checksums,
    doors: &[Door; Column::ALL.len()],
    asked: &[(Column, bool)],
) -> Result<Vec<Writer>> {
    let lock = |(column, allow_backfill): &(Column, bool)| {
        let options = WriterOptions::create(column.spec()).allow_backfill(*allow_backfill);
        let options = options.checksums(checksums).door(doors[column.index()]).deferred(true);
        Locked::of(&root.join(column.dir_name()), options)
    };
    let mut locked = asked.iter().map(lock).collect::<Result<Vec<_>>>()?;
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
