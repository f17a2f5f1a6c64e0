//! Finds the files of an import and their order.

use std::path::{Path, PathBuf};

use super::era_file::EraFile;
use super::import_error::{BadFile, ImportError};
use crate::error::{Error, Result};

const EXTENSION: &str = "era";

/// An `.era` file that was inspected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedFile {
    /// Its path.
    pub path: PathBuf,
    /// Its length in bytes.
    pub byte_len: u64,
    /// The era of its first group.
    pub first_era: u64,
    /// The era of its last group.
    pub last_era: u64,
    /// The number of slots in its eras; unknown for a file that contains only era 0.
    pub slots_per_era: Option<u64>,
    /// Identifies the chain; from the state of its last group.
    pub genesis_validators_root: [u8; 32],
}

/// The files of an import, in the order of their slots.
#[derive(Debug)]
pub struct ImportPlan {
    files: Vec<PlannedFile>,
    bad: Vec<BadFile>,
}

impl ImportPlan {
    /// Inspects the given files, and the `*.era` files of the given directories (not recursively). A file
    /// may have any name; its content is determined by its indices. Files that are not `.era` files are
    /// left out: see [`ImportPlan::bad_files`].
    ///
    /// # Errors
    /// [`ImportError::BadFiles`] if none of them is an `.era` file; files of different presets; a path that
    /// does not exist; a directory without an `.era` file.
    pub fn scan<P: AsRef<Path>>(paths: &[P]) -> Result<Self, ImportError> {
        let plan = Self::scan_chains(paths)?;
        plan.check_presets().map(|()| plan)
    }

    /// [`ImportPlan::scan`] for files of several chains, of which [`ImportPlan::retain`] chooses one.
    ///
    /// # Errors
    /// As [`ImportPlan::scan`], except that files of different presets are allowed.
    pub fn scan_chains<P: AsRef<Path>>(paths: &[P]) -> Result<Self, ImportError> {
        let (mut files, mut bad) = (Vec::new(), Vec::new());
        for path in list(paths)? {
            match PlannedFile::inspect(&path) {
                Ok(file) => files.push(file),
                Err(error) => bad.push(BadFile { path, error }),
            }
        }
        bad.sort_by(|a: &BadFile, b| a.path.cmp(&b.path));
        if files.is_empty() {
            return Err(ImportError::BadFiles { files: bad });
        }
        files.sort_by(|a, b| {
            (a.first_era, a.last_era, &a.path).cmp(&(b.first_era, b.last_era, &b.path))
        });
        Ok(Self { files, bad })
    }

    /// Removes the files for which `keeps` is false, and returns them, sorted by era. The plan may be empty
    /// then.
    pub fn retain(&mut self, keeps: impl FnMut(&PlannedFile) -> bool) -> Vec<PlannedFile> {
        let (kept, removed) = std::mem::take(&mut self.files).into_iter().partition(keeps);
        self.files = kept;
        removed
    }

    /// The files that are not `.era` files, sorted by path.
    #[must_use]
    pub fn bad_files(&self) -> &[BadFile] {
        &self.bad
    }

    /// The files in the order of their slots.
    #[must_use]
    pub fn files(&self) -> &[PlannedFile] {
        &self.files
    }

    /// Total size of all files in bytes.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.files.iter().map(|file| file.byte_len).fold(0, u64::saturating_add)
    }

    /// Number of eras in all files; an era in two files counts twice.
    #[must_use]
    pub fn eras(&self) -> u64 {
        let eras =
            |file: &PlannedFile| file.last_era.saturating_sub(file.first_era).saturating_add(1);
        self.files.iter().map(eras).fold(0, u64::saturating_add)
    }

    /// Checks that all files have eras of the same length.
    pub(super) fn check_presets(&self) -> Result<(), ImportError> {
        let mut sizes = self.files.iter().filter_map(|file| Some((file, file.slots_per_era?)));
        let Some((other, wanted)) = sizes.next() else { return Ok(()) };
        sizes.find(|(_, found)| *found != wanted).map_or(Ok(()), |(file, found)| {
            let (file, other) = (file.path.clone(), other.path.clone());
            Err(ImportError::SlotsPerEra { file, found, other, wanted })
        })
    }
}

impl PlannedFile {
    /// Opens the file again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file has changed.
    pub(super) fn open(&self) -> Result<EraFile> {
        let file = EraFile::open(&self.path)?;
        let ends = file.groups().first().zip(file.groups().last());
        let eras = ends.map(|(first, last)| (first.era, last.era));
        if (file.byte_len(), eras) == (self.byte_len, Some((self.first_era, self.last_era))) {
            return Ok(file);
        }
        let wanted = format!("{} bytes, as when the import was planned", self.byte_len);
        let found = format!("{} bytes: the file has changed", file.byte_len());
        Err(Error::corrupt(&self.path, None, "file", wanted, found))
    }

    fn inspect(path: &Path) -> Result<Self> {
        let mut file = EraFile::open(path)?;
        let (Some(first), Some(last)) = (file.groups().first(), file.groups().last()) else {
            return Err(Error::corrupt(path, None, "file", "an era", "none"));
        };
        let (first_era, last) = (first.era, *last);
        Ok(Self {
            path: path.to_path_buf(),
            byte_len: file.byte_len(),
            first_era,
            last_era: last.era,
            slots_per_era: last.slots.map(|slots| slots.count()),
            genesis_validators_root: file.genesis_validators_root(&last)?,
        })
    }
}

fn list<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<PathBuf>, ImportError> {
    let mut files = Vec::new();
    for path in paths.iter().map(AsRef::as_ref) {
        let metadata = path.metadata().map_err(|source| Error::io(path, "look at", source))?;
        if !metadata.is_dir() {
            files.push(path.to_path_buf());
            continue;
        }
        let before = files.len();
        let read = |source| Error::io(path, "list", source);
        for entry in path.read_dir().map_err(read)? {
            let entry = entry.map_err(read)?.path();
            // A dangling link or a pipe is listed too, and becomes a bad file.
            if entry.extension().is_some_and(|extension| extension == EXTENSION) && !entry.is_dir()
            {
                files.push(entry);
            }
        }
        if files.len() == before {
            return Err(ImportError::NoFiles { path: path.to_path_buf() });
        }
    }
    if files.is_empty() {
        return Err(ImportError::NoFiles { path: PathBuf::new() });
    }
    Ok(files)
}
