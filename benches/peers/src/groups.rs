//! Stores that hold the same records, made before they are measured and deleted after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::cli::Options;
use crate::data::{Dataset, sum_words};
use crate::scale::Scale;
use crate::store::{Reading, Shape, Store, Subject};
use crate::system;
use crate::with_store;

/// What a run is to measure, and where.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The command line.
    pub options: &'a Options,
    /// The mode.
    pub scale: &'a Scale,
    /// Bytes of memory that stores may fill.
    memory: u64,
}

impl<'a> Bench<'a> {
    /// Nothing is made yet.
    #[must_use]
    pub fn new(options: &'a Options, scale: &'a Scale) -> Self {
        Self { options, scale, memory: system::available_memory() / 10 * 8 }
    }

    /// Rounds of a measurement that takes long.
    #[must_use]
    pub fn long_rounds(&self) -> usize {
        self.options.rounds.unwrap_or(self.scale.rounds)
    }

    /// Rounds of one that takes little time: more, since a shared machine is slow in spells.
    #[must_use]
    pub fn rounds(&self) -> usize {
        4 * self.long_rounds()
    }

    /// The subjects that are asked for among these. Floors are always there.
    #[must_use]
    pub fn subjects(&self, among: &[Subject]) -> Vec<Subject> {
        use Subject::{Append, AppendMarked, Mapped, Pread};
        let is_floor = |subject| matches!(subject, Mapped | Pread | Append | AppendMarked);
        let wanted = |subject: &&Subject| is_floor(**subject) || self.options.has(**subject);
        among.iter().filter(wanted).copied().collect()
    }

    /// The peers that are asked for.
    #[must_use]
    pub fn peers(&self) -> Vec<Subject> {
        let peers = Subject::all().into_iter().filter(|subject| subject.is_peer());
        peers.filter(|subject| self.options.has(*subject)).collect()
    }

    /// A directory that is deleted with what it holds when it is dropped.
    #[must_use]
    pub fn directory(&self, name: &str) -> Scratch {
        Scratch::new(self.options.data.join(name))
    }

    /// The peers in groups that fit into memory together, each beside coldstore's files. (A warm
    /// read of something that is not in memory is none.)
    #[must_use]
    pub fn groups(&self, data: &Dataset) -> Vec<Vec<Subject>> {
        let bytes = data.bytes() as f64;
        let mut groups = vec![Vec::new()];
        let mut filled = bytes;
        for peer in self.peers() {
            let needs = bytes * memory_factor(peer);
            if filled + needs > self.memory as f64 && groups.last().is_some_and(|g| !g.is_empty()) {
                groups.push(Vec::new());
                filled = bytes;
            }
            filled += needs;
            groups.last_mut().unwrap().push(peer);
        }
        groups
    }

    /// Fills the store of a subject, and compares what it returns with what it was given.
    pub fn load(&self, root: &Path, subject: Subject, shape: &Shape) {
        let directory = subject.directory(root);
        fs::create_dir_all(&directory).unwrap();
        let started = Instant::now();
        with_store!(subject, S => fill::<S>(&directory, shape));
        let seconds = started.elapsed().as_secs_f64();
        let bytes = system::disk_usage(&directory) as f64;
        let payload = shape.data.bytes() as f64;
        eprintln!(
            "  {}: {:.0} MB loaded in {seconds:.1} s, {:.2} bytes on disk for each",
            subject.name(),
            payload / 1e6,
            bytes / payload
        );
        with_store!(subject, S => check::<S>(&directory, shape));
    }
}

/// Bytes of memory for each byte of data that is read: some keep a cache of their own besides.
fn memory_factor(subject: Subject) -> f64 {
    match subject {
        Subject::Redb => 2.6,
        Subject::Fjall => 2.2,
        #[cfg(feature = "rocksdb")]
        Subject::Rocksdb => 2.2,
        _ => 1.1,
    }
}

fn fill<S: Store>(directory: &Path, shape: &Shape) {
    let store = S::open(directory, shape);
    let data = &shape.data;
    // Batches of 64 MB or of 65,536 records.
    let (mut next, count) = (0, data.count());
    while next < count {
        let (mut end, mut bytes) = (next, 0);
        while end < count && end - next < 65_536 && bytes < 64 << 20 {
            bytes += data.length(data.slot(end));
            end += 1;
        }
        store.put_batch(&data.records(next..end));
        next = end;
    }
    store.settle();
}

fn check<S: Store>(directory: &Path, shape: &Shape) {
    let data = &shape.data;
    let store = S::open(directory, shape);
    let reader = store.reader();
    let mut wanted = Vec::new();
    for slot in data.random_slots(7, 200) {
        data.fill(slot, &mut wanted);
        reader.with(slot, |found| assert_eq!(sum_words(found), sum_words(&wanted), "slot {slot}"));
    }
}

/// Opens the store of a subject below `root`.
pub fn open<S: Store>(root: &Path, subject: Subject, shape: &Shape) -> S {
    S::open(&subject.directory(root), shape)
}

/// A shape that is warm and holds the data.
#[must_use]
pub fn shared(data: Dataset) -> (Arc<Dataset>, Shape) {
    let data = Arc::new(data);
    let shape = Shape::warm(&data);
    (data, shape)
}

/// A directory that goes away with what is in it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    fn new(path: PathBuf) -> Self {
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
