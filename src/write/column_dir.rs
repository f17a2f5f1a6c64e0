//! A column's directory as the writer sees it: file paths, and I/O whose errors name file and operation.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::column::Column;
use crate::error::{Error, Result};
use crate::files::disk::{self, Access, Disk, DiskFile};
use crate::format::conf::{Conf, V3_BYTES};
use crate::format::conf_check;
use crate::format::corruption::offset_file_too_long;
use crate::format::names::{self, SlotFile};
use crate::format::offsets::{OffsetTable, TABLE_BYTES};
use crate::format::sums::{SUMS_BYTES, SumTable};
use crate::format::witness::{CHECK_BYTES, Witness};
use crate::slot::FileId;

#[derive(Clone, Debug)]
pub(super) struct ColumnDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

/// A checksum file as it was read.
pub(super) enum Sums {
    Absent,
    Whole(Box<SumTable>),
    /// The file's length in bytes; its header is damaged or its length is wrong.
    Broken(u64),
}

/// An open file that knows its path.
#[derive(Debug)]
pub(super) struct NamedFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

impl ColumnDir {
    pub(super) fn new(disk: Arc<dyn Disk>, path: &Path) -> Self {
        Self { disk, path: path.to_owned() }
    }

    /// The directory of another column in the same archive.
    pub(super) fn beside(&self, column: Column) -> Self {
        self.sibling(&parent(&self.path).join(column.dir_name()))
    }

    /// Another directory on the same disk.
    pub(super) fn sibling(&self, path: &Path) -> Self {
        Self { disk: Arc::clone(&self.disk), path: path.to_owned() }
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file_path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn data_path(&self, file_id: FileId) -> PathBuf {
        self.file_path(&names::data_file(file_id))
    }

    pub(super) fn offset_path(&self, file_id: FileId) -> PathBuf {
        self.file_path(&names::offset_file(file_id))
    }

    pub(super) fn sums_path(&self, file_id: FileId) -> PathBuf {
        self.file_path(&names::sums_file(file_id))
    }

    /// Opens a file; `None` if it does not exist.
    pub(super) fn open(&self, path: PathBuf, access: Access) -> Result<Option<NamedFile>> {
        match self.disk.open(&path, access) {
            Ok(file) => Ok(Some(NamedFile { path, file })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(path, "open", error)),
        }
    }

    pub(super) fn create(&self, path: PathBuf) -> Result<NamedFile> {
        match self.disk.open(&path, Access::CreateNew) {
            Ok(file) => Ok(NamedFile { path, file }),
            Err(error) => Err(Error::io(path, "create", error)),
        }
    }

    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        self.disk.remove(path).map_err(|error| Error::io(path, "remove", error))
    }

    /// Flushes the directory's entries.
    pub(super) fn sync(&self) -> Result<()> {
        self.sync_dir(&self.path)
    }

    /// Flushes the directory entry of the directory itself, as far as permissions allow.
    pub(super) fn sync_parent(&self) -> Result<()> {
        self.sync_permitted(parent(&self.path))
    }

    /// Flushes the directory entries of all ancestors, as far as permissions allow: an earlier process
    /// may have created them and died before the flush.
    pub(super) fn sync_ancestors(&self) -> Result<()> {
        let mut directory = parent(&self.path);
        while parent(directory) != directory {
            directory = parent(directory);
            self.sync_permitted(directory)?;
        }
        Ok(())
    }

