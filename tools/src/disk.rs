//! Files that the command itself reads and writes, beside those of the library: the file of `get --out`,
//! indices, checkpoints, the manual pages.
#![expect(clippy::disallowed_methods, reason = "these are no files of a column")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};

/// No file of settings is longer, and nobody but its owner writes to one.
const SETTINGS_BYTES: u64 = 1 << 20;
const SETTINGS_MODE: u32 = 0o644;

/// Reads a small file of settings. Nobody waits for what is no file, and what is
/// longer than any such file is not read.
pub(crate) fn read_settings(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut text = String::new();
    let read = file.take(SETTINGS_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > SETTINGS_BYTES {
        let message = format!("it is longer than {SETTINGS_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// Writes a file that the operator names, over what is there; where that is a link, over what it
/// leads to.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("{}: cannot write", path.display()))
}

/// Makes a directory and those above it, where they are missing.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("{}: cannot create", path.display()))
}

/// Replaces a file in one step: after a crash it is the old one or the new one. No link is followed.
///
/// 1. write the bytes to a new file beside it and flush them,
/// 2. rename over it,
/// 3. flush the directory.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = PathBuf::from(tmp);
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let replaced = write_flushed(&tmp, bytes)
        .and_then(|()| fs::rename(&tmp, path))
        .and_then(|()| File::open(directory)?.sync_all());
    replaced.with_context(|| format!("{}: cannot replace", path.display()))
}

fn write_flushed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a crash left there is in the way; a link might lead anywhere.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(SETTINGS_MODE).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
