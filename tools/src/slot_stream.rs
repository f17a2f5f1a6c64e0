//! The slot stream: a column's items as an e2store file.
//!
//! The version record, then for each item a record of type `sl` with the slot as 8 bytes
//! little-endian and a record of the column's own type with the *value*, not compressed. Slots
//! ascend. A further version record may stand before an item, as in any e2store file, so that
//! streams can be put one behind the other.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use coldstore::Slot;
use coldstore::format::record::{HEADER_BYTES, RecordHeader, VERSION_RECORD};

const SLOT_TYPE: [u8; 2] = *b"sl";
const SLOT_BYTES: u32 = 8;
const VERSION_TYPE: [u8; 2] = *b"e2";

/// What is allocated for a value before any byte of it has come in.
const FIRST_ALLOCATION: u64 = 64 << 10;

/// Writes what a stream begins with.
pub(crate) fn write_start(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&VERSION_RECORD)
}

/// Writes one item.
pub(crate) fn write_item(
    out: &mut impl Write,
    record_type: [u8; 2],
    slot: Slot,
    value: &[u8],
) -> Result<()> {
    let byte_len = u32::try_from(value.len())
        .with_context(|| format!("slot {slot}: a record holds less than 4 GiB"))?;
    out.write_all(&RecordHeader::new(SLOT_TYPE, SLOT_BYTES).to_bytes())?;
    out.write_all(&slot.0.to_le_bytes())?;
    out.write_all(&RecordHeader::new(record_type, byte_len).to_bytes())?;
    out.write_all(value)?;
    Ok(())
}

/// Reads a stream item by item. Nothing is believed: neither types nor order nor lengths.
#[derive(Debug)]
pub(crate) struct SlotStream<R> {
    input: R,
    record_type: [u8; 2],
    max_value_bytes: u64,
    /// Bytes read so far.
    offset: u64,
    /// Bytes of the last item's value that nobody has read yet.
    value_left: u64,
    previous: Option<Slot>,
}

/// One item of a stream; reading it reads its value.
#[derive(Debug)]
pub(crate) struct Item<'s, R> {
    pub(crate) slot: Slot,
    pub(crate) byte_len: u64,
    stream: &'s mut SlotStream<R>,
}

impl<R: Read> SlotStream<R> {
    /// Reads what a stream begins with.
    pub(crate) fn start(input: R, record_type: [u8; 2], max_value_bytes: u64) -> Result<Self> {
        let mut stream =
            Self { input, record_type, max_value_bytes, offset: 0, value_left: 0, previous: None };
        let Some(header) = stream.header()? else {
            bail!("slot stream: wanted a version record, found no byte");
        };
        stream.expect_record(header, VERSION_TYPE, 0)?;
        Ok(stream)
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next item, or `None` at the end of the stream. The value of the item before must have
    /// been read whole.
    pub(crate) fn next_item(&mut self) -> Result<Option<Item<'_, R>>> {
        assert_eq!(self.value_left, 0, "the value before was read");
        let header = loop {
            match self.header()? {
                None => return Ok(None),
                Some(header) if header.record_type == VERSION_TYPE => {
                    self.expect_record(header, VERSION_TYPE, 0)?;
                }
                Some(header) => break header,
            }
        };
        self.expect_record(header, SLOT_TYPE, SLOT_BYTES)?;
        let slot = self.slot()?;
        let byte_len = self.value_header(slot)?;
        self.value_left = byte_len;
        Ok(Some(Item { slot, byte_len, stream: self }))
    }

    fn slot(&mut self) -> Result<Slot> {
        let at = self.offset;
        let mut bytes = [0; SLOT_BYTES as usize];
        self.fill(&mut bytes)?;
        let slot = Slot(u64::from_le_bytes(bytes));
        ensure!(slot <= Slot::MAX, "slot stream at byte {at}: {slot} is not a slot");
        if let Some(previous) = self.previous.replace(slot) {
            ensure!(
                previous < slot,
                "slot stream at byte {at}: slots must ascend: {slot} follows {previous}"
            );
        }
        Ok(slot)
    }

    fn value_header(&mut self, slot: Slot) -> Result<u64> {
        let at = self.offset;
        let Some(header) = self.header()? else {
            bail!("slot stream at byte {at}: it ends before the value of slot {slot}");
        };
        let byte_len = header.length.get();
        let limit = self.max_value_bytes;
        self.expect_record(header, self.record_type, byte_len)
            .with_context(|| format!("slot {slot}"))?;
        ensure!(
            u64::from(byte_len) <= limit,
            "slot stream at byte {at}: the value of slot {slot} has {byte_len} bytes, more than \
             the {limit} that the column allows"
        );
        Ok(byte_len.into())
    }

    /// Checks a header that was just read.
    fn expect_record(&self, found: RecordHeader, record_type: [u8; 2], length: u32) -> Result<()> {
        let wanted = RecordHeader::new(record_type, length);
        let at = self.offset - HEADER_BYTES;
        ensure!(
            found == wanted,
            "slot stream at byte {at}: wanted {}, found {}",
            described(wanted),
            described(found)
        );
        Ok(())
    }

    /// The next 8 bytes, or `None` where the stream ends.
    fn header(&mut self) -> Result<Option<RecordHeader>> {
        let mut bytes = [0; 8];
        let count = loop {
            match self.input.read(&mut bytes) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        };
        if count == 0 {
            return Ok(None);
        }
        self.offset += count as u64;
        self.fill(&mut bytes[count..])?;
        Ok(Some(RecordHeader::from_bytes(bytes)))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.input.read_exact(bytes).map_err(|error| self.unreadable(error))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn unreadable(&self, error: io::Error) -> anyhow::Error {
        let at = self.offset;
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                return anyhow::anyhow!("slot stream at byte {at}: it ends within a record");
            }
            _ => format!("slot stream at byte {at}: cannot read"),
        };
        anyhow::Error::new(error).context(what)
    }
}

impl<R: Read> Item<'_, R> {
    /// The whole value. It grows as bytes come in, whatever the header promises.
    pub(crate) fn into_value(mut self) -> Result<Vec<u8>> {
        let (slot, byte_len) = (self.slot, self.byte_len);
        let mut value = Vec::new();
        value.reserve_exact(usize::try_from(byte_len.min(FIRST_ALLOCATION))?);
        let read = self.read_to_end(&mut value);
        read.map_err(|error| self.stream.unreadable(error))
            .with_context(|| format!("slot {slot}"))?;
        Ok(value)
    }
}

/// The bytes of the value; a stream that ends within it is an error.
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
        stream.offset += count as u64;
        stream.value_left -= count as u64;
        Ok(count)
    }
}

fn described(header: RecordHeader) -> String {
    let [first, second] = header.record_type;
    let reserved = if header.reserved == [0, 0] { "" } else { " and reserved bytes set" };
    format!(
        "a record of type {first:02x} {second:02x} with {} bytes{reserved}",
        header.length.get()
    )
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

    fn read_all(bytes: &[u8]) -> Result<Vec<(u64, Vec<u8>)>> {
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
