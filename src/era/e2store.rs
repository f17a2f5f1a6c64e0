//! Reads e2store records without mapping the file.
//!
//! Every length is checked against the file's length before it is used. If the disk of an operator's file
//! disappears, a read returns an error, where a mapping would raise a signal.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};
use crate::format::record::{HEADER_BYTES, RecordHeader};

/// The types of records in `.era` files (e2store-format-specs, `formats/era.md`).
pub mod record_type {
    /// Starts every file and every group.
    pub const VERSION: [u8; 2] = [0x65, 0x32];
    /// Snappy frames of an SSZ `SignedBeaconBlock`.
    pub const BLOCK: [u8; 2] = [0x01, 0x00];
    /// Snappy frames of an SSZ `BeaconState`.
    pub const STATE: [u8; 2] = [0x02, 0x00];
    /// The offsets of a group's records, by slot.
    pub const SLOT_INDEX: [u8; 2] = [0x69, 0x32];
}

/// Block records are some 100 KiB long: one read serves the end of one and the start of the next.
const BUFFER_BYTES: usize = 256 * 1024;

/// The location of a record, which lay within the file when its header was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A file of e2store records.
#[derive(Debug)]
pub struct RecordFile<R = File> {
    source: BufReader<R>,
    position: u64,
    byte_len: u64,
    path: PathBuf,
}

impl RecordFile<File> {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        // NONBLOCK, so that opening a named pipe does not hang.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::io::retry_on_intr(|| rustix::fs::open(&path, flags, Mode::empty()))
            .map_err(|source| Error::io(&path, "open", source.into()))?;
        Self::new(File::from(file), path)
    }

    /// Opens the same file again, so that two offsets can be read concurrently.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if another file has taken its name; [`Error::Io`].
    pub fn again(&self) -> Result<Self> {
        let again = Self::open(&self.path)?;
        let identity = |file: &Self| {
            let stat = rustix::fs::fstat(file.source.get_ref());
            stat.map(|stat| (stat.st_dev, stat.st_ino))
                .map_err(|source| Error::io(&self.path, "stat", source.into()))
        };
        if identity(self)? != identity(&again)? {
            let wanted = "the file that was opened before";
            return Err(self.corrupt(None, "file", wanted, "another file of that name"));
        }
        Ok(again)
    }
}

impl<R: Read + Seek> RecordFile<R> {
    /// Reads records from any source; `path` is its name in errors.
    ///
    /// # Errors
    /// [`Error::Io`] if the source's length cannot be determined.
    pub fn new(mut source: R, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let byte_len = source
            .seek(SeekFrom::End(0))
            .and_then(|len| source.seek(SeekFrom::Start(0)).map(|_| len))
            .map_err(|error| Error::io(&path, "seek", error))?;
        let source = BufReader::with_capacity(BUFFER_BYTES, source);
        Ok(Self { source, position: 0, byte_len, path })
    }

