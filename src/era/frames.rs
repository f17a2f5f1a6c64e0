//! Decodes snappy frames as a stream, in memory that does not grow with the value.

use std::io::{self, Read, Seek};

use super::e2store::{Payload, RecordAt, RecordFile};
use crate::error::{Error, Result};
use crate::format::frames::{
    CHUNK_HEADER_BYTES, Chunk, Chunks, FrameFault, MAX_CHUNK_BYTES, body_len,
};
use crate::sync::thread;

/// Number of chunks of a large value that are read ahead and decoded on all cores: 4 MiB of the value.
const CHUNKS_AHEAD: usize = 64;

/// Minimum number of chunks per decoding thread.
const CHUNKS_FOR_A_THREAD: usize = 16;

/// The start of a value that was decoded to its end.
#[derive(Clone, Debug)]
pub(super) struct Decoded {
    /// The first bytes, up to the requested number.
    pub(super) head: Vec<u8>,
    /// Length of the whole value in bytes.
    pub(super) byte_len: u64,
}

/// Why a record could not be decoded.
#[derive(Debug)]
pub(super) enum Fault {
    /// The frames are damaged, or the value is too large; the text describes what was found.
    Damaged(String),
    /// The file cannot be read.
    File(Error),
}

impl Fault {
    /// The error for the record of `what` ("block record") at `place` ("slot 17").
    pub(super) fn error<R: Read + Seek>(
        self,
        file: &RecordFile<R>,
        record: &RecordAt,
        what: &'static str,
        place: &str,
    ) -> Error {
        match self {
            Fault::File(error) => error,
            Fault::Damaged(found) => {
                file.corrupt(record.offset, what, format!("{place}: whole snappy frames"), found)
            }
        }
    }
}

/// The value of a record as a stream.
pub(super) fn stream<'f, R: Read + Seek>(
    file: &'f mut RecordFile<R>,
    record: &RecordAt,
) -> Result<Stream<'f, R>> {
    Stream::new(file, record, CHUNKS_AHEAD)
}

/// Decodes a record to its end, so that every checksum is checked, and keeps the first `head_len` bytes.
/// Fails once the value exceeds `limit` bytes. `watch` is called regularly with the decoder's offset in
/// the file.
pub(super) fn decode<R: Read + Seek>(
    file: &mut RecordFile<R>,
    record: &RecordAt,
    head_len: usize,
    limit: u64,
    watch: &mut dyn FnMut(u64),
) -> Result<Decoded, Fault> {
    let mut stream = stream(file, record).map_err(Fault::File)?;
    let (mut head, mut byte_len) = (Vec::new(), 0_u64);
    while stream.fill().map_err(|fault| stream.describe(fault))? {
        let position = stream.position;
        for part in &stream.parts {
            let missing = head_len.saturating_sub(head.len());
            head.extend_from_slice(part.get(..part.len().min(missing)).unwrap_or_default());
            byte_len = byte_len.saturating_add(part.len() as u64);
        }
        if byte_len > limit {
            return Err(too_large(limit, position));
        }
        watch(position);
    }
    Ok(Decoded { head, byte_len })
}

pub(super) fn too_large(limit: u64, position: u64) -> Fault {
    Fault::Damaged(format!("more than {limit} bytes decoded by byte {position} of the file"))
}

/// Decodes records that are already in memory, one after the other.
pub(super) struct Stored {
    scratch: Box<[u8; MAX_CHUNK_BYTES]>,
    decoder: snap::raw::Decoder,
}

impl Stored {
    pub(super) fn new() -> Self {
        Self { scratch: Box::new([0; MAX_CHUNK_BYTES]), decoder: snap::raw::Decoder::new() }
    }

    /// [`decode`] for a record whose payload is `stored`.
    pub(super) fn decode(
        &mut self,
        record: &RecordAt,
        stored: &[u8],
        head_len: usize,
        limit: u64,
    ) -> Result<Decoded, Fault> {
        let mut chunks = Chunks::new(stored);
        let (mut head, mut byte_len) = (Vec::new(), 0_u64);
        loop {
            let next = chunks.next_chunk();
            let position = record.end().saturating_sub(chunks.bytes_left() as u64);
            let damaged = |fault: FrameFault| {
                Fault::Damaged(format!("{fault}, before byte {position} of the file"))
            };
            let Some(chunk) = next.map_err(damaged)? else {
                return Ok(Decoded { head, byte_len });
            };
            let value = chunk.value(&mut self.scratch, &mut self.decoder).map_err(damaged)?;
            let missing = head_len.saturating_sub(head.len());
            head.extend_from_slice(value.get(..value.len().min(missing)).unwrap_or_default());
            byte_len = byte_len.saturating_add(value.len() as u64);
            if byte_len > limit {
                return Err(too_large(limit, position));
            }
        }
    }
}

