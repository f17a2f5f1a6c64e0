//! Reads the value of a record whose payload is snappy frames, in memory that does not grow with the
//! value.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::io::{self, Read};

use super::e2store::{RecordAt, RecordFile};
use crate::error::{Error, Result};
use crate::format::frames::{CHUNK_HEADER_BYTES, Chunks, FrameFault, body_len};

/// Identifies a value, so that a second reading can be held to the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ValueSum {
    /// Length of the value in bytes.
    pub(super) byte_len: u64,
    /// A keyed hash of its bytes.
    pub(super) sum: u64,
}

/// Decodes a value chunk by chunk. Keeps its first bytes, and fails once it exceeds its limit.
#[derive(Debug)]
pub(super) struct ValueReader<'f> {
    file: &'f mut RecordFile,
    record: RecordAt,
    /// Names the record in errors: "state record", "slot 64".
    what: &'static str,
    place: String,
    limit: u64,
    head_len: usize,
    /// The first bytes of the value, at most `head_len`.
    head: Vec<u8>,
    /// Bytes decoded so far.
    byte_len: u64,
    /// Hashes the decoded bytes, if anybody needs their sum.
    hasher: Option<DefaultHasher>,
    /// The value that was verified; any other one is an error.
    verified: Option<ValueSum>,
    /// File offset of the next chunk.
    position: u64,
    is_begun: bool,
    stored: Vec<u8>,
    /// The decoded bytes of one chunk, of which the first `taken` were read.
    decoded: Vec<u8>,
    taken: usize,
    /// The error that stopped [`Read::read`].
    fault: Option<Error>,
}

impl<'f> ValueReader<'f> {
    pub(super) fn new(
        file: &'f mut RecordFile,
        record: RecordAt,
        what: &'static str,
        place: impl Into<String>,
    ) -> Self {
        Self {
            file,
            record,
            what,
            place: place.into(),
            limit: u64::MAX,
            head_len: 0,
            head: Vec::new(),
            byte_len: 0,
            hasher: None,
            verified: None,
            position: record.payload_offset(),
            is_begun: false,
            stored: Vec::new(),
            decoded: Vec::new(),
            taken: 0,
            fault: None,
        }
    }

    /// The maximum length of the value in bytes.
    pub(super) fn limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// The number of leading bytes of the value to keep.
    pub(super) fn keep(self, head_len: usize) -> Self {
        Self { head_len, ..self }
    }

    /// Hashes the value, for [`ValueReader::finish`].
    pub(super) fn hash(self, hasher: &RandomState) -> Self {
        Self { hasher: Some(hasher.build_hasher()), ..self }
    }

    /// Fails before the last bytes of a value other than this one, which was hashed with the same hasher.
    pub(super) fn expect(self, verified: ValueSum, hasher: &RandomState) -> Self {
        Self { verified: Some(verified), ..self.hash(hasher) }
    }

    /// Decodes only the head, or the whole value if it is shorter.
    pub(super) fn into_head(mut self) -> Result<Vec<u8>> {
        while self.head.len() < self.head_len && self.fill()? {}
        Ok(self.head)
    }

    /// Decodes the value to its end, so that every checksum is checked. Returns its head and its sum.
    /// `watch` is called regularly with the decoder's offset in the file.
    pub(super) fn finish(mut self, watch: &mut dyn FnMut(u64)) -> Result<(Vec<u8>, ValueSum)> {
        if let Some(error) = self.fault {
            return Err(error);
        }
        while self.fill()? {
            watch(self.position);
        }
        let sum = self.sum();
        Ok((self.head, sum))
    }

    /// The sum of the bytes decoded so far.
    fn sum(&self) -> ValueSum {
        let sum = self.hasher.as_ref().map_or(0, Hasher::finish);
        ValueSum { byte_len: self.byte_len, sum }
    }

    /// The file offset up to which the record was decoded.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The error that stopped the reader, if any.
    pub(super) fn into_fault(self) -> Option<Error> {
        self.fault
    }

