//! The file system behind a trait: this crate changes files only through [`Disk`].
//!
//! [`OsDisk`] is the implementation for real use. Tests put others beneath the writer: a disk that
//! fails a call, or one that records what was flushed.
//!
//! # Assumptions about the medium
//! * When [`DiskFile::sync`] returns `Ok`, the file's bytes and its length survive a power cut.
//! * When [`Disk::sync_dir`] returns `Ok`, so do the names created, replaced and removed in the
//!   directory.
//! * [`Disk::rename`] replaces a name atomically: the name leads to the old file or to the new one,
//!   even after a power cut. [`Disk::exchange`] exchanges two names atomically.
//! * An aligned 8-byte store within one write call is never torn.
//! * A [`Disk::sync_dir`] that succeeds after one that failed has flushed everything (journaling file
//!   systems refuse all further changes instead). This is not assumed of [`DiskFile::sync`].
//!
//! Nothing is assumed about the order in which unflushed changes reach the medium.
#![expect(clippy::disallowed_methods, reason = "only this file may call them")]

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::files::{deferred_close, map, owner};
use crate::sync::thread;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, for reading and writing; an error if it exists.
    CreateNew,
}

/// A lock, held until it is dropped.
pub trait Lock: fmt::Debug + Send {
    /// Whether `path`, where the lock was taken, still leads to the locked file. If it does not, another
    /// process that locks `path` gets a different lock. A disk without other users keeps the default.
    ///
    /// # Errors
    /// As the operating system's.
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let _ = path;
        Ok(true)
    }
}

/// The result of trying to take a lock.
#[derive(Debug)]
pub enum LockAttempt {
    /// The lock is held until this is dropped.
    Held(Box<dyn Lock>),
    /// Another process holds the lock; its pid, if the lock file has a readable one.
    Busy(Option<u32>),
}

/// A file system, as the writer uses it. Paths name files directly inside a column's directory; a
/// symbolic link in the last component is not followed.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file. A new file gets the owner, group and mode of its column.
    ///
    /// # Errors
    /// As the operating system's. Callers rely on `NotFound` and `AlreadyExists`.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// The names in a directory, in any order. Omits names that are not UTF-8.
    ///
    /// # Errors
    /// As the operating system's.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Creates a directory in an existing parent. Only its owner may write to it.
    ///
    /// # Errors
    /// As the operating system's.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Replaces the name `to` by the file `from`.
    ///
    /// # Errors
    /// As the operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    ///
    /// # Errors
    /// As the operating system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Resolves all symbolic links in a directory's path, so that names beside the result are on the
    /// same file system. A disk without symbolic links returns the path unchanged.
    ///
    /// # Errors
    /// As the operating system's; `NotFound` if there is no such directory.
    fn resolve(&self, directory: &Path) -> io::Result<PathBuf> {
        Ok(directory.to_owned())
    }

    /// Creates a directory with the mode, owner and group of `model`.
    ///
    /// # Errors
    /// As the operating system's; [`Unsupported`](io::ErrorKind::Unsupported) by default.
    fn create_dir_like(&self, path: &Path, model: &Path) -> io::Result<()> {
        let _ = (path, model);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives a file a second name, in a directory of the same file system.
    ///
    /// # Errors
    /// As the operating system's; [`Unsupported`](io::ErrorKind::Unsupported) by default.
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        let _ = (file, name);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Exchanges the names of two directories atomically.
    ///
    /// # Errors
    /// As the operating system's; [`Unsupported`](io::ErrorKind::Unsupported), with nothing changed, if
    /// the file system cannot exchange names.
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        let _ = (one, other);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Renames a directory within its parent. The new name must not exist.
    ///
    /// # Errors
    /// As the operating system's; [`Unsupported`](io::ErrorKind::Unsupported) by default.
    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// As the operating system's; [`Unsupported`](io::ErrorKind::Unsupported) by default.
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Flushes a directory's names to the medium.
    ///
    /// # Errors
    /// As the operating system's. After a failure the state of the names on the medium is unknown.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Whether the writer may flush several files and a directory concurrently, from its own threads.
    /// If not, it flushes them one after the other in a fixed order.
    fn flushes_at_once(&self) -> bool {
        false
    }

    /// Tries to take the writer's lock at `path` without waiting, and writes this process's id into the
    /// file. Creates the file if it is missing.
    ///
    /// # Errors
    /// As the operating system's; a lock held by another process is not an error.
    fn lock(&self, path: &Path) -> io::Result<LockAttempt>;

    /// Tries to keep writers out while the returned lock is held; changes nothing. `None` if there is
    /// no lock file: no writer has ever opened this column.
    ///
    /// # Errors
    /// As the operating system's; a lock held by another process is not an error.
    fn lock_shared(&self, path: &Path) -> io::Result<Option<LockAttempt>>;

    /// Locks the directory itself against other callers of this method, until the returned lock is
    /// dropped. Waits up to [`DIRECTORY_LOCK_WAIT`] for another holder. A disk without other users
    /// keeps the default, which does nothing.
    ///
    /// # Errors
    /// As the operating system's; [`WouldBlock`](io::ErrorKind::WouldBlock) after that time.
    fn lock_directory(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let _ = path;
        Ok(Box::new(Alone))
    }

    /// Reads a whole file of at most `limit` bytes. Unlike the other methods, it may follow a symbolic
    /// link to the file.
    ///
    /// # Errors
    /// As the operating system's; [`FileTooLarge`](io::ErrorKind::FileTooLarge) if the file is longer.
    fn read_whole(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, Access::Read)?;
        let byte_len = file.byte_len()?;
        check_limit(byte_len, limit)?;
        let mut bytes = vec![0; usize::try_from(byte_len).map_err(io::Error::other)?];
        read_exact_at(&*file, &mut bytes, 0)?;
        Ok(bytes)
    }
}

