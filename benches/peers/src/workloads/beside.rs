//! W9: readers alone, and the same readers beside a writer that appends and backfills as fast as
//! it can.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cli::Workload;
use crate::data::{Dataset, digest_root};
use crate::groups::{Bench, shared};
use crate::rounds::{Case, Contender, Metric, Outcome, Results, Unit};
use crate::store::{Reading, Shape, Store, Subject};
use crate::with_store;

/// Gets between two looks at the clock and at what is committed.
const GETS: usize = 1024;
/// Records in a batch of the writer.
const BATCH: usize = 4096;

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
        let mut contenders: Vec<_> = subjects
            .iter()
            .map(|subject| {
                let directory = subject.directory(root);
                let (shape, slots) = (&shape, &slots[..]);
                with_store!(*subject, S => {
                    let store = S::open(&directory, shape);
                    let mut writes = Writes { next: shape.data.count() * threads * 64, gap: 0 };
                    // A backfill stays in one file: they begin at multiples of its size.
                    let half = shape.data.count() / 2;
                    writes.gap = (threads - 1) * (half - half % (BATCH / 4));
                    Contender::new(subject.name(), move |_| {
                        let alone = gets_each(&store, slots, threads, scale.beside, None);
                        let mut write = || writes.put(&store, shape);
                        let beside = gets_each(&store, slots, threads, scale.beside, Some(&mut write));
                        Outcome::of(beside / alone, 0)
                    })
                })
            })
            .collect();
        let case = Case {
            workload: Workload::W9,
            name: format!("time of a get beside a writer, {threads} reading"),
            metrics: vec![Metric { unit: Unit::TimesAlone, ..Metric::time("") }],
            floor: None,
        };
        results.measure(&case, bench.long_rounds(), true, &mut contenders);
    }
}

/// Where the writer is.
struct Writes {
    /// The next index above the highest record.
    next: usize,
    /// The next gap between the records that were there at first.
    gap: usize,
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

/// Nanoseconds for each get of each thread.
fn gets_each<S: Store>(
    store: &S,
    slots: &[u64],
    threads: usize,
    time: Duration,
    write: Option<&mut (dyn FnMut() + Send)>,
) -> f64 {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if let Some(write) = write {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    write();
                }
            });
        }
        let readers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut reader = store.reader();
                    let (mut gets, mut at, mut sum) = (0, thread * slots.len() / threads, 0_u64);
                    let start = Instant::now();
                    while start.elapsed() < time {
                        for slot in &slots[at..at + GETS] {
                            sum ^= reader.with(*slot, digest_root);
                        }
                        gets += GETS;
                        at = (at + GETS) % slots.len();
                        reader.renew();
                    }
                    black_box(sum);
                    start.elapsed().as_secs_f64() * 1e9 / gets as f64
                })
            })
            .collect();
        let times: Vec<f64> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        stop.store(true, Ordering::Relaxed);
        times.iter().sum::<f64>() / times.len() as f64
    })
}
