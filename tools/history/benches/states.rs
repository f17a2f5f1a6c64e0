//! States rebuilt from an archive with a registry of mainnet's size, and read from diffs, beside a floor: copying
//! the stored state.
//!
//! `cargo bench -p coldstore-history --bench states -- [VALIDATORS] [SLOTS] [ERAS]` (defaults: 1,000,000, 96 and 1).
//!
//! * Replay: every slot has a block with full attestations and 100 kB of transactions. Medians of the thread's
//!   processor time (Linux), so other work on the machine counts little.
//! * Diffs: a chain like mainnet's, whose states are kept for every epoch, and for the slots of the last one, so
//!   many eras and 3071 slots after its first state. Several threads read, so times are those of the clock, and
//!   other work on the machine counts.
//!
//! With 0 slots or 0 eras that part is left out. Without `--bench` it is a quick smoke test.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that fails must stop")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::fs;
use std::hint::black_box;
use std::io::sink;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use coldstore::{Archive, Column, ReaderOptions, Slot, View, Writer, WriterOptions};
use coldstore_consensus::transition::{
    BeaconState, Block, ChainRules, StateTree, SyntheticParameters, TransitionError,
};
use coldstore_consensus::{BlockHasher, Config, KnownNetwork, Preset};
use coldstore_history::replay::{Check, Replay, Source};
use coldstore_history::states::States;

use support::ChainArchive;

mod support;

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
    let block_root = state.latest_block_header().root();
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
    let eras = numbers.next().unwrap_or(1);
    if slots > 0 {
        replayed(quick, validators, slots);
    }
    if eras > 0 {
        diffs(quick, eras);
    }
}

fn row(what: &str, seconds: f64) {
    println!("{what:<56} {:>9.2} ms", seconds * 1e3);
}

fn replayed(quick: bool, validators: u64, slots: u64) {
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
    let rate = |what: &str, seconds: f64| {
        let each = seconds * 1e3 / slots as f64;
        println!("{what:<56} {each:>9.2} ms {:>8.0} slots/s", 1e3 / each);
    };

    row("floor: copy of the stored state", median(rounds, || drop(black_box(stored.to_vec()))));
    row("stored state, opened", median(rounds, || drop(states.at(first).unwrap())));
    let start = |check| Replay::start(Arc::clone(&rules), first, &stored[..], check).unwrap();
    let decode = median(rounds, || drop(start(Check::Boundary)));
    row("stored state, decoded for a replay", decode);
    let unchecked = median(rounds, || {
        let mut replay = start(Check::Boundary);
        while replay.slot() < last {
            replay.step(&source).unwrap();
        }
    });
    rate("slot with block, unchecked", unchecked - decode);
    let rebuilt = median(rounds, || drop(states.at(last).unwrap()));
    row("replayed state, to a view", rebuilt - unchecked);
    let hashed = median(rounds, || assert!(start(Check::Slot).check_root(&source).unwrap()));
    let checked = median(rounds, || {
        let mut replay = start(Check::Slot);
        replay.check_root(&source).unwrap();
        while replay.slot() < last {
            replay.step(&source).unwrap();
        }
    });
    let mut state = states.at(last).unwrap();
    rate("slot with block, root checked", checked - hashed);
    row("proof of a rebuilt state, by the clock", clock(1, |_| assert!(state.prove().is_ok())));
    row("state to SSZ", median(rounds, || state.write_ssz(&mut std::io::sink()).unwrap()));
}

const SLOTS_PER_EPOCH: u64 = 32;
const SLOTS_PER_ERA: u64 = 8192;

/// The median of some rounds by the clock, in seconds.
fn clock(rounds: usize, mut run: impl FnMut(usize)) -> f64 {
    let mut times: Vec<f64> = (0..rounds)
        .map(|round| {
            let started = Instant::now();
            run(round);
            started.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[rounds / 2]
}

/// Pseudorandom numbers below `end`, with a fixed seed.
fn random(seed: u64, end: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    })
}

