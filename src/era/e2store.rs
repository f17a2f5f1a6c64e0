//! Reads e2store records without mapping the file.
//!
//! Every length is checked against the file's length before it is used. If the disk of an operator's file
//! disappears, a read returns an error, where a mapping would raise a signal.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};
use crate::format::record::{HEADER_BYTES, RecordHeader};

/// The types of records in `.era` files (e2store-format-specs, `formats/era.md`).
pub(super) mod record_type {
    /// Starts every file and every group.
    pub(crate) const VERSION: [u8; 2] = [0x65, 0x32];
    /// Snappy frames of an SSZ `SignedBeaconBlock`.
    pub(crate) const BLOCK: [u8; 2] = [0x01, 0x00];
    /// Snappy frames of an SSZ `BeaconState`.
    pub(crate) const STATE: [u8; 2] = [0x02, 0x00];
    /// The offsets of a group's records, by slot.
    pub(crate) const SLOT_INDEX: [u8; 2] = [0x69, 0x32];
}

/// Block records are some 100 KiB long: one read serves the end of one and the start of the next.
const BUFFER_BYTES: usize = 256 * 1024;

/// The location of a record, which lay within the file when its header was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordAt {
    /// The e2store type.
    pub record_type: [u8; 2],
    /// Where the header starts, in bytes from the start of the file.
    pub offset: u64,
    /// Bytes of payload after the header.
    pub payload_len: u32,
}

impl RecordAt {
    /// The offset of the payload.
    #[must_use]
    pub const fn payload_offset(&self) -> u64 {
        self.offset.saturating_add(HEADER_BYTES)
    }

    /// The offset of the first byte after the record.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.payload_offset().saturating_add(self.payload_len as u64)
    }
}

/// A file of e2store records. Clones read the same open file, each with a buffer of its own.
#[derive(Debug)]
pub(super) struct RecordFile {
    source: Arc<Source>,
    /// Bytes of the file from `buffer_offset` on.
    buffer: Vec<u8>,
    buffer_offset: u64,
    /// The file's length in bytes when it was opened.
    pub(super) byte_len: u64,
    /// The file's name, for errors.
    pub(super) path: PathBuf,
}

#[derive(Debug)]
enum Source {
    File(File),
    Bytes(Vec<u8>),
}

impl RecordFile {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        // NONBLOCK, so that opening a named pipe does not hang.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut file = rustix::io::retry_on_intr(|| rustix::fs::open(&path, flags, Mode::empty()))
            .map(File::from)
            .map_err(|source| Error::io(&path, "open", source.into()))?;
        let byte_len =
            file.seek(SeekFrom::End(0)).map_err(|error| Error::io(&path, "seek", error))?;
        Ok(Self::new(Source::File(file), byte_len, path))
    }

    /// Reads records from memory; `path` is their name in errors.
    pub(super) fn of_bytes(bytes: Vec<u8>, path: PathBuf) -> Self {
        let byte_len = bytes.len() as u64;
        Self::new(Source::Bytes(bytes), byte_len, path)
    }

    fn new(source: Source, byte_len: u64, path: PathBuf) -> Self {
        Self { source: Arc::new(source), buffer: Vec::new(), buffer_offset: 0, byte_len, path }
    }

    /// Reads the header of the record at `offset`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the header or the payload extends past the end of the file, or a reserved byte
    /// is not zero; [`Error::Io`].
    pub(super) fn record_at(&mut self, offset: u64) -> Result<RecordAt> {
        let mut bytes = [0; size_of::<RecordHeader>()];
        self.read_exact_at(offset, &mut bytes, "record header")?;
        let header = RecordHeader::from_bytes(bytes);
        if header.reserved != [0, 0] {
            let found = format!("{:02x} {:02x}", header.reserved[0], header.reserved[1]);
            return Err(self.corrupt(offset, "record header", "reserved bytes 00 00", found));
        }
        let payload_len = header.length.get();
        let room = self.byte_len.saturating_sub(offset).saturating_sub(HEADER_BYTES);
        if u64::from(payload_len) > room {
            let wanted = format!("a payload of at most {room} bytes, the rest of the file");
            let found = format!("length {payload_len}");
            return Err(self.corrupt(offset, "record header", wanted, found));
        }
        Ok(RecordAt { record_type: header.record_type, offset, payload_len })
    }

    /// Fills `bytes` from `offset`; `what` names them in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file is too short; [`Error::Io`].
    pub(super) fn read_exact_at(
        &mut self,
        offset: u64,
        bytes: &mut [u8],
        what: &'static str,
    ) -> Result<()> {
        let wanted = bytes.len() as u64;
        let rest = self.byte_len.saturating_sub(offset);
        if wanted > rest {
            let found = format!("the end of the file at {}", self.byte_len);
            return Err(self.corrupt(offset, what, format!("{wanted} bytes"), found));
        }
        if bytes.len() >= BUFFER_BYTES {
            return self.read_source(offset, bytes);
        }
        if self.buffered(offset, bytes.len()).is_none() {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(
                usize::try_from(rest).map_or(BUFFER_BYTES, |rest| rest.min(BUFFER_BYTES)),
                0,
            );
            self.read_source(offset, &mut buffer)?;
            (self.buffer, self.buffer_offset) = (buffer, offset);
        }
        bytes.copy_from_slice(self.buffered(offset, bytes.len()).unwrap_or_default());
        Ok(())
    }

    fn buffered(&self, offset: u64, byte_len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.buffer_offset)?).ok()?;
        self.buffer.get(start..start.checked_add(byte_len)?)
    }

    fn read_source(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let read = match &*self.source {
            Source::File(file) => file.read_exact_at(bytes, offset),
            Source::Bytes(source) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                source.get(start..).unwrap_or_default().read_exact(bytes)
            }
        };
        read.map_err(|source| Error::io(&self.path, "read", source))
    }

    /// Reads the whole payload of a record. The caller has bounded its length.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn payload(&mut self, record: &RecordAt) -> Result<Vec<u8>> {
        let mut bytes = vec![0; record.payload_len as usize];
        self.read_exact_at(record.payload_offset(), &mut bytes, "record")?;
        Ok(bytes)
    }

    /// An [`Error::Corrupt`] at `offset` of this file.
    pub(super) fn corrupt(
        &self,
        offset: impl Into<Option<u64>>,
        what: &'static str,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        Error::corrupt(&self.path, offset, what, wanted, found)
    }

    /// The error for a file that has changed since it was verified.
    pub(super) fn changed(&self, offset: u64) -> Error {
        let wanted = "the bytes that were verified before";
        self.corrupt(offset, "file", wanted, "other bytes: the file has changed")
    }
}

impl Clone for RecordFile {
    fn clone(&self) -> Self {
        let source = Arc::clone(&self.source);
        let (byte_len, path) = (self.byte_len, self.path.clone());
        Self { source, buffer: Vec::new(), buffer_offset: 0, byte_len, path }
    }
}
