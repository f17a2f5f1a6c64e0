//! What the warm workloads have in common: contenders that run over a list of slots, over all
//! records, or open the store first.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use crate::groups::{Bench, open};
use crate::rounds::{Contender, Outcome, Pace};
use crate::store::{Reading, Shape, Store, Subject};
use crate::with_store;

/// What is done with the slots of a round.
pub(super) trait Gets: Copy + 'static {
    fn run<R: Reading>(self, reader: &R, slots: &[u64], buffer: &mut Vec<u8>) -> u64;
}

/// What is done with each record of a scan.
pub(super) type Look = fn(&[u8]) -> u64;

/// A contender that runs gets on an open store.
pub(super) fn gets<'a, G: Gets>(
    bench: &Bench<'_>,
    (root, subject, shape): (&Path, Subject, &Shape),
    (slots, most, gets): (&'a [u64], usize, G),
) -> Contender<'a> {
    let mut pace = Pace::new(most.min(slots.len()), bench.scale.budget, bench.scale.same_count);
    with_store!(subject, S => {
        let store: S = open(root, subject, shape);
        let reader = store.reader();
        let mut buffer = Vec::new();
        Contender::new(subject.name(), move |round| {
            let _alive = &store;
            pace.run(round, slots, |slots| gets.run(&reader, slots, &mut buffer))
        })
    })
}

/// A contender that scans an open store. The unit is nanoseconds for each record.
pub(super) fn scan(
    (root, subject, shape): (&Path, Subject, &Shape),
    look: Look,
) -> Contender<'static> {
    let count = shape.data.count() as f64;
    with_store!(subject, S => {
        let store: S = open(root, subject, shape);
        let reader = store.reader();
        Contender::new(subject.name(), move |_| {
            let _alive = &store;
            let start = Instant::now();
            let mut digest = 0_u64;
            reader.scan(|record| digest = digest.wrapping_add(look(record)));
            Outcome::of(start.elapsed().as_secs_f64() * 1e9 / count, black_box(digest))
        })
    })
}

/// A contender that opens the store and gets every record once, in order. The unit is nanoseconds
/// for each record.
pub(super) fn first_pass<'a>(
    (root, subject, shape): (&'a Path, Subject, &'a Shape),
    look: Look,
) -> Contender<'a> {
    let data = &shape.data;
    with_store!(subject, S => Contender::new(subject.name(), move |_| {
        let start = Instant::now();
        let store: S = open(root, subject, shape);
        let reader = store.reader();
        let mut digest = 0_u64;
        for index in 0..data.count() {
            digest = digest.wrapping_add(reader.with(data.slot(index), look));
        }
        Outcome::of(start.elapsed().as_secs_f64() * 1e9 / data.count() as f64, black_box(digest))
    }))
}
