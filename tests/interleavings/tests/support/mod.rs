//! Shared by the tests: schedulers, a disk that yields to other threads at every step, columns.
#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(unsafe_code, reason = "opening a reader maps files")]

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use coldstore_interleavings::files::disk::{Access, Disk, DiskFile, LockAttempt, OsDisk};
use coldstore_interleavings::{
    ColumnSpec, Compression, MappedReader, Reader, ReaderOptions, View, Writer, WriterOptions,
};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};
use tempfile::TempDir;

const SEED: u64 = 20_301_126;

/// Runs `test` under `INTERLEAVINGS` (default 100) random schedules, and as many with few preemptions
/// at adversarial places. Shuttle prints a failing schedule, which `shuttle::replay` runs again.
pub(crate) fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    let count = std::env::var("INTERLEAVINGS").ok().and_then(|count| count.parse().ok());
    let count = count.unwrap_or(100);
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    let random = RandomScheduler::new_from_seed(SEED, count);
    Runner::new(random, config.clone()).run(test.clone());
    Runner::new(PctScheduler::new_from_seed(SEED, 3, count), config).run(test);
}

pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("coldstore-interleavings-").tempdir_in(parent).unwrap()
}

pub(crate) fn writer(directory: &Path, disk: Steps) -> Writer {
    let spec =
        ColumnSpec { record_type: [4, 0], compression: Compression::None, max_value_bytes: 64 };
    let options = WriterOptions::create(spec).allow_backfill(true);
    Writer::open_on(Arc::new(disk), directory, options).unwrap()
}

pub(crate) fn reader(directory: &Path) -> MappedReader {
    // SAFETY: the directory is the test's own, and only writers change what is in it.
    unsafe { Reader::open_mapped(directory, ReaderOptions::default()) }.unwrap()
}

pub(crate) fn highest(view: &View) -> u64 {
    view.highest_written_slot().map_or(0, |slot| slot.0)
}

/// The system's disk, which lets other threads run before each step and can fail one write.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// Yields before renames only: fewer steps, so more of their orders are tried.
    pub(crate) only_commits: bool,
    /// Several threads flush the files of a commit.
    pub(crate) flushes_at_once: bool,
    /// The number of writes that succeed before all fail.
    pub(crate) fails_after: Option<Arc<std::sync::atomic::AtomicU64>>,
}

#[derive(Debug)]
struct StepFile {
    file: Box<dyn DiskFile>,
    only_commits: bool,
    fails_after: Option<Arc<std::sync::atomic::AtomicU64>>,
}

fn step(is_one: bool) {
    if is_one {
        shuttle::thread::yield_now();
    }
}

impl Disk for Steps {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        step(!self.only_commits);
        let file = OsDisk.open(path, access)?;
        Ok(Box::new(StepFile {
            file,
            only_commits: self.only_commits,
            fails_after: self.fails_after.clone(),
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        step(!self.only_commits);
        OsDisk.list(directory)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        step(true);
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        step(!self.only_commits);
        OsDisk.remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        OsDisk.sync_dir(directory)
    }

    fn flushes_at_once(&self) -> bool {
        self.flushes_at_once
    }

    fn lock(&self, path: &Path) -> io::Result<LockAttempt> {
        OsDisk.lock(path)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<LockAttempt>> {
        OsDisk.lock_shared(path)
    }
}

impl DiskFile for StepFile {
    fn byte_len(&self) -> io::Result<u64> {
        self.file.byte_len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        step(!self.only_commits);
        if let Some(left) = &self.fails_after {
            let order = std::sync::atomic::Ordering::SeqCst;
            if left.fetch_update(order, order, |left| left.checked_sub(1)).is_err() {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        self.file.write_at(buffers, offset)
    }

    fn set_len(&mut self, byte_len: u64) -> io::Result<()> {
        step(!self.only_commits);
        self.file.set_len(byte_len)
    }

    fn sync(&mut self) -> io::Result<()> {
        step(!self.only_commits);
        self.file.sync()
    }
}

/// Whether a writer holds the column.
pub(crate) fn is_locked(directory: &Path) -> bool {
    matches!(
        coldstore_interleavings::inspect(directory),
        Err(coldstore_interleavings::Error::AlreadyOpen { .. })
    )
}
