//! A slot stream: read whole, read byte by byte, and read by the rules alone.

use std::io::{self, Read};

use coldstore::Slot;
use coldstore::format::record::VERSION_RECORD;
use coldstore_client::slot_stream::{ItemHead, Parser, SlotStream, StreamError, write_item};

const RECORD_TYPE: [u8; 2] = [4, 0];
/// A value that is longer fits an input.
const LIMIT: u64 = 500;

pub fn run(data: &[u8]) {
    let whole = read_all(data);
    let dripping = read_all(Dripping { rest: data, count: 0 });
    let by_rules = parse_all(data);
    let text = |outcome: &Outcome| (outcome.0.clone(), outcome.1.as_ref().map(ToString::to_string));
    assert_eq!(text(&whole), text(&dripping), "how the bytes come in makes a difference");
    assert_eq!(text(&whole), text(&by_rules), "the parser alone says otherwise");

    let (items, error) = &whole;
    assert!(items.is_sorted_by(|left, right| left.0 < right.0));
    assert!(items.iter().all(|(_, value)| value.len() as u64 <= LIMIT));
    // What was read is what stands there, but for version records in between.
    let mut rest = data;
    for (slot, value) in items {
        let mut written = Vec::new();
        write_item(&mut written, RECORD_TYPE, Slot(*slot), value).unwrap();
        rest = behind_versions(rest).strip_prefix(&written[..]).expect("what was read is there");
    }
    match error {
        None => assert!(data.starts_with(&VERSION_RECORD) && behind_versions(rest).is_empty()),
        Some(error) => {
            let text = error.to_string();
            assert!(text.contains("at byte ") || data.is_empty(), "names no place: {text}");
        }
    }
}

fn behind_versions(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(&VERSION_RECORD) {
        bytes = rest;
    }
    bytes
}

/// The items that were read, and what stopped it.
type Outcome = (Vec<(u64, Vec<u8>)>, Option<StreamError>);

fn read_all(input: impl Read) -> Outcome {
    let mut items = Vec::new();
    let mut stream = match SlotStream::start(input, RECORD_TYPE, LIMIT) {
        Ok(stream) => stream,
        Err(error) => return (items, Some(error)),
    };
    loop {
        let item = match stream.next_item() {
            Ok(Some(item)) => item,
            Ok(None) => return (items, None),
            Err(error) => return (items, Some(error)),
        };
        let (slot, byte_len) = (item.slot.0, item.byte_len);
        match item.into_value() {
            Ok(value) => {
                assert_eq!(value.len() as u64, byte_len);
                items.push((slot, value));
            }
            Err(error) => return (items, Some(error)),
        }
    }
}

/// The same from the rules, word by word, as the daemon reads a stream.
fn parse_all(data: &[u8]) -> Outcome {
    let mut parser = Parser::new(RECORD_TYPE, LIMIT);
    let (mut items, mut rest) = (Vec::new(), data);
    loop {
        let at = parser.offset();
        assert_eq!(at as usize, data.len() - rest.len());
        let Some((word, behind)) = rest.split_first_chunk::<8>() else {
            let error = if rest.is_empty() {
                parser.end().err()
            } else {
                Some(StreamError::Cut { at: data.len() as u64, slot: None })
            };
            return (items, error);
        };
        rest = behind;
        match parser.word(*word) {
            Ok(None) => {}
            Ok(Some(ItemHead { slot, byte_len })) => {
                let Some((value, behind)) = rest.split_at_checked(byte_len as usize) else {
                    let at = data.len() as u64;
                    return (items, Some(StreamError::Cut { at, slot: Some(slot) }));
                };
                parser.skip(value.len());
                rest = behind;
                items.push((slot.0, value.to_vec()));
            }
            Err(error) => return (items, Some(error)),
        }
    }
}

/// Gives one byte, then two, then three, then one …, and is interrupted in between.
struct Dripping<'a> {
    rest: &'a [u8],
    count: usize,
}

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.count += 1;
        if self.count.is_multiple_of(4) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = self.rest.len().min(buffer.len()).min(self.count % 4);
        let (given, rest) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(given);
        self.rest = rest;
        Ok(count)
    }
}
