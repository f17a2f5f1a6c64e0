//! What a subject must be able to do, and which subjects there are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::data::Dataset;

/// What a store is going to hold, and how it is going to be used: subjects that have knobs for
/// that turn them.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The records.
    pub data: Arc<Dataset>,
    /// Reads are random and not from memory.
    pub cold_random: bool,
    /// Records come in between older ones too.
    pub backfill: bool,
    /// Bytes of a cache of its own, for subjects that do not read through the page cache alone.
    pub cache_bytes: u64,
}

impl Shape {
    /// Records that are read from memory or in order.
    #[must_use]
    pub fn warm(data: &Arc<Dataset>) -> Self {
        let cache_bytes = (data.bytes() * 5 / 4).clamp(256 << 20, 6 << 30);
        Self { data: Arc::clone(data), cold_random: false, backfill: false, cache_bytes }
    }
}

/// One moment of a store, open for reading. `Send`, used by one thread.
pub trait Reading: Send {
    /// Shows the stored bytes of a slot that has a record, without a copy where the subject can.
    fn with<R>(&self, slot: u64, look: impl FnOnce(&[u8]) -> R) -> R;

    /// Copies the stored bytes of a slot in place of what is in `buffer`.
    fn copy(&self, slot: u64, buffer: &mut Vec<u8>) {
        self.with(slot, |stored| {
            buffer.clear();
            buffer.extend_from_slice(stored);
        });
    }

    /// Shows all records by ascending slots.
    fn scan(&self, look: impl FnMut(&[u8]));

    /// Moves on to what is committed now.
    fn renew(&mut self) {}
}

/// A store, open for writing and for reading.
pub trait Store: Sized + Send + Sync + 'static {
    /// How it is read.
    type Reader: Reading;

    /// Opens the store in an existing directory, or makes it there.
    fn open(directory: &Path, shape: &Shape) -> Self;

    /// Takes a moment to read.
    fn reader(&self) -> Self::Reader;

    /// Puts records: durable and visible to new readers on return, all of them or none.
    fn put_batch(&self, records: &[(u64, Vec<u8>)]);

    /// Ends a load: what the subject would do in the background is done when this returns.
    fn settle(&self) {}

    /// Each of `threads` threads puts single records, and each put is durable when it returns.
    /// Returns how long all of them took together. Here a thread of its own takes whatever waits
    /// and puts it as one batch; subjects with something better bring their own.
    fn concurrent_puts(&self, records: Vec<(u64, Vec<u8>)>, threads: usize) -> Duration {
        type Job = (Vec<(u64, Vec<u8>)>, mpsc::SyncSender<()>);
        let (queue, jobs) = mpsc::channel::<Job>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while let Ok((mut batch, answer)) = jobs.recv() {
                    let mut answers = vec![answer];
                    while let Ok((record, answer)) = jobs.try_recv() {
                        batch.extend(record);
                        answers.push(answer);
                    }
                    self.put_batch(&batch);
                    for answer in answers {
                        answer.send(()).unwrap();
                    }
                }
            });
            let queue = Mutex::new(queue);
            in_turn(records, threads, |record| {
                let (answer, done) = mpsc::sync_channel(1);
                queue.lock().unwrap().send((vec![record], answer)).unwrap();
                move || done.recv().unwrap()
            })
        })
    }
}

/// Threads that submit records in their order, each waiting for its own to be done.
pub fn in_turn<W: FnOnce()>(
    records: Vec<(u64, Vec<u8>)>,
    threads: usize,
    submit: impl Fn((u64, Vec<u8>)) -> W + Sync,
) -> Duration {
    let records: Vec<_> = records.into_iter().map(|record| Mutex::new(Some(record))).collect();
    let (next, turn) = (AtomicUsize::new(0), Mutex::new(()));
    let barrier = Barrier::new(threads + 1);
    let mut started = None;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                barrier.wait();
                loop {
                    let held = turn.lock().unwrap();
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(record) = records.get(index) else { break };
                    let record = record.lock().unwrap().take().unwrap();
                    let wait = submit(record);
                    drop(held);
                    wait();
                }
            });
        }
        barrier.wait();
        started = Some(Instant::now());
    });
    started.unwrap().elapsed()
}

