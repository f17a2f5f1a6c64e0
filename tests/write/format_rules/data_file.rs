//! Section 2: data files.

use super::*;

/// Guards against a record header in another order, width or byte order; and against records that
/// are sorted by slot instead of standing in the order of their puts.
#[test]
fn data_file_is_a_version_record_and_then_records_in_the_order_of_the_puts() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    writer.put_batch(&[(Slot(3), &b"three"[..]), (Slot(9), &b""[..])]).unwrap();
    writer.put(Slot(6), &[6; 0x0102]).unwrap();
    writer.put(Slot(10), b"ten").unwrap();
    let mut wanted = b"\x65\x32\0\0\0\0\0\0".to_vec();
    wanted.extend(b"\x04\0\x05\0\0\0\0\0three");
    wanted.extend(b"\x04\0\0\0\0\0\0\0");
    wanted.extend(b"\x04\0\x02\x01\0\0\0\0");
    wanted.extend([6; 0x0102]);
    wanted.extend(b"\x04\0\x03\0\0\0\0\0ten");
    assert_eq!(fs::read(dir.path().join("data_00000")).unwrap(), wanted);
    let entries = [3, 9, 6, 10].map(|slot| entry(dir.path(), slot));
    assert_eq!(entries, [8, 21, 29, 29 + 8 + 0x0102]);
}

pub(crate) fn snappy_frames(value: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(value).unwrap();
    encoder.into_inner().unwrap()
}

/// Guards against a compressed record that is not one framed stream as `snap` makes it, e.g. when
/// a large value is compressed in parts, and against a length of the decoded bytes in the header.
#[test]
fn compressed_payload_is_one_framed_stream_and_length_counts_stored_bytes() {
    let dir = scratch();
    let mut writer = Writer::open(dir.path(), WriterOptions::create(SNAPPY)).unwrap();
    let values: Vec<Vec<u8>> = [1, 10, 65_535, 65_536, 65_537, 1_000_000]
        .into_iter()
        .flat_map(|len| [vec![3; len], value_of_len(len as u64, len)])
        .collect();
    let items: Vec<(Slot, &[u8])> =
        values.iter().enumerate().map(|(at, value)| (Slot(at as u64), &value[..])).collect();
    writer.put_batch(&items).unwrap();
    let mut wanted = VERSION.to_vec();
    for value in &values {
        wanted.extend(record_bytes([1, 0], &snappy_frames(value)));
    }
    assert!(fs::read(dir.path().join("data_00000")).unwrap() == wanted, "the data file differs");
    let content: Content =
        values.into_iter().enumerate().map(|(at, value)| (at as u64, value)).collect();
    assert_shows(&view(dir.path()), &content, "compressed values");
}

/// Guards against a reader that knows one of the two forms of an empty compressed value, and a
/// writer that calls the other one a conflict.
#[test]
fn empty_compressed_value_is_no_payload_or_a_bare_stream_identifier() {
    let dir = scratch();
    let mut writer = Writer::open(dir.path(), WriterOptions::create(SNAPPY)).unwrap();
    writer.put_stored_batch(&[(Slot(1), &b""[..]), (Slot(2), &SNAPPY_IDENTIFIER[..])]).unwrap();
    writer.put(Slot(3), b"").unwrap();
    let wanted = Content::from([(1, Vec::new()), (2, Vec::new()), (3, Vec::new())]);
    let view = view(dir.path());
    assert_shows(&view, &wanted, "empty values");
    assert_eq!(view.get_stored(Slot(1)).unwrap(), Some(&b""[..]));
    assert_eq!(view.get_stored(Slot(2)).unwrap(), Some(&SNAPPY_IDENTIFIER[..]));
    let before = files_of(dir.path());
    for slot in [1, 2, 3] {
        assert_eq!(writer.put(Slot(slot), b"").unwrap().unchanged, 1, "slot {slot}");
        for stored in [&b""[..], &SNAPPY_IDENTIFIER] {
            let committed = writer.put_stored_batch(&[(Slot(slot), stored)]).unwrap();
            assert_eq!(committed.unchanged, 1, "slot {slot}");
        }
    }
    assert_files(dir.path(), &before, "empty values put again");
}

/// Guards against bytes that change, or a length that runs ahead, below or above the committed
/// length: after every put the file ends exactly there, and what was there stays.
#[test]
fn data_files_only_grow_and_end_at_the_committed_length() {
    let dir = scratch();
    let mut writer = writer(dir.path(), true);
    let mut before = Files::new();
    for slot in [10, 20, 15, 9000, 9010, 5, 9005, 6, 17_000, 9001, 7, 16_999, 17_001] {
        writer.put(Slot(slot), &value(slot)).unwrap();
        let after = files_of(dir.path());
        for (name, bytes) in &before {
            if name.starts_with("data_") && !name.ends_with(".off") {
                assert!(after[name].starts_with(bytes), "slot {slot}: bytes of {name} changed");
            }
        }
        let conf = RawConf::read(dir.path());
        assert_eq!(conf.len, data_len(dir.path(), conf.highest / PER_FILE), "slot {slot}");
        let (file, len) = conf.backfill.unwrap();
        if file != u64::MAX && file != conf.highest / PER_FILE {
            assert_eq!(len, data_len(dir.path(), file), "slot {slot}");
        }
        before = after;
    }
}
