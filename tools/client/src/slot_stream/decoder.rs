//! Reads slot streams: [`Parser`] word by word, [`SlotStream`] item by item.

use std::io::{self, Read};

use coldstore::Slot;
use coldstore::format::record::RecordHeader;

use super::{SLOT_BYTES, SLOT_TYPE, StreamError, VERSION_TYPE, WORD_BYTES};

/// Bytes allocated for a value before any of it has arrived.
const FIRST_ALLOCATION: u64 = 64 << 10;

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
