//! An archive, open for reading.

use std::path::{Path, PathBuf};

use super::check;
use crate::column::Column;
use crate::error::{Error, Result};
use crate::read::{Reader, ReaderOptions};
use crate::sync::{Mutex, OnceLock, PoisonError};
use crate::write::copy;

/// An archive, open for reading. Creates nothing; each column is opened on first use.
#[derive(Debug)]
pub struct Archive {
    root: PathBuf,
    options: ReaderOptions,
    columns: [OnceLock<Reader>; Column::ALL.len()],
    /// Held while a column is opened, so that it is opened only once.
    opening: Mutex<()>,
}

impl Archive {
    /// Opens the archive in the directory `root`. Columns may be missing.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no such directory; [`Error::UnfinishedCopy`].
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
    /// [`Error::NoSuchColumn`] if the archive does not have it; as [`Reader::open`].
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

    /// A column of the archive; `None` if the archive does not have it.
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
    /// [`Error::Io`] if the existence of a column cannot be determined.
    pub fn columns(&self) -> Result<Vec<Column>> {
        check::columns(&self.root)
    }
}
