//! What no store can beat by much: the files of coldstore through plain maps, the same by `pread`,
//! and bytes appended to one file.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use memmap2::Mmap;
use rustix::fs::Advice;

use crate::data::{Dataset, Kind};
use crate::store::{Reading, Shape, Store};

const SLOTS_PER_FILE: u64 = 8192;

/// The files of a column, in order. All of them from the first on are there.
fn files(directory: &Path) -> Vec<(File, File)> {
    let open = |name: String| File::open(directory.join(name)).ok();
    (0..)
        .map_while(|id| Some((open(format!("data_{id:05}.off"))?, open(format!("data_{id:05}"))?)))
        .collect()
}

/// Plain maps. Nothing is checked but what Rust checks.
#[derive(Debug)]
pub struct Mapped {
    directory: PathBuf,
    data: Arc<Dataset>,
}

/// Offset file and data file of each id.
#[derive(Debug)]
pub struct Maps {
    files: Vec<(Mmap, Mmap)>,
    is_root: bool,
    data: Arc<Dataset>,
}

impl Store for Mapped {
    type Reader = Maps;

    fn open(directory: &Path, shape: &Shape) -> Self {
        Self { directory: directory.to_owned(), data: Arc::clone(&shape.data) }
    }

    fn reader(&self) -> Maps {
        // SAFETY: the directory is this program's own, and only writers of the format write there.
        #[expect(unsafe_code, reason = "the files are mapped")]
        let map = |file: &File| unsafe { Mmap::map(file) }.unwrap();
        let files = files(&self.directory)
            .iter()
            .map(|(offsets, data)| (map(offsets), map(data)))
            .collect();
        let is_root = self.data.kind == Kind::Roots;
        Maps { files, is_root, data: Arc::clone(&self.data) }
    }

    fn put_batch(&self, _: &[(u64, Vec<u8>)]) {
        unreachable!("a floor of reads");
    }
}

impl Reading for Maps {
    #[inline]
    fn with<R>(&self, slot: u64, look: impl FnOnce(&[u8]) -> R) -> R {
        let (offsets, data) = &self.files[(slot / SLOTS_PER_FILE) as usize];
        let at = (slot % SLOTS_PER_FILE) as usize * 8;
        let entry = u64::from_le_bytes(offsets[at..at + 8].try_into().unwrap()) as usize;
        // A root's length is known, any other one stands in the header.
        if self.is_root {
            return look(&data[entry + 8..entry + 40]);
        }
        let length = u32::from_le_bytes(data[entry + 2..entry + 6].try_into().unwrap()) as usize;
        look(&data[entry + 8..entry + 8 + length])
    }

    fn scan(&self, mut look: impl FnMut(&[u8])) {
        for index in 0..self.data.count() {
            self.with(self.data.slot(index), &mut look);
        }
    }
}

/// `pread` of the entry, then of header and record, whose length is known, on descriptors that
/// stay open.
#[derive(Debug)]
pub struct Pread {
    directory: PathBuf,
    data: Arc<Dataset>,
    cold_random: bool,
}

/// The open files and a buffer.
#[derive(Debug)]
pub struct Descriptors {
    files: Vec<(File, File)>,
    data: Arc<Dataset>,
    buffer: RefCell<Vec<u8>>,
}

impl Store for Pread {
    type Reader = Descriptors;

    fn open(directory: &Path, shape: &Shape) -> Self {
        let data = Arc::clone(&shape.data);
        Self { directory: directory.to_owned(), data, cold_random: shape.cold_random }
    }

    fn reader(&self) -> Descriptors {
        let files = files(&self.directory);
        if self.cold_random {
            for file in files.iter().flat_map(|(offsets, data)| [offsets, data]) {
                rustix::fs::fadvise(file, 0, None, Advice::Random).unwrap();
            }
        }
        Descriptors { files, data: Arc::clone(&self.data), buffer: RefCell::default() }
    }

    fn put_batch(&self, _: &[(u64, Vec<u8>)]) {
        unreachable!("a floor of reads");
    }
}

