//! This library: an uncompressed column, so that it stores the bytes that its peers store.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use coldstore::{
    Access, ColumnSpec, Compression, MappedReader, Pipeline, PipelineOptions, Reader,
    ReaderOptions, Slot, View, Writer, WriterOptions,
};

use crate::data::Kind;
use crate::store::{Reading, Shape, Store, in_turn};

/// A column of this library. Its writer is opened, and locks the column, with the first put.
#[derive(Debug)]
pub struct Coldstore {
    directory: PathBuf,
    options: WriterOptions,
    reading: ReaderOptions,
    writer: Mutex<Option<Writer>>,
}

/// A reader and its view.
#[derive(Debug)]
pub struct ColdstoreReader {
    reader: MappedReader,
    view: View,
}

impl Coldstore {
    fn with_writer<R>(&self, work: impl FnOnce(&mut Option<Writer>) -> R) -> R {
        let mut writer = self.writer.lock().unwrap();
        if writer.is_none() {
            *writer = Some(Writer::open(&self.directory, self.options).unwrap());
        }
        work(&mut writer)
    }
}

impl Store for Coldstore {
    type Reader = ColdstoreReader;

    fn open(directory: &Path, shape: &Shape) -> Self {
        let spec = ColumnSpec {
            record_type: [0x7E, 0],
            compression: Compression::None,
            max_value_bytes: match shape.data.kind {
                Kind::Roots => 64,
                Kind::Blocks => 10 << 20,
                Kind::States => 1 << 30,
            },
        };
        let options = WriterOptions::create(spec).allow_backfill(shape.backfill);
        let access = if shape.cold_random { Access::Random } else { Access::default() };
        let reading = ReaderOptions::default().access(access);
        Self { directory: directory.to_owned(), options, reading, writer: Mutex::new(None) }
    }

    fn reader(&self) -> ColdstoreReader {
        // SAFETY: the directory is this program's own, and only writers of the format write there.
        #[expect(unsafe_code, reason = "the files are mapped")]
        let reader = unsafe { Reader::open_mapped(&self.directory, self.reading) }.unwrap();
        let view = reader.view();
        ColdstoreReader { reader, view }
    }

    fn put_batch(&self, records: &[(u64, Vec<u8>)]) {
        let records: Vec<(Slot, &[u8])> =
            records.iter().map(|(slot, value)| (Slot(*slot), value.as_slice())).collect();
        self.with_writer(|writer| writer.as_mut().unwrap().put_batch(&records).unwrap());
    }

    fn concurrent_puts(&self, records: Vec<(u64, Vec<u8>)>, threads: usize) -> Duration {
        self.with_writer(|writer| {
            let writer_of = writer.take().unwrap();
            let pipeline = Pipeline::start(writer_of, PipelineOptions::default()).unwrap();
            let elapsed = in_turn(records, threads, |(slot, value)| {
                let ticket = pipeline.submit(vec![(Slot(slot), value)]).unwrap();
                move || assert_eq!(ticket.wait().unwrap().written, 1)
            });
            *writer = pipeline.shutdown();
            elapsed
        })
    }
}

impl Reading for ColdstoreReader {
    #[inline]
    fn with<R>(&self, slot: u64, look: impl FnOnce(&[u8]) -> R) -> R {
        look(self.view.get_stored(Slot(slot)).unwrap().unwrap())
    }

    fn scan(&self, mut look: impl FnMut(&[u8])) {
        for record in self.view.range(..) {
            look(record.unwrap().stored());
        }
    }

    fn renew(&mut self) {
        self.view = self.reader.refresh().unwrap();
    }
}

/// The same column, for callers who want the bytes in a buffer of theirs.
#[derive(Debug)]
pub struct ReadInto(Coldstore);

/// As [`ColdstoreReader`].
#[derive(Debug)]
pub struct ReadIntoReader(ColdstoreReader, std::cell::RefCell<Vec<u8>>);

impl Store for ReadInto {
    type Reader = ReadIntoReader;

    fn open(directory: &Path, shape: &Shape) -> Self {
        Self(Coldstore::open(directory, shape))
    }

    fn reader(&self) -> ReadIntoReader {
        ReadIntoReader(self.0.reader(), std::cell::RefCell::default())
    }

    fn put_batch(&self, records: &[(u64, Vec<u8>)]) {
        self.0.put_batch(records);
    }
}

impl Reading for ReadIntoReader {
    fn with<R>(&self, slot: u64, look: impl FnOnce(&[u8]) -> R) -> R {
        let mut buffer = self.1.borrow_mut();
        self.copy(slot, &mut buffer);
        look(&buffer)
    }

    fn copy(&self, slot: u64, buffer: &mut Vec<u8>) {
        assert!(self.0.view.pread_stored_into(Slot(slot), buffer).unwrap());
    }

    fn scan(&self, look: impl FnMut(&[u8])) {
        self.0.scan(look);
    }
}
