//! Files of the command, outside the columns: the output of `get --out`, indices, checkpoints, manual
//! pages.
#![expect(clippy::disallowed_methods, reason = "these are not files of a column")]

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use coldstore_history::atomic_file::AtomicFile;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Upper bound on the length of a checkpoint (about 250 bytes per era).
const CHECKPOINT_BYTES: u64 = 1 << 26;
/// Mode of a file written for the operator, before the umask.
const NEW_FILE_MODE: u32 = 0o666;

/// Reads the checkpoint of a proof. Refuses anything but a regular file, without blocking, and any file
/// longer than `CHECKPOINT_BYTES`.
pub(crate) fn read_checkpoint(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut text = String::new();
    let read = file.take(CHECKPOINT_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > CHECKPOINT_BYTES {
        let message = format!("it is longer than {CHECKPOINT_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// Writes a file named by the operator, as [`write_by`].
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_by(path, |file| file.write_all(bytes))
}

/// Writes a file named by the operator; after a crash or an error it is the old or the new one. A
/// symbolic link is followed and its target replaced. Anything but a regular file, such as a pipe or
/// `/dev/stdout`, is written in place.
pub(crate) fn write_by(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let named = || format!("{}: cannot write", path.display());
    let (target, permissions) = match fs::metadata(path) {
        Ok(there) if there.is_file() => {
            (fs::canonicalize(path).with_context(named)?, Some(there.permissions()))
        }
        Ok(_) => {
            let opened = File::options().write(true).open(path);
            return opened.and_then(|mut file| write(&mut file)).with_context(named);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
        Err(error) => return Err(error).with_context(named),
    };
    let file_name = target.file_name().map(OsStr::to_os_string).unwrap_or_default();
    let mut tmp = OsString::from(".");
    tmp.push(file_name);
    tmp.push(format!(".{}.tmp", std::process::id()));
    let tmp = target.with_file_name(tmp);
    let replace = || {
        let mut file = AtomicFile::create(target, tmp, NEW_FILE_MODE)?;
        write(&mut file)?;
        permissions.map_or(Ok(()), |kept| file.file().set_permissions(kept))?;
        file.publish()
    };
    replace().with_context(named)
}

/// Creates an unnamed file in a directory; it is removed when its descriptor is closed, however the
/// process ends.
pub(crate) fn unnamed_file(directory: &Path) -> io::Result<File> {
    let access = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(directory, access | OFlags::TMPFILE, mode) {
        Ok(file) => return Ok(File::from(file)),
        // The file system or the kernel has no `O_TMPFILE`.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!(".upload-{}-{count}.tmp", std::process::id()));
    let file = File::from(rustix::fs::open(&path, access | OFlags::CREATE | OFlags::EXCL, mode)?);
    fs::remove_file(&path)?;
    Ok(file)
}
