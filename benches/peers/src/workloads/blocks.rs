//! W2: random warm gets of blocks, touched and copied, and the first pass after opening; W4: scans
//! of them; W6: cold gets.

use super::cold;
use super::warm::{self, Gets};
use crate::cli::Workload;
use crate::data::{Dataset, touch};
use crate::groups::{Bench, shared};
use crate::rounds::{Case, Metric, Results};
use crate::store::{Reading, Shape, Subject};

/// One byte of every 4096 of each record.
#[derive(Clone, Copy)]
struct Touch;

impl Gets for Touch {
    fn run<R: Reading>(self, reader: &R, slots: &[u64], _: &mut Vec<u8>) -> u64 {
        slots.iter().fold(0, |sum, slot| sum + reader.with(*slot, touch))
    }
}

/// Each record into one buffer.
#[derive(Clone, Copy)]
struct Copied;

impl Gets for Copied {
    fn run<R: Reading>(self, reader: &R, slots: &[u64], buffer: &mut Vec<u8>) -> u64 {
        slots.iter().fold(0, |sum, slot| {
            reader.copy(*slot, buffer);
            std::hint::black_box(&buffer[..]);
            sum + u64::from(buffer[buffer.len() / 2]) + buffer.len() as u64
        })
    }
}

pub(super) fn run(bench: &Bench<'_>, results: &mut Results) {
    let (data, shape) = shared(Dataset::blocks(bench.scale.blocks));
    let scratch = bench.directory("blocks");
    let root = scratch.path();
    bench.load(root, Subject::Coldstore, &shape);
    let slots = data.random_slots(2, bench.scale.block_gets * 2);
    for (index, peers) in bench.groups(&data).into_iter().enumerate() {
        for peer in &peers {
            bench.load(root, *peer, &shape);
        }
        // Those that read coldstore's files and have nothing to do with the peers are measured
        // with the first group.
        let alone = [Subject::ColdstoreReadInto, Subject::Pread, Subject::OpenPerGet];
        let mut subjects = bench.subjects(&[Subject::Coldstore, Subject::Mapped]);
        if index == 0 {
            subjects.extend(bench.subjects(&alone));
        }
        subjects.extend(&peers);
        measure_warm(bench, results, (root, &shape), &subjects, &slots);
        if bench.options.wants(Workload::W6) {
            cold::run(bench, results, (root, &shape), &subjects);
        }
        for peer in &peers {
            let _ = std::fs::remove_dir_all(peer.directory(root));
        }
    }
}

fn measure_warm(
    bench: &Bench<'_>,
    results: &mut Results,
    (root, shape): (&std::path::Path, &Shape),
    subjects: &[Subject],
    slots: &[u64],
) {
    let scale = bench.scale;
    // Copies are all that it makes.
    let zero_copy: Vec<Subject> =
        subjects.iter().copied().filter(|of| *of != Subject::ColdstoreReadInto).collect();
    let peers_and_maps: Vec<Subject> = zero_copy
        .iter()
        .copied()
        .filter(|of| !matches!(of, Subject::OpenPerGet | Subject::Pread))
        .collect();
    if bench.options.wants(Workload::W2) {
        let case = Case { ..case(Workload::W2, "") };
        {
            let mut contenders: Vec<_> = zero_copy
                .iter()
                .map(|of| warm::gets(bench, (root, *of, shape), (slots, scale.block_gets, Touch)))
                .collect();
            let case = Case { name: "get of a block, touch".to_owned(), ..case.clone() };
            results.measure(&case, bench.rounds(), scale.same_count, &mut contenders);
        }
        {
            let mut contenders: Vec<_> = subjects
                .iter()
                .map(|of| warm::gets(bench, (root, *of, shape), (slots, scale.block_gets, Copied)))
                .collect();
            let case = Case { name: "get of a block, copy".to_owned(), ..case.clone() };
            results.measure(&case, bench.rounds(), scale.same_count, &mut contenders);
        }
        let mut contenders: Vec<_> =
            peers_and_maps.iter().map(|of| warm::first_pass((root, *of, shape), touch)).collect();
        let case = Case { name: "first pass after open, touch".to_owned(), ..case };
        results.measure(&case, bench.long_rounds(), true, &mut contenders);
    }
    if bench.options.wants(Workload::W4) {
        let mut contenders: Vec<_> =
            peers_and_maps.iter().map(|of| warm::scan((root, *of, shape), touch)).collect();
        let case = case(Workload::W4, "scan of blocks, touch");
        results.measure(&case, bench.long_rounds(), true, &mut contenders);
    }
}

fn case(workload: Workload, name: &str) -> Case {
    let metrics = vec![Metric::time("")];
    Case { workload, name: name.to_owned(), metrics, floor: Some("mapped") }
}
