//! An archive, open for writing and reading by many threads.

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use super::read::Archive;

use super::record::Recorder;
use super::write::{ArchiveWriter, ArchiveWriterOptions};
use crate::column::Column;
use crate::error::Result;
use crate::read::{OwnedRange, PreadView, ReaderOptions};
use crate::slot::Slot;
use crate::write::{Committed, Pipeline, PipelineOptions};

/// An archive, open for writing and reading by many threads. Clones share the columns' writers.
///
/// Every method takes `&self`. Reads show every put that has returned; they read with `pread`, return owned
/// values, and never wait for a writer. [`Self::column`] gives the [`Pipeline`] of a column, to submit
/// without waiting.
///
/// A put is atomic within its column. Columns commit one by one, so write the record that marks a slot as
/// complete last.
#[derive(Clone, Debug)]
pub struct ArchivePipeline {
    /// Updates the manifest when the last clone is dropped, before the locks are released.
    recorder: Arc<Recorder>,
    columns: [Pipeline; Column::ALL.len()],
    readers: Arc<Archive>,
}

impl ArchivePipeline {
    /// Opens all five columns for writing, with these options.
    ///
    /// `pipeline` returns the options of each column's pipeline, such as how many jobs may wait.
    ///
    /// # Errors
    /// As [`ArchiveWriter::open`] and [`Pipeline::start`].
    pub fn open(
        root: impl AsRef<Path>,
        options: ArchiveWriterOptions,
        pipeline: impl FnMut(Column) -> PipelineOptions,
    ) -> Result<Self> {
        Self::start(ArchiveWriter::open(root, options.columns(Column::ALL))?, pipeline)
    }

    /// As [`ArchivePipeline::open`], for an archive that is already open for writing. Makes its
    /// [deferred](ArchiveWriterOptions::deferred) changes.
    ///
    /// # Errors
    /// [`Error::NotOpened`](crate::Error::NotOpened) if it lacks one of the five columns; as [`Pipeline::start`].
    pub fn start(
        mut archive: ArchiveWriter,
        mut pipeline: impl FnMut(Column) -> PipelineOptions,
    ) -> Result<Self> {
        for column in Column::ALL {
            archive.writer(column)?;
        }
        archive.settle()?;
        let readers = Arc::new(Archive::open(archive.root(), ReaderOptions::default())?);
        let ArchiveWriter { recorder, columns: writers, .. } = archive;
        let mut columns = Vec::new();
        for (column, writer) in Column::ALL.into_iter().zip(writers.into_iter().flatten()) {
            let started = Pipeline::start(writer, pipeline(column));
            columns.push(started.inspect_err(|_| recorder.end())?);
        }
        let columns = columns.try_into().unwrap_or_else(|_| unreachable!("one for each column"));
        Ok(Self { recorder: Arc::new(recorder), columns, readers })
    }

    /// The archive's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.readers.root()
    }

    /// The archive, open for reading.
    #[must_use]
    pub fn archive(&self) -> &Archive {
        &self.readers
    }

    /// A snapshot of a column that shows every put that has returned. Costs one `stat` if there was no
    /// commit since the last one.
    ///
    /// # Errors
    /// As [`Reader::refresh`](crate::Reader::refresh).
    pub fn view(&self, column: Column) -> Result<PreadView> {
        self.readers.column(column)?.refresh()
    }

    /// The value of a slot; `None` if it has no record.
    ///
    /// # Errors
    /// As [`Self::view`] and [`PreadView::get`].
    pub fn get(&self, column: Column, slot: Slot) -> Result<Option<Vec<u8>>> {
        self.view(column)?.get(slot)
    }

    /// Whether a slot has a record.
    ///
    /// # Errors
    /// As [`Self::view`] and [`PreadView::contains`].
    pub fn contains(&self, column: Column, slot: Slot) -> Result<bool> {
        self.view(column)?.contains(slot)
    }

    /// The records of a range of slots, in either direction. The iterator owns its snapshot and may be
    /// stored. It never shows slots that are appended later; gaps that are filled meanwhile may appear.
    ///
    /// # Errors
    /// As [`Self::view`].
    pub fn range(&self, column: Column, slots: impl RangeBounds<Slot>) -> Result<OwnedRange> {
        Ok(self.view(column)?.range(slots))
    }

    /// Stores one value; durable when it returns.
    ///
    /// # Errors
    /// As [`Pipeline::put`].
    pub fn put(&self, column: Column, slot: Slot, value: Vec<u8>) -> Result<Committed> {
        self.column(column).put(slot, value)
    }

    /// Stores values in one commit, all or none; durable when it returns. A batch that fills gaps in several
    /// sealed files is refused: [`Self::put_bulk`] splits it.
    ///
    /// # Errors
    /// As [`Pipeline::put_batch`].
    pub fn put_batch(&self, column: Column, items: Vec<(Slot, Vec<u8>)>) -> Result<Committed> {
        self.column(column).put_batch(items)
    }

    /// Stores any ascending run of slots, in as few commits as the rules allow; durable when it returns.
    ///
    /// # Errors
    /// As [`Pipeline::put_bulk`].
    pub fn put_bulk(&self, column: Column, items: Vec<(Slot, Vec<u8>)>) -> Result<Committed> {
        self.column(column).put_bulk(items)
    }

    /// Waits until everything submitted before, to any column, is answered, and durable unless its own
    /// answer is an error.
    ///
    /// # Errors
    /// As [`Pipeline::sync`]: the first error of a column.
    pub fn sync(&self) -> Result<()> {
        self.columns.iter().try_for_each(Pipeline::sync)
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
