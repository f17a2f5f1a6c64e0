//! The daemon's socket: accessible to its owner only, and never taken from a live daemon.
#![expect(clippy::disallowed_methods, reason = "a socket is no file of a column")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, Mode, flock};

const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A listening socket; its file is removed on drop.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    /// Device and inode, to remove only this socket.
    identity: (u64, u64),
}

impl Socket {
    /// Binds the socket, and replaces a stale one of a dead process.
    ///
    /// The umask is process-wide: no other thread may create files meanwhile.
    pub(super) fn bind(path: &Path) -> Result<(Self, UnixListener)> {
        let name = || path.display().to_string();
        let _lock = lock_directory(path).with_context(name)?;
        remove_stale(path).with_context(name)?;
        let before = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = bound.context("cannot listen").with_context(name)?;
        let found = fs::symlink_metadata(path).context("cannot stat the socket");
        let found = found.with_context(name)?;
        Ok((Self { path: path.to_owned(), identity: (found.dev(), found.ino()) }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        let is_ours = found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// Prevents a race of two starting daemons over a stale socket: the second would remove the socket that
/// the first has bound.
fn lock_directory(path: &Path) -> Result<File> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let directory = File::open(directory).context("cannot open the socket's directory")?;
    for _ in 0..LOCK_ATTEMPTS {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(directory),
            Err(rustix::io::Errno::WOULDBLOCK) => sleep(LOCK_PAUSE),
            Err(error) => return Err(error).context("cannot lock the socket's directory"),
        }
    }
    bail!("another process holds a lock on the socket's directory")
}

fn remove_stale(path: &Path) -> Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("cannot stat the socket"),
    };
    if !found.file_type().is_socket() {
        bail!("not a socket; left unchanged");
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("another process listens on this socket"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing the stale socket of a dead process");
            fs::remove_file(path).context("cannot remove the stale socket")
        }
        Err(error) => Err(error).context("cannot connect to the socket that exists"),
    }
}
