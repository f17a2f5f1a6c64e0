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

mod os;

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::os::OsDisk;

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
    fn is_at(&self, _path: &Path) -> io::Result<bool> {
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
/// symbolic link in the last component is not followed. Errors are those of the operating system;
/// operations that a disk may lack are [`Unsupported`](io::ErrorKind::Unsupported) by default.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file. A new file gets the owner, group and mode of its column.
    ///
    /// # Errors
    /// As the operating system's. Callers rely on `NotFound` and `AlreadyExists`.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// The names in a directory, in any order. Omits names that are not UTF-8.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Creates a directory in an existing parent. Only its owner may write to it.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Replaces the name `to` by the file `from`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
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
    fn create_dir_like(&self, _path: &Path, _model: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives a file a second name, in a directory of the same file system.
    fn link(&self, _file: &Path, _name: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Exchanges the names of two directories atomically.
    ///
    /// # Errors
    /// As the operating system's; [`Unsupported`](io::ErrorKind::Unsupported), with nothing changed, if
    /// the file system cannot exchange names.
    fn exchange(&self, _one: &Path, _other: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Renames a directory within its parent. The new name must not exist.
    fn rename_dir(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes an empty directory.
    fn remove_dir(&self, _path: &Path) -> io::Result<()> {
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
    fn lock(&self, path: &Path) -> io::Result<LockAttempt>;

    /// Tries to keep writers out while the returned lock is held; changes nothing. `None` if there is
    /// no lock file: no writer has ever opened this column.
    fn lock_shared(&self, path: &Path) -> io::Result<Option<LockAttempt>>;

    /// Locks the directory itself against other callers of this method, until the returned lock is
    /// dropped. Waits up to [`DIRECTORY_LOCK_WAIT`] for another holder. A disk without other users
    /// keeps the default, which does nothing.
    ///
    /// # Errors
    /// As the operating system's; [`WouldBlock`](io::ErrorKind::WouldBlock) after that time.
    fn lock_directory(&self, _path: &Path) -> io::Result<Box<dyn Lock>> {
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
    fn byte_len(&self) -> io::Result<u64>;

    /// The number of hard links to the file. A disk without hard links keeps the default.
    fn names(&self) -> io::Result<u64> {
        Ok(1)
    }

    /// Reads at most `buffer.len()` bytes from `offset`, and returns their number; 0 only at the end of
    /// the file.
    fn read_at(&self, _buffer: &mut [u8], _offset: u64) -> io::Result<usize>;

    /// Writes at most [`MAX_BUFFERS`] buffers, contiguously from `offset` on, and returns the number of
    /// bytes written.
    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Starts writeback of these bytes, if the system can. This gives no guarantee; only
    /// [`Self::sync`] does.
    fn begin_flush(&mut self, _bytes: Range<u64>) {}

    /// Truncates the file, or extends it with zeros.
    fn set_len(&mut self, byte_len: u64) -> io::Result<()>;

    /// The allocated space in bytes: less than the file's length if the file has holes.
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
