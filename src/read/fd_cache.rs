//! A cache of open files.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;

use crate::files::directory::FileStatus;
use crate::files::pread::{Advice, advise, readahead_requests};
use crate::format::names::SlotFile;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum number of open files in a cache. File descriptors are scarce, and opening a file costs a
/// hundredth of a read from the medium.
const MAX_FILES: usize = 64;

/// A file of a column, open for `pread`.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) status: FileStatus,
}

impl OpenFile {
    /// Prefetches exactly these bytes in the background.
    pub(super) fn prefetch(&self, bytes: Range<u64>) {
        for request in readahead_requests(bytes) {
            advise(&self.file, request, Advice::WillNeed);
        }
    }
}

/// The most recently used files of a column, in order of use, the latest last.
#[derive(Debug, Default)]
pub(super) struct FdCache(Mutex<Vec<(SlotFile, Arc<OpenFile>)>>);

impl FdCache {
    pub(super) fn get(&self, name: SlotFile) -> Option<Arc<OpenFile>> {
        let mut files = self.files();
        let at = files.iter().rposition(|(held, _)| *held == name)?;
        files[at..].rotate_left(1);
        files.last().map(|(_, file)| Arc::clone(file))
    }

    /// Inserts a file, replacing the one cached under this name.
    pub(super) fn put(&self, name: SlotFile, file: OpenFile) -> Arc<OpenFile> {
        // Point reads need no readahead.
        advise(&file.file, 0..u64::MAX, Advice::Random);
        let file = Arc::new(file);
        self.remove(name);
        let mut files = self.files();
        if files.len() >= MAX_FILES {
            files.remove(0);
        }
        files.push((name, Arc::clone(&file)));
        file
    }

    /// Removes a file. Returns whether it was cached.
    pub(super) fn remove(&self, name: SlotFile) -> bool {
        let mut files = self.files();
        let before = files.len();
        files.retain(|(held, _)| *held != name);
        files.len() < before
    }

    fn files(&self) -> MutexGuard<'_, Vec<(SlotFile, Arc<OpenFile>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
