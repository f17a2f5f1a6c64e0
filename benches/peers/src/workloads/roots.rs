//! W1: random warm gets of roots; W4: scans of them.

use std::hint::black_box;

use super::warm::{self, Gets};
use crate::cli::Workload;
use crate::data::{Dataset, digest_root};
use crate::groups::{Bench, shared};
use crate::rounds::{Case, Metric, Results};
use crate::store::{Reading, Subject};

/// Each slot depends on the root before it: no get begins before the last one is done.
#[derive(Clone, Copy)]
struct Latency {
    /// 0, but the compiler does not know.
    mask: u64,
}

impl Gets for Latency {
    #[inline]
    fn run<R: Reading>(self, reader: &R, slots: &[u64], _: &mut Vec<u8>) -> u64 {
        slots.iter().fold(0, |sum, slot| sum ^ reader.with(slot + (sum & self.mask), digest_root))
    }
}

/// Gets that may overlap in the processor.
#[derive(Clone, Copy)]
struct Throughput;

impl Gets for Throughput {
    #[inline]
    fn run<R: Reading>(self, reader: &R, slots: &[u64], _: &mut Vec<u8>) -> u64 {
        slots.iter().fold(0, |sum, slot| sum ^ black_box(reader.with(*slot, digest_root)))
    }
}

const SUBJECTS: [Subject; 4] =
    [Subject::Coldstore, Subject::Mapped, Subject::Pread, Subject::OpenPerGet];

pub(super) fn run(bench: &Bench<'_>, results: &mut Results) {
    let scale = bench.scale;
    let (data, shape) = shared(Dataset::roots(scale.roots));
    let scratch = bench.directory("roots");
    let root = scratch.path();
    let mut subjects = bench.subjects(&SUBJECTS);
    subjects.extend(bench.peers());
    bench.load(root, Subject::Coldstore, &shape);
    for peer in bench.peers() {
        bench.load(root, peer, &shape);
    }
    let slots = data.random_slots(1, scale.root_gets * 2);
    if bench.options.wants(Workload::W1) {
        let latency = Latency { mask: black_box(0) };
        let mut contenders: Vec<_> = subjects
            .iter()
            .map(|subject| {
                let of = (root, *subject, &shape);
                warm::gets(bench, of, (&slots, scale.root_gets, latency))
            })
            .collect();
        let case = case(Workload::W1, "get of a root, one after the other");
        results.measure(&case, bench.rounds(), scale.same_count, &mut contenders);
        drop(contenders);
        let mut contenders: Vec<_> = subjects
            .iter()
            .map(|subject| {
                let of = (root, *subject, &shape);
                warm::gets(bench, of, (&slots, scale.root_gets, Throughput))
            })
            .collect();
        let case = self::case(Workload::W1, "get of a root, overlapping");
        results.measure(&case, bench.rounds(), scale.same_count, &mut contenders);
    }
    if bench.options.wants(Workload::W4) {
        let mut contenders: Vec<_> = subjects
            .iter()
            .filter(|subject| !matches!(subject, Subject::OpenPerGet | Subject::Pread))
            .map(|subject| warm::scan((root, *subject, &shape), digest_root))
            .collect();
        let case = case(Workload::W4, "scan of roots");
        results.measure(&case, bench.long_rounds(), true, &mut contenders);
    }
}

fn case(workload: Workload, name: &str) -> Case {
    let metrics = vec![Metric::time("")];
    Case { workload, name: name.to_owned(), metrics, floor: Some("mapped") }
}