    /// The file's name, for errors.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length in bytes when it was opened.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.byte_len
    }

    /// Reads the header of the record at `offset`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the header or the payload extends past the end of the file, or a reserved byte
    /// is not zero; [`Error::Io`].
    pub fn record_at(&mut self, offset: u64) -> Result<RecordAt> {
        let mut bytes = [0; size_of::<RecordHeader>()];
        self.read_exact_at(offset, &mut bytes, "record header")?;
        let header = RecordHeader::from_bytes(bytes);
        if header.reserved != [0, 0] {
            return Err(self.corrupt(
                offset,
                "record header",
                "reserved bytes 00 00",
                format!("{:02x} {:02x}", header.reserved[0], header.reserved[1]),
            ));
        }
        let payload_len = header.length.get();
        let room = self.byte_len.saturating_sub(offset).saturating_sub(HEADER_BYTES);
        if u64::from(payload_len) > room {
            return Err(self.corrupt(
                offset,
                "record header",
                format!("a payload of at most {room} bytes, which is what the file still has"),
                format!("length {payload_len}"),
            ));
        }
        Ok(RecordAt { record_type: header.record_type, offset, payload_len })
    }

    /// Fills `buffer` with the bytes at `offset`; `what` names them in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the file ends before; [`Error::Io`].
    pub fn read_exact_at(
        &mut self,
        offset: u64,
        buffer: &mut [u8],
        what: &'static str,
    ) -> Result<()> {
        let wanted = buffer.len() as u64;
        if offset.checked_add(wanted).is_none_or(|end| end > self.byte_len) {
            return Err(self.corrupt(
                offset,
                what,
                format!("{wanted} bytes"),
                format!("the end of the file at {}", self.byte_len),
            ));
        }
        self.seek(offset)?;
        self.source.read_exact(buffer).map_err(|source| Error::io(&self.path, "read", source))?;
        self.position = offset.saturating_add(wanted);
        Ok(())
    }

    /// A reader of a record's payload.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn payload(&mut self, record: &RecordAt) -> Result<Payload<'_, R>> {
        self.seek(record.payload_offset())?;
        Ok(Payload { remaining: u64::from(record.payload_len), file: self })
    }

    /// Reads the whole payload of a record. The caller has bounded its length.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the file ends before; [`Error::Io`].
    pub fn payload_bytes(&mut self, record: &RecordAt) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.append_payload(record, &mut bytes)?;
        Ok(bytes)
    }

    /// Appends the whole payload of a record. The caller has bounded its length.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the file ends before; [`Error::Io`].
    pub(super) fn append_payload(&mut self, record: &RecordAt, to: &mut Vec<u8>) -> Result<()> {
        let byte_len = record.payload_len as usize;
        to.reserve(byte_len);
        self.seek(record.payload_offset())?;
        let mut missing = byte_len;
        while missing > 0 {
            let buffered = match self.source.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffered => buffered.map_err(|source| Error::io(&self.path, "read", source))?,
            };
            let part = buffered.get(..missing).unwrap_or(buffered);
            if part.is_empty() {
                let (at, wanted) = (record.payload_offset(), format!("{byte_len} bytes"));
                let found = format!("the end of the file, {missing} bytes before");
                return Err(self.corrupt(at, "record", wanted, found));
            }
            to.extend_from_slice(part);
            let taken = part.len();
            self.source.consume(taken);
            self.position = self.position.saturating_add(taken as u64);
            missing = missing.saturating_sub(taken);
        }
        Ok(())
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

    // Relative seeks keep the buffer, so a walk over small records costs one read per buffer.
    fn seek(&mut self, offset: u64) -> Result<()> {
        let moved = match i64::try_from(i128::from(offset).saturating_sub(self.position.into())) {
            Ok(distance) => self.source.seek_relative(distance),
            Err(_) => self.source.seek(SeekFrom::Start(offset)).map(drop),
        };
        moved.map_err(|source| Error::io(&self.path, "seek", source))?;
        self.position = offset;
        Ok(())
    }
}

/// Reads the payload of one record: see [`RecordFile::payload`].
#[derive(Debug)]
pub struct Payload<'f, R> {
    file: &'f mut RecordFile<R>,
    remaining: u64,
}

impl<R> Payload<'_, R> {
    /// File offset of the next byte.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.file.position
    }

    /// Number of bytes still to be read.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The file's name, for errors.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

impl<R: Read> Read for Payload<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        let Some(window) = buffer.get_mut(..room) else {
            return Ok(0);
        };
        let read = self.file.source.read(window)?;
        self.remaining = self.remaining.saturating_sub(read as u64);
        self.file.position = self.file.position.saturating_add(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn file(bytes: &[u8]) -> RecordFile<Cursor<Vec<u8>>> {
        RecordFile::new(Cursor::new(bytes.to_vec()), "test.era").unwrap()
    }

    #[test]
    fn records_are_walked_and_their_payloads_end_where_they_end() {
        let mut file = file(b"e2\0\0\0\0\0\0\x01\0\x03\0\0\0\0\0abc\x02\0\0\0\0\0\0\0");
        let version = file.record_at(0).unwrap();
        assert_eq!((version.record_type, version.end()), (record_type::VERSION, 8));
        let block = file.record_at(8).unwrap();
        assert_eq!((block.record_type, block.end()), (record_type::BLOCK, 19));
        let mut text = String::new();
        file.payload(&block).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        assert_eq!(file.payload_bytes(&block).unwrap(), b"abc");
        assert_eq!(file.record_at(19).unwrap().end(), 27);
    }

    #[test]
    fn a_length_past_the_end_of_the_file_is_corrupt_and_nothing_is_allocated_for_it() {
        let mut file = file(b"e2\0\0\0\0\0\0\x01\0\xff\xff\xff\xff\0\0abc");
        let error = file.record_at(8).unwrap_err().to_string();
        assert!(error.contains("test.era at offset 8"), "{error}");
        assert!(error.contains("at most 3 bytes"), "{error}");
        assert!(error.contains("length 4294967295"), "{error}");
    }

    #[test]
    fn a_torn_header_and_reserved_bytes_are_corrupt() {
        let mut file = file(b"e2\0\0\0\0\0\x01\x01\0\0");
        assert!(file.record_at(0).unwrap_err().to_string().contains("00 01"));
        assert!(file.record_at(8).unwrap_err().is_corrupt());
        assert!(file.record_at(u64::MAX).unwrap_err().is_corrupt());
    }
}
