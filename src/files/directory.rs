//! Read-only access to a column's directory.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::error::{CorruptItem, Error, Result};
use crate::files::deferred_close;
use crate::format::conf::{Conf, V3_BYTES};
use crate::format::names::{self, Aside, SlotFile};
use crate::slot::FileId;
use crate::sync::yield_point;

/// The inode and length of a file at the time of a `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStatus {
    pub(crate) inode: Inode,
    pub(crate) byte_len: u64,
}

/// Identifies a file while it is open or linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

impl From<rustix::fs::Stat> for FileStatus {
    #[allow(
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        trivial_numeric_casts,
        reason = "the types of the fields differ between systems"
    )]
    fn from(stat: rustix::fs::Stat) -> Self {
        let inode = Inode { device: stat.st_dev as u64, number: stat.st_ino as u64 };
        Self { inode, byte_len: stat.st_size as u64 }
    }
}

/// A conf that was read, with its file held open. An open file's inode is not reused, so the conf was
/// replaced if and only if its name leads to another inode.
#[derive(Debug)]
pub struct OpenConf {
    pub(crate) conf: Conf,
    inode: Inode,
    /// Keeps the inode from being reused. `Some` until this is dropped.
    file: Option<File>,
}

impl Drop for OpenConf {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            deferred_close::close(file);
        }
    }
}

/// A directory, held open: it stays the same directory if it or a parent is renamed.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

#[cfg(target_os = "linux")]
const SEARCH: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const SEARCH: OFlags = OFlags::RDONLY;

