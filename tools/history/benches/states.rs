//! States rebuilt from an archive with a registry of mainnet's size, beside a floor: copying the stored state.
//!
//! `cargo bench -p coldstore-history --bench states -- [VALIDATORS] [SLOTS]` (defaults: 1,000,000 and 96).
//! Every slot has a block with full attestations and 100 kB of transactions. Without `--bench` it is a quick
//! smoke test. Medians of the thread's processor time (Linux), so other work on the machine counts little.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that fails must stop")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use coldstore::{Archive, Column, ReaderOptions, Slot, View, Writer, WriterOptions};
use coldstore_consensus::transition::{BeaconState, Block, ChainRules, StateTree, TransitionError};
use coldstore_consensus::{BlockHasher, Config, KnownNetwork, Preset};
use coldstore_history::replay::{Check, Replay, Source};
use coldstore_history::states::States;

const PAYLOAD_BYTES: usize = 100_000;
/// In a signed block: `message.state_root`.
const STATE_ROOT_AT: usize = 4 + 96 + 8 + 8 + 32;
const ROUNDS: usize = 5;

/// Writes a stored state, and the blocks and roots of the slots after it; returns the first and the last slot.
fn make(archive: &Path, rules: &Arc<ChainRules>, validators: usize, slots: u64) -> (Slot, Slot) {
    let columns = [Column::Blocks, Column::BlockRoots, Column::StateRoots, Column::StateSnapshots];
    let [mut blocks, mut block_roots, mut state_roots, mut snapshots] = columns.map(|column| {
        let options = WriterOptions::create(column.spec());
        Writer::open(archive.join(column.dir_name()), options).unwrap()
    });
    let (mut state, mut tree) =
        (BeaconState::synthetic(rules, validators, 1), StateTree::default());
    let first = Slot(state.slot());
    let mut root = tree.root(&mut state);
    let block_root = state.latest_block_header().root_with_state(root);
    snapshots.put(first, &state.to_ssz()).unwrap();
    block_roots.put(first, &block_root.0).unwrap();
    state_roots.put(first, &root.0).unwrap();
    let mut hasher = BlockHasher::new(rules.preset());
    for slot in (first.0 + 1..=first.0 + slots).map(Slot) {
        state.process_slots(slot.0, |_| Ok::<_, Box<TransitionError>>(root)).unwrap();
        let mut block = state.synthetic_block(PAYLOAD_BYTES).unwrap();
        state.process_block(&Block::parse(rules.preset(), &block).unwrap()).unwrap();
        // The state after a block does not depend on the state root in it.
        root = tree.root(&mut state);
        block[STATE_ROOT_AT..STATE_ROOT_AT + 32].copy_from_slice(&root.0);
        blocks.put(slot, &block).unwrap();
        block_roots.put(slot, &hasher.hash(&block).unwrap().root.0).unwrap();
        state_roots.put(slot, &root.0).unwrap();
    }
    (first, Slot(state.slot()))
}

/// This thread's processor time, in seconds.
fn processor_time() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() as f64 / 1e9
}

/// The median of some rounds, in seconds.
fn median(rounds: usize, mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let started = processor_time();
            run();
            processor_time() - started
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[rounds / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = !arguments.iter().any(|argument| argument == "--bench");
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u64>().ok());
    let validators = numbers.next().unwrap_or(if quick { 1000 } else { 1_000_000 });
    let slots = numbers.next().unwrap_or(if quick { 4 } else { 96 });
    let rounds = if quick { 1 } else { ROUNDS };

    let known = KnownNetwork::by_name("mainnet").unwrap();
    // The validators are made up.
    let config = Config { genesis_validators_root: None, ..Config::of_known(known) };
    let rules = Arc::new(ChainRules::new(Preset::Mainnet, &config).unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let validators = usize::try_from(validators).unwrap();
    let (first, last) = make(scratch.path(), &rules, validators, slots);
    // SAFETY: nobody writes to the archive any more.
    #[expect(unsafe_code, reason = "readers map the files")]
    let archive =
        unsafe { Archive::open_mapped(scratch.path(), ReaderOptions::default()).unwrap() };
    let source: Source<View> = Source::of(&archive).unwrap();
    let states = States::open(&archive, Some(&config)).unwrap();
    let stored = source.snapshots.get(first).unwrap().unwrap();
    println!("{validators} validators, {:.1} MB, {slots} slots", stored.len() as f64 / 1e6);
    let row = |what: &str, seconds: f64| println!("{what:<44} {:>9.1} ms", seconds * 1e3);
    let rate = |what: &str, seconds: f64| {
        let each = seconds * 1e3 / slots as f64;
        println!("{what:<44} {each:>9.2} ms {:>8.0} slots/s", 1e3 / each);
    };

    row("floor: copy of the stored state", median(rounds, || drop(black_box(stored.to_vec()))));
    let decode = median(rounds, || drop(states.at(first).unwrap()));
    row("stored state, decoded", decode);
    let rebuilt = median(rounds, || drop(states.at(last).unwrap()));
    rate("slot with block, unchecked", rebuilt - decode);
    let checked = median(rounds, || {
        let mut replay =
            Replay::start(Arc::clone(&rules), first, &stored[..], Check::Slot).unwrap();
        replay.check_root(&source).unwrap();
        while replay.slot() < last {
            replay.step(&source).unwrap();
        }
    });
    let mut state = states.at(last).unwrap();
    let prove = median(1, || assert_eq!(state.prove().unwrap(), state.root().unwrap()));
    row("proof of a rebuilt state", prove);
    rate("slot with block, root checked", checked - decode - prove);
    row("state to SSZ", median(rounds, || state.write_ssz(&mut std::io::sink()).unwrap()));
}
