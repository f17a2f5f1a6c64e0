//! Every change that this crate makes to a file system goes through [`Disk`].
//!
//! There is one implementation for real use, [`OsDisk`]. Tests put others beneath the writer: a
//! disk that fails a call, or one that remembers what was flushed.
//!
//! # What the writer assumes about the medium
//! * [`DiskFile::sync`] returns when the file's bytes and its length survive a power cut.
//! * [`Disk::sync_dir`] returns when the names made, replaced and removed in the directory do.
//! * [`Disk::rename`] replaces a name at once: afterwards it leads to the old file or to the new
//!   one, also after a power cut. [`Disk::exchange`] exchanges two names at once.
//! * An aligned 8-byte store within one write call is there as a whole or not at all.
//!
//! * After a [`Disk::sync_dir`] that failed, a later one that succeeds has flushed everything
//!   (journaling file systems refuse all further changes instead). Of [`DiskFile::sync`] no such
//!   thing is assumed.
//!
//! Nothing is assumed about the order in which unflushed changes reach the medium.
#![expect(clippy::disallowed_methods, reason = "this is the file that they are reserved to")]

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

/// How a file is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
}

/// Held until dropped.
pub trait Lock: fmt::Debug + Send {
    /// False when `path`, where the lock was taken, leads to another file by now or to none: whoever
    /// asks for the lock there does not ask for this one. A disk that is its writer's alone has
    /// nothing to say.
    ///
    /// # Errors
    /// As the operating system's.
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let _ = path;
        Ok(true)
    }
}

/// What came of the attempt to take a lock.
#[derive(Debug)]
pub enum LockAttempt {
    /// The lock is held until this is dropped.
    Held(Box<dyn Lock>),
    /// Somebody else holds it; its pid, where the lock file tells.
    Busy(Option<u32>),
}

/// A file system, as the writer uses it. Paths lead to files directly inside a column's
/// directory; symbolic links in their last component are not followed.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file. One that is made belongs to whom its column belongs to.
    ///
    /// # Errors
    /// As the operating system's; `NotFound` and `AlreadyExists` are told apart from others.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// The names of the files in a directory, in any order. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// As the operating system's.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Makes a directory whose parent exists, which nobody but its owner may write to.
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

    /// The path of a directory without symbolic links in it, so that names beside it are on the same
    /// file system. A disk without such links returns the path.
    ///
    /// # Errors
    /// As the operating system's; `NotFound` when there is no such directory.
    fn resolve(&self, directory: &Path) -> io::Result<PathBuf> {
        Ok(directory.to_owned())
    }

    /// Makes a directory with the mode, owner and group of another one.
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

    /// Exchanges the names of two directories in one step.
    ///
    /// # Errors
    /// As the operating system's; [`Unsupported`](io::ErrorKind::Unsupported), and nothing has
    /// changed, where the file system does not offer it.
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        let _ = (one, other);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Renames a directory within its parent. There is nothing by the new name.
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
    /// As the operating system's. Nobody may assume anything about the names after a failure.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Whether several files, and a directory, may be flushed at the same time, by threads of the
    /// writer's. Otherwise it flushes one after the other, in an order that is always the same.
    fn flushes_at_once(&self) -> bool {
        false
    }

    /// Takes the writer's lock at `path` without waiting and writes this process's id into it.
    /// The file is made where it is missing.
    ///
    /// # Errors
    /// As the operating system's; a lock that somebody holds is no error.
    fn lock(&self, path: &Path) -> io::Result<LockAttempt>;

    /// Keeps writers out while the returned lock is held, and changes nothing. `None`: there is
    /// no lock file, so no writer has ever been here.
    ///
    /// # Errors
    /// As the operating system's; a lock that somebody holds is no error.
    fn lock_shared(&self, path: &Path) -> io::Result<Option<LockAttempt>>;

    /// Locks a directory itself, against others that call this, for as long as the returned lock is
    /// held. It waits [`DIRECTORY_LOCK_WAIT`] for a holder. A disk that is its writer's alone has
    /// nothing to do.
    ///
    /// # Errors
    /// As the operating system's; [`WouldBlock`](io::ErrorKind::WouldBlock) after that time.
    fn lock_directory(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let _ = path;
        Ok(Box::new(Alone))
    }

    /// Reads a whole file of at most `limit` bytes. Here a link to the file may be followed.
    ///
    /// # Errors
    /// As the operating system's; [`FileTooLarge`](io::ErrorKind::FileTooLarge) when it is longer.
    fn read_whole(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, Access::Read)?;
        let byte_len = file.byte_len()?;
        check_limit(byte_len, limit)?;
        let mut bytes = vec![0; usize::try_from(byte_len).map_err(io::Error::other)?];
        read_exact_at(&*file, &mut bytes, 0)?;
        Ok(bytes)
    }
}

/// How long [`Disk::lock_directory`] waits. A holder changes one small file.
pub const DIRECTORY_LOCK_WAIT: Duration = Duration::from_secs(10);
const DIRECTORY_LOCK_POLL: Duration = Duration::from_millis(5);

/// The lock of a disk that nobody else uses.
#[derive(Debug)]
struct Alone;