impl Directory {
    /// `None` if there is no such directory.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        yield_point();
        let flags = SEARCH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::open(path, flags, Mode::empty());
        let fd = match deferred_close::with_descriptor(open) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Error::io(path, "open the directory", error.into())),
        };
        Ok(Some(Self { fd, path: path.to_owned() }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path that leads to this directory even if it was renamed.
    #[cfg(target_os = "linux")]
    pub(crate) fn open_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// The type of the file system, as numbered in `statfs(2)`.
    #[cfg(target_os = "linux")]
    pub(crate) fn file_system(&self) -> Option<u64> {
        let found = rustix::fs::fstatfs(&self.fd).ok()?;
        u64::try_from(found.f_type).ok()
    }

    pub(crate) fn file_path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// `None` if there is no such file.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<File>> {
        yield_point();
        // With `NONBLOCK`, opening a named pipe in place of a file does not hang.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = || rustix::fs::openat(&self.fd, name, flags, Mode::empty());
        match deferred_close::with_descriptor(|| rustix::io::retry_on_intr(open)) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            // A socket, or a cycle of symbolic links.
            Err(error @ (rustix::io::Errno::NXIO | rustix::io::Errno::LOOP)) => {
                let found = format!("a file that cannot be opened: {error}");
                Err(self.not_regular(name, found))
            }
            Err(error) => Err(Error::io(self.file_path(name), "open", error.into())),
        }
    }

    fn not_regular(&self, name: &str, found: String) -> Error {
        let path = self.file_path(name);
        Error::corrupt(path, None, CorruptItem::Column, "a regular file", found)
    }

    /// `None` if there is no such file.
    pub(crate) fn status(&self, name: &str) -> Result<Option<FileStatus>> {
        yield_point();
        match rustix::fs::statat(&self.fd, name, AtFlags::empty()) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io(self.file_path(name), "stat", error.into())),
        }
    }

    /// The status of a file from [`Self::open_file`]. Anything but a regular file is an error.
    pub(crate) fn open_status(&self, name: &str, file: &File) -> Result<FileStatus> {
        let stat = rustix::fs::fstat(file)
            .map_err(|error| Error::io(self.file_path(name), "stat", error.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(stat.into()),
            other => {
                let found = format!("a {other:?}");
                Err(self.not_regular(name, found))
            }
        }
    }

    /// `None` if there is no conf.
    pub(crate) fn read_conf(&self) -> Result<Option<OpenConf>> {
        let Some(mut file) = self.open_file(names::CONF)? else {
            return Ok(None);
        };
        let inode = self.open_status(names::CONF, &file)?.inode;
        let path = self.file_path(names::CONF);
        let mut bytes = Vec::with_capacity(V3_BYTES + 1);
        (&mut file)
            .take(V3_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io(&path, "read", error))?;
        let conf = Conf::decode(&path, &bytes)?;
        Ok(Some(OpenConf { conf, inode, file: Some(file) }))
    }

    /// Whether `conf` is still the column's conf. A missing conf is an error.
    pub(crate) fn is_latest(&self, conf: &OpenConf) -> Result<bool> {
        let status = self.status(names::CONF)?.ok_or_else(|| self.conf_is_gone())?;
        Ok(status.inode == conf.inode)
    }

    /// The error for a conf that has disappeared.
    pub(crate) fn conf_is_gone(&self) -> Error {
        if self.was_replaced() {
            return Error::Replaced { directory: self.path.clone().into() };
        }
        let path = self.file_path(names::CONF);
        Error::corrupt(path, None, CorruptItem::Column, "a conf", "no conf any more")
    }

    /// Returns an error if the conf is gone. A column that is replaced as a whole loses its conf first:
    /// a file found missing before this error may have existed while the conf was in force.
    pub(crate) fn check_conf(&self) -> Result<()> {
        self.status(names::CONF)?.map(drop).ok_or_else(|| self.conf_is_gone())
    }

    /// Whether another column has taken the place of this one: its path leads to another column, or
    /// this directory now has one of the names that a replacement uses.
    pub(crate) fn was_replaced(&self) -> bool {
        let held = rustix::fs::fstat(&self.fd).map(|stat| FileStatus::from(stat).inode);
        let found = rustix::fs::stat(&self.path).map(|stat| FileStatus::from(stat).inode);
        let is_column = || rustix::fs::stat(self.file_path(names::CONF)).is_ok();
        let is_elsewhere = held.is_ok() && found.is_ok() && held != found && is_column();
        is_elsewhere || self.is_named_aside()
    }

    /// Whether this directory now has one of the names that a replacement uses, even if it was removed.
    #[cfg(target_os = "linux")]
    fn is_named_aside(&self) -> bool {
        let Ok(path) = std::fs::read_link(self.open_path()) else { return false };
        let (Some(now), Some(own)) = (path.file_name(), self.path.file_name()) else {
            return false;
        };
        let (Some(now), Some(own)) = (now.to_str(), own.to_str()) else { return false };
        let now = now.strip_suffix(" (deleted)").unwrap_or(now);
        now == names::new_directory(own) || now == names::old_directory(own)
    }

    #[cfg(not(target_os = "linux"))]
    fn is_named_aside(&self) -> bool {
        false
    }

    /// The ids with a data file or an offset file, ascending.
    pub(crate) fn file_ids(&self) -> Result<Vec<FileId>> {
        let mut ids = Vec::new();
        self.each_name(|name| {
            let file = SlotFile::parse(name).filter(|file| !matches!(file, SlotFile::Sums(_)));
            ids.extend(file.map(SlotFile::file_id));
        })?;
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// The files that healing has put aside, ascending, each with its length in bytes.
    pub(crate) fn asides(&self) -> Result<Vec<(Aside, u64)>> {
        let mut asides = Vec::new();
        self.each_name(|name| asides.extend(Aside::parse(name)))?;
        asides.sort_unstable();
        let mut found = Vec::new();
        for aside in asides {
            // A file that is gone by now was committed again and removed.
            found.extend(self.status(&aside.name())?.map(|status| (aside, status.byte_len)));
        }
        Ok(found)
    }

    fn each_name(&self, mut take: impl FnMut(&str)) -> Result<()> {
        yield_point();
        let failed = |error: io::Error| Error::io(&self.path, "list the directory", error);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&self.fd, ".", flags, Mode::empty());
        let fd = deferred_close::with_descriptor(open).map_err(|error| failed(error.into()))?;
        for entry in rustix::fs::Dir::new(fd).map_err(|error| failed(error.into()))? {
            let entry = entry.map_err(|error| failed(error.into()))?;
            entry.file_name().to_str().into_iter().for_each(&mut take);
        }
        Ok(())
    }
}
