//! Runs the reference vectors of the specification (`tests/vectors`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::packs::{Files, for_each_packed, for_each_unpacked, packed};
use super::vector::Case;
use crate::fork::Fork;

/// How many vectors passed and how many were skipped, by preset, handler and fork.
#[derive(Default)]
struct Report {
    counts: BTreeMap<(&'static str, String, Fork), [u32; 2]>,
    failed: Vec<String>,
}

impl Report {
    fn run(&mut self, path: &str, files: &Files) {
        let Some(case) = Case::of(path) else { return };
        let handler = format!("{}/{}", case.runner, case.handler);
        let count = self.counts.entry((case.preset.name(), handler, case.fork)).or_default();
        match case.check(files) {
            Ok(true) => count[0] += 1,
            Ok(false) => count[1] += 1,
            Err(failure) => self.failed.push(format!("{path}: {failure}")),
        }
    }

    fn add(&mut self, other: Self) {
        self.counts.extend(other.counts);
        self.failed.extend(other.failed);
    }

    fn presets(&self) -> BTreeSet<&'static str> {
        self.counts.keys().map(|(preset, ..)| *preset).collect()
    }

    /// The counts of a preset in Markdown.
    fn table(&self, preset: &str) -> String {
        let counts = || self.counts.iter().filter(|((of, ..), _)| *of == preset);
        let handlers: BTreeSet<&str> =
            counts().map(|((_, handler, _), _)| handler.as_str()).collect();
        let forks: BTreeSet<Fork> = counts().map(|((.., fork), _)| *fork).collect();
        let cell = |[passed, skipped]: [u32; 2]| match (passed, skipped) {
            (0, 0) => " |".to_owned(),
            (passed, 0) => format!(" {passed} |"),
            _ => format!(" {passed} + {skipped} |"),
        };
        let sum = |of: Option<&str>, in_fork: Fork| {
            let counts = counts().filter(|((_, handler, fork), _)| {
                *fork == in_fork && of.is_none_or(|wanted| handler == wanted)
            });
            counts.fold([0, 0], |sum, (_, count)| [sum[0] + count[0], sum[1] + count[1]])
        };
        let row = |name: &str, of: Option<&str>| {
            let cells: String = forks.iter().map(|fork| cell(sum(of, *fork))).collect();
            format!("| {name} |{cells}\n")
        };
        let titles: String = forks.iter().map(|fork| format!(" {fork} |")).collect();
        let mut table = format!("| |{titles}\n|---|{}\n", "--:|".repeat(forks.len()));
        table.extend(handlers.into_iter().map(|handler| row(handler, Some(handler))));
        table + &row("all", None)
    }

    fn assert_passed(&self) {
        let failed = &self.failed;
        assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    }
}

/// Runs the vectors of `PRESET-FORK.tar.zst`.
fn run_pack(pack: &Path) -> Report {
    let name = pack.file_name().unwrap().to_str().unwrap();
    let prefix = name.strip_suffix(".tar.zst").unwrap().replace('-', "/");
    let mut report = Report::default();
    for_each_packed(pack, |case, files| report.run(&format!("{prefix}/{case}"), &files));
    report
}

/// No vector has it: all of its bits are left out.
#[test]
fn an_attestation_of_no_committee_is_refused() {
    let name = "operations/attestation/pyspec_tests/invalid_nonset_committee_bits";
    let mut found = None;
    for_each_packed(&packed("minimal-fulu.tar.zst"), |case, files| {
        found = found.take().or_else(|| (case == name).then_some(files));
    });
    let mut files = found.unwrap();
    let attestation = files.get_mut("attestation").unwrap();
    let bits_at = u32::from_le_bytes(attestation[..4].try_into().unwrap()) as usize;
    attestation.truncate(bits_at);
    attestation.push(1);
    let path = format!("minimal/fulu/{name}");
    assert_eq!(Case::of(&path).unwrap().check(&files), Ok(true));
}

#[test]
fn states_after_the_packed_vectors_are_those_of_the_specification() {
    let names = ["mainnet", "minimal"]
        .into_iter()
        .flat_map(|preset| Fork::ALL.map(|fork| packed(&format!("{preset}-{fork}.tar.zst"))));
    let packs: Mutex<Vec<PathBuf>> = Mutex::new(names.filter(|pack| pack.exists()).collect());
    let report = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(pack) = packs.lock().unwrap().pop() else { break };
                    let of_pack = run_pack(&pack);
                    report.lock().unwrap().add(of_pack);
                }
            });
        }
    });
    let report = report.into_inner().unwrap();
    report.assert_passed();
    let readme = std::fs::read_to_string(packed("README.md")).unwrap();
    let tables: Vec<String> = report.presets().into_iter().map(|of| report.table(of)).collect();
    for table in &tables {
        assert!(readme.contains(table), "tests/vectors/README.md lacks this table:\n{table}");
    }
    assert_eq!(readme.matches("\n| all |").count(), tables.len());
}

/// For vectors that are not packed: all of a preset (`tests/vectors/make`).
#[test]
fn states_after_the_vectors_in_coldstore_vectors_are_those_of_the_specification() {
    let Some(root) = std::env::var_os("COLDSTORE_VECTORS").map(PathBuf::from) else { return };
    let mut report = Report::default();
    for_each_unpacked(&root, &mut |case, files| report.run(case, &files));
    for preset in report.presets() {
        println!("{preset}\n{}", report.table(preset));
    }
    report.assert_passed();
    assert!(!report.counts.is_empty(), "no vectors in {}", root.display());
}
