//! A consistent copy of an archive that may be written to meanwhile.
//!
//! What one view of each column shows is copied: of each file the bytes up to the bound that the view
//! has established, the offset entries that are visible, their checksums, and the view's conf. Nothing of
//! a commit that was under way is among them, so the copy has nothing to heal. (The lengths in the conf
//! would not do: with backfill the writer may have moved on to another file.)
//!
//! # Order
//! 1. Read the manifest: what it says of a column is a lower bound, which the views taken later reach.
//! 2. Take the views, `bbr` first, then `bsr`, `bss`, `bsd`, and `blk` last. A writer that commits a block
//!    before its roots, as an import does, has the block of every root in the view of `blk`; and an import
//!    commits `bbr` last, so that the other views are at least as far as that of `bbr`.
//! 3. Lock the destination by the file [`MARK`], which says that the copy is not finished.
//! 4. Copy the files of every column, and flush them. No column has a conf yet, so none opens.
//! 5. Write the confs, that of `bbr` last.
//! 6. Write the manifest, remove [`MARK`].
//!
//! A copy that was interrupted is resumed by the same call: bytes that are there are read and compared,
//! and what is missing or differs is written.

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

/// The file in a destination that says that the copy is not finished, and keeps a second one out.
pub const MARK: &str = "copy.unfinished";

/// The manifest before it has its name.
const MANIFEST_TMP: &str = "archive.toml.copy";

/// In which order views are taken.
const ORDER: [Column; 5] = [
    Column::BlockRoots,
    Column::StateRoots,
    Column::StateSnapshots,
    Column::StateDiffs,
    Column::Blocks,
];

/// Refuses an archive that is not finished: every opening of an archive asks.
///
/// # Errors
/// [`Error::UnfinishedCopy`]; [`Error::Io`] when the directory cannot be looked at.
pub fn check_finished(archive: &Path) -> Result<()> {
    let mark = archive.join(MARK);
    match mark.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::UnfinishedCopy { directory: archive.into() }),
        Err(error) => Err(Error::io(mark, "look for", error)),
    }
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug)]
pub struct CopyProgress {
    /// The column whose files are being copied.
    pub column: Column,
    /// Bytes of data files that are copied, or were found to be there.
    pub bytes_done: u64,
    /// Bytes of all data files.
    pub bytes_total: u64,
}

/// What was copied of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedColumn {
    /// The column.
    pub column: Column,
    /// The highest slot of the copy, `None` in an empty column.
    pub highest: Option<Slot>,
    /// Data files.
    pub files: u64,
    /// Records.
    pub records: u64,
    /// Bytes of the data files.
    pub bytes: u64,
    /// Bytes of them that an earlier call had copied.
    pub bytes_found: u64,
}

/// Copies an archive to a directory that is missing or empty, or holds an unfinished copy. Writers may go on
/// meanwhile; none is waited for. `observer` may end the copy, which a later call resumes.
///
/// # Errors
/// [`Error::Io`] with [`AlreadyExists`](std::io::ErrorKind::AlreadyExists) when the destination holds
/// something else, with [`Interrupted`](std::io::ErrorKind::Interrupted) when the observer ended the copy,
/// and with the file's name when the system fails a call; [`Error::AlreadyOpen`] while another process
/// copies to the destination; [`Error::NoSuchColumn`] when there is no column in the archive;
/// [`Error::Replaced`] when a column is replaced meanwhile (start again); [`Error::UnfinishedCopy`] when the
/// archive is one itself; [`Error::Corrupt`].
pub fn copy(
    archive: impl AsRef<Path>,
    destination: impl AsRef<Path>,
    observer: &mut dyn FnMut(&CopyProgress) -> ControlFlow<()>,
) -> Result<Vec<CopiedColumn>> {
    copy_on(Arc::new(OsDisk), archive, destination, observer)
}

/// [`copy`] to another disk than the operating system's.
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
        // A file that was about to be made is none of the copy's: opening would drop it from the conf.
        if conf.backfill_target().is_some_and(|target| target.data_len == 0) {
            conf.backfill = conf.backfill.map(|backfill| Backfill { target: None, ..backfill });
        }
        conf_file::replace_alone(&target, witness, None, conf)?;
    }
    // 6.
    finish(&root, manifest.as_deref(), &*lock)?;
    Ok(done)
}

/// The bytes of the manifest, once they were understood.
fn read_manifest(archive: &Path) -> Result<Option<Vec<u8>>> {
    let Some(known) = Manifest::read(archive)? else { return Ok(None) };
    let path = archive.join(manifest::FILE_NAME);
    if let Some(intent) = known.intents().first() {
        let source = std::io::Error::other(format!(
            "it names something that is not finished ({intent:?}): finish it first"
        ));
        return Err(Error::io(path, "copy an archive by", source));
    }
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|error| Error::io(path, "read", error))?;
    Ok(Some(bytes))
}

/// Locks a destination. Whatever else than an unfinished copy is in it is left alone.
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
            // Another process may have finished its copy, and removed the file, just now.
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
    let source = std::io::Error::other("it was removed or replaced meanwhile");
    Err(Error::io(mark, "go on with the copy under", source))
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

/// A column as one view shows it.
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

    /// The files without the conf, flushed.
    fn copy_files(
        &self,
        target: &ColumnDir,
        advance: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<CopiedColumn> {
        target.create_dirs(&mut Vec::new())?;
        // Confs come last: what an earlier call has left may be one of another moment.
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
                let source = std::io::Error::other("it was replaced meanwhile; start again");
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

    /// The checksums of those records, where any are kept.
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

/// Copies the first `bound` bytes of a data file and flushes them. Returns how many were there already.
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

/// Writes a file as a whole and flushes it.
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
