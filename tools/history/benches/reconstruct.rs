//! Reconstruction of a shortened era with many validators: slots per second and memory, by what is checked and
//! stored, for one era and for two at once. Each row is measured in a process of its own. Starting and hashing
//! the whole state once are part of it, so more slots give more slots per second.
//!
//! The rows `epochs` and `slots` make diffs of a chain like mainnet's (`SyntheticParameters`), and store them
//! nowhere; `none` is the same replay without them.
//!
//! `cargo bench -p coldstore-history --bench reconstruct [VALIDATORS] [SLOTS]` (default 1,000,000 and 128; the chain
//! like mainnet's has its own number of validators).

#![allow(clippy::unwrap_used, reason = "a bench that fails must stop")]
#![allow(clippy::print_stdout, reason = "it prints its table")]

use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use coldstore::{
    Archive, ArchivePipeline, ArchiveWriterOptions, Column, MappedArchive, PipelineOptions,
    ReaderOptions, Slot, Writer, WriterOptions,
};
use coldstore_consensus::transition::{
    BeaconState, Block, ChainRules, StateTree, SyntheticParameters, TransitionError,
};
use coldstore_consensus::{Config, Preset};
use coldstore_history::reconstruct::{
    Chosen, PipelineSink, ReconstructObserver, ReconstructOptions, Reconstruction, StoredDiffs,
};
use coldstore_history::replay::Check;
use tempfile::TempDir;

mod support;

const PAYLOAD_BYTES: usize = 100_000;
const STATE_ROOT_AT: usize = 148;

/// The synthetic state then lies at the end of an era.
const CONFIG: &str = "CONFIG_NAME: bench\nPRESET_BASE: mainnet\nGENESIS_FORK_VERSION: 0x00000001\n\
                      ALTAIR_FORK_VERSION: 0x01000001\nBELLATRIX_FORK_VERSION: 0x02000001\n\
                      CAPELLA_FORK_VERSION: 0x03000001\nDENEB_FORK_VERSION: 0x04000001\n\
                      ELECTRA_FORK_VERSION: 0x05000001\nFULU_FORK_VERSION: 0x06000001\n\
                      ALTAIR_FORK_EPOCH: 0\nBELLATRIX_FORK_EPOCH: 0\nCAPELLA_FORK_EPOCH: 0\n\
                      DENEB_FORK_EPOCH: 0\nELECTRA_FORK_EPOCH: 0\nFULU_FORK_EPOCH: 255\n";

type Slots = Vec<(Slot, Vec<u8>)>;

/// Makes an archive of a state and the blocks after it.
fn archive(rules: &Arc<ChainRules>, validators: usize, slots: u64) -> TempDir {
    let made = BeaconState::synthetic(rules, validators, 1);
    let ssz = made.to_ssz();
    drop(made);
    let mut state = BeaconState::from_ssz(Arc::clone(rules), &ssz[..]).unwrap();
    let start = Slot(state.slot());
    assert!(start.0.is_multiple_of(Preset::Mainnet.slots_per_era()));
    let mut tree = StateTree::default();
    let mut root = tree.root(&mut state);
    let (mut blk, mut bbr, mut bsr): (Slots, Slots, Slots) = Default::default();
    bsr.push((start, root.0.to_vec()));
    for slot in (start.0 + 1..=start.0 + slots).map(Slot) {
        state.process_slots(slot.0, |_| Ok::<_, Box<TransitionError>>(root)).unwrap();
        if bbr.is_empty() {
            bbr.push((start, state.latest_block_header().root().0.to_vec()));
        }
        let mut block = state.synthetic_block(PAYLOAD_BYTES).unwrap();
        state.process_block(&Block::parse(Preset::Mainnet, &block).unwrap()).unwrap();
        root = tree.root(&mut state);
        block[STATE_ROOT_AT..STATE_ROOT_AT + 32].copy_from_slice(&root.0);
        let block_root = Block::parse(Preset::Mainnet, &block).unwrap().root();
        bbr.push((slot, block_root.0.to_vec()));
        bsr.push((slot, root.0.to_vec()));
        blk.push((slot, block));
    }
    let directory = tempfile::tempdir().unwrap();
    for (column, items) in [
        (Column::Blocks, blk),
        (Column::BlockRoots, bbr),
        (Column::StateRoots, bsr),
        (Column::StateSnapshots, vec![(start, ssz)]),
    ] {
        let options = WriterOptions::create(column.spec());
        let path = directory.path().join(column.dir_name());
        Writer::open(path, options).unwrap().put_batch(&items).unwrap();
    }
    directory
}

fn open(path: &Path) -> MappedArchive {
    // SAFETY: only writers of this format change the files.
    #[expect(unsafe_code, reason = "readers map the files")]
    unsafe {
        Archive::open_mapped(path, ReaderOptions::default()).unwrap()
    }
}

/// The highest memory of this process, in KiB, without mapped files.
#[derive(Default)]
struct Memory(AtomicU64);

impl ReconstructObserver for Memory {
    fn replayed(&self, _slot: Slot) -> ControlFlow<()> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let kib = line.trim().trim_end_matches(" kB").parse().unwrap();
        self.0.fetch_max(kib, Ordering::Relaxed);
        ControlFlow::Continue(())
    }
}