/// How long [`Disk::lock_directory`] waits. A holder only changes one small file.
pub const DIRECTORY_LOCK_WAIT: Duration = Duration::from_secs(10);
const DIRECTORY_LOCK_POLL: Duration = Duration::from_millis(5);

/// The directory lock of a disk without other users.
#[derive(Debug)]
struct Alone;

impl Lock for Alone {}

fn check_limit(byte_len: u64, limit: u64) -> io::Result<()> {
    if byte_len <= limit {
        return Ok(());
    }
    let message = format!("the file is longer than {limit} bytes");
    Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send {
    /// The file's length in bytes.
    ///
    /// # Errors
    /// As the operating system's.
    fn byte_len(&self) -> io::Result<u64>;

    /// The number of hard links to the file. A disk without hard links keeps the default.
    ///
    /// # Errors
    /// As the operating system's.
    fn names(&self) -> io::Result<u64> {
        Ok(1)
    }

    /// Reads at most `buffer.len()` bytes from `offset`, and returns their number; 0 only at the end of
    /// the file.
    ///
    /// # Errors
    /// As the operating system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at most [`MAX_BUFFERS`] buffers, contiguously from `offset` on, and returns the number of
    /// bytes written.
    ///
    /// # Errors
    /// As the operating system's.
    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Starts writeback of these bytes, if the system can. This gives no guarantee; only
    /// [`Self::sync`] does.
    fn begin_flush(&mut self, bytes: Range<u64>) {
        let _ = bytes;
    }

    /// Truncates the file, or extends it with zeros.
    ///
    /// # Errors
    /// As the operating system's.
    fn set_len(&mut self, byte_len: u64) -> io::Result<()>;

    /// The allocated space in bytes: less than the file's length if the file has holes.
    ///
    /// # Errors
    /// As the operating system's; [`Unsupported`](io::ErrorKind::Unsupported) by default.
    fn allocated(&self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Flushes the file's bytes and its length to the medium.
    ///
    /// # Errors
    /// As the operating system's. After a failure the file's content on the medium is unknown, and a
    /// later success proves nothing: the kernel may have dropped the dirty pages.
    fn sync(&mut self) -> io::Result<()>;
}

/// Maximum number of buffers in one [`DiskFile::write_at`] (`IOV_MAX`).
pub const MAX_BUFFERS: usize = 1024;

/// Size of one write call in bytes, aligned in the file. The page cache then uses large folios, which
/// are cheap to map, and writeback starts early.
pub const CHUNK_BYTES: usize = 4 << 20;

/// Minimum length in bytes of a write for which starting writeback is worth a call.
const WORTH_BEGINNING: usize = 1 << 20;

/// Writes all of the buffers from `offset` on, in as many calls as needed. While one chunk is copied,
/// the system may write back the one before.
///
/// # Errors
/// As [`DiskFile::write_at`]; `WriteZero` if a call writes nothing.
pub fn write_all_at(
    file: &mut dyn DiskFile,
    mut buffers: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut buffers, 0);
    while !buffers.is_empty() {
        match file.write_at(&first_chunk(buffers, offset), offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut buffers, written);
                let end = offset + written as u64;
                if written >= WORTH_BEGINNING {
                    file.begin_flush(offset..end);
                }
                offset = end;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The part of the buffers up to the next multiple of [`CHUNK_BYTES`].
fn first_chunk<'a>(buffers: &'a [IoSlice<'_>], offset: u64) -> Vec<IoSlice<'a>> {
    let chunk_bytes = CHUNK_BYTES as u64;
    let room = usize::try_from(chunk_bytes - offset % chunk_bytes);
    let mut room = room.unwrap_or(CHUNK_BYTES);
    let mut chunk = Vec::with_capacity(buffers.len().min(MAX_BUFFERS));
    for buffer in buffers.iter().take(MAX_BUFFERS) {
        let part = &buffer[..buffer.len().min(room)];
        chunk.push(IoSlice::new(part));
        room -= part.len();
        if room == 0 {
            break;
        }
    }
    chunk
}

/// Reads exactly `buffer.len()` bytes from `offset`.
///
/// # Errors
/// As [`DiskFile::read_at`]; `UnexpectedEof` if the file ends first.
pub fn read_exact_at(
    file: &dyn DiskFile,
    mut buffer: &mut [u8],
    mut offset: u64,
) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer = &mut buffer[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

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
