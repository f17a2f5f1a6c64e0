//! W6: random gets of blocks that are not in memory.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use crate::cli::Workload;
use crate::data::touch;
use crate::groups::{Bench, open};
use crate::rounds::{Case, Contender, Metric, Outcome, Results};
use crate::store::{Reading, Shape, Store, Subject};
use crate::system::{DiskBytes, evict};
use crate::with_store;

pub(super) fn run(
    bench: &Bench<'_>,
    results: &mut Results,
    (root, warm): (&Path, &Shape),
    subjects: &[Subject],
) {
    let case = Case {
        workload: Workload::W6,
        name: "cold random block".to_owned(),
        metrics: vec![
            Metric::time("p50"),
            Metric::time("mean"),
            Metric::amplification("bytes read"),
        ],
        floor: Some("pread"),
    };
    let cold = Shape { cold_random: true, ..warm.clone() };
    let slots = bench.scale.cold_gets * (bench.rounds() + 1);
    let slots = warm.data.random_slots(6, slots);
    let chunks: Vec<&[u64]> = slots.chunks(bench.scale.cold_gets).collect();
    let mut contenders = Vec::new();
    let mut subjects = subjects.to_vec();
    if !subjects.contains(&Subject::Pread) {
        subjects.push(Subject::Pread);
    }
    for subject in subjects {
        let name = subject.name();
        match subject {
            Subject::Coldstore => {
                contenders.push(contender(name.to_owned(), (root, subject, warm), &chunks));
                let label = format!("{name}, random");
                contenders.push(contender(label, (root, subject, &cold), &chunks));
            }
            // Whether LMDB is better off with the kernel's readahead depends on the records.
            Subject::Lmdb => {
                contenders.push(contender(name.to_owned(), (root, subject, &cold), &chunks));
                let label = format!("{name}, readahead");
                contenders.push(contender(label, (root, subject, warm), &chunks));
            }
            _ => contenders.push(contender(name.to_owned(), (root, subject, &cold), &chunks)),
        }
    }
    results.measure(&case, bench.rounds(), true, &mut contenders);
}

fn contender<'a>(
    label: String,
    (root, subject, shape): (&'a Path, Subject, &'a Shape),
    chunks: &'a [&'a [u64]],
) -> Contender<'a> {
    with_store!(subject, S => Contender::new(label, move |round| {
        let slots = chunks[round];
        // What lies below this system (a host, the device) may have a memory too. Several subjects
        // read the same files: without this, each would find there what the one before has asked for.
        {
            let store: S = open(root, subject, shape);
            let reader = store.reader();
            for slot in slots {
                black_box(reader.with(*slot, touch));
            }
        }
        evict(&subject.directory(root));
        let store: S = open(root, subject, shape);
        let reader = store.reader();
        let before = DiskBytes::now();
        let (mut digest, mut payload) = (0_u64, 0_u64);
        let mut times = Vec::with_capacity(slots.len());
        for slot in slots {
            let start = Instant::now();
            let (sum, length) = reader.with(*slot, |block| (touch(block), block.len()));
            black_box(sum);
            times.push(start.elapsed().as_secs_f64() * 1e9);
            digest = digest.wrapping_add(sum);
            payload += length as u64;
        }
        let read = DiskBytes::now().read - before.read;
        drop(reader);
        drop(store);
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        times.sort_by(f64::total_cmp);
        let p50 = times[times.len() / 2];
        Outcome { values: vec![p50, mean, read as f64 / payload as f64], digest }
    }))
}