    /// Flushes a directory unless permissions forbid it. Flushing opens the directory for reading; a
    /// directory that this user may only traverse (mode 0711, say) holds no entry that this user created.
    fn sync_permitted(&self, directory: &Path) -> Result<()> {
        match self.disk.sync_dir(directory) {
            Err(error) if !is_not_ours(error.kind()) => {
                Err(Error::io(directory, "flush the directory", error))
            }
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.disk.sync_dir(path).map_err(|error| Error::io(path, "flush the directory", error))
    }

    /// Creates the directory and its missing ancestors, and flushes the entry of each. Appends the
    /// created directories to `made`.
    ///
    /// Walks up to the first existing name, then down again, and tries each directory once. A retry loop
    /// need not end: an existing name may be a dangling link, and nothing can be created in a directory
    /// that was removed.
    pub(super) fn create_dirs(&self, made: &mut Vec<PathBuf>) -> Result<()> {
        let mut missing = Vec::new();
        let mut directory = self.path.as_path();
        while !self.create_dir(directory, parent(directory) != directory, made)? {
            missing.push(directory);
            directory = parent(directory);
        }
        for directory in missing.into_iter().rev() {
            self.create_dir(directory, false, made)?;
        }
        Ok(())
    }

    /// Creates one directory unless its name is taken. Returns `false` if its parent is missing too and
    /// `makes_parent` says that the caller creates it.
    fn create_dir(
        &self,
        directory: &Path,
        makes_parent: bool,
        made: &mut Vec<PathBuf>,
    ) -> Result<bool> {
        match self.disk.create_dir(directory) {
            Ok(()) => {
                made.push(directory.to_owned());
                self.sync_dir(parent(directory)).map(|()| true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            Err(error) if makes_parent && error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io(directory, "create the directory", error)),
        }
    }

    /// Lists the names in the directory.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let listed = self.disk.list(&self.path);
        listed.map_err(|error| Error::io(&self.path, "list the directory", error))
    }

    /// [`Self::slot_files`]; empty if the directory does not exist.
    pub(super) fn slot_files_if_there(&self) -> Result<Vec<SlotFile>> {
        match self.slot_files() {
            Err(Error::Io(error)) if error.source.kind() == io::ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            found => found,
        }
    }

    /// The data, offset and checksum files in the directory, sorted by file id.
    pub(super) fn slot_files(&self) -> Result<Vec<SlotFile>> {
        let mut files: Vec<SlotFile> =
            self.names()?.iter().filter_map(|name| SlotFile::parse(name)).collect();
        files.sort_unstable_by_key(|file| (file.file_id(), *file));
        Ok(files)
    }

    /// Whether a file of this name exists.
    pub(super) fn has(&self, name: &str) -> Result<bool> {
        Ok(self.open(self.file_path(name), Access::Read)?.is_some())
    }

    /// Renames a file. The caller ensures that the new name is free.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.rename(from, to).map_err(|error| Error::io(to, "rename a file to", error))
    }

    /// Whether any checksum file exists.
    pub(super) fn has_sums(&self) -> Result<bool> {
        Ok(self.slot_files()?.iter().any(|file| matches!(file, SlotFile::Sums(_))))
    }

    /// The path of a data, offset or checksum file.
    pub(super) fn slot_file_path(&self, file: SlotFile) -> PathBuf {
        match file {
            SlotFile::Data(file_id) => self.data_path(file_id),
            SlotFile::Offsets(file_id) => self.offset_path(file_id),
            SlotFile::Sums(file_id) => self.sums_path(file_id),
        }
    }

    /// Reads the conf; `None` if there is none.
    pub(super) fn read_conf(&self) -> Result<Option<Conf>> {
        let path = self.file_path(names::CONF);
        let Some(file) = self.open(path, Access::Read)? else {
            return Ok(None);
        };
        let bytes = file.read_up_to(V3_BYTES + 1)?;
        Conf::decode(file.path(), &bytes).map(Some)
    }

    /// Reads an offset file. Returns its table and the file's length; `None` if it does not exist.
    pub(super) fn read_table(&self, file_id: FileId) -> Result<Option<(Box<OffsetTable>, u64)>> {
        let Some(file) = self.open(self.offset_path(file_id), Access::Read)? else {
            return Ok(None);
        };
        Ok(Some((file.read_table()?, file.byte_len()?)))
    }

    /// Reads the checksum file of an id.
    pub(super) fn read_sums(&self, file_id: FileId, record_type: [u8; 2]) -> Result<Sums> {
        let Some(file) = self.open(self.sums_path(file_id), Access::Read)? else {
            return Ok(Sums::Absent);
        };
        let byte_len = file.byte_len()?;
        let bytes = file.read_up_to(SUMS_BYTES + 1)?;
        Ok(match SumTable::from_bytes(&bytes, file_id, record_type) {
            Some(table) => Sums::Whole(table),
            None => Sums::Broken(byte_len),
        })
    }

