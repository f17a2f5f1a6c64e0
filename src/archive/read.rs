//! An archive, open for reading.

use std::path::{Path, PathBuf};

use super::held;
use crate::column::Column;
use crate::error::{Error, Result};
use crate::files::pread::OsPread;
use crate::read::{PreadView, Reader, ReaderOptions, Taken, View};
use crate::sync::{Arc, Mutex, OnceLock, PoisonError};
use crate::write::copy;

/// Maximum number of attempts of [`Archive::views`] to take views between two commits.
const MAX_ATTEMPTS: usize = 1000;

/// An archive, open for reading. Creates nothing; each column is opened on first use.
///
/// Every column commits on its own. Views of two columns that are taken one after the other may be of
/// different commits: a block may be there without its root. [`Self::views`] takes them at one instant.
#[derive(Debug)]
pub struct Archive<S = PreadView> {
    root: PathBuf,
    options: ReaderOptions,
    columns: [OnceLock<Reader<S>>; Column::ALL.len()],
    /// Held while a column is opened, so that it is opened only once.
    opening: Mutex<()>,
}

/// An archive whose columns are mapped; opened by [`Archive::open_mapped`].
pub type MappedArchive = Archive<View>;

impl Archive {
    /// Opens the archive in the directory `root`, whose columns are read with `pread`
    /// ([`Reader::open`]). Columns may be missing.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no such directory; [`Error::UnfinishedCopy`].
    pub fn open(root: impl AsRef<Path>, options: ReaderOptions) -> Result<Self> {
        Self::open_as(root.as_ref(), options)
    }

    /// As [`Self::open`], with columns that are mapped ([`Reader::open_mapped`]).
    ///
    /// # Errors
    /// As [`Self::open`].
    ///
    /// # Safety
    /// As [`Reader::open_mapped`], for every column of the archive.
    #[expect(unsafe_code, reason = "passes the contract of Reader::open_mapped on")]
    pub unsafe fn open_mapped(
        root: impl AsRef<Path>,
        options: ReaderOptions,
    ) -> Result<Archive<View>> {
        MappedArchive::open_as(root.as_ref(), options)
    }
}

impl<S: Taken> Archive<S> {
    fn open_as(root: &Path, options: ReaderOptions) -> Result<Self> {
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
    /// [`Error::NoSuchColumn`] if the archive does not have it; as [`Reader::open`].
    pub fn column(&self, column: Column) -> Result<&Reader<S>> {
        let cell = &self.columns[column.index()];
        if let Some(reader) = cell.get() {
            return Ok(reader);
        }
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = cell.get() {
            return Ok(reader);
        }
        let path = self.root.join(column.dir_name());
        let options = self.options.expect(column.spec());
        let reader = Reader::open_as(Arc::new(OsPread), &path, options)?;
        Ok(cell.get_or_init(|| reader))
    }

    /// A column of the archive; `None` if the archive does not have it.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn column_if_there(&self, column: Column) -> Result<Option<&Reader<S>>> {
        match self.column(column) {
            Ok(reader) => Ok(Some(reader)),
            Err(Error::NoSuchColumn { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Views of several columns of one instant: the latest commit of each, with no commit to any of them
    /// between the first view and the last. In the order of `columns`. As in every view, a sealed file that
    /// is first read later may also show slots backfilled in the meantime.
    ///
    /// # Errors
    /// As [`Self::column`] and [`Reader::refresh`]; [`Error::Io`] of the kind `TimedOut` if commits come so
    /// fast that there is no such instant in 1000 attempts.
    pub fn views<const N: usize>(&self, columns: [Column; N]) -> Result<[S; N]> {
        let mut readers = Vec::with_capacity(N);
        for column in columns {
            readers.push(self.column(column)?);
        }
        for _ in 0..MAX_ATTEMPTS {
            // 1. Take all views.
            let views = readers.iter().map(|reader| reader.refresh());
            let views = views.collect::<Result<Vec<S>>>()?;
            // 2. If each is still the latest, all of them were at this point.
            let mut is_one_instant = true;
            for view in &views {
                is_one_instant &= view.commit().is_latest()?;
            }
            if is_one_instant {
                return Ok(views.try_into().unwrap_or_else(|_| unreachable!("one of each column")));
            }
        }
        let source = std::io::ErrorKind::TimedOut.into();
        Err(Error::io(&self.root, "take views of several columns between two commits", source))
    }

    /// The columns that the archive has.
    ///
    /// # Errors
    /// [`Error::Io`] if the existence of a column cannot be determined.
    pub fn columns(&self) -> Result<Vec<Column>> {
        held::columns(&self.root)
    }
}
