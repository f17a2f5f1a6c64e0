//! The slot stream: a column's items as an e2store file.
//!
//! The version record, then for each item a record of type `sl` with the slot as 8 bytes little-endian,
//! and a record of the column's own type with the *uncompressed* value. Slots ascend. Another version
//! record may precede an item, as in any e2store file, so streams can be concatenated.

// Numbers from a stream are untrusted: arithmetic here must neither overflow nor panic.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io::{self, Read, Write};

use coldstore::Slot;
use coldstore::format::record::{HEADER_BYTES, RecordHeader, VERSION_RECORD};

const SLOT_TYPE: [u8; 2] = *b"sl";
const SLOT_BYTES: u32 = 8;
const VERSION_TYPE: [u8; 2] = *b"e2";

/// Everything but the values comes in words of this many bytes: record headers and slots.
pub const WORD_BYTES: usize = 8;
const _: () = assert!(HEADER_BYTES == WORD_BYTES as u64 && SLOT_BYTES as usize == WORD_BYTES);

/// Bytes allocated for a value before any of it has arrived.
const FIRST_ALLOCATION: u64 = 64 << 10;

/// An error in a stream, with its byte offset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The stream has no bytes.
    #[error("slot stream: wanted a version record, found no byte")]
    Empty,
    /// A record header other than the expected one.
    #[error("{}slot stream at byte {at}: wanted {}, found {}", of_slot(*slot), described(*wanted), described(*found))]
    Record {
        /// Byte offset of the record's header.
        at: u64,
        /// The slot whose value was expected.
        slot: Option<Slot>,
        /// The expected header.
        wanted: RecordHeader,
        /// The header found.
        found: RecordHeader,
    },
    /// `u64::MAX` is not a valid slot.
    #[error("slot stream at byte {at}: {} is not a slot", u64::MAX)]
    InvalidSlot {
        /// Byte offset of the slot.
        at: u64,
    },
    /// The slots do not strictly ascend.
    #[error("slot stream at byte {at}: slots must ascend: {slot} follows {previous}")]
    NotAscending {
        /// Byte offset of the slot.
        at: u64,
        /// The previous slot.
        previous: Slot,
        /// The slot that is not above it.
        slot: Slot,
    },
    /// A value exceeds the column's bound.
    #[error(
        "slot stream at byte {at}: the value of slot {slot} has {byte_len} bytes, more than the \
         {limit} that the column allows"
    )]
    TooLarge {
        /// Byte offset of the value's header.
        at: u64,
        /// The slot.
        slot: Slot,
        /// Length of the value in bytes, from its header.
        byte_len: u64,
        /// The column's bound in bytes.
        limit: u64,
    },
    /// The stream ends between a slot and its value.
    #[error("slot stream at byte {at}: it ends before the value of slot {slot}")]
    NoValue {
        /// Byte offset of the end.
        at: u64,
        /// The slot.
        slot: Slot,
    },
    /// The stream ends within a record.
    #[error("{}slot stream at byte {at}: it ends within a record", of_slot(*slot))]
    Cut {
        /// Byte offset of the end.
        at: u64,
        /// The slot of the truncated value.
        slot: Option<Slot>,
    },
    /// The stream cannot be read.
    #[error("slot stream at byte {at}: cannot read")]
    Read {
        /// Number of bytes read before the error.
        at: u64,
        /// The error of the underlying reader.
        source: io::Error,
    },
}

fn of_slot(slot: Option<Slot>) -> String {
    slot.map_or_else(String::new, |slot| format!("slot {slot}: "))
}

fn described(header: RecordHeader) -> String {
    let [first, second] = header.record_type;
    let reserved = if header.reserved == [0, 0] { "" } else { " and reserved bytes set" };
    format!(
        "a record of type {first:02x} {second:02x} with {} bytes{reserved}",
        header.length.get()
    )
}

/// Writes the start of a stream.
///
/// # Errors
/// Those of `out`.
pub fn write_start(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&VERSION_RECORD)
}

