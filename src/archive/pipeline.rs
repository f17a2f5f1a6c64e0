//! An archive, open for writing by many producers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::Recorder;
use super::write::{ArchiveWriter, ArchiveWriterOptions};
use crate::column::Column;
use crate::error::{Error, Result};
use crate::write::{Pipeline, PipelineOptions};

/// An archive open for writing by many producers: one [`Pipeline`] per column.
#[derive(Clone, Debug)]
pub struct ArchivePipeline {
    root: PathBuf,
    /// Updates the manifest when the last clone is dropped, before the locks are released.
    recorder: Arc<Recorder>,
    columns: [Pipeline; Column::ALL.len()],
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

    /// As [`ArchivePipeline::open`], for an archive that is already open for writing.
    ///
    /// # Errors
    /// [`Error::NotOpened`] if it lacks one of the five columns; as [`Pipeline::start`].
    pub fn start(
        archive: ArchiveWriter,
        mut pipeline: impl FnMut(Column) -> PipelineOptions,
    ) -> Result<Self> {
        let ArchiveWriter { root, recorder, columns: writers } = archive;
        let mut columns = Vec::new();
        for (column, writer) in Column::ALL.into_iter().zip(writers) {
            let writer = writer.ok_or(Error::NotOpened { column })?;
            columns.push(Pipeline::start(writer, pipeline(column))?);
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
