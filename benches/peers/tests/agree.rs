//! Every workload at a tiny size: all subjects return the same bytes.
#![allow(clippy::unwrap_used, missing_docs)]

use clap::Parser;
use coldstore_peers::{Options, Scale, report, run, system};

#[test]
fn all_subjects_return_the_same_in_every_workload() {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (data, out) = (scratch.path().join("data"), scratch.path().join("out"));
    let [data_argument, out_argument] = [("--data", &data), ("--out", &out)]
        .map(|(name, path)| format!("{name}={}", path.display()));
    let options = Options::parse_from(["coldstore-peers", &data_argument, &out_argument]);
    let scale = Scale::tiny();
    // It compares the digests of all subjects in every round.
    let results = run(&options, &scale);

    let workloads: Vec<&str> = {
        let mut names: Vec<&str> = results.rows.iter().map(|row| row.workload.as_str()).collect();
        names.dedup();
        names
    };
    assert_eq!(workloads, ["W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9"]);
    for row in &results.rows {
        let what = format!("{} {} {}", row.workload, row.case, row.subject);
        assert!(!row.values.is_empty() && row.values.iter().all(|v| v.is_finite()), "{what}");
        assert_eq!(row.values.len(), row.ratios.len(), "{what}");
    }
    let of = |subject: &str| results.rows.iter().filter(|row| row.subject == subject).count();
    for peer in ["lmdb", "redb", "fjall"] {
        assert_eq!(of(peer), of("lmdb"), "{peer}");
    }

    let machine = system::Machine::here(&data);
    let table =
        report::write(&options, &scale, &machine, &results, std::time::Duration::ZERO).unwrap();
    for row in &results.rows {
        assert!(table.contains(&row.subject) && table.contains(&row.case));
    }
    let chart = std::fs::read_to_string(out.join("chart.svg")).unwrap();
    assert!(chart.starts_with("<svg") && chart.contains("coldstore"), "{chart}");
    assert!(out.join("results.json").exists());
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "the stores are deleted");
}
