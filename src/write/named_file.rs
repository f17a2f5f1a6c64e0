//! An open file that knows its path, for errors that name file and operation.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::disk::{self, CHUNK_BYTES, DiskFile};
use crate::format::conf_check;
use crate::format::corruption::{no_record, offset_file_too_long};
use crate::format::offsets::{OffsetTable, TABLE_BYTES};
use crate::format::record::{HEADER_BYTES, RecordTag};
use crate::format::sums::RecordSum;
use crate::slot::Slot;

#[derive(Debug)]
pub(super) struct NamedFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

/// Divides a part of a file into chunks of at most [`CHUNK_BYTES`].
pub(super) fn chunks(bytes: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end_of = move |at: u64| at.saturating_add(CHUNK_BYTES as u64).min(bytes.end);
    (bytes.start..bytes.end).step_by(CHUNK_BYTES).map(move |at| at..end_of(at))
}

impl NamedFile {
    pub(super) fn new(path: PathBuf, file: Box<dyn DiskFile>) -> Self {
        Self { path, file }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn byte_len(&self) -> Result<u64> {
        self.file.byte_len().map_err(|error| self.failed("stat", error))
    }

    /// The number of hard links.
    pub(super) fn names(&self) -> Result<u64> {
        self.file.names().map_err(|error| self.failed("stat", error))
    }

    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        disk::read_exact_at(&*self.file, buffer, offset).map_err(|error| self.failed("read", error))
    }

    /// Reads the file as an offset table; missing bytes at its end read as 0.
    pub(super) fn read_table(&self) -> Result<Box<OffsetTable>> {
        let bytes = self.read_up_to(TABLE_BYTES + 1)?;
        let too_long = || offset_file_too_long(self.path.clone(), bytes.len() as u64);
        OffsetTable::from_prefix(&bytes).ok_or_else(too_long)
    }

    /// The end offset of the record at `offset` of a data file of `data_len` bytes; `None` if no header of
    /// this type is there.
    pub(super) fn record_end(
        &self,
        record_type: [u8; 2],
        offset: u64,
        data_len: u64,
    ) -> Result<Option<u64>> {
        if !conf_check::header_fits(offset, data_len) {
            return Ok(None);
        }
        let mut header = [0; 8];
        self.read_exact_at(&mut header, offset)?;
        Ok(RecordTag::new(record_type).end(offset, header))
    }

    /// The end offset of the record of `slot` at `offset`, which must lie below `bound`.
    pub(super) fn end_of(
        &self,
        record_type: [u8; 2],
        slot: Slot,
        offset: u64,
        bound: u64,
    ) -> Result<u64> {
        let (tag, mut header) = (RecordTag::new(record_type), [0; 8]);
        if conf_check::header_fits(offset, bound) {
            self.read_exact_at(&mut header, offset)?;
        }
        let span = tag.span(offset, header, bound);
        let end = span.map(|span| span.end);
        end.map_err(|fault| no_record(self.path.clone(), tag, slot, (offset, bound), fault))
    }

    /// The checksum of the record of `slot` from `offset` to `end`.
    pub(super) fn record_sum(&self, slot: Slot, offset: u64, end: u64) -> Result<RecordSum> {
        let mut header = [0; 8];
        self.read_exact_at(&mut header, offset)?;
        let mut sum = RecordSum::new(slot, offset, header);
        for chunk in chunks(offset + HEADER_BYTES..end) {
            sum.update(&self.read(chunk)?);
        }
        Ok(sum)
    }

    pub(super) fn read(&self, bytes: Range<u64>) -> Result<Vec<u8>> {
        let mut buffer = vec![0; usize::try_from(bytes.end - bytes.start).unwrap_or(usize::MAX)];
        self.read_exact_at(&mut buffer, bytes.start)?;
        Ok(buffer)
    }

    /// Reads the file from its start, at most `limit` bytes.
    pub(super) fn read_up_to(&self, limit: usize) -> Result<Vec<u8>> {
        self.read(0..self.byte_len()?.min(limit as u64))
    }

    /// Whether two files have the same `byte_len` bytes at these offsets.
    pub(super) fn has_bytes_of(
        &self,
        offset: u64,
        other: &Self,
        other_offset: u64,
        byte_len: u64,
    ) -> Result<bool> {
        for chunk in chunks(0..byte_len) {
            let at = |offset| offset + chunk.start..offset + chunk.end;
            if self.read(at(offset))? != other.read(at(other_offset))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.write_all_at(&mut [IoSlice::new(bytes)], offset)
    }

    pub(super) fn write_all_at(&mut self, buffers: &mut [IoSlice<'_>], offset: u64) -> Result<()> {
        disk::write_all_at(&mut *self.file, buffers, offset)
            .map_err(|error| Error::io(&self.path, "write", error))
    }

    pub(super) fn set_len(&mut self, byte_len: u64) -> Result<()> {
        self.file.set_len(byte_len).map_err(|error| self.failed("set the length of", error))
    }

    /// Allocated bytes; fewer than the file's length if it has holes.
    pub(super) fn allocated(&self) -> Result<u64> {
        self.file.allocated().map_err(|error| self.failed("look for the holes of", error))
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        self.file.sync().map_err(|error| Error::io(&self.path, "flush", error))
    }

    fn failed(&self, operation: &'static str, error: io::Error) -> Error {
        Error::io(&self.path, operation, error)
    }
}
