//! Output files that appear complete or not at all, and are never overwritten.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IntoInnerError, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use coldstore_history::atomic_file::AtomicFile;
use rustix::fs::{Mode, OFlags};

const BUFFER_BYTES: usize = 1 << 20;
/// Mode of an output file, readable by others, before the umask.
const MODE: u32 = 0o644;

/// The outcome for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Written, and durable.
    Written,
    /// A file with the same bytes already existed.
    Present,
}

/// A file in progress: new, or compared with the existing one.
#[derive(Debug)]
pub(crate) enum OutFile {
    New(NewFile),
    Same(SameFile),
}

#[derive(Debug)]
pub(crate) struct NewFile {
    file: BufWriter<AtomicFile>,
    path: PathBuf,
}

/// An existing file, compared with the bytes "written" to it.
#[derive(Debug)]
pub(crate) struct SameFile {
    file: BufReader<File>,
    path: PathBuf,
    position: u64,
}

/// The existing file differs from the one to be written.
#[derive(Debug)]
struct Differs {
    path: PathBuf,
    at: u64,
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, at } = self;
        write!(f, "{}: the existing file differs from byte {at} on, and was kept", path.display())
    }
}

impl std::error::Error for Differs {}

impl OutFile {
    /// Begins a file, and removes the leftover of an interrupted attempt.
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        let named = || format!("{}: cannot write", path.display());
        if let Some(file) = open_existing(path).with_context(named)? {
            let file = BufReader::with_capacity(BUFFER_BYTES, file);
            return Ok(Self::Same(SameFile { file, path: path.to_owned(), position: 0 }));
        }
        let mut tmp = path.as_os_str().to_owned();
        tmp.push(".tmp");
        let file = AtomicFile::create(path.to_owned(), tmp.into(), MODE).with_context(named)?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Self::New(NewFile { file, path: path.to_owned() }))
    }

    /// Publishes the new file durably, or compares the length with that of the existing one.
    pub(crate) fn finish(self) -> Result<Outcome> {
        match self {
            Self::New(NewFile { file, path }) => {
                let file = file.into_inner().map_err(IntoInnerError::into_error);
                let published = file.and_then(AtomicFile::publish);
                published.with_context(|| format!("{}: cannot write", path.display()))?;
                Ok(Outcome::Written)
            }
            Self::Same(file) => {
                let there = file.file.get_ref().metadata();
                let byte_len = there.map_err(|error| named(&file.path, "look at", &error))?.len();
                ensure!(byte_len == file.position, Differs { path: file.path, at: file.position });
                Ok(Outcome::Present)
            }
        }
    }
}

/// An error with path and call. The record writer passes nothing else on.
fn named(path: &Path, operation: &str, error: &io::Error) -> io::Error {
    let message = format!("{}: cannot {operation}: {error}", path.display());
    io::Error::new(error.kind(), message)
}

/// Opens the regular file of this name, if it exists.
fn open_existing(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.is_file() {
        return Ok(Some(file));
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

impl Write for SameFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut there = vec![0; bytes.len().min(BUFFER_BYTES)];
        let read = self.file.read(&mut there);
        let count = read.map_err(|error| named(&self.path, "compare with", &error))?;
        let same = bytes.iter().zip(&there[..count]).take_while(|(a, b)| a == b).count();
        if same < count || (count == 0 && !bytes.is_empty()) {
            let at = self.position + same as u64;
            return Err(io::Error::other(Differs { path: self.path.clone(), at }));
        }
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::New(NewFile { file, path, .. }) => {
                file.write(bytes).map_err(|error| named(path, "write", &error))
            }
            Self::Same(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::New(NewFile { file, path, .. }) => {
                file.flush().map_err(|error| named(path, "write", &error))
            }
            Self::Same(_) => Ok(()),
        }
    }
}

impl Seek for OutFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::New(NewFile { file, path, .. }) => {
                file.seek(to).map_err(|error| named(path, "write", &error))
            }
            Self::Same(file) => {
                let sought = file.file.seek(to);
                file.position =
                    sought.map_err(|error| named(&file.path, "compare with", &error))?;
                Ok(file.position)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn written(path: &Path, bytes: &[u8]) -> Result<Outcome> {
        let mut file = OutFile::begin(path)?;
        // Like a record writer that writes a length last.
        file.seek(SeekFrom::Current(4))?;
        file.write_all(bytes.get(4..).unwrap_or_default())?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&bytes[..4])?;
        file.seek(SeekFrom::Start(bytes.len() as u64))?;
        file.finish()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_written_once_and_then_only_compared() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        assert_eq!(written(&path, &bytes).unwrap(), Outcome::Written);
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(written(&path, &bytes).unwrap(), Outcome::Present);
        for at in [0, 3, 4, 2_000_000, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            let error = written(&path, &other).unwrap_err().to_string();
            assert!(error.contains(&format!("from byte {at} on")), "{error}");
        }
        for other in [&bytes[..1000], &[&bytes[..], b"more"].concat()] {
            let error = written(&path, other).unwrap_err().to_string();
            let at = other.len().min(bytes.len());
            assert!(error.contains(&format!("from byte {at} on")), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(names(directory.path()), ["a"]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "this is not a file of a column")]
    fn an_unfinished_file_is_removed_and_leftovers_are_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut file = OutFile::begin(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(names(directory.path()), Vec::<String>::new());
        fs::write(directory.path().join("a.tmp"), "of a crash").unwrap();
        assert_eq!(written(&path, b"whole").unwrap(), Outcome::Written);
        assert_eq!(names(directory.path()), ["a"]);
        assert!(OutFile::begin(directory.path()).is_err(), "a directory is not a file");
        // Two processes at once: the later one gets the name.
        let other = directory.path().join("b");
        let (first, mut second) =
            (OutFile::begin(&other).unwrap(), OutFile::begin(&other).unwrap());
        second.write_all(b"second").unwrap();
        assert!(format!("{:#}", first.finish().unwrap_err()).contains("another process"));
        assert_eq!(second.finish().unwrap(), Outcome::Written);
        assert_eq!(fs::read(&other).unwrap(), b"second");
    }
}
