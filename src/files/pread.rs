//! Reads files with `pread`, without mapping them, so that a medium error is an error of a call, with its
//! offset, and not a signal.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::corruption::data_file_too_short;

/// The interface for reading open files. Tests replace [`OsPread`] with a medium that has bad sectors.
pub trait Pread: fmt::Debug + Send + Sync {
    /// Reads at most `buffer.len()` bytes of the file, opened at `path`, from `offset` on; 0 only at
    /// the end of the file.
    ///
    /// # Errors
    /// As `pread(2)`.
    fn pread(&self, path: &Path, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// As [`Self::pread`], into two buffers, one after the other. May fill the first alone.
    ///
    /// # Errors
    /// As `preadv(2)`.
    fn preadv(
        &self,
        path: &Path,
        file: &File,
        [first, second]: [&mut [u8]; 2],
        offset: u64,
    ) -> io::Result<usize> {
        self.pread(path, file, if first.is_empty() { second } else { first }, offset)
    }
}

/// The operating system's `pread`.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsPread;

impl Pread for OsPread {
    fn pread(&self, _: &Path, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(buffer, offset)
    }

    fn preadv(
        &self,
        _: &Path,
        file: &File,
        [first, second]: [&mut [u8]; 2],
        offset: u64,
    ) -> io::Result<usize> {
        let mut buffers = [IoSliceMut::new(first), IoSliceMut::new(second)];
        Ok(rustix::io::preadv(file, &mut buffers, offset)?)
    }
}

/// Reads at least `least` bytes from `offset` into two buffers, one after the other. Returns how many.
pub(crate) fn read_exact(
    pread: &dyn Pread,
    (path, file): (&Path, &File),
    offset: u64,
    (first, second): (&mut [u8], &mut [u8]),
    least: usize,
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < least {
        let split = filled.min(first.len());
        let buffers = [&mut first[split..], &mut second[filled - split..]];
        match pread.preadv(path, file, buffers, offset.saturating_add(filled as u64)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Advice to the kernel about a file; only Linux takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Advice {
    Random,
    WillNeed,
}

/// Advises the kernel on these bytes of a file. Errors are only logged, since reads do not depend on advice.
pub(crate) fn advise(file: &File, bytes: Range<u64>, advice: Advice) {
    #[cfg(target_os = "linux")]
    {
        let advice = match advice {
            Advice::Random => rustix::fs::Advice::Random,
            Advice::WillNeed => rustix::fs::Advice::WillNeed,
        };
        let byte_len = Some(bytes.end - bytes.start).filter(|_| bytes.end != u64::MAX);
        let byte_len = byte_len.and_then(std::num::NonZeroU64::new);
        if let Err(error) = rustix::fs::fadvise(file, bytes.start, byte_len, advice) {
            tracing::debug!(%error, "advice on a file was refused");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, bytes, advice);
}

/// Bytes of one request for readahead. The kernel cuts a longer one at its readahead setting, which
/// is 128 KiB by default.
const REQUEST_BYTES: u32 = 128 << 10;

/// Cuts bytes into requests for readahead.
pub(crate) fn readahead_requests(bytes: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let starts = (bytes.start..bytes.end).step_by(REQUEST_BYTES as usize);
    starts.map(move |start| start..start.saturating_add(REQUEST_BYTES.into()).min(bytes.end))
}

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Bytes that are read at a time after a larger read failed: the unit of the page cache. Unreadable
/// parts are located with this granularity.
const PROBE_BYTES: u64 = 4096;

/// Bytes that cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) bytes: Range<u64>,
    /// The error of the first call that failed there.
    pub(crate) error: Error,
}

/// A file that is read up to a bound, through a window that follows the requested offsets.
#[derive(Debug)]
pub(crate) struct PreadFile {
    pread: Arc<dyn Pread>,
    path: PathBuf,
    file: File,
    bound: u64,
    /// File offset of the window.
    start: u64,
    window: Vec<u8>,
    /// Ascending and not adjacent.
    unreadable: Vec<Unreadable>,
    /// Reads from this offset on are not attempted: the file as a whole fails.
    lost_from: u64,
}

impl PreadFile {
    pub(crate) fn new(pread: Arc<dyn Pread>, path: PathBuf, file: File, bound: u64) -> Self {
        let (window, unreadable) = (Vec::new(), Vec::new());
        Self { pread, path, file, bound, start: 0, window, unreadable, lost_from: u64::MAX }
    }

    /// The unreadable parts found so far, in no particular order.
    pub(crate) fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// The error that made the bytes at an offset unreadable.
    pub(crate) fn unreadable_error(&self, offset: u64) -> Error {
        let of_place = self.unreadable.iter().find(|bad| bad.bytes.end > offset);
        of_place.or(self.unreadable.last()).map_or_else(
            || Error::io(self.path.clone(), "read", io::ErrorKind::Other.into()),
            |bad| bad.error.clone(),
        )
    }

    /// Reads everything up to the bound. Unreadable parts are zeros, and listed.
    ///
    /// # Errors
    /// As [`Self::piece`].
    pub(crate) fn read_all(mut self) -> Result<(Vec<u8>, Vec<Unreadable>)> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < self.bound {
            match self.piece(bytes.len() as u64, self.bound)? {
                Ok(piece) => bytes.extend_from_slice(piece),
                Err(end) => bytes.resize(usize::try_from(end).unwrap_or(usize::MAX), 0),
            }
        }
        Ok((bytes, self.unreadable))
    }

    /// Reads some bytes from `offset`, up to `end` and the bound at most. The inner `Err` has the offset at
    /// which an unreadable part ends.
    ///
    /// # Errors
    /// The outer error: [`Error::Corrupt`] if the file ends before its bound.
    pub(crate) fn piece(&mut self, offset: u64, end: u64) -> Result<Result<&[u8], u64>> {
        let end = end.min(self.bound).max(offset);
        if end == offset {
            return Ok(Ok(&[]));
        }
        if !self.window_bytes().contains(&offset) && self.bad_end(offset).is_none() {
            self.fill(offset)?;
        }
        if let Some(bad_end) = self.bad_end(offset) {
            return Ok(Err(bad_end.min(end)));
        }
        let next_bad = self.unreadable.iter().map(|bad| bad.bytes.start).filter(|at| *at > offset);
        let end = next_bad.fold(end.min(self.window_bytes().end), u64::min);
        let place = |at: u64| usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(Ok(self.window.get(place(offset)..place(end)).unwrap_or_default()))
    }

    /// Appends bytes of the file, all below the bound, to a buffer.
    ///
    /// # Errors
    /// As [`Self::piece`]; the error of the system if a part is unreadable.
    pub(crate) fn append_to(&mut self, buffer: &mut Vec<u8>, bytes: Range<u64>) -> Result<()> {
        let mut at = bytes.start;
        while at < bytes.end {
            match self.piece(at, bytes.end)? {
                Ok(piece) => {
                    buffer.extend_from_slice(piece);
                    at = at.saturating_add(piece.len() as u64);
                }
                Err(_) => return Err(self.unreadable_error(at)),
            }
        }
        Ok(())
    }

    /// Reads `N` bytes at `offset`, all below the bound; `None` if some of them are unreadable.
    ///
    /// # Errors
    /// As [`Self::piece`].
    pub(crate) fn array<const N: usize>(&mut self, offset: u64) -> Result<Option<[u8; N]>> {
        let mut bytes = [0; N];
        let (mut filled, end) = (0, offset.saturating_add(N as u64));
        while filled < N {
            match self.piece(offset.saturating_add(filled as u64), end)? {
                Ok([]) | Err(_) => return Ok(None),
                Ok(piece) => {
                    bytes[filled..filled + piece.len()].copy_from_slice(piece);
                    filled += piece.len();
                }
            }
        }
        Ok(Some(bytes))
    }

    /// The offset of the next allocated bytes at or after `offset`. The bytes before it are a hole, which
    /// reads as zeros.
    #[cfg(target_os = "linux")]
    pub(crate) fn next_data(&self, offset: u64) -> u64 {
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(next) => next,
            Err(rustix::io::Errno::NXIO) => u64::MAX,
            Err(_) => offset,
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn next_data(&self, offset: u64) -> u64 {
        offset
    }

    fn window_bytes(&self) -> Range<u64> {
        self.start..self.start.saturating_add(self.window.len() as u64)
    }

    fn bad_end(&self, offset: u64) -> Option<u64> {
        self.unreadable.iter().find(|bad| bad.bytes.contains(&offset)).map(|bad| bad.bytes.end)
    }

    /// Moves the window to `offset`.
    fn fill(&mut self, offset: u64) -> Result<()> {
        let byte_len = usize::try_from(self.bound - offset).unwrap_or(usize::MAX).min(PIECE_BYTES);
        self.start = offset;
        self.window.clear();
        self.window.resize(byte_len, 0);
        let mut at = offset;
        let end = offset.saturating_add(byte_len as u64);
        while at < end {
            at = match self.read(at, end) {
                Ok(0) => {
                    self.window.clear();
                    return Err(data_file_too_short(self.path.clone(), at, self.bound));
                }
                Ok(count) => at.saturating_add(count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => at,
                Err(error) => self.probe(at, end, error)?,
            };
        }
        Ok(())
    }

    /// Reads some of the bytes from `at` to `end`, both in the window.
    fn read(&mut self, at: u64, end: u64) -> io::Result<usize> {
        if at >= self.lost_from {
            return Err(io::ErrorKind::Other.into());
        }
        let place = |at: u64| usize::try_from(at - self.start).unwrap_or(usize::MAX);
        let buffer = self.window.get_mut(place(at)..place(end)).unwrap_or_default();
        self.pread.pread(&self.path, &self.file, buffer, at)
    }

    /// Handles a failed read from `at`: reads the next block alone, and records it if it is unreadable.
    /// Returns the offset at which to resume.
    fn probe(&mut self, at: u64, end: u64, error: io::Error) -> Result<u64> {
        if !is_of_a_place(&error) {
            self.lost_from = self.lost_from.min(at);
            self.lose(at..self.bound, error);
            return Ok(end);
        }
        let block_end = (at / PROBE_BYTES).saturating_add(1).saturating_mul(PROBE_BYTES).min(end);
        loop {
            return match self.read(at, block_end) {
                Ok(0) => Err(data_file_too_short(self.path.clone(), at, self.bound)),
                Ok(count) => Ok(at.saturating_add(count as u64)),
                Err(again) if again.kind() == io::ErrorKind::Interrupted => continue,
                Err(again) => {
                    self.lose(at..block_end, again);
                    Ok(block_end)
                }
            };
        }
    }

    fn lose(&mut self, bytes: Range<u64>, error: io::Error) {
        if let Some(before) = self.unreadable.iter_mut().find(|bad| bad.bytes.end == bytes.start) {
            before.bytes.end = bytes.end;
            return;
        }
        let error = Error::io(self.path.clone(), "read", error);
        self.unreadable.push(Unreadable { bytes, error });
    }
}

/// Whether an error is local to the offset: a bad sector, or a block whose checksum is wrong according to
/// the file system or the device. Other errors affect the whole file or process.
fn is_of_a_place(error: &io::Error) -> bool {
    const OF_A_PLACE: [i32; 6] =
        [libc::EIO, libc::ENODATA, libc::EILSEQ, libc::EBADMSG, libc::EUCLEAN, libc::EREMOTEIO];
    error.raw_os_error().is_some_and(|code| OF_A_PLACE.contains(&code))
}

/// Whether a call failed because the process lacks a resource, so that the next file would fail too.
#[must_use]
pub fn is_of_the_process(error: &io::Error) -> bool {
    const OF_THE_PROCESS: [i32; 3] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| OF_THE_PROCESS.contains(&code))
}
