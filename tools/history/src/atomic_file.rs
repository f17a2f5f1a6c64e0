//! Files outside the columns, replaced atomically: after a crash the old or the new file is there.
#![expect(clippy::disallowed_methods, reason = "these are not files of a column")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use coldstore::files::disk::{Access, Disk as _, OsDisk, write_all_at};
use coldstore::{Error, Result};

/// Creates a directory and its missing parents.
///
/// # Errors
/// [`Error::Io`].
pub fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| Error::io(path, "create", source))
}

/// Creates a directory of an archive if missing, with the archive's owner.
///
/// # Errors
/// [`Error::Io`].
pub fn create_dir_in_archive(path: &Path) -> Result<()> {
    match OsDisk.create_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io(path, "create", source))
        }
        _ => Ok(()),
    }
}

/// Replaces a file atomically: after a crash it is the old or the new one. Symbolic links are not
/// followed. In another user's directory the file gets that owner, like the files of a column.
///
/// 1. write the bytes to a new file beside it and flush them,
/// 2. rename over it,
/// 3. flush the directory.
///
/// # Errors
/// [`Error::Io`].
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = PathBuf::from(tmp);
    let replaced = write_adopted(&tmp, bytes)
        .and_then(|()| fs::rename(&tmp, path))
        .and_then(|()| flush_directory_of(path));
    replaced.map_err(|source| Error::io(path, "replace", source))
}

fn write_adopted(path: &Path, bytes: &[u8]) -> io::Result<()> {
    remove_leftover(path)?;
    let mut file = OsDisk.open(path, Access::CreateNew)?;
    write_all_at(&mut *file, &mut [IoSlice::new(bytes)], 0)?;
    file.sync()
}

/// Removes the leftover of a crash; a link could point anywhere.
fn remove_leftover(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn flush_directory_of(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// A new file under a temporary name in the directory of its path. Dropped without being published, it is
/// removed.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    path: PathBuf,
    tmp: PathBuf,
    /// Whether the temporary file is there, and is this one.
    is_there: bool,
}

impl AtomicFile {
    /// Creates the temporary file; removes the leftover of an interrupted attempt.
    ///
    /// # Errors
    /// Those of the system.
    pub fn create(path: PathBuf, tmp: PathBuf, mode: u32) -> io::Result<Self> {
        remove_leftover(&tmp)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&tmp)?;
        Ok(Self { file, path, tmp, is_there: true })
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Makes the file durable under its path, replacing one that is there:
    ///
    /// 1. flush the bytes,
    /// 2. rename,
    /// 3. flush the directory.
    ///
    /// # Errors
    /// Those of the system; and if another process has removed the temporary file as a leftover, because it
    /// writes the same file.
    pub fn publish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let (ours, there) = (self.file.metadata()?, fs::symlink_metadata(&self.tmp)?);
        if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
            self.is_there = false;
            return Err(io::Error::other("another process writes it at the same time"));
        }
        fs::rename(&self.tmp, &self.path)?;
        self.is_there = false;
        flush_directory_of(&self.path)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.is_there {
            // If this fails, the next attempt removes the file.
            let _ = fs::remove_file(&self.tmp);
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
