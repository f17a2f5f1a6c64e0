//! The five columns under one root.

pub mod check;
mod record;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use self::record::record;

use self::record::Recorder;
use crate::column::Column;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::read::{Reader, ReaderOptions};
use crate::removal;
use crate::write::copy;
use crate::write::{
    Checksums, Door, Locked, Pipeline, PipelineOptions, Writer, WriterOptions, settle,
};

/// An archive, open for reading. Nothing is created, and columns are opened when they are first
/// asked for.
#[derive(Debug)]
pub struct Archive {
    root: PathBuf,
    options: ReaderOptions,
    columns: [OnceLock<Reader>; Column::ALL.len()],
    /// Taken while a column is opened, so that it is opened once.
    opening: Mutex<()>,
}

impl Archive {
    /// Opens the archive in the directory `root`. The columns in it need not all be there.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no such directory; [`Error::UnfinishedCopy`].
    ///
    /// # Safety
    /// As [`Reader::open`], for every column of the archive.
    #[expect(unsafe_code, reason = "passes the contract of Reader::open on")]
    pub unsafe fn open(root: impl AsRef<Path>, options: ReaderOptions) -> Result<Self> {
        let root = root.as_ref();
        let found =
            std::fs::metadata(root).map_err(|error| Error::io(root, "open the archive", error))?;
        if !found.is_dir() {
            let error = std::io::ErrorKind::NotADirectory.into();
            return Err(Error::io(root, "open the archive", error));
        }
        copy::check_finished(root)?;
        let columns = std::array::from_fn(|_| OnceLock::new());
        Ok(Self { root: root.to_owned(), options, columns, opening: Mutex::new(()) })
    }

    /// The archive's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A column of the archive.
    ///
    /// # Errors
    /// [`Error::NoSuchColumn`] when the archive does not have it, and as [`Reader::open`].
    pub fn column(&self, column: Column) -> Result<&Reader> {
        let cell = &self.columns[column.index()];
        if let Some(reader) = cell.get() {
            return Ok(reader);
        }
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = cell.get() {
            return Ok(reader);
        }
        let path = self.root.join(column.dir_name());
        let reader = Reader::open_mapped(&path, self.options.expect(column.spec()))?;
        Ok(cell.get_or_init(|| reader))
    }

