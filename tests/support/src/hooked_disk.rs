//! The real disk with a hook before each change.

use std::ops::Range;

use coldstore::files::disk::Lock;

use super::*;

/// What a [`HookedDisk`] is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Creates a file.
    Create(&'a Path),
    CreateDir(&'a Path),
    Link {
        file: &'a Path,
        name: &'a Path,
    },
    Exchange {
        one: &'a Path,
        other: &'a Path,
    },
    Rename {
        from: &'a Path,
        to: &'a Path,
    },
    Remove(&'a Path),
    Write(&'a Path),
    SetLen(&'a Path),
    /// Asks for the allocated space of a file, which changes nothing.
    Allocated(&'a Path),
}

/// The real disk. Calls its hook before each change and before it looks for holes; an error of the hook is
/// the outcome of the operation, which is then not done.
#[derive(Clone)]
pub struct HookedDisk(Arc<Hook>);

type Hook = dyn Fn(Operation<'_>) -> io::Result<()> + Send + Sync;

impl HookedDisk {
    pub fn shared(
        hook: impl Fn(Operation<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<dyn Disk> {
        Arc::new(HookedDisk(Arc::new(hook)))
    }
}

impl std::fmt::Debug for HookedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookedDisk")
    }
}

impl Disk for HookedDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        if access == Access::CreateNew {
            (self.0)(Operation::Create(path))?;
        }
        let inner = OsDisk.open(path, access)?;
        Ok(Box::new(HookedFile { disk: self.clone(), path: path.to_owned(), inner }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(directory)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        (self.0)(Operation::CreateDir(path))?;
        OsDisk.create_dir(path)
    }

    fn create_dir_like(&self, path: &Path, model: &Path) -> io::Result<()> {
        (self.0)(Operation::CreateDir(path))?;
        OsDisk.create_dir_like(path, model)
    }

    fn resolve(&self, directory: &Path) -> io::Result<PathBuf> {
        OsDisk.resolve(directory)
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        (self.0)(Operation::Link { file, name })?;
        OsDisk.link(file, name)
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        (self.0)(Operation::Exchange { one, other })?;
        OsDisk.exchange(one, other)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)(Operation::Rename { from, to })?;
        OsDisk.rename(from, to)
    }

    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)(Operation::Rename { from, to })?;
        OsDisk.rename_dir(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.0)(Operation::Remove(path))?;
        OsDisk.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        (self.0)(Operation::Remove(path))?;
        OsDisk.remove_dir(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        OsDisk.sync_dir(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<LockAttempt> {
        OsDisk.lock(path)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<LockAttempt>> {
        OsDisk.lock_shared(path)
    }

    fn lock_directory(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        OsDisk.lock_directory(path)
    }

    fn read_whole(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        OsDisk.read_whole(path, limit)
    }
}

#[derive(Debug)]
struct HookedFile {
    disk: HookedDisk,
    path: PathBuf,
    inner: Box<dyn DiskFile>,
}

impl DiskFile for HookedFile {
    fn byte_len(&self) -> io::Result<u64> {
        self.inner.byte_len()
    }

    fn names(&self) -> io::Result<u64> {
        self.inner.names()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        (self.disk.0)(Operation::Write(&self.path))?;
        self.inner.write_at(buffers, offset)
    }

    fn begin_flush(&mut self, bytes: Range<u64>) {
        self.inner.begin_flush(bytes);
    }

    fn set_len(&mut self, byte_len: u64) -> io::Result<()> {
        (self.disk.0)(Operation::SetLen(&self.path))?;
        self.inner.set_len(byte_len)
    }

    fn allocated(&self) -> io::Result<u64> {
        (self.disk.0)(Operation::Allocated(&self.path))?;
        self.inner.allocated()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.inner.sync()
    }
}
