//! Spools large values to files until they have arrived whole.
//!
//! # Why not directly into the data file
//! The records of a column are contiguous, and only the last can grow. A value written in place would
//! occupy the end of the file, and the column's writer, for as long as its sender takes; an aborted one
//! would have to be healed away. From a spool file the writer copies at the speed of the disk, mostly
//! from the page cache: the data is recent, and a file removed before writeback costs no I/O.
//!
//! The files are unnamed and in the archive's directory, so that a full disk is noticed there.

use std::fs::File;
use std::io::{self, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::block_in_place;

use crate::disk;

/// Maximum number of spool files; further large values wait. This bounds the disk space, since a file
/// is no longer than the column's bound on values.
const MAX_SPOOLS: usize = 8;

/// The spool files. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Spools {
    directory: PathBuf,
    free: Arc<Semaphore>,
    bytes: Arc<AtomicU64>,
}

/// A value being received into a file.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    spools: Spools,
    byte_len: u64,
    _place: OwnedSemaphorePermit,
}

impl Spools {
    pub(super) fn new(directory: &Path) -> Self {
        let (free, bytes) = (Arc::new(Semaphore::new(MAX_SPOOLS)), Arc::default());
        Self { directory: directory.to_owned(), free, bytes }
    }

    /// Bytes in all spool files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits for a free place, and opens a spool file that begins with these bytes.
    pub(super) async fn open(&self, bytes: &[u8]) -> coldstore::Result<Spool> {
        // The semaphore is never closed.
        let place = Arc::clone(&self.free).acquire_owned().await;
        let place = place.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe));
        let opened = block_in_place(|| Ok((disk::unnamed_file(&self.directory)?, place?)));
        let (file, place) = opened.map_err(|error| self.failed(error))?;
        let mut spool = Spool { file, spools: self.clone(), byte_len: 0, _place: place };
        spool.write(bytes)?;
        Ok(spool)
    }

    fn failed(&self, error: io::Error) -> coldstore::Error {
        coldstore::Error::io(&self.directory, "spool an upload in", error)
    }
}

impl Spool {
    pub(super) fn byte_len(&self) -> u64 {
        self.byte_len
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> coldstore::Result<()> {
        block_in_place(|| self.file.write_all(bytes)).map_err(|error| self.spools.failed(error))?;
        self.byte_len += bytes.len() as u64;
        self.spools.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Rewinds the file for reading.
    pub(super) fn start_reading(&mut self) -> coldstore::Result<()> {
        self.file.rewind().map_err(|error| self.spools.failed(error))
    }
}

impl io::Read for Spool {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl io::Seek for Spool {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.spools.bytes.fetch_sub(self.byte_len, Ordering::Relaxed);
    }
}
