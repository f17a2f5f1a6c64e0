//! W1 to W9. Those that read the same records share the stores.

mod beside;
mod blocks;
mod cold;
mod era;
mod files;
mod roots;
mod states;
mod warm;
mod writes;

use crate::cli::Workload;
use crate::groups::Bench;
use crate::rounds::Results;

/// Runs the workloads that are asked for.
pub fn run(bench: &Bench<'_>, results: &mut Results) {
    let wants = |workloads: &[Workload]| workloads.iter().any(|w| bench.options.wants(*w));
    if wants(&[Workload::W1, Workload::W4]) {
        roots::run(bench, results);
    }
    if wants(&[Workload::W2, Workload::W4, Workload::W6]) {
        blocks::run(bench, results);
    }
    if wants(&[Workload::W3]) {
        states::run(bench, results);
    }
    if wants(&[Workload::W5]) {
        writes::run(bench, results);
    }
    if wants(&[Workload::W7]) {
        files::run(bench, results);
    }
    if wants(&[Workload::W8]) {
        era::run(bench, results);
    }
    if wants(&[Workload::W9]) {
        beside::run(bench, results);
    }
    results.rows.sort_by(|a, b| a.workload.cmp(&b.workload));
}
