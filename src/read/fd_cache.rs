//! A cache of open files.

use std::fs::File;

use crate::error::Result;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum number of open files in a cache. File descriptors are scarce, and opening a file costs a
/// hundredth of a read from the medium.
const MAX_FILES: usize = 32;

/// The most recently used files, in order of use, the latest last.
#[derive(Debug)]
pub(super) struct FdCache<K>(Mutex<Vec<(K, Arc<File>)>>);

impl<K> Default for FdCache<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + PartialEq> FdCache<K> {
    pub(super) fn get(&self, key: K) -> Option<Arc<File>> {
        let mut files = self.files();
        let at = files.iter().rposition(|(held, _)| *held == key)?;
        files[at..].rotate_left(1);
        files.last().map(|(_, file)| Arc::clone(file))
    }

    /// Returns the cached file of a key, or opens it with `open`.
    pub(super) fn get_or_open(
        &self,
        key: K,
        open: impl FnOnce() -> Result<Option<File>>,
    ) -> Result<Option<Arc<File>>> {
        if let Some(file) = self.get(key) {
            return Ok(Some(file));
        }
        Ok(open()?.map(|file| self.put(key, file)))
    }

    /// Inserts a file, replacing the one cached for this key.
    pub(super) fn put(&self, key: K, file: File) -> Arc<File> {
        let file = Arc::new(file);
        self.remove(key);
        let mut files = self.files();
        if files.len() >= MAX_FILES {
            files.remove(0);
        }
        files.push((key, Arc::clone(&file)));
        file
    }

    /// Removes the file of a key. Returns whether there was one.
    pub(super) fn remove(&self, key: K) -> bool {
        let mut files = self.files();
        let before = files.len();
        files.retain(|(held, _)| *held != key);
        files.len() < before
    }

    fn files(&self) -> MutexGuard<'_, Vec<(K, Arc<File>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
