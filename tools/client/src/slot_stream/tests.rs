use std::io::Read;

use coldstore::Slot;

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
fn items_of_concatenated_streams_are_read_back() {
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
fn slots_that_do_not_ascend_are_refused_with_both_slots() {
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
fn a_declared_length_allocates_nothing() {
    let mut bytes = stream_of(&[]);
    bytes.extend_from_slice(b"sl\x08\0\0\0\0\0\x07\0\0\0\0\0\0\0\x04\0\xff\xff\xff\xff\0\0abc");
    let mut stream = SlotStream::start(&bytes[..], RECORD_TYPE, u64::MAX).unwrap();
    let mut item = stream.next_item().unwrap().unwrap();
    assert_eq!(item.byte_len, u64::from(u32::MAX));
    let mut value = Vec::new();
    assert!(item.read_to_end(&mut value).is_err());
    assert!(value.capacity() < 1 << 10);
}
