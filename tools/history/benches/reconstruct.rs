//! Reconstruction of a shortened era with many validators: slots per second and memory of a worker, by what
//! is checked and stored, and two eras on two cores beside one on one.
//!
//! `cargo bench -p coldstore-history --bench reconstruct [VALIDATORS] [SLOTS]` (default 1,000,000 and 128).

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
use coldstore_consensus::transition::{BeaconState, Block, ChainRules, StateTree, TransitionError};
use coldstore_consensus::{Config, Preset};
use coldstore_history::reconstruct::{
    Chosen, PipelineSink, ReconstructObserver, ReconstructOptions, Reconstruction,
};
use coldstore_history::replay::Check;
use tempfile::TempDir;

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

/// The highest memory of this process, without mapped files.
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

/// Seconds, and the memory in MiB.
fn run(path: &Path, rules: &Arc<ChainRules>, chosen: Chosen, check: Check) -> (f64, u64) {
    let stores = chosen != Chosen::Nothing;
    let options = ReconstructOptions { eras: None, chosen, check };
    let reconstruction = Reconstruction::new(&open(path), Arc::clone(rules), options).unwrap();
    let memory = Memory::default();
    let started = Instant::now();
    let done = if stores {
        let columns = ArchiveWriterOptions::default();
        let opened = ArchivePipeline::open(path, columns, |_| PipelineOptions::default());
        let states = opened.unwrap().column(Column::StateSnapshots).clone();
        reconstruction.run(vec![PipelineSink::new(states)], &memory).unwrap()
    } else {
        reconstruction.run(vec![Nowhere], &memory).unwrap()
    };
    assert_eq!((done.eras, done.ends_by_root), (1, 1));
    (started.elapsed().as_secs_f64(), memory.0.into_inner() >> 10)
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

    fn finish(&mut self) -> Result<(), coldstore_history::reconstruct::SinkError> {
        Ok(())
    }
}

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let validators = numbers.next().unwrap_or(1_000_000);
    let slots = numbers.next().map_or(128, |slots| slots as u64);
    let config = Config::parse(CONFIG).unwrap();
    let rules = Arc::new(ChainRules::new(Preset::Mainnet, &config).unwrap());
    let [first, second] = [(); 2].map(|()| archive(&rules, validators, slots));
    println!("{validators} validators, {slots} slots, blocks of {PAYLOAD_BYTES} bytes");
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = |seconds: f64| slots as f64 / seconds;
    for check in [Check::Boundary, Check::Epoch, Check::Slot] {
        let (seconds, memory) = run(first.path(), &rules, Chosen::Nothing, check);
        println!("check {check}: {:.1} slots/s, {memory} MiB", rate(seconds));
    }
    let started = Instant::now();
    let (alone, _) = run(first.path(), &rules, Chosen::Nothing, Check::Slot);
    let both = thread::scope(|scope| {
        let started = Instant::now();
        let threads = [&first, &second].map(|archive| {
            scope.spawn(|| run(archive.path(), &rules, Chosen::Nothing, Check::Slot))
        });
        for thread in threads {
            thread.join().unwrap();
        }
        started.elapsed().as_secs_f64()
    });
    println!(
        "two eras on two cores: {:.2} times as fast as one after the other ({:.1} s in all)",
        2.0 * alone / both,
        started.elapsed().as_secs_f64()
    );
    let every = Chosen::Every(NonZeroU64::new(32).unwrap());
    let (seconds, memory) = run(first.path(), &rules, every, Check::Boundary);
    println!("a state stored every 32 slots: {:.1} slots/s, {memory} MiB", rate(seconds));
}
