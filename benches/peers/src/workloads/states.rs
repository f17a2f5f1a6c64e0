//! W3: the sum of all words of random warm states.

use super::warm::{self, Gets};
use crate::cli::Workload;
use crate::data::{Dataset, sum_words};
use crate::groups::{Bench, shared};
use crate::rounds::{Case, Metric, Results};
use crate::store::{Reading, Subject};

#[derive(Clone, Copy)]
struct Sum;

impl Gets for Sum {
    fn run<R: Reading>(self, reader: &R, slots: &[u64], _: &mut Vec<u8>) -> u64 {
        slots.iter().fold(0, |sum, slot| sum.wrapping_add(reader.with(*slot, sum_words)))
    }
}

pub(super) fn run(bench: &Bench<'_>, results: &mut Results) {
    let scale = bench.scale;
    let (data, shape) = shared(Dataset::states(scale.states, scale.state_bytes));
    let scratch = bench.directory("states");
    let root = scratch.path();
    bench.load(root, Subject::Coldstore, &shape);
    let slots = data.random_slots(3, scale.states);
    for peers in bench.groups(&data) {
        for peer in &peers {
            bench.load(root, *peer, &shape);
        }
        let mut subjects = bench.subjects(&[Subject::Coldstore, Subject::Mapped]);
        subjects.extend(&peers);
        let mut contenders: Vec<_> = subjects
            .iter()
            .map(|of| warm::gets(bench, (root, *of, &shape), (&slots, scale.states, Sum)))
            .collect();
        let case = Case {
            workload: Workload::W3,
            name: "get of a state, sum of its words".to_owned(),
            metrics: vec![Metric::time("")],
            floor: Some("mapped"),
        };
        results.measure(&case, bench.rounds(), scale.same_count, &mut contenders);
        drop(contenders);
        for peer in &peers {
            let _ = std::fs::remove_dir_all(peer.directory(root));
        }
    }
}
