//! Copies an archive consistently while writers may be active.
//!
//! The copy contains what one view of each column shows: the bytes of each file up to the bound that the
//! view has established, the visible offset entries, their checksums, and the view's conf. No part of an
//! in-flight commit is included, so the copy needs no healing. (The lengths in the conf do not suffice:
//! with backfill, the writer may have moved on to another file.)
//!
//! # Order
//! 1. Read the manifest. Its statements about a column are lower bounds, which the later views satisfy.
//! 2. Take the views: `bbr` first, then `bsr`, `bss`, `bsd`, and `blk` last. An import commits a block
//!    before its roots, so the view of `blk` has the block of every root. It commits `bbr` last, so the
//!    other views are at least as far as the view of `bbr`.
//! 3. Lock the destination with the file [`MARK`], which marks the copy as unfinished.
//! 4. Copy and flush the files of every column. Without a conf, no column can be opened yet.
//! 5. Write the confs, `bbr` last.
//! 6. Write the manifest, then remove [`MARK`].
//!
//! The same call resumes an interrupted copy: it compares existing bytes, and writes missing or
//! different ones.

use std::fs::File;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::column::Column;
use crate::error::{Error, Result};
use crate::files::disk::{Access, CHUNK_BYTES, Disk, Lock, LockAttempt, OsDisk};
use crate::format::conf::{Backfill, Conf};
use crate::format::names::{self, SlotFile};
use crate::format::offsets::OffsetTable;
use crate::format::record::FIRST_RECORD_OFFSET;
use crate::format::sums::{SUMS_BYTES, SumTable};
use crate::format::witness::Witness;
use crate::manifest::{self, Manifest};
use crate::read::{Reader, ReaderOptions, View};
use crate::slot::{FileId, Slot};
use crate::write::column_dir::{ColumnDir, NamedFile};
use crate::write::{conf_file, heal};

/// The file in a destination that marks the copy as unfinished and locks out a second copy.
pub const MARK: &str = "copy.unfinished";

/// Temporary name of the manifest.
const MANIFEST_TMP: &str = "archive.toml.copy";

/// The order in which views are taken.
const ORDER: [Column; 5] = [
    Column::BlockRoots,
    Column::StateRoots,
    Column::StateSnapshots,
    Column::StateDiffs,
    Column::Blocks,
];

/// Fails if the archive is an unfinished copy. Called whenever an archive is opened.
///
/// # Errors
/// [`Error::UnfinishedCopy`]; [`Error::Io`] if the directory cannot be read.
pub fn check_finished(archive: &Path) -> Result<()> {
    let mark = archive.join(MARK);
    match mark.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::UnfinishedCopy { directory: archive.into() }),
        Err(error) => Err(Error::io(mark, "look for", error)),
    }
}

/// Progress of a copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyProgress {
    /// The column whose files are being copied.
    pub column: Column,
    /// Bytes of data files copied so far, or found in the destination.
    pub bytes_done: u64,
    /// Bytes of all data files.
    pub bytes_total: u64,
}

/// The result of copying one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedColumn {
    /// The column.
    pub column: Column,
    /// The highest slot of the copy, `None` in an empty column.
    pub highest: Option<Slot>,
    /// Number of data files.
    pub files: u64,
    /// Number of records.
    pub records: u64,
    /// Total size of the data files in bytes.
    pub bytes: u64,
    /// The part of `bytes` that an earlier call had copied.
    pub bytes_found: u64,
}

/// Copies an archive to a directory that is missing or empty, or holds an unfinished copy. Writers may
/// stay active; the copy does not wait for them. `observer` may stop the copy; a later call resumes it.
///
/// # Errors
/// [`Error::Io`] with [`AlreadyExists`](std::io::ErrorKind::AlreadyExists) if the destination holds
/// anything else, with [`Interrupted`](std::io::ErrorKind::Interrupted) if the observer stopped the copy,
/// and with the file's name if a system call fails; [`Error::AlreadyOpen`] while another process copies
/// to the destination; [`Error::NoSuchColumn`] if the archive has no column; [`Error::Replaced`] if a
/// column is replaced during the copy (start again); [`Error::UnfinishedCopy`] if the archive is an
/// unfinished copy itself; [`Error::Corrupt`].
pub fn copy(
    archive: impl AsRef<Path>,
    destination: impl AsRef<Path>,
    observer: &mut dyn FnMut(&CopyProgress) -> ControlFlow<()>,
) -> Result<Vec<CopiedColumn>> {
    copy_on(Arc::new(OsDisk), archive, destination, observer)
}