impl Lock for Alone {}

fn check_limit(byte_len: u64, limit: u64) -> io::Result<()> {
    if byte_len <= limit {
        return Ok(());
    }
    let message = format!("it is longer than {limit} bytes");
    Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send {
    /// Bytes in the file.
    ///
    /// # Errors
    /// As the operating system's.
    fn byte_len(&self) -> io::Result<u64>;

    /// The names that lead to the file: more than one where there are hard links to it. A disk
    /// without such links has nothing to say.
    ///
    /// # Errors
    /// As the operating system's.
    fn names(&self) -> io::Result<u64> {
        Ok(1)
    }

    /// Reads at most `buffer.len()` bytes from `offset`; 0 only at the end of the file.
    ///
    /// # Errors
    /// As the operating system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes the buffers, at most [`MAX_BUFFERS`] of them, one behind the other from `offset`
    /// on, and says how many bytes were taken.
    ///
    /// # Errors
    /// As the operating system's.
    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Lets the system begin to bring these bytes to the medium, where it can. It says nothing about
    /// where they are: that is [`Self::sync`]'s to say.
    fn begin_flush(&mut self, bytes: Range<u64>) {
        let _ = bytes;
    }

    /// Cuts the file, or extends it by zeros.
    ///
    /// # Errors
    /// As the operating system's.
    fn set_len(&mut self, byte_len: u64) -> io::Result<()>;

    /// Bytes of space that the file takes: fewer than its length where it has holes.
    ///
    /// # Errors
    /// As the operating system's; [`Unsupported`](io::ErrorKind::Unsupported) where that is not told.
    fn allocated(&self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Flushes the file's bytes and its length to the medium.
    ///
    /// # Errors
    /// As the operating system's. After a failure nobody may assume anything about the file, and
    /// trying again proves nothing: the kernel may have dropped what it could not write.
    fn sync(&mut self) -> io::Result<()>;
}

/// The most buffers in one [`DiskFile::write_at`] (`IOV_MAX`).
pub const MAX_BUFFERS: usize = 1024;

/// Bytes that are written at a time, at offsets that are multiples of it: the page cache then takes
/// them in large pages, which are cheap to map, and the medium soon has work.
pub const CHUNK_BYTES: usize = 4 << 20;

/// A smaller piece is not worth the call that lets the system begin with it.
const WORTH_BEGINNING: usize = 1 << 20;

/// Writes all of the buffers from `offset` on, in as many calls as that takes. While one chunk is
/// copied, the system may bring the one before to the medium.
///
/// # Errors
/// As [`DiskFile::write_at`]; `WriteZero` when the file takes no more.
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

/// What of the buffers lies before the next multiple of [`CHUNK_BYTES`].
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
/// As [`DiskFile::read_at`]; `UnexpectedEof` when the file ends before.
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
        // A pipe by the name of a file must not hang whoever opens it.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        // History is public; the umask may keep readers out. Nobody else writes.
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
            // Another one was quicker.
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
            return Err(io::Error::other("it is no regular file"));
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
        // Nobody but the owner writes there, whatever the umask says.
        rustix::fs::mkdir(path, Mode::from_raw_mode(owner::DIRECTORY_MODE))?;
        owner::adopt_directory(path);
        Ok(())
    }

    /// What is replaced is freed behind the caller's back: that may take as long as a flush.
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
            // What a kernel or a file system says that does not know the flag.
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
        // The pid is for people. On a full disk it stays away, and healing may make room; and where
        // the file has another name, somebody may want what is in it.
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
            std::thread::sleep(DIRECTORY_LOCK_POLL);
        }
        Ok(Box::new(OsLock(directory)))
    }

    /// A pipe or a device is not waited for, and no length is believed.
    fn read_whole(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
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

/// The pid in a lock file. Its holder may be about to write it, so nothing depends on it.
fn holder(file: &File) -> Option<u32> {
    std::str::from_utf8(&lock_text(file).ok()?).ok()?.trim().parse().ok()
}

/// Whether there is nothing in a lock file but what may be a pid.
fn is_a_holders(file: &File) -> bool {
    let is_of_a_pid = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_whitespace();
    lock_text(file).is_ok_and(|text| text.len() <= PID_BYTES && text.iter().all(is_of_a_pid))
}

/// The most bytes that a pid takes.
const PID_BYTES: usize = 16;

/// The first bytes of a lock file, one more than there should be.
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

/// Closing the file would not do: a child process that is just being started has a copy of it until
/// it begins to run its own program.
impl Drop for OsLock {
    fn drop(&mut self) {
        // Closing the file is what is left when this fails.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// What `st_blocks` counts, whatever the blocks of the file system are.
const STATUS_BLOCK_BYTES: u64 = 512;

#[derive(Debug)]
struct OsFile {
    file: File,
    /// Its length, its owner or its mode was set since it was opened.
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

    /// `fdatasync` flushes a length that has grown, since the new bytes could not be read without
    /// it. It need not flush one that was cut, nor an owner.
    fn sync(&mut self) -> io::Result<()> {
        if self.inode_changed { self.file.sync_all() } else { self.file.sync_data() }
    }
}