/// The time that this process has run on a core, in seconds.
fn core_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks = after_name.split_whitespace().skip(11).take(2).map(|it| it.parse::<u32>().unwrap());
    f64::from(ticks.sum::<u32>()) / 100.0
}

/// Reconstructs the era of an archive; returns the highest memory in MiB.
fn run(path: &Path, rules: &Arc<ChainRules>, chosen: Chosen, check: Check) -> u64 {
    let stores = chosen.column() == Some(Column::StateSnapshots);
    let options = ReconstructOptions { eras: None, chosen, check };
    let reconstruction = Reconstruction::new(&open(path), Arc::clone(rules), options).unwrap();
    let memory = Memory::default();
    let done = if stores {
        let columns = ArchiveWriterOptions::default();
        let opened = ArchivePipeline::open(path, columns, |_| PipelineOptions::default());
        let states = opened.unwrap().column(Column::StateSnapshots).clone();
        reconstruction.run(vec![PipelineSink::new(states)], &memory).unwrap()
    } else {
        reconstruction.run(vec![Nowhere], &memory).unwrap()
    };
    assert_eq!((done.eras, done.ends_by_root), (1, 1));
    for (layer, StoredDiffs { records, bytes }) in &done.diffs {
        eprintln!("{layer:?}: {records} diffs, {} bytes each", bytes / records);
    }
    memory.0.into_inner() >> 10
}

/// A row, measured in a process of its own: what is checked, whether states are stored, and the archives.
fn measure(row: &str, rules: &Arc<ChainRules>, paths: &[String]) {
    let chosen = match row {
        "store" => Chosen::Every(NonZeroU64::new(32).unwrap()),
        keep => keep.parse().map_or(Chosen::Nothing, Chosen::Kept),
    };
    let check = match row {
        "epoch" | "slot" => row.parse().unwrap(),
        _ => Check::Boundary,
    };
    let mainnet = support::rules();
    let rules = if ["none", "epochs", "slots"].contains(&row) { &mainnet } else { rules };
    let started = Instant::now();
    let memory = thread::scope(|scope| {
        let threads: Vec<_> = paths
            .iter()
            .map(|path| {
                let chosen = chosen.clone();
                scope.spawn(move || run(path.as_ref(), rules, chosen, check))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    });
    println!("{} {} {memory}", started.elapsed().as_secs_f64(), core_seconds());
}

struct Nowhere;

impl coldstore_history::reconstruct::StateSink for Nowhere {
    fn put(
        &mut self,
        _: Slot,
        _: &BeaconState<'_>,
    ) -> Result<(), coldstore_history::reconstruct::SinkError> {
        Ok(())
    }

    fn put_diffs(
        &mut self,
        _: Vec<(Slot, Vec<u8>)>,
    ) -> Result<(), coldstore_history::reconstruct::SinkError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<u64, coldstore_history::reconstruct::SinkError> {
        Ok(0)
    }
}

fn main() {
    let config = Config::parse(CONFIG).unwrap();
    let rules = Arc::new(ChainRules::new(Preset::Mainnet, &config).unwrap());
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    if let [row, paths @ ..] = &arguments[..]
        && !paths.is_empty()
        && Path::new(&paths[0]).is_dir()
    {
        return measure(row, &rules, paths);
    }
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse().ok());
    let validators = numbers.next().unwrap_or(1_000_000);
    let slots = numbers.next().map_or(128, |slots| slots as u64);
    let archives = [(); 2].map(|()| archive(&rules, validators, slots));
    println!("{validators} validators, {slots} slots, blocks of {PAYLOAD_BYTES} bytes");
    println!("row, eras at once: slots/s, slots per second of a core, MiB");
    for (row, eras) in [("boundary", 1), ("epoch", 1), ("slot", 1), ("slot", 2), ("store", 1)] {
        report(row, &archives[..eras], slots);
    }
    drop(archives);
    let parameters = SyntheticParameters::default();
    println!("a chain like mainnet's: {parameters:?}");
    let directory = tempfile::tempdir().unwrap();
    let mut made = support::ChainArchive::new(directory.path(), parameters);
    made.advance_to(Slot(made.first.0 + slots));
    drop(made.close());
    for row in ["none", "epochs", "slots", "none", "epochs", "slots"] {
        report(row, std::slice::from_ref(&directory), slots);
    }
}

/// Runs a row in a process of its own, and prints it.
fn report(row: &str, archives: &[TempDir], slots: u64) {
    let eras = archives.len();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.arg(row).args(archives.iter().map(TempDir::path));
    child.stderr(std::process::Stdio::inherit());
    let printed = String::from_utf8(child.output().unwrap().stdout).unwrap();
    let numbers: Vec<f64> =
        printed.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [seconds, core_seconds, memory] = numbers[..] else { panic!("{printed}") };
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let slots = (slots * eras as u64) as f64;
    println!(
        "{row}, {eras}: {:.1} slots/s, {:.1}, {memory} MiB",
        slots / seconds,
        slots / core_seconds
    );
}
