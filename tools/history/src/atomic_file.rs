//! Files beside the columns that are replaced in one step: after a crash the old one or the new one is there.
#![expect(clippy::disallowed_methods, reason = "these are no files of a column")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use coldstore::{Error, Result};

const MODE: u32 = 0o644;

/// Makes a directory and those above it, where they are missing.
///
/// # Errors
/// [`Error::Io`].
pub fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| Error::io(path, "create", source))
}

/// Replaces a file in one step: after a crash it is the old one or the new one. No link is followed.
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
    let replaced = write_flushed(&tmp, bytes, MODE).and_then(|()| rename(&tmp, path));
    replaced.map_err(|source| Error::io(path, "replace", source))
}

/// Renames within a directory, and flushes that.
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

/// Writes a new file and flushes it; what had its name before is removed.
///
/// # Errors
/// Those of the system.
pub fn write_flushed(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // What a crash left there is in the way; a link might lead anywhere.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