/// [`copy`] to a disk other than the operating system's.
///
/// # Errors
/// As [`copy`].
pub fn copy_on(
    disk: Arc<dyn Disk>,
    archive: impl AsRef<Path>,
    destination: impl AsRef<Path>,
    observer: &mut dyn FnMut(&CopyProgress) -> ControlFlow<()>,
) -> Result<Vec<CopiedColumn>> {
    let archive = archive.as_ref();
    check_finished(archive)?;
    let root = ColumnDir::new(disk, destination.as_ref());
    // 1.
    let manifest = read_manifest(archive)?;
    // 2.
    let sources = take_views(archive)?;
    let mut bytes_total = 0;
    for source in &sources {
        for file_id in &source.file_ids {
            bytes_total += source.view.bound(*file_id)?;
        }
    }
    // 3.
    let lock = begin(&root)?;
    // 4.
    let (mut done, mut bytes_done) = (Vec::new(), 0);
    for source in &sources {
        let target = root.sibling(&root.file_path(source.column.dir_name()));
        let mut advance = |bytes: u64| {
            bytes_done += bytes;
            let progress = CopyProgress { column: source.column, bytes_done, bytes_total };
            match observer(&progress) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => {
                    let source = std::io::ErrorKind::Interrupted.into();
                    Err(Error::io(root.path(), "finish the copy to", source))
                }
            }
        };
        done.push(source.copy_files(&target, &mut advance)?);
    }
    // 5.
    for source in sources.iter().rev() {
        let target = root.sibling(&root.file_path(source.column.dir_name()));
        let (witness, mut conf) = (&mut Witness::default(), *source.conf());
        // A backfill file that is not created yet is not part of the copy. Opening would drop it from
        // the conf.
        if conf.backfill_target().is_some_and(|target| target.data_len == 0) {
            conf.backfill = conf.backfill.map(|backfill| Backfill { target: None, ..backfill });
        }
        conf_file::replace_alone(&target, witness, None, conf)?;
    }
    // 6.
    finish(&root, manifest.as_deref(), &*lock)?;
    Ok(done)
}

/// Reads the manifest's bytes after parsing it, and fails if an intent is pending.
fn read_manifest(archive: &Path) -> Result<Option<Vec<u8>>> {
    let Some(known) = Manifest::read(archive)? else { return Ok(None) };
    let path = archive.join(manifest::FILE_NAME);
    if let Some(intent) = known.intents().first() {
        let source = std::io::Error::other(format!(
            "it records an unfinished {}: run the command that began it again, then copy",
            intent.kind
        ));
        return Err(Error::io(path, "copy an archive by", source));
    }
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|error| Error::io(path, "read", error))?;
    Ok(Some(bytes))
}

/// Locks a destination. Fails, without changing it, if it holds anything but an unfinished copy.
fn begin(root: &ColumnDir) -> Result<Box<dyn Lock>> {
    root.create_dirs(&mut Vec::new())?;
    let names = root.names()?;
    if !names.is_empty() && !names.iter().any(|name| name == MARK) {
        let source = std::io::Error::new(
            std::io::ErrorKind::AlreadyExists,
            "there is something in it, and it is no unfinished copy",
        );
        return Err(Error::io(root.path(), "copy to", source));
    }
    let mark = root.file_path(MARK);
    match root.disk().lock(&mark).map_err(|error| Error::io(&mark, "lock", error))? {
        LockAttempt::Held(lock) => {
            // Another process may just have finished its copy and removed the file.
            check_mark(&*lock, &mark)?;
            root.sync()?;
            Ok(lock)
        }
        LockAttempt::Busy(pid) => Err(Error::AlreadyOpen { directory: root.path().into(), pid }),
    }
}