/// Writes one item.
///
/// # Errors
/// Those of `out`, and [`io::ErrorKind::InvalidInput`] for a value that no record can hold.
pub fn write_item(
    out: &mut impl Write,
    record_type: [u8; 2],
    slot: Slot,
    value: &[u8],
) -> io::Result<()> {
    out.write_all(&item_head(record_type, slot, value.len())?)?;
    out.write_all(value)
}

/// The bytes that precede the value of an item.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a value that no record can hold.
pub fn item_head(
    record_type: [u8; 2],
    slot: Slot,
    byte_len: usize,
) -> io::Result<[u8; 3 * WORD_BYTES]> {
    let too_long = || {
        let message = format!("slot {slot}: a record holds less than 4 GiB");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    };
    let byte_len = u32::try_from(byte_len).map_err(|_| too_long())?;
    let mut head = [0; 3 * WORD_BYTES];
    let words = [
        RecordHeader::new(SLOT_TYPE, SLOT_BYTES).to_bytes(),
        slot.0.to_le_bytes(),
        RecordHeader::new(record_type, byte_len).to_bytes(),
    ];
    for (place, word) in head.chunks_exact_mut(WORD_BYTES).zip(words) {
        place.copy_from_slice(&word);
    }
    Ok(head)
}

/// The head of an item; its value follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemHead {
    /// The slot.
    pub slot: Slot,
    /// Length of the value in bytes.
    pub byte_len: u64,
}

/// Parses a stream word by word, independent of the source, and checks types, order and lengths.
#[derive(Debug)]
pub struct Parser {
    record_type: [u8; 2],
    max_value_bytes: u64,
    next: Next,
    /// Number of bytes taken so far.
    offset: u64,
    previous: Option<Slot>,
}

/// The kind of the next word.
#[derive(Clone, Copy, Debug)]
enum Next {
    Start,
    Item,
    Slot,
    Value(Slot),
}

impl Parser {
    /// Creates a parser for values of this record type, of at most `max_value_bytes` bytes.
    #[must_use]
    pub fn new(record_type: [u8; 2], max_value_bytes: u64) -> Self {
        Self { record_type, max_value_bytes, next: Next::Start, offset: 0, previous: None }
    }

    /// Number of bytes taken so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next word. If it completes the head of an item, the value follows; count it with
    /// [`Parser::skip`] before the next word.
    ///
    /// # Errors
    /// All but those of the source.
    pub fn word(&mut self, word: [u8; WORD_BYTES]) -> Result<Option<ItemHead>, StreamError> {
        let at = self.offset;
        self.skip(word.len());
        let header = RecordHeader::from_bytes(word);
        match self.next {
            Next::Start => {
                expect(at, None, RecordHeader::new(VERSION_TYPE, 0), header)?;
                self.next = Next::Item;
            }
            Next::Item if header.record_type == VERSION_TYPE => {
                expect(at, None, RecordHeader::new(VERSION_TYPE, 0), header)?;
            }
            Next::Item => {
                expect(at, None, RecordHeader::new(SLOT_TYPE, SLOT_BYTES), header)?;
                self.next = Next::Slot;
            }
            Next::Slot => self.next = Next::Value(self.slot(at, Slot(u64::from_le_bytes(word)))?),
            Next::Value(slot) => {
                let byte_len = self.value_len(at, slot, header)?;
                self.next = Next::Item;
                return Ok(Some(ItemHead { slot, byte_len }));
            }
        }
        Ok(None)
    }

    /// Counts bytes of a value.
    pub fn skip(&mut self, byte_count: usize) {
        self.offset = self.offset.saturating_add(byte_count as u64);
    }

    /// Reports the end of the stream.
    ///
    /// # Errors
    /// If the stream must not end here.
    pub fn end(&self) -> Result<(), StreamError> {
        let at = self.offset;
        match self.next {
            Next::Start => Err(StreamError::Empty),
            Next::Item => Ok(()),
            Next::Slot => Err(StreamError::Cut { at, slot: None }),
            Next::Value(slot) => Err(StreamError::NoValue { at, slot }),
        }
    }

