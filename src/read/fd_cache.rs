//! A cache of open files.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Result;

/// Maximum number of open files in a cache. Processes have few descriptors to give, and opening a
/// file costs a hundredth of a read from the medium.
const MAX_FILES: usize = 32;

/// The files used last, the latest at the end.
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

    /// The file that was opened for a key, or the one that `open` opens now.
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

    /// Puts in a file in place of the one that was opened for this key before.
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

    /// True when a file was open.
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
