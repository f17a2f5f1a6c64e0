//! The operating system's file system.
#![expect(clippy::disallowed_methods, reason = "only this file may call them")]

use std::fs::File;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{Access, DIRECTORY_LOCK_WAIT, Disk, DiskFile, Lock, LockAttempt, check_limit};
use crate::files::{deferred_close, map, owner};
use crate::sync::thread;

const DIRECTORY_LOCK_POLL: Duration = Duration::from_millis(5);

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl OsDisk {
    fn open_with(path: &Path, flags: OFlags) -> io::Result<File> {
        // With `NONBLOCK`, opening a named pipe in place of a file does not hang.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        // Everybody may read the history unless the umask forbids it; only the owner may write.
        let mode = Mode::from_raw_mode(owner::FILE_MODE);
        let open = || rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, mode));
        let fd = deferred_close::with_descriptor(open)?;
        Ok(File::from(fd))
    }

    fn open_or_make(path: &Path) -> io::Result<File> {
        match Self::open_with(path, OFlags::RDWR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => return outcome,
        }
        match Self::open_with(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL) {
            // Another process created it first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::open_with(path, OFlags::RDWR)
            }
            outcome => {
                let file = outcome?;
                owner::adopt_file(&file, path);
                Ok(file)
            }
        }
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
            Access::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        let file = Self::open_with(path, flags)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let adopted = access == Access::CreateNew && owner::adopt_file(&file, path);
        Ok(Box::new(OsFile { file, inode_changed: adopted }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(open_directory(directory)?)? {
            let entry = entry?;
            let name = entry.file_name().to_str().ok();
            names.extend(name.filter(|name| !matches!(*name, "." | "..")).map(str::to_owned));
        }
        Ok(names)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        // Only the owner may write, whatever the umask allows.
        rustix::fs::mkdir(path, Mode::from_raw_mode(owner::DIRECTORY_MODE))?;
        owner::adopt_directory(path);
        Ok(())
    }

    /// The replaced file is closed by a background thread, because freeing it may take as long as a
    /// flush.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let replaced = Self::open_with(to, OFlags::RDONLY);
        std::fs::rename(from, to)?;
        if let Ok(replaced) = replaced {
            deferred_close::close(replaced);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn resolve(&self, directory: &Path) -> io::Result<PathBuf> {
        std::fs::canonicalize(directory)
    }

    fn create_dir_like(&self, path: &Path, model: &Path) -> io::Result<()> {
        rustix::fs::mkdir(path, Mode::from_raw_mode(owner::PRIVATE_MODE))?;
        owner::copy_directory(path, model)
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        std::fs::hard_link(file, name)
    }

    #[cfg(target_os = "linux")]
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags};
        use rustix::io::Errno;
        match rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
            // Kernels and file systems without the flag return one of these.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            done => Ok(done?),
        }
    }

    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        open_directory(directory)?.sync_all()
    }

    fn flushes_at_once(&self) -> bool {
        true
    }

    fn lock(&self, path: &Path) -> io::Result<LockAttempt> {
        let mut file = Self::open_or_make(path)?;
        if !try_lock(&file, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(LockAttempt::Busy(holder(&file)));
        }
        // The pid is only informative, so a failure to write it (on a full disk, where healing may make
        // room) is ignored. A file with a second name (hard link) may be somebody's data: its text is
        // replaced only if it looks like a pid.
        if (file.metadata()?.nlink() == 1 || is_a_holders(&file)) && file.set_len(0).is_ok() {
            drop(file.write_all(std::process::id().to_string().as_bytes()));
        }
        Ok(LockAttempt::Held(Box::new(OsLock(file))))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<LockAttempt>> {
        let file = match Self::open_with(path, OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if try_lock(&file, FlockOperation::NonBlockingLockShared)? {
            return Ok(Some(LockAttempt::Held(Box::new(OsLock(file)))));
        }
        Ok(Some(LockAttempt::Busy(holder(&file))))
    }

    fn lock_directory(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let started = Instant::now();
        while !try_lock(&directory, FlockOperation::NonBlockingLockExclusive)? {
            if started.elapsed() >= DIRECTORY_LOCK_WAIT {
                let message = "another process holds the lock of the directory";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
            }
            thread::sleep(DIRECTORY_LOCK_POLL);
        }
        Ok(Box::new(OsLock(directory)))
    }

    /// Does not wait for a pipe or a device, and does not trust the length that `stat` reports.
    fn read_whole(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        check_limit(read as u64, limit)?;
        Ok(bytes)
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()));
    Ok(File::from(deferred_close::with_descriptor(open)?))
}

fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match rustix::io::retry_on_intr(|| rustix::fs::flock(file.as_fd(), operation)) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The pid in a lock file. The holder may not have written it yet, so nothing may depend on it.
fn holder(file: &File) -> Option<u32> {
    std::str::from_utf8(&lock_text(file).ok()?).ok()?.trim().parse().ok()
}

/// Whether a lock file is empty or its text looks like a pid.
fn is_a_holders(file: &File) -> bool {
    let is_of_a_pid = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_whitespace();
    lock_text(file).is_ok_and(|text| text.len() <= PID_BYTES && text.iter().all(is_of_a_pid))
}

/// Maximum length in bytes of a pid in a lock file.
const PID_BYTES: usize = 16;

/// The first bytes of a lock file: one more than a pid has at most.
fn lock_text(file: &File) -> io::Result<Vec<u8>> {
    let mut text = [0; PID_BYTES + 1];
    let count = file.read_at(&mut text, 0)?;
    Ok(text[..count].to_vec())
}

#[derive(Debug)]
struct OsLock(File);

impl Lock for OsLock {
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let held = rustix::fs::fstat(&self.0)?;
        match rustix::fs::lstat(path) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Unlocks explicitly: closing the file would not release the lock while a child process between `fork`
/// and `exec` shares the open file.
impl Drop for OsLock {
    fn drop(&mut self) {
        // If this fails, closing the file releases the lock later.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// The unit of `st_blocks` in bytes, independent of the file system's block size.
const STATUS_BLOCK_BYTES: u64 = 512;

#[derive(Debug)]
struct OsFile {
    file: File,
    /// The file's length, owner or mode was set after it was opened.
    inode_changed: bool,
}

impl DiskFile for OsFile {
    fn byte_len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn names(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.nlink())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        match buffers {
            [buffer] => self.file.write_at(buffer, offset),
            buffers => Ok(rustix::io::pwritev(&self.file, buffers, offset)?),
        }
    }

    fn begin_flush(&mut self, bytes: Range<u64>) {
        map::begin_flush(&self.file, bytes);
    }

    fn set_len(&mut self, byte_len: u64) -> io::Result<()> {
        self.inode_changed = true;
        self.file.set_len(byte_len)
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks().saturating_mul(STATUS_BLOCK_BYTES))
    }

    /// `fdatasync` flushes an increased length, since the new bytes could not be read without it. It
    /// need not flush a decreased length, or the owner and mode; those need `fsync`.
    fn sync(&mut self) -> io::Result<()> {
        if self.inode_changed { self.file.sync_all() } else { self.file.sync_data() }
    }
}