    fn slot(&mut self, at: u64, slot: Slot) -> Result<Slot, StreamError> {
        if slot > Slot::MAX {
            return Err(StreamError::InvalidSlot { at });
        }
        match self.previous.replace(slot) {
            Some(previous) if previous >= slot => {
                Err(StreamError::NotAscending { at, previous, slot })
            }
            _ => Ok(slot),
        }
    }

    fn value_len(&self, at: u64, slot: Slot, found: RecordHeader) -> Result<u64, StreamError> {
        let wanted = RecordHeader::new(self.record_type, found.length.get());
        expect(at, Some(slot), wanted, found)?;
        let (byte_len, limit) = (u64::from(found.length.get()), self.max_value_bytes);
        if byte_len > limit {
            return Err(StreamError::TooLarge { at, slot, byte_len, limit });
        }
        Ok(byte_len)
    }
}

fn expect(
    at: u64,
    slot: Option<Slot>,
    wanted: RecordHeader,
    found: RecordHeader,
) -> Result<(), StreamError> {
    if found == wanted { Ok(()) } else { Err(StreamError::Record { at, slot, wanted, found }) }
}

/// Reads a stream item by item.
#[derive(Debug)]
pub struct SlotStream<R> {
    input: R,
    parser: Parser,
    /// Unread bytes of the last item's value.
    value_left: u64,
}

/// One item of a stream; reading it reads its value.
#[derive(Debug)]
pub struct Item<'s, R> {
    /// The slot.
    pub slot: Slot,
    /// Length of the value in bytes.
    pub byte_len: u64,
    stream: &'s mut SlotStream<R>,
}

impl<R: Read> SlotStream<R> {
    /// Reads the start of a stream.
    ///
    /// # Errors
    /// If it is not a slot stream, or cannot be read.
    pub fn start(
        input: R,
        record_type: [u8; 2],
        max_value_bytes: u64,
    ) -> Result<Self, StreamError> {
        let parser = Parser::new(record_type, max_value_bytes);
        let mut stream = Self { input, parser, value_left: 0 };
        match stream.word()? {
            Some(word) => stream.parser.word(word).map(drop)?,
            None => stream.parser.end()?,
        }
        Ok(stream)
    }

    /// Number of bytes read so far.
    pub fn offset(&self) -> u64 {
        self.parser.offset()
    }