    /// Decodes the next chunk that is not empty. Returns `false` at the end.
    fn fill(&mut self) -> Result<bool> {
        self.decoded.clear();
        self.taken = 0;
        while self.decoded.is_empty() && self.position < self.record.end() {
            self.decode_chunk()?;
        }
        let is_end = self.decoded.is_empty();
        let missing = self.head_len.saturating_sub(self.head.len()).min(self.decoded.len());
        self.head.extend_from_slice(self.decoded.get(..missing).unwrap_or_default());
        self.byte_len = self.byte_len.saturating_add(self.decoded.len() as u64);
        if self.byte_len > self.limit {
            return Err(self.damaged(too_large(self.limit, self.position)));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.write(&self.decoded);
        }
        match self.verified {
            Some(verified)
                if (is_end || self.byte_len >= verified.byte_len) && self.sum() != verified =>
            {
                Err(self.file.changed(self.record.offset))
            }
            _ => Ok(!is_end),
        }
    }

    fn decode_chunk(&mut self) -> Result<()> {
        self.stored.clear();
        self.read(CHUNK_HEADER_BYTES)?;
        let body_len =
            self.stored.first_chunk().map_or(Err(FrameFault::Cut), |header| body_len(*header));
        self.read(body_len.map_err(|fault| self.damaged(before(&fault, self.position)))?)?;
        let mut chunks =
            if self.is_begun { Chunks::continued(&self.stored) } else { Chunks::new(&self.stored) };
        let decoded = chunks.next_into(&mut self.decoded);
        self.is_begun = true;
        decoded.map(drop).map_err(|fault| self.damaged(before(&fault, self.position)))
    }

    /// Appends the next `byte_len` bytes of the record to `stored`.
    fn read(&mut self, byte_len: usize) -> Result<()> {
        let start = self.stored.len();
        let end = self.position.saturating_add(byte_len as u64);
        if end > self.record.end() {
            return Err(self.damaged(before(&FrameFault::Cut, self.record.end())));
        }
        self.stored.resize(start.saturating_add(byte_len), 0);
        let bytes = self.stored.get_mut(start..).unwrap_or_default();
        self.file.read_exact_at(self.position, bytes, self.what)?;
        self.position = end;
        Ok(())
    }

    fn damaged(&self, found: String) -> Error {
        let wanted = format!("{}: {WHOLE}", self.place);
        self.file.corrupt(self.record.offset, self.what, wanted, found)
    }
}

impl Read for ValueReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.fault.is_some() {
            return Err(io::Error::other("the value is damaged or too large"));
        }
        if self.taken == self.decoded.len() {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(error) => {
                    let kind = io::ErrorKind::InvalidData;
                    self.fault = Some(error.clone());
                    return Err(io::Error::new(kind, error));
                }
            }
        }
        let count = self.decoded.get(self.taken..).unwrap_or_default().read(buffer)?;
        self.taken = self.taken.saturating_add(count);
        Ok(count)
    }
}

/// What is wanted of a record that does not decode.
pub(super) const WHOLE: &str = "whole snappy frames";

/// Replaces the content of `value` with the value of a record whose payload is `stored`. The error
/// describes what was found.
pub(super) fn decode_stored(
    record: &RecordAt,
    stored: &[u8],
    limit: u64,
    value: &mut Vec<u8>,
) -> Result<(), String> {
    value.clear();
    let mut chunks = Chunks::new(stored);
    loop {
        let more = chunks.next_into(value);
        let position = record.end().saturating_sub(chunks.bytes_left() as u64);
        if !more.map_err(|fault| before(&fault, position))? {
            return Ok(());
        }
        if value.len() as u64 > limit {
            return Err(too_large(limit, position));
        }
    }
}

fn before(fault: &FrameFault, position: u64) -> String {
    format!("{fault}, before byte {position} of the file")
}

fn too_large(limit: u64, position: u64) -> String {
    format!("more than {limit} bytes decoded by byte {position} of the file")
}