/// The subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Subject {
    /// This library.
    Coldstore,
    /// This library, copying by `pread`.
    ColdstoreReadInto,
    /// A floor: the same files through plain maps.
    Mapped,
    /// A floor: the same files by `pread` on descriptors that stay open.
    Pread,
    /// A floor: bytes appended to one file, flushed once for each batch.
    Append,
    /// A floor: the same with a commit marker that is replaced by rename.
    AppendMarked,
    /// What Lighthouse's static store does today: three files opened for each get.
    OpenPerGet,
    /// LMDB.
    Lmdb,
    /// MDBX.
    #[cfg(feature = "mdbx")]
    Mdbx,
    /// redb.
    Redb,
    /// fjall.
    Fjall,
    /// `RocksDB`.
    #[cfg(feature = "rocksdb")]
    Rocksdb,
}

impl Subject {
    /// All that this build has.
    #[must_use]
    pub fn all() -> Vec<Subject> {
        <Subject as clap::ValueEnum>::value_variants().to_vec()
    }

    /// As it is called on the command line and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Subject::Coldstore => "coldstore",
            Subject::ColdstoreReadInto => "coldstore-read-into",
            Subject::Mapped => "mapped",
            Subject::Pread => "pread",
            Subject::Append => "append",
            Subject::AppendMarked => "append-marked",
            Subject::OpenPerGet => "open-per-get",
            Subject::Lmdb => "lmdb",
            Subject::Redb => "redb",
            Subject::Fjall => "fjall",
            #[cfg(feature = "rocksdb")]
            Subject::Rocksdb => "rocksdb",
            #[cfg(feature = "mdbx")]
            Subject::Mdbx => "mdbx",
        }
    }

    /// A store of its own, that other people use.
    #[must_use]
    pub fn is_peer(self) -> bool {
        self.files_of() == self
            && !matches!(self, Subject::Coldstore | Subject::Append | Subject::AppendMarked)
    }

    /// Whose files it reads: floors read those of coldstore.
    #[must_use]
    pub fn files_of(self) -> Subject {
        match self {
            Subject::ColdstoreReadInto | Subject::Mapped | Subject::Pread | Subject::OpenPerGet => {
                Subject::Coldstore
            }
            other => other,
        }
    }

    /// The directory of its files below `root`.
    #[must_use]
    pub fn directory(self, root: &Path) -> PathBuf {
        root.join(self.files_of().name())
    }
}

/// Evaluates an expression with the type alias standing for the store of a subject.
#[macro_export]
macro_rules! with_store {
    ($subject:expr, $store:ident => $body:expr) => {
        match $subject {
            $crate::Subject::Coldstore => {
                type $store = $crate::stores::Coldstore;
                $body
            }
            $crate::Subject::ColdstoreReadInto => {
                type $store = $crate::stores::ReadInto;
                $body
            }
            $crate::Subject::Mapped => {
                type $store = $crate::stores::Mapped;
                $body
            }
            $crate::Subject::Pread => {
                type $store = $crate::stores::Pread;
                $body
            }
            $crate::Subject::Append => {
                type $store = $crate::stores::Append;
                $body
            }
            $crate::Subject::AppendMarked => {
                type $store = $crate::stores::Marked;
                $body
            }
            $crate::Subject::OpenPerGet => {
                type $store = $crate::stores::OpenPerGet;
                $body
            }
            $crate::Subject::Lmdb => {
                type $store = $crate::stores::Lmdb;
                $body
            }
            $crate::Subject::Redb => {
                type $store = $crate::stores::Redb;
                $body
            }
            $crate::Subject::Fjall => {
                type $store = $crate::stores::Fjall;
                $body
            }
            #[cfg(feature = "rocksdb")]
            $crate::Subject::Rocksdb => {
                type $store = $crate::stores::Rocksdb;
                $body
            }
            #[cfg(feature = "mdbx")]
            $crate::Subject::Mdbx => {
                type $store = $crate::stores::Mdbx;
                $body
            }
        }
    };
}