impl Reading for Descriptors {
    fn with<R>(&self, slot: u64, look: impl FnOnce(&[u8]) -> R) -> R {
        let (offsets, data) = &self.files[(slot / SLOTS_PER_FILE) as usize];
        let mut entry = [0; 8];
        offsets.read_exact_at(&mut entry, slot % SLOTS_PER_FILE * 8).unwrap();
        let mut buffer = self.buffer.borrow_mut();
        buffer.resize(8 + self.data.length(slot), 0);
        data.read_exact_at(&mut buffer, u64::from_le_bytes(entry)).unwrap();
        look(&buffer[8..])
    }

    /// Header and record go into the caller's buffer at once; the 8 bytes of the header are the
    /// only ones that are moved.
    fn copy(&self, slot: u64, buffer: &mut Vec<u8>) {
        let (offsets, data) = &self.files[(slot / SLOTS_PER_FILE) as usize];
        let mut entry = [0; 8];
        offsets.read_exact_at(&mut entry, slot % SLOTS_PER_FILE * 8).unwrap();
        buffer.resize(self.data.length(slot), 0);
        data.read_exact_at(buffer, u64::from_le_bytes(entry) + 8).unwrap();
    }

    fn scan(&self, mut look: impl FnMut(&[u8])) {
        for index in 0..self.data.count() {
            self.with(self.data.slot(index), &mut look);
        }
    }
}

/// Payloads, each behind a header of 8 bytes, appended to one file: one write, one `fdatasync`
/// for each batch. It cannot be read by slot.
#[derive(Debug)]
pub struct Append {
    file: Mutex<(File, Vec<u8>)>,
}

impl Store for Append {
    type Reader = Maps;

    fn open(directory: &Path, _: &Shape) -> Self {
        let file =
            File::options().create(true).append(true).open(directory.join("appended")).unwrap();
        Self { file: Mutex::new((file, Vec::new())) }
    }

    fn reader(&self) -> Maps {
        unreachable!("a floor of writes");
    }

    fn put_batch(&self, records: &[(u64, Vec<u8>)]) {
        self.append(records, |file| file.sync_data().unwrap());
    }
}

impl Append {
    /// Writes the records and flushes them by `flush`.
    fn append(&self, records: &[(u64, Vec<u8>)], flush: impl FnOnce(&File)) {
        let mut held = self.file.lock().unwrap();
        let (file, bytes) = &mut *held;
        // Short records are gathered, long ones are written from where they are.
        const GATHERED: usize = 4096;
        bytes.clear();
        for (slot, value) in records {
            bytes.extend_from_slice(&slot.to_le_bytes());
            if value.len() <= GATHERED {
                bytes.extend_from_slice(value);
            } else {
                write_all_of(file, bytes, value);
                bytes.clear();
            }
        }
        file.write_all(bytes).unwrap();
        flush(file);
    }
}

/// [`Append`] with a commit marker: a small file that is written beside the one before, flushed at the
/// same time as the records, and renamed over it, which is flushed in turn. No store whose marker is
/// replaced by rename commits in less.
#[derive(Debug)]
pub struct Marked {
    append: Append,
    directory: PathBuf,
}

impl Store for Marked {
    type Reader = Maps;

    fn open(directory: &Path, shape: &Shape) -> Self {
        Self { append: Append::open(directory, shape), directory: directory.to_owned() }
    }

    fn reader(&self) -> Maps {
        unreachable!("a floor of writes");
    }

    fn put_batch(&self, records: &[(u64, Vec<u8>)]) {
        let (new, marker) = (self.directory.join("marker.new"), self.directory.join("marker"));
        self.append.append(records, |file| {
            let mut next = File::create(&new).unwrap();
            next.write_all(&[0; 52]).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| next.sync_data().unwrap());
                file.sync_data().unwrap();
            });
            std::fs::rename(&new, &marker).unwrap();
            File::open(&self.directory).unwrap().sync_all().unwrap();
        });
    }
}

/// One `writev` for both parts, as long as the system takes them whole.
fn write_all_of(file: &mut File, header: &[u8], value: &[u8]) {
    let parts = [std::io::IoSlice::new(header), std::io::IoSlice::new(value)];
    let written = file.write_vectored(&parts).unwrap();
    if let Some(rest) = written.checked_sub(header.len()) {
        file.write_all(&value[rest..]).unwrap();
    } else {
        file.write_all(&header[written..]).unwrap();
        file.write_all(value).unwrap();
    }
}