/// How often something is done in a second by two threads.
fn per_second(seconds: f64, run: impl Fn(u64) + Sync) -> f64 {
    let started = Instant::now();
    let counts: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..2u64)
            .map(|thread| {
                let run = &run;
                scope.spawn(move || {
                    let mut count = 0;
                    for number in random(thread + 1, u64::from(u32::MAX)) {
                        run(number);
                        count += 1;
                        if started.elapsed().as_secs_f64() >= seconds {
                            break;
                        }
                    }
                    count
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    counts.iter().sum::<u64>() as f64 / started.elapsed().as_secs_f64()
}

fn diffs(quick: bool, eras: u64) {
    let of_size = if quick { SyntheticParameters::small() } else { SyntheticParameters::default() };
    // Made-up roots cost no hashing; the roots of states cost the same.
    let parameters = SyntheticParameters { true_roots: quick, ..of_size };
    let scratch = tempfile::tempdir().unwrap();
    let mut made = ChainArchive::new(scratch.path(), parameters);
    let first = made.first.0;
    let epoch = match quick {
        true => first + 512 + SLOTS_PER_EPOCH,
        false => first + eras * SLOTS_PER_ERA + 2048 + 512 + 15 * SLOTS_PER_EPOCH,
    };
    let last = epoch + SLOTS_PER_EPOCH - 1;
    let started = Instant::now();
    made.advance_keeping(Slot(last), |slot| {
        slot.0.is_multiple_of(SLOTS_PER_EPOCH) || slot.0 > epoch
    });
    let archive = made.open();
    let (rounds, seconds) = if quick { (1, 0.01) } else { (ROUNDS, 5.0) };
    let config = support::config();
    let open = |max_bytes: usize| {
        States::open(&archive, Some(&config)).unwrap().with_cache_bytes(max_bytes)
    };
    let (cold, warm) = (open(0), open(1 << 30));
    let whole = cold.source().snapshots.get(Slot(first)).unwrap().unwrap();
    let view = cold.at(Slot(last)).unwrap();
    println!(
        "\n{} validators, {:.1} MB, {} slots made in {:.0} s; the last state: {}, {:.1} MB beyond the stored one",
        view.validator_count(),
        whole.len() as f64 / 1e6,
        last - first,
        started.elapsed().as_secs_f64(),
        view.how(),
        view.state().columns.bytes() as f64 / 1e6,
    );
    row("floor: copy of the stored state", clock(rounds, |_| drop(black_box(whole.to_vec()))));
    row("floor: state to a sink", clock(rounds, |_| view.write_ssz(&mut sink()).unwrap()));
    let full = |slot: u64| cold.at(Slot(slot)).unwrap().write_ssz(&mut sink()).unwrap();
    row("full state, epoch start, nothing decoded", clock(rounds, |_| full(epoch)));
    row("full state, last slot of the epoch, nothing decoded", clock(rounds, |_| full(last)));
    warm.at(Slot(epoch)).unwrap();
    let next = |round: usize| drop(warm.at(Slot(epoch + 1 + round as u64)).unwrap());
    row("next slot of the epoch, decoded", clock(rounds, next));
    let span = (last - first) / SLOTS_PER_EPOCH;
    let slot_of = |number: u64| Slot(first + number % (span + 1) * SLOTS_PER_EPOCH);
    let read = |states: &States<View>, number| drop(states.at(slot_of(number)).unwrap());
    println!(
        "random epochs of all: {:.1} states/s",
        per_second(seconds, |number| read(&cold, number))
    );

    // Validators that all of the states have.
    let count = cold.at(Slot(first)).unwrap().validator_count() as u64;
    let one = |states: &States<View>, number: u64, slot: Slot| {
        let index = usize::try_from(number.wrapping_mul(2_654_435_761) % count).unwrap();
        black_box(states.validator_at(index, slot).unwrap().unwrap());
    };
    let mut numbers = random(7, u64::from(u32::MAX));
    let mut query = |_| one(&cold, numbers.next().unwrap(), Slot(epoch));
    row("one validator at one epoch", clock(rounds.max(50), &mut query));
    let epochs = (epoch / SLOTS_PER_EPOCH).saturating_sub(255).max(first / SLOTS_PER_EPOCH);
    let epochs = epochs..=epoch / SLOTS_PER_EPOCH;
    let history = |round: usize| {
        let index = round * 1009 % view.validator_count();
        let found = cold.history(index..index + 1, epochs.clone()).map(Result::unwrap);
        assert_eq!(found.count() as u64, epochs.end() - epochs.start() + 1);
    };
    row(
        &format!("one validator over {} epochs", epochs.end() - epochs.start() + 1),
        clock(rounds, history),
    );
    let rate = per_second(seconds, |number| one(&cold, number, slot_of(number)));
    println!("random validators at random epochs: {rate:.0} queries/s");
    let rate = per_second(seconds, |number| one(&warm, number, Slot(epoch)));
    println!("random validators at a decoded epoch: {rate:.0} queries/s");

    let prove = |states: &States<View>, slot: u64| {
        black_box(states.at(Slot(slot)).unwrap().root().unwrap());
    };
    row("root, nothing kept", clock(1, |_| prove(&cold, epoch)));
    prove(&warm, epoch - SLOTS_PER_EPOCH);
    row("root, the epoch before hashed", clock(1, |_| prove(&warm, epoch)));
    row("root, the slot before hashed", clock(1, |_| prove(&warm, epoch + 1)));
}
