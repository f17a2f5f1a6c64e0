//! What Lighthouse's static store does today: every get opens the conf, the offset file and the
//! data file, and reads each of them by `pread`.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::Dataset;
use crate::store::{Reading, Shape, Store};

/// The files of coldstore, whose format is the same.
#[derive(Debug)]
pub struct OpenPerGet {
    directory: PathBuf,
    data: Arc<Dataset>,
}

/// A directory and a buffer.
#[derive(Debug)]
pub struct Opener {
    directory: PathBuf,
    data: Arc<Dataset>,
    buffer: RefCell<Vec<u8>>,
}

impl Store for OpenPerGet {
    type Reader = Opener;

    fn open(directory: &Path, shape: &Shape) -> Self {
        Self { directory: directory.to_owned(), data: Arc::clone(&shape.data) }
    }

    fn reader(&self) -> Opener {
        let directory = self.directory.clone();
        Opener { directory, data: Arc::clone(&self.data), buffer: RefCell::default() }
    }

    fn put_batch(&self, _: &[(u64, Vec<u8>)]) {
        unreachable!("reads the files of coldstore");
    }
}

impl Reading for Opener {
    fn with<R>(&self, slot: u64, look: impl FnOnce(&[u8]) -> R) -> R {
        let mut buffer = self.buffer.borrow_mut();
        self.copy(slot, &mut buffer);
        look(&buffer)
    }

    fn copy(&self, slot: u64, buffer: &mut Vec<u8>) {
        let open = |name: &str| File::open(self.directory.join(name)).unwrap();
        let mut conf = [0; 36];
        open("column.conf").read_exact_at(&mut conf, 0).unwrap();
        let highest = u64::from_le_bytes(conf[8..16].try_into().unwrap());
        assert!(slot <= highest);
        let name = format!("data_{:05}", slot / 8192);
        let mut entry = [0; 8];
        open(&format!("{name}.off")).read_exact_at(&mut entry, slot % 8192 * 8).unwrap();
        let entry = u64::from_le_bytes(entry);
        let data = open(&name);
        let mut header = [0; 8];
        data.read_exact_at(&mut header, entry).unwrap();
        let length = u32::from_le_bytes(header[2..6].try_into().unwrap());
        buffer.resize(length as usize, 0);
        data.read_exact_at(buffer, entry + 8).unwrap();
    }

    fn scan(&self, mut look: impl FnMut(&[u8])) {
        for index in 0..self.data.count() {
            self.with(self.data.slot(index), &mut look);
        }
    }
}