    /// The next item, or `None` at the end of the stream.
    ///
    /// # Errors
    /// See [`StreamError`].
    ///
    /// # Panics
    /// If the value of the previous item was not read whole.
    pub fn next_item(&mut self) -> Result<Option<Item<'_, R>>, StreamError> {
        assert_eq!(self.value_left, 0, "the value before was read");
        loop {
            let Some(word) = self.word()? else {
                return self.parser.end().map(|()| None);
            };
            if let Some(ItemHead { slot, byte_len }) = self.parser.word(word)? {
                self.value_left = byte_len;
                return Ok(Some(Item { slot, byte_len, stream: self }));
            }
        }
    }

    /// The next word, or `None` at the end.
    fn word(&mut self) -> Result<Option<[u8; WORD_BYTES]>, StreamError> {
        let mut word = [0; WORD_BYTES];
        let mut filled = 0;
        while filled < word.len() {
            match self.input.read(&mut word[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => {
                    return Err(self.failed(filled, None, io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(count) => filled = filled.saturating_add(count).min(word.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(filled, None, error)),
            }
        }
        Ok(Some(word))
    }

    fn failed(&self, ahead: usize, slot: Option<Slot>, source: io::Error) -> StreamError {
        let at = self.offset().saturating_add(ahead as u64);
        match source.kind() {
            io::ErrorKind::UnexpectedEof => StreamError::Cut { at, slot },
            _ => StreamError::Read { at, source },
        }
    }
}

impl<R: Read> Item<'_, R> {
    /// Reads the whole value. Memory grows as bytes arrive, regardless of the header's length.
    ///
    /// # Errors
    /// When the stream ends within it, or cannot be read.
    pub fn into_value(mut self) -> Result<Vec<u8>, StreamError> {
        let first = usize::try_from(self.byte_len.min(FIRST_ALLOCATION)).unwrap_or_default();
        let mut value = Vec::with_capacity(first);
        match self.read_to_end(&mut value) {
            Ok(_) => Ok(value),
            Err(error) => Err(self.stream.failed(0, Some(self.slot), error)),
        }
    }
}

/// Reads the value; a stream that ends within it is an error.
impl<R: Read> Read for Item<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = &mut *self.stream;
        let count = usize::try_from(stream.value_left).unwrap_or(usize::MAX).min(buffer.len());
        if count == 0 {
            return Ok(0);
        }
        let count = stream.input.read(&mut buffer[..count])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stream.parser.skip(count);
        stream.value_left = stream.value_left.saturating_sub(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD_TYPE: [u8; 2] = [4, 0];

    fn stream_of(items: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_start(&mut bytes).unwrap();
        for (slot, value) in items {
            write_item(&mut bytes, RECORD_TYPE, Slot(*slot), value).unwrap();
        }
        bytes
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, StreamError> {
        let mut stream = SlotStream::start(bytes, RECORD_TYPE, 100)?;
        let mut items = Vec::new();
        while let Some(item) = stream.next_item()? {
            items.push((item.slot.0, item.into_value()?));
        }
        Ok(items)
    }

    #[test]
    fn bytes_of_a_stream_are_those_of_the_specification() {
        let mut wanted = b"e2\0\0\0\0\0\0".to_vec();
        wanted.extend_from_slice(b"sl\x08\0\0\0\0\0\x07\0\0\0\0\0\0\0");
        wanted.extend_from_slice(b"\x04\0\x03\0\0\0\0\0abc");
        assert_eq!(stream_of(&[(7, b"abc")]), wanted);
    }

    #[test]
    fn items_are_read_back_also_from_two_streams_in_a_row() {
        let mut bytes = stream_of(&[(1, b""), (2, b"two")]);
        bytes.extend(stream_of(&[(9, &[9; 100])]));
        let items = read_all(&bytes).unwrap();
        assert_eq!(items, [(1, vec![]), (2, b"two".to_vec()), (9, vec![9; 100])]);
        assert_eq!(read_all(&stream_of(&[])).unwrap(), []);
    }

    #[test]
    fn a_stream_cut_anywhere_but_between_items_is_an_error() {
        let bytes = stream_of(&[(1, b"one"), (2, b"two")]);
        let between = [8, 8 + 16 + 11, bytes.len()];
        for len in 0..bytes.len() {
            assert_eq!(read_all(&bytes[..len]).is_ok(), between.contains(&len), "{len}");
        }
    }

    #[test]
    fn every_flipped_bit_is_an_error_or_another_slot_or_value() {
        let bytes = stream_of(&[(1, b"one"), (2, b"two")]);
        let items = read_all(&bytes).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read_all(&flipped).map_or(true, |found| found != items), "bit {bit}");
        }
    }

    #[test]
    fn slots_that_do_not_ascend_are_refused_with_both() {
        let error = read_all(&stream_of(&[(5, b""), (5, b"")])).unwrap_err();
        assert!(error.to_string().contains("5 follows 5"), "{error}");
        assert!(read_all(&stream_of(&[(5, b""), (4, b"")])).is_err());
        assert!(read_all(&stream_of(&[(u64::MAX, b"")])).is_err());
    }

    #[test]
    fn a_value_beyond_the_limit_is_refused_by_its_header() {
        let error = read_all(&stream_of(&[(5, &[0; 101])])).unwrap_err();
        assert!(error.to_string().contains("slot 5 has 101 bytes"), "{error}");
    }

    #[test]
    fn a_promised_length_allocates_nothing() {
        let mut bytes = stream_of(&[]);
        bytes.extend_from_slice(b"sl\x08\0\0\0\0\0\x07\0\0\0\0\0\0\0\x04\0\xff\xff\xff\xff\0\0abc");
        let mut stream = SlotStream::start(&bytes[..], RECORD_TYPE, u64::MAX).unwrap();
        let mut item = stream.next_item().unwrap().unwrap();
        assert_eq!(item.byte_len, u64::from(u32::MAX));
        let mut value = Vec::new();
        assert!(item.read_to_end(&mut value).is_err());
        assert!(value.capacity() < 1 << 10);
    }
}
