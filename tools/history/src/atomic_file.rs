//! Atomic replacement of files outside the columns: after a crash the old or the new file is there.
#![expect(clippy::disallowed_methods, reason = "these are no files of a column")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::OpenOptionsExt;
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
    let replaced = write_adopted(&tmp, bytes).and_then(|()| rename(&tmp, path));
    replaced.map_err(|source| Error::io(path, "replace", source))
}

/// Renames within a directory, and flushes the directory.
///
/// # Errors
/// Those of the system.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let directory = match to.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
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

/// Removes the file of this name, then writes a new one and flushes it.
///
/// # Errors
/// Those of the system.
pub fn write_flushed(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    remove_leftover(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