    /// Reads the entries of a checksum file whose header or length is wrong.
    pub(super) fn read_broken_sums(
        &self,
        file_id: FileId,
        record_type: [u8; 2],
    ) -> Result<Box<SumTable>> {
        let file = self.open(self.sums_path(file_id), Access::Read)?;
        let bytes = file.map_or_else(|| Ok(Vec::new()), |file| file.read_up_to(SUMS_BYTES))?;
        Ok(SumTable::from_damaged(&bytes, file_id, record_type))
    }

    /// Reads the witness of the conf; an empty one if the file is missing or has no valid slot.
    pub(super) fn read_witness(&self) -> Result<Witness> {
        let Some(file) = self.open(self.file_path(names::CHECK), Access::Read)? else {
            return Ok(Witness::default());
        };
        Ok(Witness::from_bytes(&file.read_up_to(CHECK_BYTES)?))
    }

    /// Writes the next conf to `column.conf.tmp`. The caller flushes it before [`Self::rename_tmp`].
    pub(super) fn write_tmp(&self, conf: &Conf) -> Result<NamedFile> {
        let mut tmp = self.create(self.file_path(names::CONF_TMP))?;
        tmp.write_at(&conf.encode(), 0)?;
        Ok(tmp)
    }

    /// Renames `column.conf.tmp` over the conf and flushes the directory.
    pub(super) fn rename_tmp(&self) -> Result<()> {
        let (from, to) = (self.file_path(names::CONF_TMP), self.file_path(names::CONF));
        self.disk
            .rename(&from, &to)
            .map_err(|error| Error::io(to, "replace by column.conf.tmp", error))?;
        self.sync()
    }
}

/// The directory that contains `path`: `.` for a bare name; the path itself if it has no parent.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Whether a failed flush shows that this user did not create the directory.
fn is_not_ours(error: io::ErrorKind) -> bool {
    matches!(error, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

impl NamedFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn byte_len(&self) -> Result<u64> {
        self.file.byte_len().map_err(|error| self.failed("stat", error))
    }

    /// The number of hard links.
    pub(super) fn names(&self) -> Result<u64> {
        self.file.names().map_err(|error| self.failed("stat", error))
    }

    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        disk::read_exact_at(&*self.file, buffer, offset).map_err(|error| self.failed("read", error))
    }

    /// Reads the file as an offset table; missing bytes at its end read as 0.
    pub(super) fn read_table(&self) -> Result<Box<OffsetTable>> {
        let bytes = self.read_up_to(TABLE_BYTES + 1)?;
        let too_long = || offset_file_too_long(self.path.clone(), bytes.len() as u64);
        OffsetTable::from_prefix(&bytes).ok_or_else(too_long)
    }

    /// The end offset of the record at `offset` of a data file of `data_len` bytes; `None` if no header of
    /// this type is there.
    pub(super) fn record_end(
        &self,
        record_type: [u8; 2],
        offset: u64,
        data_len: u64,
    ) -> Result<Option<u64>> {
        if !conf_check::header_fits(offset, data_len) {
            return Ok(None);
        }
        let mut header = [0; 8];
        self.read_exact_at(&mut header, offset)?;
        Ok(conf_check::record_end(header, record_type, offset))
    }

    /// Reads the file from its start, at most `limit` bytes.
    fn read_up_to(&self, limit: usize) -> Result<Vec<u8>> {
        let byte_len = usize::try_from(self.byte_len()?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; byte_len.min(limit)];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.write_all_at(&mut [IoSlice::new(bytes)], offset)
    }

    pub(super) fn write_all_at(&mut self, buffers: &mut [IoSlice<'_>], offset: u64) -> Result<()> {
        disk::write_all_at(&mut *self.file, buffers, offset)
            .map_err(|error| Error::io(&self.path, "write", error))
    }

    pub(super) fn set_len(&mut self, byte_len: u64) -> Result<()> {
        self.file.set_len(byte_len).map_err(|error| self.failed("set the length of", error))
    }

    /// Allocated bytes; fewer than the file's length if it has holes.
    pub(super) fn allocated(&self) -> Result<u64> {
        self.file.allocated().map_err(|error| self.failed("look for the holes of", error))
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        self.file.sync().map_err(|error| Error::io(&self.path, "flush", error))
    }

    fn failed(&self, operation: &'static str, error: io::Error) -> Error {
        Error::io(&self.path, operation, error)
    }
}
