//! Bytes that come in from a file or from standard input.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};

/// A file, or standard input: of that nothing is buffered, so a file that it was redirected from
/// is read like any other.
#[derive(Debug)]
pub(crate) struct Input(File);

impl Input {
    /// `-` and nothing are standard input.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let file = match path {
            Some(path) if path != Path::new("-") => {
                File::open(path).with_context(|| format!("{}: cannot open", path.display()))?
            }
            _ => {
                let stdin = io::stdin().as_fd().try_clone_to_owned();
                File::from(stdin.context("cannot open standard input")?)
            }
        };
        Ok(Self(file))
    }

    /// How many bytes there are to read, where that is known: not of a pipe.
    pub(crate) fn byte_len(&mut self) -> Option<u64> {
        let metadata = self.0.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let position = self.0.stream_position().ok()?;
        Some(metadata.len().saturating_sub(position))
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}