/// Decodes the first `head_len` bytes of a record's value, or the whole value if it is shorter.
pub(super) fn decode_head<R: Read + Seek>(
    file: &mut RecordFile<R>,
    record: &RecordAt,
    head_len: usize,
) -> Result<Vec<u8>, Fault> {
    let chunks = head_len.div_ceil(MAX_CHUNK_BYTES).clamp(1, CHUNKS_AHEAD);
    let mut stream = Stream::new(file, record, chunks).map_err(Fault::File)?;
    let mut head = Vec::new();
    while head.len() < head_len && stream.fill().map_err(|fault| stream.describe(fault))? {
        stream.parts.iter().for_each(|part| head.extend_from_slice(part));
    }
    head.truncate(head_len);
    Ok(head)
}

/// The error of a stream.
#[derive(Debug)]
pub(super) enum StreamFault {
    /// The frames are damaged somewhere before this byte of the file.
    Frames(FrameFault, u64),
    /// The file cannot be read.
    Read(io::Error),
}

/// The value of a record, decoded `chunks_ahead` chunks at a time.
#[derive(Debug)]
pub(super) struct Stream<'f, R> {
    payload: Payload<'f, R>,
    chunks_ahead: usize,
    stored: Vec<u8>,
    is_begun: bool,
    /// The parts that were decoded last, in order.
    parts: Vec<Vec<u8>>,
    /// The offset in the file up to which the record is decoded.
    pub(super) position: u64,
    /// The part and the byte in it that are read next.
    next: (usize, usize),
    /// The error that stopped the read-ahead, to be returned after the decoded parts.
    stopped: Option<StreamFault>,
}

impl<'f, R: Read + Seek> Stream<'f, R> {
    fn new(file: &'f mut RecordFile<R>, record: &RecordAt, chunks_ahead: usize) -> Result<Self> {
        Ok(Self {
            payload: file.payload(record)?,
            chunks_ahead,
            stored: Vec::new(),
            is_begun: false,
            parts: Vec::new(),
            position: record.payload_offset(),
            next: (0, 0),
            stopped: None,
        })
    }
}

impl<R: Read> Stream<'_, R> {
    /// Decodes the next chunks. Returns `false` at the end.
    fn fill(&mut self) -> Result<bool, StreamFault> {
        loop {
            if let Some(fault) = self.stopped.take() {
                return Err(fault);
            }
            let start = self.payload.position();
            self.read_ahead();
            if self.stored.is_empty() {
                return self.stopped.take().map_or(Ok(false), Err);
            }
            self.decode_stored(start)?;
            if self.parts.iter().any(|part| !part.is_empty()) {
                return Ok(true);
            }
        }
    }

    /// Reads up to `chunks_ahead` whole chunks of the record.
    fn read_ahead(&mut self) {
        self.stored.clear();
        for _ in 0..self.chunks_ahead {
            let before = self.stored.len();
            match self.read_chunk() {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => {
                    self.stored.truncate(before);
                    self.stopped = Some(fault);
                    break;
                }
            }
        }
    }

    fn read_chunk(&mut self) -> Result<bool, StreamFault> {
        if self.payload.remaining() == 0 {
            return Ok(false);
        }
        let header_at = self.stored.len();
        self.read(CHUNK_HEADER_BYTES)?;
        let header = self.stored.get(header_at..).and_then(|bytes| bytes.first_chunk().copied());
        let body_len = header.map_or(Err(FrameFault::Cut), body_len);
        let at = self.payload.position();
        self.read(body_len.map_err(|fault| StreamFault::Frames(fault, at))?)?;
        Ok(true)
    }

    /// Appends the next `byte_len` bytes of the record to `stored`.
    fn read(&mut self, byte_len: usize) -> Result<(), StreamFault> {
        let mut part = (&mut self.payload).take(byte_len as u64);
        match part.read_to_end(&mut self.stored) {
            Ok(read) if read == byte_len => Ok(()),
            Ok(_) => Err(StreamFault::Frames(FrameFault::Cut, self.payload.position())),
            Err(error) => Err(StreamFault::Read(error)),
        }
    }

    /// Decodes the chunks that were read at `start`.
    fn decode_stored(&mut self, start: u64) -> Result<(), StreamFault> {
        let (is_begun, byte_len) = (self.is_begun, self.stored.len());
        let mut chunks =
            if is_begun { Chunks::continued(&self.stored) } else { Chunks::new(&self.stored) };
        let mut of_value = Vec::with_capacity(self.chunks_ahead);
        let at = |left: usize| start.saturating_add(byte_len.saturating_sub(left) as u64);
        let damaged = loop {
            match chunks.next_chunk() {
                Ok(Some(chunk)) => of_value.push((chunk, at(chunks.bytes_left()))),
                Ok(None) => break None,
                Err(fault) => break Some(StreamFault::Frames(fault, at(chunks.bytes_left()))),
            }
        };
        decode_all(&of_value, &mut self.parts)
            .map_err(|(fault, at)| StreamFault::Frames(fault, at))?;
        self.is_begun = true;
        self.next = (0, 0);
        self.position = at(0);
        // A fault in the chunks comes before the error that stopped the read-ahead.
        self.stopped = damaged.or(self.stopped.take());
        Ok(())
    }

    pub(super) fn describe(&self, fault: StreamFault) -> Fault {
        match fault {
            StreamFault::Frames(fault, at) => {
                Fault::Damaged(format!("{fault}, before byte {at} of the file"))
            }
            StreamFault::Read(error) => Fault::File(Error::io(self.payload.path(), "read", error)),
        }
    }
}

