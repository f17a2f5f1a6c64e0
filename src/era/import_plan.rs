//! Finds the files of an import and their order.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::bad_file::BadFile;
use super::era_file::EraFile;
use super::import_error::ImportError;
use crate::error::{Error, Result};

const EXTENSION: &str = "era";
/// Bytes of two files that are compared at a time.
const COMPARED_BYTES: usize = 1 << 20;

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
pub struct Plan {
    files: Vec<PlannedFile>,
    bad: Vec<BadFile>,
    of_other_chains: Vec<PlannedFile>,
}

impl Plan {
    /// Inspects the given files, and the `*.era` files of the given directories (not recursively). A file
    /// may have any name; its content is determined by its indices. Files that are not `.era` files are
    /// left out: see [`Plan::bad_files`].
    ///
    /// # Errors
    /// [`ImportError::BadFiles`] if none of them is an `.era` file; files of different presets; a path that
    /// does not exist; a directory without an `.era` file.
    pub fn scan<P: AsRef<Path>>(paths: &[P]) -> Result<Self, ImportError> {
        let plan = Self::look_at_all(list(paths)?)?;
        check_presets(&plan.files)?;
        Ok(plan)
    }

    /// [`Plan::scan`] without the files of other chains: see [`Plan::files_of_other_chains`]. The plan may
    /// be empty.
    ///
    /// # Errors
    /// As [`Plan::scan`].
    pub fn scan_chain<P: AsRef<Path>>(
        paths: &[P],
        genesis_validators_root: [u8; 32],
    ) -> Result<Self, ImportError> {
        let mut plan = Self::look_at_all(list(paths)?)?;
        (plan.files, plan.of_other_chains) = plan
            .files
            .into_iter()
            .partition(|file| file.genesis_validators_root == genesis_validators_root);
        check_presets(&plan.files)?;
        Ok(plan)
    }

    /// Returns one file of each chain among the files, in no particular order.
    ///
    /// # Errors
    /// As [`Plan::scan`], except that files of different presets are allowed.
    pub fn chains<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<PlannedFile>, ImportError> {
        let mut chains: Vec<PlannedFile> = Vec::new();
        for file in Self::look_at_all(list(paths)?)?.files {
            let root = file.genesis_validators_root;
            match chains.iter_mut().find(|other| other.genesis_validators_root == root) {
                // Prefer a file with a known era length over era 0.
                Some(other) if other.slots_per_era.is_none() => *other = file,
                Some(_) => {}
                None => chains.push(file),
            }
        }
        Ok(chains)
    }

    fn look_at_all(paths: Vec<PathBuf>) -> Result<Self, ImportError> {
        let (mut files, mut bad) = (Vec::new(), Vec::new());
        for path in paths {
            match PlannedFile::look_at(&path) {
                Ok(file) => files.push(file),
                Err(error) => bad.push(BadFile::new(path, error)),
            }
        }
        bad.sort_by(|a: &BadFile, b| a.path.cmp(&b.path));
        if files.is_empty() {
            return Err(ImportError::BadFiles { files: bad });
        }
        files.sort_by(|a, b| {
            (a.first_era, a.last_era, &a.path).cmp(&(b.first_era, b.last_era, &b.path))
        });
        Ok(Self { files, bad, of_other_chains: Vec::new() })
    }

    /// Removes every file that has the same bytes as a remaining one, and returns the removed files.
    ///
    /// # Errors
    /// [`ImportError::File`] if two possibly identical files cannot be read.
    pub fn leave_out_copies(&mut self) -> Result<Vec<PlannedFile>, ImportError> {
        let mut copies = Vec::new();
        for (at, file) in self.files.iter().enumerate() {
            for before in self.files.iter().take(at).rev() {
                if before.first_era != file.first_era {
                    break;
                }
                if file.has_bytes_of(before)? {
                    copies.push(at);
                    break;
                }
            }
        }
        let files = std::mem::take(&mut self.files).into_iter().enumerate();
        let (copies, kept) = files.partition::<Vec<_>, _>(|(at, _)| copies.contains(at));
        self.files = kept.into_iter().map(|(_, file)| file).collect();
        Ok(copies.into_iter().map(|(_, file)| file).collect())
    }

    /// The files that are not `.era` files, sorted by path.
    #[must_use]
    pub fn bad_files(&self) -> &[BadFile] {
        &self.bad
    }

    /// The files of chains other than the requested one, sorted by era.
    #[must_use]
    pub fn files_of_other_chains(&self) -> &[PlannedFile] {
        &self.of_other_chains
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

    fn look_at(path: &Path) -> Result<Self> {
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

    fn has_bytes_of(&self, other: &Self) -> Result<bool> {
        let facts = |file: &Self| (file.byte_len, file.first_era, file.last_era);
        if facts(self) != facts(other) {
            return Ok(false);
        }
        let open = |path: &Path| {
            let file = File::open(path).map_err(|source| Error::io(path, "open", source))?;
            Ok::<_, Error>(BufReader::with_capacity(COMPARED_BYTES, file))
        };
        let (mut ours, mut theirs) = (open(&self.path)?, open(&other.path)?);
        loop {
            let read = |source| Error::io(&self.path, "read", source);
            let a = ours.fill_buf().map_err(read)?;
            let read = |source| Error::io(&other.path, "read", source);
            let b = theirs.fill_buf().map_err(read)?;
            let count = a.len().min(b.len());
            if a.get(..count) != b.get(..count) || a.is_empty() != b.is_empty() {
                return Ok(false);
            }
            if count == 0 {
                return Ok(true);
            }
            ours.consume(count);
            theirs.consume(count);
        }
    }
}

/// Checks that all files have eras of the same length.
fn check_presets(files: &[PlannedFile]) -> Result<(), ImportError> {
    let mut sizes = files.iter().filter_map(|file| Some((file, file.slots_per_era?)));
    let Some((other, wanted)) = sizes.next() else { return Ok(()) };
    sizes.find(|(_, found)| *found != wanted).map_or(Ok(()), |(file, found)| {
        let (file, other) = (file.path.clone(), other.path.clone());
        Err(ImportError::SlotsPerEra { file, found, other, wanted })
    })
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