fn check_mark(lock: &dyn Lock, mark: &Path) -> Result<()> {
    if lock.is_at(mark).map_err(|error| Error::io(mark, "look for", error))? {
        return Ok(());
    }
    let source = std::io::Error::other("the file was removed or replaced");
    Err(Error::io(mark, "continue the copy under the lock", source))
}

fn finish(root: &ColumnDir, manifest: Option<&[u8]>, lock: &dyn Lock) -> Result<()> {
    root.sync_parent()?;
    root.sync_ancestors()?;
    let mark = root.file_path(MARK);
    check_mark(lock, &mark)?;
    if let Some(bytes) = manifest {
        let (tmp, path) = (root.file_path(MANIFEST_TMP), root.file_path(manifest::FILE_NAME));
        remove_if_there(root, &tmp)?;
        let mut file = root.create(tmp.clone())?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        let renamed = root.disk().rename(&tmp, &path);
        renamed.map_err(|error| Error::io(path, "make", error))?;
    }
    root.sync()?;
    root.remove(&mark)?;
    root.sync()
}

fn remove_if_there(directory: &ColumnDir, path: &Path) -> Result<()> {
    match directory.open(path.to_owned(), Access::Read)? {
        Some(_) => directory.remove(path),
        None => Ok(()),
    }
}

/// A column and the view of it that is copied.
struct Source {
    column: Column,
    view: View,
    file_ids: Vec<FileId>,
}

