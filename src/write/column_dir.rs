//! A column's directory as the writer sees it: file paths, and I/O whose errors name file and operation.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::column::Column;
use crate::error::{CorruptItem, Error, Result};
use crate::files::disk::{Access, Disk, Lock, LockAttempt};
use crate::format::conf::{Conf, V3_BYTES};
use crate::format::corruption::{data_file_too_short, missing};
use crate::format::names::{self, SlotFile};
use crate::format::offsets::{OffsetTable, entry_offset};
use crate::format::sums::{SUMS_BYTES, SumTable};
use crate::format::witness::{CHECK_BYTES, Witness};
use crate::slot::FileId;
use crate::write::named_file::NamedFile;

#[derive(Clone, Debug)]
pub(super) struct ColumnDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

/// A checksum file as it was read.
pub(super) enum Sums {
    Absent,
    Whole(Box<SumTable>),
    /// Its header is damaged or its length is wrong: its entries, and its length in bytes.
    Broken(Box<SumTable>, u64),
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
        self.slot_file_path(SlotFile::Data(file_id))
    }

    pub(super) fn offset_path(&self, file_id: FileId) -> PathBuf {
        self.slot_file_path(SlotFile::Offsets(file_id))
    }

    pub(super) fn sums_path(&self, file_id: FileId) -> PathBuf {
        self.slot_file_path(SlotFile::Sums(file_id))
    }

    /// Opens a file; `None` if it does not exist.
    pub(super) fn open(&self, path: PathBuf, access: Access) -> Result<Option<NamedFile>> {
        if_there(self.must_open(path, access))
    }

    /// Opens a file that exists.
    pub(super) fn must_open(&self, path: PathBuf, access: Access) -> Result<NamedFile> {
        match self.disk.open(&path, access) {
            Ok(file) => Ok(NamedFile::new(path, file)),
            Err(error) => Err(Error::io(path, "open", error)),
        }
    }

    pub(super) fn create(&self, path: PathBuf) -> Result<NamedFile> {
        match self.disk.open(&path, Access::CreateNew) {
            Ok(file) => Ok(NamedFile::new(path, file)),
            Err(error) => Err(Error::io(path, "create", error)),
        }
    }

    /// Opens a data file, which must have at least its committed length.
    pub(super) fn open_data(
        &self,
        file_id: FileId,
        access: Access,
        data_len: u64,
    ) -> Result<NamedFile> {
        let path = self.data_path(file_id);
        let Some(data) = self.open(path.clone(), access)? else {
            return Err(missing(path, "data file", data_len));
        };
        match data.byte_len()? {
            byte_len if byte_len < data_len => Err(data_file_too_short(path, byte_len, data_len)),
            _ => Ok(data),
        }
    }

    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        self.disk.remove(path).map_err(|error| Error::io(path, "remove", error))
    }

    pub(super) fn remove_if_there(&self, path: &Path) -> Result<()> {
        match self.open(path.to_owned(), Access::Read)? {
            Some(_) => self.remove(path),
            None => Ok(()),
        }
    }

    /// Takes the lock at `path` without waiting.
    pub(super) fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        let attempt = self.disk.lock(path).map_err(|error| Error::io(path, "lock", error))?;
        self.held(attempt)
    }

    /// Keeps writers out of the column. `None` if it has no lock file: no writer has ever opened it.
    pub(super) fn lock_shared(&self) -> Result<Option<Box<dyn Lock>>> {
        let path = self.file_path(names::LOCK);
        let attempt = self.disk.lock_shared(&path);
        let attempt = attempt.map_err(|error| Error::io(path, "lock", error))?;
        attempt.map(|attempt| self.held(attempt)).transpose()
    }

    fn held(&self, attempt: LockAttempt) -> Result<Box<dyn Lock>> {
        match attempt {
            LockAttempt::Held(lock) => Ok(lock),
            LockAttempt::Busy(pid) => {
                Err(Error::AlreadyOpen { directory: self.path.as_path().into(), pid })
            }
        }
    }

    /// Fails if the lock is no longer at its path. Files are opened by path: the paths may then lead into
    /// another directory, or another writer may be active.
    pub(super) fn check_lock(&self, lock: &dyn Lock) -> Result<()> {
        let path = self.file_path(names::LOCK);
        let source = match lock.is_at(&path) {
            Ok(true) => return Ok(()),
            Ok(false) => io::Error::other("the file or its directory was removed or replaced"),
            Err(error) => error,
        };
        Err(Error::io(path, "continue under the lock", source))
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
    pub(super) fn create_dirs(&self, made: &mut Vec<PathBuf>) -> Result<()> {
        self.create_dir(&self.path, made)
    }

    /// Tries each directory at most twice. A retry loop need not end: an existing name may be a dangling
    /// link, and nothing can be created in a directory that was removed.
    fn create_dir(&self, directory: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
        let is = |created: &io::Result<()>, kind| created.as_ref().is_err_and(|e| e.kind() == kind);
        let mut created = self.disk.create_dir(directory);
        if is(&created, io::ErrorKind::NotFound) && parent(directory) != directory {
            self.create_dir(parent(directory), made)?;
            created = self.disk.create_dir(directory);
        }
        if is(&created, io::ErrorKind::AlreadyExists) {
            return Ok(());
        }
        created.map_err(|error| Error::io(directory, "create the directory", error))?;
        made.push(directory.to_owned());
        self.sync_dir(parent(directory))
    }

    /// Lists the names in the directory.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let listed = self.disk.list(&self.path);
        listed.map_err(|error| Error::io(&self.path, "list the directory", error))
    }

    /// [`Self::names`]; `None` if the directory does not exist.
    pub(super) fn names_if_there(&self) -> Result<Option<Vec<String>>> {
        if_there(self.names())
    }

    /// [`Self::slot_files`]; empty if the directory does not exist.
    pub(super) fn slot_files_if_there(&self) -> Result<Vec<SlotFile>> {
        Ok(slot_files(&self.names_if_there()?.unwrap_or_default()))
    }

    /// The data, offset and checksum files in the directory, sorted by file id.
    pub(super) fn slot_files(&self) -> Result<Vec<SlotFile>> {
        Ok(slot_files(&self.names()?))
    }

    /// The ids of those files, ascending.
    pub(super) fn file_ids(&self) -> Result<Vec<FileId>> {
        let mut ids: Vec<_> = self.slot_files()?.into_iter().map(SlotFile::file_id).collect();
        ids.dedup();
        Ok(ids)
    }

    /// Whether a file of this name exists.
    pub(super) fn has(&self, name: &str) -> Result<bool> {
        Ok(self.open(self.file_path(name), Access::Read)?.is_some())
    }

    /// Fails if a file that is about to be changed has other hard links, under which its uncommitted bytes
    /// may be committed.
    pub(super) fn check_has_one_name(&self, path: PathBuf) -> Result<()> {
        let Some(file) = self.open(path, Access::Read)? else { return Ok(()) };
        match file.names()? {
            0 | 1 => Ok(()),
            names => {
                let wanted = "one name (replace the file by a copy: data that is uncommitted here may \
                              be committed under another name)";
                let found = format!("{names} names (hard links)");
                Err(Error::corrupt(file.path(), None, "file to be healed", wanted, found))
            }
        }
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
        self.file_path(&file.name())
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
            None => Sums::Broken(SumTable::from_damaged(&bytes, file_id, record_type), byte_len),
        })
    }

    /// Fails if there is a checksum of a record up to `last`, but no entry: the record may still exist.
    pub(super) fn check_no_entry_is_lost(
        &self,
        file_id: FileId,
        sums: &SumTable,
        table: &OffsetTable,
        last: usize,
    ) -> Result<()> {
        let mut known = sums.known().take_while(|index| *index <= last);
        let Some(index) = known.find(|index| table.get(*index) == 0) else { return Ok(()) };
        let slot = file_id.slot_at(index);
        let wanted =
            format!("the offset of the record of slot {slot}, because its checksum is kept");
        let path = self.offset_path(file_id);
        Err(Error::corrupt(path, entry_offset(index), CorruptItem::OffsetEntry, wanted, "0"))
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

/// `None` for the error of a file or directory that does not exist.
pub(super) fn if_there<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::Io(error)) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn slot_files(names: &[String]) -> Vec<SlotFile> {
    let mut files: Vec<_> = names.iter().filter_map(|name| SlotFile::parse(name)).collect();
    files.sort_unstable_by_key(|file| (file.file_id(), *file));
    files
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