impl<R: Read> Stream<'_, R> {
    /// Reads a part of the value. Returns 0 at its end.
    pub(super) fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, StreamFault> {
        loop {
            let (part, at) = self.next;
            let Some(bytes) = self.parts.get(part) else {
                if self.fill()? {
                    continue;
                }
                return Ok(0);
            };
            let rest = bytes.get(at..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            if let (Some(from), Some(to)) = (rest.get(..count), buffer.get_mut(..count)) {
                to.copy_from_slice(from);
            }
            self.next = match count < rest.len() {
                true => (part, at.saturating_add(count)),
                false => (part.saturating_add(1), 0),
            };
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
        }
    }
}

impl<R: Read> Read for Stream<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(buffer).map_err(|fault| match fault {
            StreamFault::Read(error) => error,
            StreamFault::Frames(fault, _) => io::Error::new(io::ErrorKind::InvalidData, fault),
        })
    }
}

/// Decodes chunks into one part per thread, on all cores if there are enough chunks. Of several faults,
/// returns the first, with the end offset of its chunk.
fn decode_all(
    chunks: &[(Chunk<'_>, u64)],
    parts: &mut Vec<Vec<u8>>,
) -> Result<(), (FrameFault, u64)> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = chunks.len().div_euclid(CHUNKS_FOR_A_THREAD).clamp(1, cores);
    parts.resize_with(threads, Vec::new);
    let mut shares = chunks.chunks(chunks.len().div_ceil(threads).max(1));
    thread::scope(|scope| {
        let (mut first, mut helpers) = (None, Vec::new());
        for part in parts {
            part.clear();
            let share = shares.next().unwrap_or_default();
            match first {
                None => first = Some((share, part)),
                Some(_) => helpers.push(scope.spawn(move || decode_share(share, part))),
            }
        }
        let mut outcome = first.map_or(Ok(()), |(share, part)| decode_share(share, part));
        for helper in helpers {
            let helped = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome = outcome.and(helped);
        }
        outcome
    })
}

fn decode_share(share: &[(Chunk<'_>, u64)], part: &mut Vec<u8>) -> Result<(), (FrameFault, u64)> {
    let mut decoder = snap::raw::Decoder::new();
    for (chunk, end) in share {
        chunk.append_to(part, &mut decoder).map_err(|fault| (fault, *end))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::era::e2store::record_type;
    use crate::format::frames::encoded as frames;
    use crate::format::record::RecordHeader;

    fn file(payload: &[u8]) -> (RecordFile<Cursor<Vec<u8>>>, RecordAt) {
        let len = u32::try_from(payload.len()).unwrap();
        let mut bytes = RecordHeader::new(record_type::STATE, len).to_bytes().to_vec();
        bytes.extend(payload);
        bytes.extend(b"another record");
        let mut file = RecordFile::new(Cursor::new(bytes), "test.era").unwrap();
        let record = file.record_at(0).unwrap();
        (file, record)
    }

    #[test]
    fn a_value_is_decoded_to_its_end_and_only_its_head_is_kept() {
        let value: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let (mut file, record) = file(&frames(&value));
        let mut positions = Vec::new();
        let decoded =
            decode(&mut file, &record, 100_000, 800_000, &mut |at| positions.push(at)).unwrap();
        assert_eq!(decoded.byte_len, 800_000);
        assert_eq!(decoded.head, value[..100_000]);
        assert!(positions.is_sorted());
        assert_eq!(positions.last(), Some(&record.end()));
        assert_eq!(decode_head(&mut file, &record, 48).unwrap(), value[..48]);
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit_with_file_offset_and_slot() {
        let (mut file, record) = file(&frames(&vec![0; 1 << 20]));
        let fault = decode(&mut file, &record, 8, 100_000, &mut |_| {}).unwrap_err();
        let error = fault.error(&file, &record, "state record", "slot 64");
        let text = error.to_string();
        assert!(error.is_corrupt());
        for part in ["test.era at offset 0", "state record", "slot 64", "100000 bytes"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn cut_and_flipped_frames_are_corrupt_and_not_an_io_error() {
        let value = [7; 1000];
        let whole = frames(&value);
        for len in 1..whole.len() {
            let (mut file, record) = file(&whole[..len]);
            let cut = decode(&mut file, &record, 8, 1 << 20, &mut |_| {});
            // The identifier of the stream alone is an empty value.
            assert_eq!(matches!(cut, Err(Fault::Damaged(_))), len != 10, "{len}: {cut:?}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            let (mut file, record) = file(&flipped);
            let read = Stored::new().decode(&record, &flipped, 1000, 1 << 20);
            for decoded in [decode(&mut file, &record, 1000, 1 << 20, &mut |_| {}), read] {
                match decoded {
                    Ok(decoded) => assert_eq!(decoded.head, value, "{at}"),
                    Err(fault) => assert!(matches!(fault, Fault::Damaged(_)), "{at}: {fault:?}"),
                }
            }
        }
    }
}
