//! Copies an archive consistently while writers may be active: `FORMAT.md`, section 13, step by step.
//!
//! The copy contains what one view of each column shows: the bytes of each file up to the bound that the
//! view has established, the visible offset entries, their checksums, and the view's conf. No part of an
//! in-flight commit is included, so the copy needs no healing. (The lengths in the conf do not suffice:
//! with backfill, the writer may have moved on to another file.)
//!
//! The same call resumes an interrupted copy: it compares existing bytes, and writes missing or
//! different ones.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::column::Column;
use crate::error::{Error, Result};
use crate::files::disk::{Access, Disk, Lock, OsDisk};
use crate::files::pread::{PreadFile, Unreadable};
use crate::format::names::{self, SlotFile};
use crate::format::offsets::OffsetTable;
use crate::format::record::FIRST_RECORD_OFFSET;
use crate::format::sums::{SUMS_BYTES, SumTable};
use crate::format::witness::Witness;
use crate::manifest::{self, Manifest};
use crate::read::file_pair::FilePair;
use crate::read::{PreadView, Reader, ReaderOptions, Snapshot as _, Taken as _};
use crate::slot::{FileId, Slot};
use crate::write::column_dir::ColumnDir;
use crate::write::named_file::{NamedFile, chunks};
use crate::write::{conf_file, heal};

/// The file in a destination that marks the copy as unfinished and locks out a second copy.
pub const MARK: &str = "copy.unfinished";

/// Temporary name of the manifest.
const MANIFEST_TMP: &str = "archive.toml.copy";

/// The order in which views are taken. An import commits a block before its roots, so the view of `blk` has
/// the block of every root. It commits `bbr` last, so the other views are at least as far as the view of
/// `bbr`.
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
/// [`Error::Io`] with [`AlreadyExists`](io::ErrorKind::AlreadyExists) if the destination holds
/// anything else, with [`Interrupted`](io::ErrorKind::Interrupted) if the observer stopped the copy,
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
    // 1. manifest and views. Its statements about a column are lower bounds, which the later views satisfy.
    let manifest = read_manifest(archive)?;
    let sources = take_views(archive, &root)?;
    let mut bytes_total = 0;
    for source in &sources {
        for file_id in &source.file_ids {
            bytes_total += source.view.committed_len(*file_id)?;
        }
    }
    // 2. mark and lock
    let lock = begin(&root)?;
    // 3. files. Without a conf, no column can be opened yet.
    let (mut done, mut bytes_done) = (Vec::new(), 0);
    for source in &sources {
        let mut advance = |bytes: u64| {
            bytes_done += bytes;
            match observer(&CopyProgress { column: source.column, bytes_done, bytes_total }) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => {
                    let source = io::ErrorKind::Interrupted.into();
                    Err(Error::io(root.path(), "finish the copy to", source))
                }
            }
        };
        done.push(source.copy_files(&mut advance)?);
    }
    // 4. confs
    for Source { target, view, .. } in sources.iter().rev() {
        // A backfill file that is not created yet is not part of the copy. Opening would drop it from
        // the conf.
        let conf = view.conf().without_new_target();
        conf_file::replace_alone(target, &mut Witness::default(), None, conf)?;
    }
    // 5. and 6.
    finish(&root, manifest.as_deref(), &*lock)?;
    Ok(done)
}

/// Reads the manifest's bytes after parsing it, and fails if an intent is pending.
fn read_manifest(archive: &Path) -> Result<Option<Vec<u8>>> {
    let Some(known) = Manifest::read(archive)? else { return Ok(None) };
    let path = archive.join(manifest::FILE_NAME);
    if let Some(intent) = known.intents().first() {
        let source = io::Error::other(format!(
            "it records an unfinished {}: run the command that began it again, then copy",
            intent.kind
        ));
        return Err(Error::io(path, "copy an archive by", source));
    }
    std::fs::read(&path).map(Some).map_err(|error| Error::io(path, "read", error))
}

/// Locks a destination. Fails, without changing it, if it holds anything but an unfinished copy.
fn begin(root: &ColumnDir) -> Result<Box<dyn Lock>> {
    root.create_dirs(&mut Vec::new())?;
    let names = root.names()?;
    if !names.is_empty() && !names.iter().any(|name| name == MARK) {
        let source = io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is something in it, and it is no unfinished copy",
        );
        return Err(Error::io(root.path(), "copy to", source));
    }
    let mark = root.file_path(MARK);
    let lock = root.lock(&mark)?;
    // Another process may just have finished its copy and removed the file.
    check_mark(&*lock, &mark)?;
    root.sync()?;
    Ok(lock)
}

fn check_mark(lock: &dyn Lock, mark: &Path) -> Result<()> {
    if lock.is_at(mark).map_err(|error| Error::io(mark, "look for", error))? {
        return Ok(());
    }
    let source = io::Error::other("the file was removed or replaced");
    Err(Error::io(mark, "continue the copy under the lock", source))
}

