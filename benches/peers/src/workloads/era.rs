//! W8: `.era` files into an archive, beside copying them and beside writing what comes out.

use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use coldstore::era::{COLUMNS, ImportPlan, ImportProgress, import};
use coldstore::{ArchiveWriter, ArchiveWriterOptions, StatesPolicy};

use crate::cli::Workload;
use crate::groups::{Bench, Scratch};
use crate::rounds::{Case, Contender, Metric, Outcome, Results};
use crate::system::files_below;

pub(super) fn run(bench: &Bench<'_>, results: &mut Results) {
    let chain = if bench.scale.whole_chain { "chain-mainnet-preset" } else { "chain-minimal" };
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(chain);
    let inputs = files_below(&data.join("era"));
    // Bytes of what comes out, in memory.
    let outputs: Vec<Vec<u8>> = {
        let scratch = bench.directory("era");
        import_all(&inputs, scratch.path());
        let mut columns = files_below(scratch.path());
        columns
            .retain(|path| path.file_name().is_some_and(|n| n.to_string_lossy().contains("data")));
        columns.iter().map(|path| fs::read(path).unwrap()).collect()
    };
    let named = |contents: Vec<u8>, index| (format!("{index}"), contents);
    let copies: Vec<_> = inputs.iter().map(|path| fs::read(path).unwrap()).zip(0..).collect();
    let copies: Vec<_> = copies.into_iter().map(|(bytes, index)| named(bytes, index)).collect();
    let outputs: Vec<_> = outputs.into_iter().zip(0..).map(|(b, index)| named(b, index)).collect();
    eprintln!("  {:.1} MB in, {:.1} MB out", megabytes(&copies), megabytes(&outputs));

    let mut contenders = vec![
        Contender::new("coldstore", |_| timed(bench, |directory| import_all(&inputs, directory))),
        Contender::new("write output", |_| {
            timed(bench, |directory| write_all(&outputs, directory))
        }),
        Contender::new("copy input", |_| timed(bench, |directory| write_all(&copies, directory))),
    ];
    let case = Case {
        workload: Workload::W8,
        name: "import of .era files".to_owned(),
        metrics: vec![Metric::time("")],
        floor: Some("write output"),
    };
    results.measure(&case, bench.long_rounds(), false, &mut contenders);
}

fn megabytes(files: &[(String, Vec<u8>)]) -> f64 {
    files.iter().map(|file| file.1.len() as f64).sum::<f64>() / 1e6
}

fn timed(bench: &Bench<'_>, work: impl FnOnce(&Path)) -> Outcome {
    let scratch: Scratch = bench.directory("era");
    let start = Instant::now();
    work(scratch.path());
    Outcome::of(start.elapsed().as_secs_f64() * 1e9, 0)
}

fn import_all(inputs: &[PathBuf], root: &Path) {
    let plan = ImportPlan::scan(inputs).unwrap();
    let options = ArchiveWriterOptions::default().columns(COLUMNS);
    let mut archive = ArchiveWriter::open(root, options).unwrap();
    let mut observer = |_: &ImportProgress<'_>| ControlFlow::Continue(());
    import(&plan, &mut archive, StatesPolicy::All, &mut observer).unwrap();
}

/// Each file in one write, flushed; then the directory.
fn write_all(files: &[(String, Vec<u8>)], directory: &Path) {
    for (name, bytes) in files {
        let mut file = File::create(directory.join(name)).unwrap();
        file.write_all(bytes).unwrap();
        file.sync_all().unwrap();
    }
    File::open(directory).unwrap().sync_all().unwrap();
}
