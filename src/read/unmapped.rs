//! Reads one commit of a column without mapping files.

use std::path::Path;

use zerocopy::IntoBytes;

use crate::column::ColumnSpec;
use crate::error::{Error, Result};
use crate::files::directory::{Directory, OpenConf};
use crate::files::pread::{OsPread, Pread, PreadFile, Unreadable};
use crate::format::conf::Conf;
use crate::format::conf_check::record_end;
use crate::format::corruption::check_spec;
use crate::format::names;
use crate::format::offsets::{ENTRIES, ENTRY_BYTES, OffsetTable};
use crate::sync::{Arc, Mutex, PoisonError};

use crate::read::files::{Files, OpenFiles, sealed_bound};
use crate::read::options::Access;
use crate::slot::{FileId, Slot};

/// One commit of a column, read with `pread` and not mapped.
///
/// For callers that read everything once and must survive a failing medium: a bad sector is an error of the
/// call that reads it, where a mapping raises a signal that ends the process. So opening is safe. It shows
/// the same records as a [`View`](crate::View) of the same commit.
#[derive(Debug)]
pub struct Unmapped {
    files: Files,
    seen: OpenConf,
    pread: Arc<dyn Pread>,
    /// The last file used, kept open.
    last: Mutex<Option<(FileId, UnmappedFile)>>,
}

/// Data and offset file of an id, with their bound.
#[derive(Debug)]
pub(crate) struct UnmappedFile {
    pub(crate) table: Box<OffsetTable>,
    /// Whether each entry could be read; unreadable entries are 0 in the table.
    pub(crate) is_known: Vec<bool>,
    /// Length of the offset file in bytes, if it exists.
    pub(crate) table_len: Option<u64>,
    /// Parts of the offset file that could not be read.
    pub(crate) unreadable: Vec<Unreadable>,
    /// The data file up to the bound.
    pub(crate) data: Option<PreadFile>,
    pub(crate) bound: u64,
}

impl Unmapped {
    /// Opens the column in `directory` as of its last commit. With `expect`, record type and compression
    /// must match.
    ///
    /// # Errors
    /// [`Error::NoSuchColumn`] if there is no conf; [`Error::Replaced`]; [`Error::ConfMismatch`];
    /// [`Error::Corrupt`] for an invalid conf and [`Error::Unsupported`] for one of an unknown kind;
    /// [`Error::Io`].
    pub fn open(directory: impl AsRef<Path>, expect: Option<ColumnSpec>) -> Result<Self> {
        Self::open_on(Arc::new(OsPread), directory.as_ref(), expect)
    }

    /// [`Unmapped::open`] on a medium other than the operating system's.
    ///
    /// # Errors
    /// As [`Unmapped::open`].
    pub fn open_on(
        pread: Arc<dyn Pread>,
        directory: &Path,
        expect: Option<ColumnSpec>,
    ) -> Result<Self> {
        let no_column = || Error::NoSuchColumn { directory: directory.into() };
        let directory = Directory::open(directory)?.ok_or_else(no_column)?;
        let Some(seen) = directory.read_conf()? else {
            return Err(if directory.was_replaced() {
                directory.conf_is_gone()
            } else {
                no_column()
            });
        };
        if let Some(wanted) = expect {
            check_spec(directory.file_path(names::CONF), wanted, seen.conf.spec)?;
        }
        let files = Files::new(directory, Access::default());
        Ok(Self { files, seen, pread, last: Mutex::default() })
    }

    /// The commit marker of this commit.
    #[must_use]
    pub fn conf(&self) -> &Conf {
        &self.seen.conf
    }

    /// The highest slot with a record, `None` in an empty column.
    #[must_use]
    pub fn highest_written_slot(&self) -> Option<Slot> {
        self.seen.conf.highest
    }