fn finish(root: &ColumnDir, manifest: Option<&[u8]>, lock: &dyn Lock) -> Result<()> {
    root.sync_parent()?;
    root.sync_ancestors()?;
    let mark = root.file_path(MARK);
    check_mark(lock, &mark)?;
    if let Some(bytes) = manifest {
        let (tmp, path) = (root.file_path(MANIFEST_TMP), root.file_path(manifest::FILE_NAME));
        root.remove_if_there(&tmp)?;
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

/// A column, the view of it that is copied, and the directory of the copy.
struct Source {
    column: Column,
    view: PreadView,
    target: ColumnDir,
    file_ids: Vec<FileId>,
}

fn take_views(archive: &Path, root: &ColumnDir) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for column in ORDER {
        let path = archive.join(column.dir_name());
        let options = ReaderOptions::default().expect(column.spec());
        let view = match Reader::open(&path, options) {
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
        let mut file_ids = view.file_ids()?;
        file_ids.retain(|id| Some(*id) <= view.conf().current_file());
        let target = root.sibling(&root.file_path(column.dir_name()));
        sources.push(Source { column, view, target, file_ids });
    }
    if sources.is_empty() {
        return Err(Error::NoSuchColumn { directory: archive.into() });
    }
    Ok(sources)
}

impl Source {
    /// Copies and flushes all files except the conf.
    fn copy_files(&self, advance: &mut dyn FnMut(u64) -> Result<()>) -> Result<CopiedColumn> {
        let Self { column, view, target, file_ids } = self;
        target.create_dirs(&mut Vec::new())?;
        // Confs come last. A conf from an interrupted call may belong to an older view.
        for name in [names::CONF, names::CONF_TMP, names::CHECK] {
            target.remove_if_there(&target.file_path(name))?;
        }
        for file in target.slot_files()? {
            if !file_ids.contains(&file.file_id()) {
                target.remove(&target.slot_file_path(file))?;
            }
        }
        let (column, highest) = (*column, view.conf().highest);
        let (files, records, bytes, bytes_found) = (0, 0, 0, 0);
        let mut done = CopiedColumn { column, highest, files, records, bytes, bytes_found };
        for file_id in file_ids {
            self.copy_file(*file_id, &mut done, advance)?;
        }
        target.sync()?;
        target.sync_parent()?;
        Ok(done)
    }

    fn copy_file(
        &self,
        file_id: FileId,
        done: &mut CopiedColumn,
        advance: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let target = &self.target;
        let FilePair { table: found, unreadable, data: source, bound, .. } =
            self.view.pair(file_id)?;
        all_is_read(&unreadable)?;
        let [data, offsets, sums] = SlotFile::all(file_id).map(|file| target.slot_file_path(file));
        let Some(mut source) = source.filter(|_| bound > 0) else {
            return [data, offsets, sums].iter().try_for_each(|path| target.remove_if_there(path));
        };
        let mut table = OffsetTable::zeroed();
        let highest = self.view.conf().highest;
        let is_visible = |index, entry| {
            (FIRST_RECORD_OFFSET..bound).contains(&entry) && Some(file_id.slot_at(index)) <= highest
        };
        for (index, entry) in found.records().filter(|(index, entry)| is_visible(*index, *entry)) {
            table.set(index, entry);
            done.records += 1;
        }
        done.bytes_found += copy_bytes(&mut source, target, data, bound, advance)?;
        write_whole(target, offsets, table.as_bytes())?;
        match self.sums_of(file_id, &table)? {
            Some(kept) => write_whole(target, sums, kept.as_bytes())?,
            None => target.remove_if_there(&sums)?,
        }
        done.files += 1;
        done.bytes += bound;
        Ok(())
    }

    /// The checksums of the records in `table`, if any are kept.
    fn sums_of(&self, file_id: FileId, table: &OffsetTable) -> Result<Option<Box<SumTable>>> {
        let name = SlotFile::Sums(file_id).name();
        let Some((bytes, unreadable)) = self.view.small_file(&name, SUMS_BYTES as u64 + 1)? else {
            return Ok(None);
        };
        all_is_read(&unreadable)?;
        let record_type = self.view.conf().spec.record_type;
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

/// Fails with the error of the first part that could not be read.
fn all_is_read(unreadable: &[Unreadable]) -> Result<()> {
    unreadable.first().map_or(Ok(()), |lost| Err(lost.error.clone()))
}

/// Copies the first `bound` bytes of a data file and flushes them. Returns the number of bytes that were
/// already present.
fn copy_bytes(
    source: &mut PreadFile,
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
    let (mut wanted, mut found) = (Vec::new(), 0);
    for chunk in chunks(0..bound) {
        let (at, len) = (chunk.start, chunk.end - chunk.start);
        wanted.clear();
        source.append_to(&mut wanted, chunk.clone())?;
        if chunk.end <= there && file.read(chunk)? == wanted {
            found += len;
        } else {
            file.write_at(&wanted, at)?;
        }
        advance(len)?;
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
