//! A medium on which some bytes of a file cannot be read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use coldstore::files::pread::Pread;

/// The unit of the page cache.
const PAGE: u64 = 4096;

/// A medium on which some bytes of a file cannot be read.
#[derive(Debug)]
pub struct BadSectors {
    pub name: &'static str,
    pub bytes: Range<u64>,
    pub error: i32,
}

impl Pread for BadSectors {
    /// As the system: returns the bytes before the bad pages, then fails.
    fn pread(&self, path: &Path, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut byte_len = buffer.len();
        let (start, end) = (self.bytes.start / PAGE * PAGE, self.bytes.end);
        let end = end.checked_next_multiple_of(PAGE).unwrap_or(end);
        if path.ends_with(self.name) && offset < end {
            let before = usize::try_from(start.saturating_sub(offset)).unwrap();
            if before == 0 {
                return Err(io::Error::from_raw_os_error(self.error));
            }
            byte_len = byte_len.min(before);
        }
        file.read_at(&mut buffer[..byte_len], offset)
    }
}
