//! Directories of tests.

use std::path::PathBuf;

use tempfile::TempDir;

/// A directory in memory where there is one, since every commit flushes several times.
///
/// A process killed with -9 leaves the page cache as it is, on tmpfs as on a disk. What flushes are for
/// is the matter of the crash tests, which replace the disk. `COLDSTORE_TEST_DIR` names another place.
pub fn scratch() -> TempDir {
    let chosen = std::env::var_os("COLDSTORE_TEST_DIR").map(PathBuf::from);
    let parent = chosen
        .or_else(|| Some(PathBuf::from("/dev/shm")).filter(|memory| memory.is_dir()))
        .unwrap_or_else(std::env::temp_dir);
    tempfile::Builder::new().prefix("coldstore-test-").tempdir_in(parent).unwrap()
}
