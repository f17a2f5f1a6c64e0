//! Criterion benches of the read path, with their floor in the same run.
//!
//! Run with `cargo bench --bench reads`. On a noisy machine use `--bench ratios`.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{Floor, digest, open, slots, write_roots, write_sparse};

const RECORDS: u64 = 1 << 18;
const GETS: usize = 1 << 14;

fn warm_get(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    write_roots(directory.path(), RECORDS);
    let view = open(directory.path()).view();
    let floor = Floor::open(directory.path(), RECORDS);
    let slots = slots(GETS, RECORDS);

    let mut group = criterion.benchmark_group("warm random get of a 32-byte root");
    group.throughput(Throughput::Elements(GETS as u64));
    group.bench_function("plain maps", |bencher| {
        bencher.iter(|| slots.iter().map(|slot| digest(floor.get(*slot))).fold(0, |a, b| a ^ b));
    });
    group.bench_function("view.get_stored", |bencher| {
        bencher.iter(|| {
            let get = |slot| view.get_stored(slot).unwrap().unwrap();
            slots.iter().map(|slot| digest(get(*slot))).fold(0, |a, b| a ^ b)
        });
    });
    group.bench_function("view.get", |bencher| {
        bencher.iter(|| {
            let get = |slot| view.get(slot).unwrap().unwrap();
            slots.iter().map(|slot| digest(&get(*slot))).fold(0, |a, b| a ^ b)
        });
    });
    group.finish();
}

fn scan(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    write_roots(directory.path(), RECORDS);
    let view = open(directory.path()).view();
    let floor = Floor::open(directory.path(), RECORDS);

    let mut group = criterion.benchmark_group("scan of 32-byte roots");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("plain maps", |bencher| {
        bencher
            .iter(|| (0..RECORDS).map(|slot| digest(floor.get(slot.into()))).fold(0, |a, b| a ^ b));
    });
    group.bench_function("view.range", |bencher| {
        bencher.iter(|| {
            view.range(..).map(|record| digest(record.unwrap().stored())).fold(0, |a, b| a ^ b)
        });
    });
    group.finish();
}

fn refresh_and_open(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    write_sparse(directory.path(), 1000);
    let reader = open(directory.path());
    criterion.bench_function("refresh without a new commit", |bencher| {
        bencher.iter(|| black_box(reader.refresh().unwrap()));
    });
    criterion.bench_function("open a column of 1,000 files", |bencher| {
        bencher.iter(|| black_box(open(directory.path())));
    });
}

criterion_group!(benches, warm_get, scan, refresh_and_open);
criterion_main!(benches);
