//! W7: opening a store whose records lie in many files, and the first get.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use memmap2::Mmap;

use crate::cli::Workload;
use crate::data::{Dataset, digest_root};
use crate::groups::{Bench, open, shared};
use crate::rounds::{Case, Contender, Metric, Outcome, Results};
use crate::store::{Reading, Shape, Store, Subject};
use crate::with_store;

pub(super) fn run(bench: &Bench<'_>, results: &mut Results) {
    let files = bench.scale.files;
    let (_, shape) = shared(Dataset::roots(files).with_stride(8192));
    // Nobody needs a large cache for that.
    let shape = Shape { cache_bytes: 16 << 20, ..shape };
    let scratch = bench.directory("files");
    let root = scratch.path();
    let mut subjects = bench.subjects(&[Subject::Coldstore, Subject::OpenPerGet]);
    subjects.extend(bench.peers());
    for subject in &subjects {
        if subject.files_of() == *subject {
            bench.load(root, *subject, &shape);
        }
    }
    if !subjects.contains(&Subject::Coldstore) {
        bench.load(root, Subject::Coldstore, &shape);
    }
    let slots = shape.data.random_slots(7, bench.rounds() + 1);
    let mut contenders: Vec<_> =
        subjects.iter().map(|of| contender((root, *of, &shape), &slots)).collect();
    contenders.push(floor(Subject::Coldstore.directory(root), &slots));
    let case = Case {
        workload: Workload::W7,
        name: format!("{files} files"),
        metrics: vec![Metric::time("open"), Metric::time("open and first get")],
        floor: Some("mapped"),
    };
    results.measure(&case, bench.rounds(), true, &mut contenders);
}

fn contender<'a>(
    (root, subject, shape): (&'a Path, Subject, &'a Shape),
    slots: &'a [u64],
) -> Contender<'a> {
    with_store!(subject, S => Contender::new(subject.name(), move |round| {
        let start = Instant::now();
        let store: S = open(root, subject, shape);
        let reader = store.reader();
        let opened = start.elapsed();
        let digest = black_box(reader.with(slots[round], digest_root));
        let touched = start.elapsed();
        Outcome { values: [opened, touched].map(|t| t.as_secs_f64() * 1e9).to_vec(), digest }
    }))
}

/// The conf read when opening, two files opened and mapped for the first get.
fn floor(directory: std::path::PathBuf, slots: &[u64]) -> Contender<'_> {
    Contender::new("mapped", move |round| {
        let slot = slots[round];
        let start = Instant::now();
        black_box(std::fs::read(directory.join("column.conf")).unwrap());
        let opened = start.elapsed();
        let map = |name: String| {
            let file = File::open(directory.join(name)).unwrap();
            // SAFETY: the directory is this program's own, and nobody writes there now.
            #[expect(unsafe_code, reason = "the files are mapped")]
            unsafe { Mmap::map(&file) }.unwrap()
        };
        let offsets = map(format!("data_{:05}.off", slot / 8192));
        let data = map(format!("data_{:05}", slot / 8192));
        let at = (slot % 8192) as usize * 8;
        let entry = u64::from_le_bytes(offsets[at..at + 8].try_into().unwrap()) as usize;
        let digest = black_box(digest_root(&data[entry + 8..entry + 40]));
        let touched = start.elapsed();
        Outcome { values: [opened, touched].map(|t| t.as_secs_f64() * 1e9).to_vec(), digest }
    })
}