    /// Checks that the conf fits its current file, as opening a [`Reader`](crate::Reader) does, as far as
    /// the file is readable.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it does not fit.
    pub fn check_fit(&self) -> Result<()> {
        let Some(current) = self.seen.conf.current_file() else { return Ok(()) };
        let checked = self.with_file(current, |file| {
            let conf = &self.seen.conf;
            let is_known = conf.highest.is_some_and(|slot| file.is_known[slot.index_in_file()]);
            let largest = match self.files.check_fit_of_entries(conf, file.table.entries()) {
                Err(_) if !is_known => return Ok(()),
                largest => largest?,
            };
            let (Some(largest), Some(data)) = (largest, file.data.as_mut()) else { return Ok(()) };
            let Some(header) = data.array(largest)? else { return Ok(()) };
            let end = record_end(header, conf.spec.record_type, largest);
            self.files.check_last_record(conf, largest, end)
        });
        match checked {
            Err(Error::Io(_)) => Ok(()),
            checked => checked,
        }
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    pub(crate) fn is_latest(&self) -> Result<bool> {
        self.files.directory.is_latest(&self.seen)
    }

    /// Ids of the files that may hold records, ascending: those in the directory, and those that the
    /// conf names.
    pub(crate) fn file_ids(&self) -> Result<Vec<FileId>> {
        let mut ids = self.files.directory.file_ids()?;
        self.files.directory.check_conf()?;
        let target = self.seen.conf.backfill_target().filter(|target| target.data_len > 0);
        let named = self.seen.conf.current_file().into_iter();
        ids.extend(named.chain(target.map(|target| target.file_id)));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Opens the files of an id and establishes their bound. The offset table is read before the bound is
    /// confirmed; if no conf names the file, no commit was in flight during the read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one of the files is missing, too short or too long; [`Error::Io`].
    pub(crate) fn file(&self, file_id: FileId) -> Result<UnmappedFile> {
        let named = self.seen.conf.named_len(file_id);
        if named == Some(0) {
            let none = OpenFiles { data: None, offsets: None };
            return self.read(file_id, none, 0, true);
        }
        self.files.settled(|before| {
            let files = self.files.open(file_id)?;
            let status = files.data.as_ref().map(|(_, status)| *status);
            let (bound, is_named) = match named {
                Some(bound) => (bound, true),
                None => sealed_bound(&before.conf, file_id, status),
            };
            let file = self.read(file_id, files, bound, is_named);
            if named.is_none() && !self.files.directory.is_latest(before)? {
                return Ok(None);
            }
            file.map(Some)
        })
    }

    /// Calls a function with a file, which stays open until another one is used.
    pub(super) fn with_file<T>(
        &self,
        file_id: FileId,
        look: impl FnOnce(&mut UnmappedFile) -> Result<T>,
    ) -> Result<T> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match last.take().filter(|(id, _)| *id == file_id) {
            Some((_, file)) => file,
            None => self.file(file_id)?,
        };
        let (_, file) = last.insert((file_id, file));
        look(file)
    }

    fn read(
        &self,
        file_id: FileId,
        files: OpenFiles,
        bound: u64,
        is_named: bool,
    ) -> Result<UnmappedFile> {
        self.files.check_lengths(file_id, &files, bound)?;
        let mut file = UnmappedFile {
            table: OffsetTable::zeroed(),
            is_known: vec![true; ENTRIES],
            table_len: files.offsets.as_ref().map(|(_, status)| status.byte_len),
            unreadable: Vec::new(),
            data: None,
            bound,
        };
        if let Some((offsets, status)) = files.offsets {
            let path = self.files.offset_path(file_id);
            file.read_table(PreadFile::new(
                Arc::clone(&self.pread),
                path,
                offsets,
                status.byte_len,
            ))?;
        }
        if files.data.is_none() && !is_named && file.table.records().next().is_some() {
            return Err(self.files.no_data_file(file_id));
        }
        file.data = files.data.map(|(data, _)| {
            PreadFile::new(Arc::clone(&self.pread), self.files.data_path(file_id), data, bound)
        });
        Ok(file)
    }

    /// Reads another file of the column, up to `limit` bytes. Returns its content and its unreadable parts;
    /// `None` if the file does not exist.
    pub(crate) fn small_file(
        &self,
        name: &str,
        limit: u64,
    ) -> Result<Option<(Vec<u8>, Vec<Unreadable>)>> {
        let directory = &self.files.directory;
        let Some(file) = directory.open_file(name)? else { return Ok(None) };
        let byte_len = directory.open_status(name, &file)?.byte_len.min(limit);
        let path = directory.file_path(name);
        let mut file = PreadFile::new(Arc::clone(&self.pread), path, file, byte_len);
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < byte_len {
            match file.piece(bytes.len() as u64, byte_len)? {
                Ok(piece) => bytes.extend_from_slice(piece),
                Err(end) => bytes.resize(usize::try_from(end).unwrap_or(usize::MAX), 0),
            }
        }
        Ok(Some((bytes, file.into_unreadable())))
    }
}

impl UnmappedFile {
    fn read_table(&mut self, mut offsets: PreadFile) -> Result<()> {
        let mut bytes = Vec::new();
        let byte_len = self.table_len.unwrap_or(0);
        while (bytes.len() as u64) < byte_len {
            match offsets.piece(bytes.len() as u64, byte_len)? {
                Ok(piece) => bytes.extend_from_slice(piece),
                Err(end) => {
                    let first = bytes.len() as u64 / ENTRY_BYTES;
                    let range = index(first)..index(end.div_ceil(ENTRY_BYTES));
                    self.is_known[range].fill(false);
                    bytes.resize(index_of_byte(end), 0);
                }
            }
        }
        self.unreadable = offsets.into_unreadable();
        if let Some(table) = OffsetTable::from_prefix(bytes.as_bytes()) {
            self.table = table;
        }
        // A partly read entry is unknown.
        for at in 0..ENTRIES {
            if !self.is_known[at] {
                self.table.set(at, 0);
            }
        }
        Ok(())
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(ENTRIES).min(ENTRIES)
}

fn index_of_byte(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