    /// A column of the archive; `None` when the archive does not have it.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn column_if_there(&self, column: Column) -> Result<Option<&Reader>> {
        match self.column(column) {
            Ok(reader) => Ok(Some(reader)),
            Err(Error::NoSuchColumn { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The columns that the archive has.
    ///
    /// # Errors
    /// [`Error::Io`] when a column cannot be looked for.
    pub fn columns(&self) -> Result<Vec<Column>> {
        check::columns(&self.root)
    }
}

/// An archive whose columns are written by many producers: one [`Pipeline`] for every column.
#[derive(Clone, Debug)]
pub struct ArchivePipeline {
    root: PathBuf,
    /// Records when the last of them is dropped, before the locks are given back.
    recorder: Arc<Recorder>,
    columns: [Pipeline; Column::ALL.len()],
}

impl ArchivePipeline {
    /// Opens all five columns for writing, those in `backfill` for backfill too, and makes those
    /// that are missing.
    ///
    /// `options` says for each column how much may wait.
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

    /// [`ArchivePipeline::open`] of an archive that was opened for writing already.
    ///
    /// # Errors
    /// As [`Writer::open`] and [`Pipeline::start`].
    pub fn start(
        mut archive: ArchiveWriter,
        backfill: &[Column],
        mut options: impl FnMut(Column) -> PipelineOptions,
    ) -> Result<Self> {
        // All locks before the first pipeline.
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

    /// Takes no more jobs, finishes and answers those that wait, records how far the columns are, and
    /// gives the locks back.
    pub fn shutdown(&self) {
        let writers: Vec<_> = self.columns.iter().map(Pipeline::shutdown).collect();
        if writers.iter().any(Option::is_some) {
            self.recorder.end();
        }
    }
}

/// An archive, open for writing. A column is opened, and locked, when it is first asked for. What is
/// written to it has to pass its [`Door`], which knows the chain from the archive's [`Manifest`].
#[derive(Debug)]
pub struct ArchiveWriter {
    root: PathBuf,
    checksums: Checksums,
    doors: [Door; Column::ALL.len()],
    is_deferred: bool,
    refill: bool,
    /// Before the columns: it records while they are locked.
    recorder: Recorder,
    columns: [Option<Writer>; Column::ALL.len()],
}

impl ArchiveWriter {
    /// Opens the archive in the directory `root`; what is missing is made with the first column.
    #[must_use]
    pub fn open(root: impl AsRef<Path>) -> Self {
        let columns = std::array::from_fn(|_| None);
        let (root, checksums) = (root.as_ref().to_owned(), Checksums::Off);
        let doors = Column::ALL.map(Door::new);
        let (recorder, is_deferred, refill) = (Recorder::new(&root), false, false);
        Self { root, checksums, doors, is_deferred, refill, recorder, columns }
    }

    /// Opens columns from now on although the manifest recorded more of them than is there, which is
    /// [`Error::Lost`] otherwise: for whoever brings back what was lost.
    #[must_use]
    pub fn refill(self, refill: bool) -> Self {
        Self { refill, ..self }
    }

    /// Opens columns from now on for any values, and for roots with gaps: [`Door::raw`].
    #[must_use]
    pub fn raw(self, raw: bool) -> Self {
        Self { doors: self.doors.map(|door| door.raw(raw)), ..self }
    }

    /// Opens columns from now on for slots far above the archive's highest: [`Door::far`].
    #[must_use]
    pub fn far(self, far: bool) -> Self {
        Self { doors: self.doors.map(|door| door.far(far)), ..self }
    }

    /// Whether what opening a column changes besides healing waits for the first write to it, or for
    /// [`Self::settle`] (default: no): making a column that is missing, and turning backfill on. So
    /// whoever finds out first whether there is anything to write leaves the archive as it was when
    /// there is not. Columns that are there are locked at once, the others when they are made.
    #[must_use]
    pub fn deferred(self, is_deferred: bool) -> Self {
        Self { is_deferred, ..self }
    }

    /// Does for all columns that were opened what was [deferred](Self::deferred). After an error
    /// nothing is left of the columns that were to be made.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn settle(&mut self) -> Result<()> {
        self.settle_with(|| Ok(()))
    }

    /// [`Self::settle`] with a last check of the caller's, when all columns are there and locked and
    /// before the conf of any is replaced. When it fails, the archive is left as it was.
    ///
    /// # Errors
    /// As [`Writer::open`], and the check's.
    pub fn settle_with<T, E: From<Error>>(
        &mut self,
        last_check: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut columns: Vec<_> = self.columns.iter_mut().flatten().collect();
        let settled = settle(&mut columns, last_check)?;
        self.record_opened(None)?;
        Ok(settled)
    }

    /// Whether checksums are kept of what is written to columns that are opened from now on.
    #[must_use]
    pub fn checksums(self, checksums: Checksums) -> Self {
        Self { checksums, ..self }
    }

    /// The archive's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A column of the archive, made where it is missing, with backfill turned on where asked.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn column(&mut self, column: Column, allow_backfill: bool) -> Result<&mut Writer> {
        let [writer] = self.columns([(column, allow_backfill)])?;
        Ok(writer)
    }

    /// Several columns at once, in the order asked for. All of them are open when this returns.
    ///
    /// # Errors
    /// As [`Writer::open`].
    ///
    /// # Panics
    /// When a column is asked for twice.
    pub fn columns<const N: usize>(
        &mut self,
        asked: [(Column, bool); N],
    ) -> Result<[&mut Writer; N]> {
        let indices = asked.map(|(column, _)| column.index());
        let is_asked_twice = self.columns.get_disjoint_mut(indices).is_err();
        assert!(!is_asked_twice, "a column is asked for twice: {asked:?}");
        let mut to_open = Vec::new();
        for (column, allow_backfill) in asked {
            let cell = &mut self.columns[column.index()];
            // Healing and the upgrade of the conf are part of opening.
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
        let cells = cells.unwrap_or_else(|_| unreachable!("no column is asked for twice"));
        Ok(cells.map(|cell| match cell {
            Some(writer) => writer,
            None => unreachable!("all were opened above"),
        }))
    }

    /// Opens columns with nothing of an earlier process left unfinished ([`removal::finish_intents`]).
    fn open_finished(&mut self, to_open: &[(Column, bool)]) -> Result<Opened> {
        if to_open.is_empty() {
            return Ok(Opened::default());
        }
        loop {
            removal::finish_intents(&self.root)?;
            let known = Manifest::read(&self.root)?;
            let rebuilt = self.begin(known.as_ref(), to_open)?;
            let writers = open_writers(&self.root, self.checksums, &self.doors, to_open)?;
            // Looked at again under the locks: another process may have begun something and died
            // before they were taken.
            let manifest = Manifest::read(&self.root)?;
            let has_manifest = manifest.is_some();
            if manifest.is_none_or(|manifest| manifest.intents().is_empty()) {
                return Ok(Opened { writers, has_manifest, rebuilt });
            }
        }
    }

    /// What is to be known before columns are opened:
    ///
    /// 1. the chain, for their doors,
    /// 2. that the manifest recorded nothing of them that is not there any more,
    /// 3. the manifest that an archive with records has lost, if it has: it is returned.
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

    /// Records which columns there are and how far they are. `rebuilt` takes the place of a manifest
    /// that is not there.
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

/// Columns that were opened, and the manifest beside them.
#[derive(Default)]
struct Opened {
    writers: Vec<Writer>,
    has_manifest: bool,
    /// In place of one that was lost.
    rebuilt: Option<Manifest>,
}

/// Opens columns for writing, given in the order of [`Column::ALL`], with backfill turned on where
/// asked; whatever else than healing that changes is left to [`settle`].
///
/// All locks are taken before anything is healed. Each column is healed on a thread of its own: what
/// each of them flushes, the file system can then flush together.
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
    std::thread::scope(|scope| {
        let threads: Vec<_> = locked
            .into_iter()
            .map(|column| scope.spawn(move || Writer::open_locked(column)))
            .collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.map(|opened| opened.unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    })
}
