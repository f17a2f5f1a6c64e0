//! W5: durable appends, and the bytes that they write.

use std::time::{Duration, Instant};

use crate::cli::Workload;
use crate::data::Dataset;
use crate::groups::{Bench, shared};
use crate::rounds::{Case, Contender, Metric, Outcome, Results};
use crate::store::{Shape, Store, Subject};
use crate::system::DiskBytes;
use crate::with_store;

/// How records are put.
#[derive(Clone, Copy)]
enum Way {
    /// This many in a batch, so many batches in a round.
    Batches(usize, usize),
    /// This many threads, each putting one at a time, so many puts in a round.
    Concurrent(usize, usize),
}

impl Way {
    /// Records in a round.
    fn records(self) -> usize {
        match self {
            Way::Batches(size, count) => size * count,
            Way::Concurrent(_, count) => count,
        }
    }

    /// Durable operations in a round.
    fn operations(self) -> usize {
        match self {
            Way::Batches(_, count) | Way::Concurrent(_, count) => count,
        }
    }

    fn put<S: Store>(self, store: &S, records: Vec<(u64, Vec<u8>)>) -> Duration {
        match self {
            Way::Batches(size, _) => {
                let start = Instant::now();
                for batch in records.chunks(size) {
                    store.put_batch(batch);
                }
                start.elapsed()
            }
            Way::Concurrent(threads, _) => store.concurrent_puts(records, threads),
        }
    }
}

pub(super) fn run(bench: &Bench<'_>, results: &mut Results) {
    let scale = bench.scale;
    let roots = || Dataset::roots(1 << 16);
    let blocks = || Dataset::blocks(1 << 12);
    let singles = Way::Batches(1, scale.single_puts);
    let concurrent = Way::Concurrent(scale.threads, scale.threads * 4);
    let cases = [
        (
            format!("batch of {} roots", scale.root_batch),
            roots(),
            Way::Batches(scale.root_batch, scale.batches),
        ),
        (
            format!("batch of {} blocks", scale.block_batch),
            blocks(),
            Way::Batches(scale.block_batch, scale.batches),
        ),
        ("single put of a root".to_owned(), roots(), singles),
        ("single put of a block".to_owned(), blocks(), singles),
        (format!("put of a root by each of {} threads", scale.threads), roots(), concurrent),
        (format!("put of a block by each of {} threads", scale.threads), blocks(), concurrent),
    ];
    let mut subjects =
        bench.subjects(&[Subject::Coldstore, Subject::Append, Subject::AppendMarked]);
    subjects.extend(bench.peers());
    for (name, data, way) in cases {
        let (_, shape) = shared(data);
        let scratch = bench.directory("writes");
        let mut contenders = Vec::new();
        for subject in &subjects {
            let directory = subject.directory(scratch.path());
            std::fs::create_dir_all(&directory).unwrap();
            let shape = shape.clone();
            contenders.push(with_store!(*subject, S => {
                let store = S::open(&directory, &shape);
                Contender::new(subject.name(), move |round| {
                    let first = round * way.records();
                    let records = shape.data.records(first..first + way.records());
                    let seconds = way.put(&store, records).as_secs_f64();
                    Outcome::of(seconds * 1e9 / way.operations() as f64, 0)
                })
            }));
        }
        let case = Case {
            workload: Workload::W5,
            name: name.clone(),
            metrics: vec![Metric::time("")],
            floor: Some("append"),
        };
        results.measure(&case, bench.rounds(), true, &mut contenders);
        drop(contenders);
        drop(scratch);
        let mut contenders: Vec<_> =
            subjects.iter().map(|subject| amplification(bench, *subject, &shape, way)).collect();
        let case = Case { metrics: vec![Metric::amplification("bytes written")], ..case };
        results.measure(&case, 1, true, &mut contenders);
    }
}

/// Some rounds into a new store, closed at the end: bytes written for each byte of payload. What
/// a subject leaves for later, in a log that has yet to be moved, is not in there.
fn amplification<'a>(
    bench: &'a Bench<'_>,
    subject: Subject,
    shape: &'a Shape,
    way: Way,
) -> Contender<'a> {
    Contender::new(subject.name(), move |_| {
        let scratch = bench.directory("amplification");
        let directory = subject.directory(scratch.path());
        std::fs::create_dir_all(&directory).unwrap();
        let rounds = 4;
        let mut payload = 0;
        let written = with_store!(subject, S => {
            let store = S::open(&directory, shape);
            // Files that are made once are not what is asked for.
            store.put_batch(&shape.data.records(0..1));
            let before = DiskBytes::now().written;
            for round in 0..rounds {
                let first = 1 + round * way.records();
                let records = shape.data.records(first..first + way.records());
                payload += records.iter().map(|record| record.1.len()).sum::<usize>();
                way.put(&store, records);
            }
            drop(store);
            DiskBytes::now().written - before
        });
        Outcome::of(written as f64 / payload as f64, 0)
    })
}
