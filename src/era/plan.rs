//! Which files there are, and in what order they are imported.

use std::path::{Path, PathBuf};

use super::error::ImportError;
use super::reader::EraFile;
use crate::error::Error;

const EXTENSION: &str = "era";

/// An `.era` file that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub byte_len: u64,
    /// The era of its first group.
    pub first_era: u64,
    /// The era of its last group.
    pub last_era: u64,
}

/// The files of an import, in the order of their slots.
#[derive(Clone, Debug)]
pub struct Plan {
    files: Vec<PlannedFile>,
}

impl Plan {
    /// Looks at files, and at the `*.era` files of directories (not at theirs in turn). A file
    /// may have any name; what it holds is what its indices say.
    ///
    /// # Errors
    /// The first file that is no `.era` file; files of different presets; a directory without an
    /// `.era` file.
    pub fn scan<P: AsRef<Path>>(paths: &[P]) -> Result<Self, ImportError> {
        let mut files = Vec::new();
        let mut preset: Option<(u64, PathBuf)> = None;
        for path in list(paths)? {
            let file = EraFile::open(&path)?;
            check_preset(&file, &mut preset)?;
            let (Some(first), Some(last)) = (file.groups().first(), file.groups().last()) else {
                continue;
            };
            files.push(PlannedFile {
                byte_len: file.byte_len(),
                first_era: first.era,
                last_era: last.era,
                path,
            });
        }
        files.sort_by(|a, b| {
            (a.first_era, a.last_era, &a.path).cmp(&(b.first_era, b.last_era, &b.path))
        });
        Ok(Self { files })
    }

    /// The files in the order of their slots.
    #[must_use]
    pub fn files(&self) -> &[PlannedFile] {
        &self.files
    }

    /// Bytes of all files.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.files.iter().map(|file| file.byte_len).fold(0, u64::saturating_add)
    }

    /// Eras in all files; an era in two files counts twice.
    #[must_use]
    pub fn eras(&self) -> u64 {
        let eras =
            |file: &PlannedFile| file.last_era.saturating_sub(file.first_era).saturating_add(1);
        self.files.iter().map(eras).fold(0, u64::saturating_add)
    }
}

fn check_preset(file: &EraFile, preset: &mut Option<(u64, PathBuf)>) -> Result<(), ImportError> {
    let Some(slots) = file.groups().iter().find_map(|group| group.slots) else {
        return Ok(());
    };
    let found = slots.count();
    match preset {
        Some((wanted, other)) if *wanted != found => Err(ImportError::SlotsPerEra {
            file: file.path().to_path_buf(),
            found,
            other: other.clone(),
            wanted: *wanted,
        }),
        Some(_) => Ok(()),
        None => {
            *preset = Some((found, file.path().to_path_buf()));
            Ok(())
        }
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
            if entry.extension().is_some_and(|extension| extension == EXTENSION) && entry.is_file()
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