fn take_views(archive: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for column in ORDER {
        let path = archive.join(column.dir_name());
        let options = ReaderOptions::default().expect(column.spec());
        let view = match Reader::open_mapped(&path, options) {
            Ok(reader) => reader.view(),
            Err(Error::NoSuchColumn { .. }) => {
                let directory = ColumnDir::new(Arc::new(OsDisk), &path);
                if !directory.slot_files_if_there()?.is_empty() {
                    return Err(heal::no_conf(&directory));
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        let current = view.conf().current_file();
        let ids = view.file_ids()?.into_iter().filter(|id| Some(*id) <= current);
        let file_ids = ids.collect();
        sources.push(Source { column, view, file_ids });
    }
    if sources.is_empty() {
        return Err(Error::NoSuchColumn { directory: archive.into() });
    }
    Ok(sources)
}

impl Source {
    fn conf(&self) -> &Conf {
        self.view.conf()
    }

    /// Copies and flushes all files except the conf.
    fn copy_files(
        &self,
        target: &ColumnDir,
        advance: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<CopiedColumn> {
        target.create_dirs(&mut Vec::new())?;
        // Confs come last. A conf from an interrupted call may belong to an older view.
        for name in [names::CONF, names::CONF_TMP, names::CHECK] {
            remove_if_there(target, &target.file_path(name))?;
        }
        for file in target.slot_files()? {
            if !self.file_ids.contains(&file.file_id()) {
                target.remove(&target.slot_file_path(file))?;
            }
        }
        let (column, highest) = (self.column, self.conf().highest);
        let (files, records, bytes, bytes_found) = (0, 0, 0, 0);
        let mut done = CopiedColumn { column, highest, files, records, bytes, bytes_found };
        for file_id in &self.file_ids {
            self.copy_file(target, *file_id, &mut done, advance)?;
        }
        target.sync()?;
        target.sync_parent()?;
        Ok(done)
    }

    fn copy_file(
        &self,
        target: &ColumnDir,
        file_id: FileId,
        done: &mut CopiedColumn,
        advance: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let map = self.view.file(file_id)?;
        let bound = map.bound();
        let data_name = SlotFile::Data(file_id).name();
        let source = if bound == 0 {
            None
        } else {
            let directory = &self.view.files().directory;
            let file = directory.open_file(&data_name)?;
            let status = file.as_ref().map(|file| directory.open_status(&data_name, file));
            let inode = status.transpose()?.map(|status| status.inode);
            if inode != map.data_inode() {
                directory.check_conf()?;
                let source = std::io::Error::other("the file was replaced; start again");
                return Err(Error::io(directory.file_path(&data_name), "copy", source));
            }
            file
        };
        let mut table = OffsetTable::zeroed();
        let entries = self.view.entries(file_id)?;
        for (slot, entry) in entries.filter(|(_, entry)| *entry >= FIRST_RECORD_OFFSET) {
            table.set(slot.index_in_file(), entry);
            done.records += 1;
        }
        let [data, offsets, sums] =
            [SlotFile::Data(file_id), SlotFile::Offsets(file_id), SlotFile::Sums(file_id)]
                .map(|file| target.slot_file_path(file));
        let Some(source) = source else {
            return [data, offsets, sums].iter().try_for_each(|path| remove_if_there(target, path));
        };
        let from = self.view.files().data_path(file_id);
        done.bytes_found += copy_bytes(&source, &from, target, data, bound, advance)?;
        write_whole(target, offsets, table.as_bytes())?;
        match self.sums_of(file_id, &table)? {
            Some(kept) => write_whole(target, sums, kept.as_bytes())?,
            None => remove_if_there(target, &sums)?,
        }
        done.files += 1;
        done.bytes += bound;
        Ok(())
    }

    /// The checksums of the records in `table`, if any are kept.
    fn sums_of(&self, file_id: FileId, table: &OffsetTable) -> Result<Option<Box<SumTable>>> {
        let directory = &self.view.files().directory;
        let name = SlotFile::Sums(file_id).name();
        let Some(file) = directory.open_file(&name)? else { return Ok(None) };
        directory.open_status(&name, &file)?;
        let mut bytes = Vec::with_capacity(SUMS_BYTES);
        let read = file.take(SUMS_BYTES as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::io(directory.file_path(&name), "read", error))?;
        let record_type = self.conf().spec.record_type;
        let Some(found) = SumTable::from_bytes(&bytes, file_id, record_type) else {
            return Ok(None);
        };
        let mut kept = SumTable::new(file_id, record_type);
        for (index, _) in table.records() {
            kept.set(index, found.get(index));
        }
        Ok(Some(kept))
    }
}

/// Copies the first `bound` bytes of a data file and flushes them. Returns the number of bytes that were
/// already present.
fn copy_bytes(
    source: &File,
    from: &Path,
    target: &ColumnDir,
    path: PathBuf,
    bound: u64,
    advance: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<u64> {
    let mut file = open_or_create(target, path)?;
    let there = file.byte_len()?;
    if there > bound {
        file.set_len(bound)?;
    }
    let (mut wanted, mut held) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let (mut at, mut found) = (0, 0);
    while at < bound {
        let len = usize::try_from(bound - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let wanted = &mut wanted[..len];
        source.read_exact_at(wanted, at).map_err(|error| Error::io(from, "read", error))?;
        let end = at + len as u64;
        let is_there = end <= there && {
            let held = &mut held[..len];
            file.read_exact_at(held, at)?;
            held == wanted
        };
        if is_there {
            found += len as u64;
        } else {
            file.write_at(wanted, at)?;
        }
        at = end;
        advance(len as u64)?;
    }
    file.sync()?;
    Ok(found)
}

/// Writes a whole file and flushes it.
fn write_whole(target: &ColumnDir, path: PathBuf, bytes: &[u8]) -> Result<()> {
    let mut file = open_or_create(target, path)?;
    if file.byte_len()? > bytes.len() as u64 {
        file.set_len(bytes.len() as u64)?;
    }
    file.write_at(bytes, 0)?;
    file.sync()
}

fn open_or_create(target: &ColumnDir, path: PathBuf) -> Result<NamedFile> {
    match target.open(path.clone(), Access::Write)? {
        Some(file) => Ok(file),
        None => target.create(path),
    }
}
