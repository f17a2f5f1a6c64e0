//! Payloads of a compressed column: a value within its bound, or an error.
//!
//! The first two bytes of an input choose the column's bound and the reader's ceiling; the rest is
//! a payload as it lies on disk, and then a value.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use coldstore::format::conf::Conf;
use coldstore::format::record::{FIRST_RECORD_OFFSET, RecordHeader, VERSION_RECORD};
use coldstore::{
    ColumnSpec, Compression, Error, Reader, ReaderOptions, Slot, Writer, WriterOptions,
};

use super::scratch::{self, Bytes, check_error};

const RECORD_TYPE: [u8; 2] = [1, 0];

/// What should come of decoding a payload within a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decoded {
    Value(Vec<u8>),
    Long,
    Damaged,
}

fn decoded(stored: &[u8], limit: u64) -> Decoded {
    let mut value = Vec::new();
    let mut decoder = snap::read::FrameDecoder::new(stored).take(limit + 1);
    match decoder.read_to_end(&mut value) {
        Err(_) => Decoded::Damaged,
        Ok(_) if value.len() as u64 > limit => Decoded::Long,
        Ok(_) => Decoded::Value(value),
    }
}

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let bound = 1 << (bytes.u8() % 21);
    let ceiling = 1 << (bytes.u8() % 21);
    let stored = bytes.0;
    let spec = ColumnSpec {
        record_type: RECORD_TYPE,
        compression: Compression::Snappy,
        max_value_bytes: bound,
    };
    let directory = scratch::scratch();
    by_hand(directory.path(), spec, stored);
    read(directory.path(), bound, ceiling, stored);
    put(directory.path(), stored);
}

/// A column with the payload at slot 5, however it may decode. Its offset file is cut short.
fn by_hand(directory: &Path, spec: ColumnSpec, stored: &[u8]) {
    let mut file = VERSION_RECORD.to_vec();
    file.extend(RecordHeader::new(RECORD_TYPE, stored.len() as u32).to_bytes());
    file.extend(stored);
    let mut table = vec![0; 5 * 8];
    table.extend(FIRST_RECORD_OFFSET.to_le_bytes());
    let empty = Conf::empty(spec, false);
    let conf = Conf { highest: Some(Slot(5)), current_data_len: file.len() as u64, ..empty };
    fs::write(directory.join("data_00000"), file).unwrap();
    fs::write(directory.join("data_00000.off"), table).unwrap();
    fs::write(directory.join("column.conf"), conf.encode()).unwrap();
}

fn read(directory: &Path, bound: u64, ceiling: u64, stored: &[u8]) {
    // SAFETY: nobody changes the files while this reader is there.
    let reader =
        unsafe { Reader::open_mapped(directory, ReaderOptions::default().value_ceiling(ceiling)) }
            .unwrap();
    let view = reader.view();
    assert_eq!(view.get_stored(Slot(5)).unwrap(), Some(stored));
    let record = view.record(Slot(5)).unwrap().unwrap();
    let mut buffer = vec![7; 3];

    let expected = decoded(stored, bound.min(ceiling));
    for found in [
        view.get(Slot(5)).map(|value| value.unwrap().into_owned()),
        view.get_into(Slot(5), &mut buffer).map(|_| buffer.clone()),
        view.owned(Slot(5)).map(|owned| owned.unwrap().to_vec()),
    ] {
        match (found, &expected) {
            (Ok(found), Decoded::Value(value)) => assert!(found == *value),
            (Err(error @ Error::TooLarge { limit, .. }), Decoded::Long) => {
                assert!(ceiling < bound && limit == ceiling, "{error}");
            }
            (Err(error @ Error::Corrupt(_)), Decoded::Long) => {
                assert!(bound <= ceiling, "{error}");
                check_error(&error, directory);
            }
            (Err(error @ Error::Corrupt(_)), Decoded::Damaged) => check_error(&error, directory),
            (found, expected) => panic!("{found:?} where it is {expected:?}"),
        }
    }

    // The ceiling does not count where nothing is kept.
    let expected = decoded(stored, bound);
    let mut copied = Vec::new();
    let count = record.copy_value_to(&mut copied);
    assert!(copied.len() as u64 <= bound, "wrote out more than the bound");
    match (count, record.value_len(), &expected) {
        (Ok(count), Ok(len), Decoded::Value(value)) => {
            assert_eq!((count, len), (value.len() as u64, value.len() as u64));
            assert!(copied == *value);
        }
        (Err(error), Err(_), Decoded::Long | Decoded::Damaged) => check_error(&error, directory),
        (count, len, expected) => panic!("{count:?} and {len:?} where it is {expected:?}"),
    }
}

/// What is put in its stored form is refused exactly when a reader would refuse it; what is put as
/// a value comes back.
fn put(directory: &Path, bytes: &[u8]) {
    let mut writer = Writer::open(directory, WriterOptions::default()).unwrap();
    let bound = writer.conf().spec.max_value_bytes;
    let expected = decoded(bytes, bound);
    match (writer.put_stored_batch(&[(Slot(7), bytes)]), &expected) {
        (Ok(_), Decoded::Value(_))
        | (Err(Error::TooLarge { .. }), Decoded::Long)
        | (Err(Error::Undecodable { .. }), Decoded::Damaged) => {}
        (found, expected) => panic!("{found:?} where it is {expected:?}"),
    }
    // Where the payload at slot 5 decodes, the same value is no conflict, and another one is.
    match (writer.put_stored_batch(&[(Slot(5), bytes)]), &expected) {
        (Ok(committed), Decoded::Value(_)) => assert_eq!(committed.unchanged, 1),
        (Err(Error::TooLarge { .. }), Decoded::Long)
        | (Err(Error::Undecodable { .. }), Decoded::Damaged) => {}
        (found, expected) => panic!("{found:?} where it is {expected:?}"),
    }
    let fits = bytes.len() as u64 <= bound;
    match writer.put(Slot(9), bytes) {
        Ok(committed) => assert!(fits && committed.written == 1),
        Err(Error::TooLarge { .. }) => assert!(!fits),
        Err(error) => panic!("{error}"),
    }
    let view = scratch::open_reader(directory).unwrap().view();
    if let Decoded::Value(value) = &expected {
        assert_eq!(view.get_stored(Slot(7)).unwrap(), Some(bytes));
        assert_eq!(view.get(Slot(7)).unwrap().as_deref(), Some(&value[..]));
    } else {
        assert!(view.get(Slot(7)).unwrap().is_none());
    }
    assert_eq!(view.get(Slot(9)).unwrap().as_deref(), fits.then_some(bytes));
}
