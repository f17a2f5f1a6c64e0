//! W9: readers alone, and the same readers beside a writer that appends and backfills as fast as
//! it can.

use std::cell::RefCell;
use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::cli::Workload;
use crate::data::{Dataset, digest_root};
use crate::groups::{Bench, shared};
use crate::rounds::{Case, Contender, Metric, Outcome, Results, Unit, quartiles};
use crate::store::{Reading, Shape, Store, Subject};
use crate::stores::{Coldstore, Mapped};
use crate::with_store;

/// Gets between two looks at the clock and at what is committed.
const GETS: usize = 1024;
/// Records in a batch of the writer.
const BATCH: usize = 4096;

/// Readers run alone and beside the writer in turns: both are then of the same moment of a machine
/// whose memory is now faster and now slower.
const TURNS: u32 = 8;

pub(super) fn run(bench: &Bench<'_>, results: &mut Results) {
    let scale = bench.scale;
    // Every other slot is left for backfill.
    let (data, shape) = shared(Dataset::roots(scale.beside_roots).with_stride(2));
    let shape = Shape { backfill: true, ..shape };
    let scratch = bench.directory("beside");
    let root = scratch.path();
    let mut subjects = bench.subjects(&[Subject::Coldstore]);
    subjects.extend(bench.peers());
    for subject in &subjects {
        bench.load(root, *subject, &shape);
    }
    let slots = data.random_slots(9, 1 << 16);
    for threads in [1, 2] {
        let part = Part { slots: &slots, threads, time: scale.beside / TURNS };
        let mut contenders = Vec::new();
        for subject in &subjects {
            let directory = subject.directory(root);
            if *subject == Subject::Coldstore {
                let writing = Rc::new(Writing::<Coldstore>::new(&directory, &shape, threads));
                // What the writer takes from whoever reads, however he reads.
                let floor = Mapped::open(&directory, &shape);
                contenders.push(part.contender(Subject::Mapped, &floor, Rc::clone(&writing)));
                contenders.push(part.contender(*subject, &writing.store, Rc::clone(&writing)));
                continue;
            }
            with_store!(*subject, S => {
                let writing = Rc::new(Writing::<S>::new(&directory, &shape, threads));
                contenders.push(part.contender(*subject, &writing.store, Rc::clone(&writing)));
            });
        }
        let case = Case {
            workload: Workload::W9,
            name: format!("time of a get beside a writer, {threads} reading"),
            metrics: vec![Metric { unit: Unit::TimesAlone, ..Metric::time("") }],
            floor: None,
        };
        results.measure(&case, bench.long_rounds(), true, &mut contenders);
    }
}

/// A store with what is still to be written to it.
struct Writing<S> {
    store: S,
    shape: Shape,
    writes: RefCell<Writes>,
}

/// Where the writer is.
struct Writes {
    /// The next index above the highest record.
    next: usize,
    /// The next gap between the records that were there at first.
    gap: usize,
}

impl<S: Store> Writing<S> {
    fn new(directory: &Path, shape: &Shape, threads: usize) -> Self {
        // A backfill stays in one file: they begin at multiples of its size.
        let half = shape.data.count() / 2;
        let gap = (threads - 1) * (half - half % (BATCH / 4));
        let writes = RefCell::new(Writes { next: shape.data.count() * threads * 64, gap });
        Self { store: S::open(directory, shape), shape: shape.clone(), writes }
    }
}

impl Writes {
    /// One batch at the end, one quarter as large in gaps of one file.
    fn put<S: Store>(&mut self, store: &S, shape: &Shape) {
        let data = &shape.data;
        store.put_batch(&data.records(self.next..self.next + BATCH));
        self.next += BATCH;
        let end = self.gap + BATCH / 4;
        if end <= data.count() {
            let records = data.records(self.gap..end);
            let moved: Vec<_> =
                records.into_iter().map(|(slot, value)| (slot + 1, value)).collect();
            store.put_batch(&moved);
            self.gap = end;
        }
    }
}

/// What the readers do.
#[derive(Clone, Copy)]
struct Part<'a> {
    slots: &'a [u64],
    threads: usize,
    /// Of a turn.
    time: Duration,
}

impl<'a> Part<'a> {
    /// Readers of one store beside the writer of one, the same or another on its files.
    fn contender<R: Store, W: Store>(
        self,
        subject: Subject,
        store: &R,
        writing: Rc<Writing<W>>,
    ) -> Contender<'a> {
        let mut readers: Vec<_> = (0..self.threads).map(|_| store.reader()).collect();
        Contender::new(subject.name(), move |_| {
            let Writing { store, shape, writes } = &*writing;
            let mut write = || writes.borrow_mut().put(store, shape);
            let turns = (0..TURNS).map(|_| {
                readers.iter_mut().for_each(Reading::renew);
                let alone = self.gets_each(&mut readers, None);
                self.gets_each(&mut readers, Some(&mut write)) / alone
            });
            Outcome::of(quartiles(&turns.collect::<Vec<_>>())[1], 0)
        })
    }

    /// Nanoseconds for each get of each thread, with `beside` on this thread all the while.
    fn gets_each<R: Reading>(self, readers: &mut [R], beside: Option<&mut dyn FnMut()>) -> f64 {
        let running = AtomicUsize::new(readers.len());
        std::thread::scope(|scope| {
            let started: Vec<_> = readers
                .iter_mut()
                .enumerate()
                .map(|(thread, reader)| {
                    let running = &running;
                    scope.spawn(move || {
                        let each = self.gets(thread, reader);
                        running.fetch_sub(1, Ordering::Relaxed);
                        each
                    })
                })
                .collect();
            if let Some(beside) = beside {
                while running.load(Ordering::Relaxed) == self.threads {
                    beside();
                }
            }
            let times: Vec<f64> =
                started.into_iter().map(|reader| reader.join().unwrap()).collect();
            times.iter().sum::<f64>() / times.len() as f64
        })
    }

    fn gets<R: Reading>(self, thread: usize, reader: &mut R) -> f64 {
        let (mut gets, mut at, mut sum) = (0, thread * self.slots.len() / self.threads, 0_u64);
        let start = Instant::now();
        while start.elapsed() < self.time {
            for slot in &self.slots[at..at + GETS] {
                sum ^= reader.with(*slot, digest_root);
            }
            gets += GETS;
            at = (at + GETS) % self.slots.len();
            reader.renew();
        }
        black_box(sum);
        start.elapsed().as_secs_f64() * 1e9 / gets as f64
    }
}
