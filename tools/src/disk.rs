//! Files that the command itself writes, beside those of the library: `archive.toml`, the file of
//! `get --out`, the manual pages.
#![expect(clippy::disallowed_methods, reason = "these are no files of a column")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Writes a file, over what is there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("{}: cannot write", path.display()))
}

/// Makes a directory and those above it, where they are missing.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("{}: cannot create", path.display()))
}

/// Replaces a file in one step: after a crash it is the old one or the new one.
///
/// 1. write the bytes beside it and flush them,
/// 2. rename over it,
/// 3. flush the directory.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = PathBuf::from(tmp);
    let directory = path.parent().unwrap_or(Path::new("."));
    let replaced = write_flushed(&tmp, bytes)
        .and_then(|()| fs::rename(&tmp, path))
        .and_then(|()| File::open(directory)?.sync_all());
    replaced.with_context(|| format!("{}: cannot replace", path.display()))
}

fn write_flushed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
