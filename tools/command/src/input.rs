//! Input from a file or standard input.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file, or standard input unbuffered: if it is redirected from a file, it is read like one.
#[derive(Debug)]
pub(crate) struct Input {
    file: File,
    /// `None` for standard input.
    path: Option<PathBuf>,
}

impl Input {
    /// Opens the file; `-` or `None` is standard input.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let path = path.filter(|path| *path != Path::new("-"));
        let file = match path {
            Some(path) => {
                File::open(path).with_context(|| format!("{}: cannot open", path.display()))?
            }
            None => {
                let stdin = io::stdin().as_fd().try_clone_to_owned();
                File::from(stdin.context("cannot open standard input")?)
            }
        };
        Ok(Self { file, path: path.map(Path::to_path_buf) })
    }

    /// Number of bytes left, if known; unknown for a pipe.
    pub(crate) fn byte_len(&mut self) -> Option<u64> {
        let metadata = self.file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let position = self.file.stream_position().ok()?;
        Some(metadata.len().saturating_sub(position))
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).map_err(|error| {
            let message = match &self.path {
                Some(path) => format!("{}: cannot read: {error}", path.display()),
                None => format!("cannot read standard input: {error}"),
            };
            io::Error::new(error.kind(), message)
        })
    }
}
