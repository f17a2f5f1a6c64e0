//! Slots and epochs of a state with many validators, beside floors: copying the state's bytes once, and
//! SHA-256 of as many bytes.
//!
//! `cargo bench -p coldstore-consensus --bench transition -- [VALIDATORS] [SLOTS]` (defaults: 1,000,000 and
//! 96). Medians of the thread's processor time, so other work on the machine counts little. An era is
//! extrapolated from the slots; with 8192 it is a whole one. `-- two` replays in two threads at once.

#![allow(clippy::unwrap_used, reason = "a bench that fails must stop")]
#![allow(clippy::print_stdout, reason = "it prints its table")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coldstore_consensus::transition::{BeaconState, Block, ChainRules, StateTree, TransitionError};
use coldstore_consensus::{BlockHasher, Config, KnownNetwork, Preset, Root, hash_state};
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};

const PAYLOAD_BYTES: usize = 100_000;
const SLOTS_PER_ERA: f64 = 8192.0;
const SLOTS_PER_EPOCH: u64 = 32;
const ROUNDS: usize = 5;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64) * 1000.0
}

/// The value, and this thread's processor time in user and system mode.
fn time<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
    };
    let start = now();
    let value = run();
    (value, now() - start)
}

/// Times by step.
#[derive(Default)]
struct Times {
    slots: Vec<Duration>,
    epochs: Vec<Duration>,
    parsed: Vec<Duration>,
    applied: Vec<Duration>,
    shuffled: Vec<Duration>,
    roots: Vec<Duration>,
    epoch_roots: Vec<Duration>,
}

impl Times {
    /// All but the roots.
    fn unchecked(&self) -> Duration {
        let Self { slots, epochs, parsed, applied, shuffled, .. } = self;
        [slots, epochs, parsed, applied, shuffled].into_iter().flatten().sum()
    }
}

fn root_of_slot(state: &BeaconState<'_>) -> Result<Root, Box<TransitionError>> {
    Ok(Root([u8::try_from(state.slot() % 251).unwrap() + 1; 32]))
}

/// Moves the state by `slots`, each with a block; with a tree, every slot's root is computed.
///
/// The blocks are made by a copy of the state, so that nothing is known of an epoch's committees before its first
/// attestation.
fn replay(state: &mut BeaconState<'_>, slots: u64, mut tree: Option<&mut StateTree>) -> Times {
    let mut times = Times::default();
    let mut maker = state.clone();
    let last = state.slot() + slots;
    while state.slot() < last {
        let count = (last - state.slot()).min(SLOTS_PER_EPOCH);
        let blocks: Vec<Vec<u8>> = (0..count).map(|_| next_block(&mut maker)).collect();
        for block in blocks {
            let slot = state.slot() + 1;
            let is_epoch = slot.is_multiple_of(SLOTS_PER_EPOCH);
            let ((), moved) = time(|| state.process_slots(slot, root_of_slot).unwrap());
            if is_epoch { &mut times.epochs } else { &mut times.slots }.push(moved);
            let (block, parsed) = time(|| Block::parse(Preset::Mainnet, &block).unwrap());
            times.parsed.push(parsed);
            // Attestations of an epoch's first slot.
            let is_shuffled = slot % SLOTS_PER_EPOCH == 1;
            let applied = if is_shuffled { &mut times.shuffled } else { &mut times.applied };
            applied.push(time(|| state.process_block(&block).unwrap()).1);
            if let Some(tree) = tree.as_deref_mut() {
                let (_, root) = time(|| tree.root(state));
                if is_epoch { &mut times.epoch_roots } else { &mut times.roots }.push(root);
            }
        }
    }
    times
}

/// The block of the next slot, which is applied.
fn next_block(maker: &mut BeaconState<'_>) -> Vec<u8> {
    maker.process_slots(maker.slot() + 1, root_of_slot).unwrap();
    let block = maker.synthetic_block(PAYLOAD_BYTES).unwrap();
    maker.process_block(&Block::parse(Preset::Mainnet, &block).unwrap()).unwrap();
    block
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse().ok());
    let validators = numbers.next().unwrap_or(1_000_000);
    let slots = numbers.next().unwrap_or(96);
    let known = KnownNetwork::by_name("mainnet").unwrap();
    let rules = Arc::new(ChainRules::new(Preset::Mainnet, &Config::of_known(known)).unwrap());
    let made = BeaconState::synthetic(&rules, validators, 1);
    let ssz = made.to_ssz();
    drop(made);
    println!("{validators} validators, {:.1} MB of SSZ", ssz.len() as f64 / 1e6);
    if arguments.iter().any(|argument| argument == "two") {
        return two(&rules, &ssz, slots as u64);
    }
    whole_state(&rules, &ssz);
    a_block(&rules, &ssz);
    let mut state = BeaconState::from_ssz(Arc::clone(&rules), &ssz).unwrap();
    let mut tree = StateTree::default();
    let (_, whole) = time(|| tree.root(&mut state));
    println!("first root of the tree {:.0} ms", whole.as_secs_f64() * 1000.0);
    let first = replay(&mut state, 1, Some(&mut tree)).unchecked().as_secs_f64();
    println!("first slot, with an index of all keys {:.0} ms", first * 1000.0);
    let times = replay(&mut state, slots as u64, Some(&mut tree));
    let era = first + SLOTS_PER_ERA / slots as f64 * times.unchecked().as_secs_f64();
    let Times { slots, epochs, parsed, applied, shuffled, roots, epoch_roots } = times;
    let [slots, epochs, parsed, applied, shuffled, root, epoch_root] =
        [slots, epochs, parsed, applied, shuffled, roots, epoch_roots].map(median);
    let with_block = slots + parsed + applied;
    println!("slot with block {with_block:.2} ms: parsed {parsed:.2}, applied {applied:.2}");
    println!("its root {root:.2} ms");
    let (shuffling, per_epoch) = (shuffled - applied, SLOTS_PER_EPOCH as f64);
    let epoch = epochs + shuffling;
    println!("epoch {epoch:.1} ms, of it shuffling {shuffling:.1}; its root {epoch_root:.1} ms");
    let checked = with_block + root + (epoch + epoch_root) / per_epoch;
    println!("checked slot with its part of an epoch {checked:.2} ms");
    println!("unchecked era {era:.1} s (by means, not medians)");
    println!("memory {} MB", memory() / 1_000_000);
}

/// The whole state: copied, decoded, encoded, hashed; in rounds, so that each has the same conditions.
fn whole_state(rules: &Arc<ChainRules>, ssz: &[u8]) {
    let mut copy = vec![1u8; ssz.len()];
    let mut out = Vec::with_capacity(ssz.len());
    let [mut copied, mut decoded, mut encoded, mut sha, mut hashed] = [const { vec![] }; 5];
    for _ in 0..ROUNDS {
        copied.push(time(|| copy.copy_from_slice(black_box(ssz))).1);
        let (state, took) = time(|| BeaconState::from_ssz(Arc::clone(rules), ssz).unwrap());
        decoded.push(took);
        out.clear();
        encoded.push(time(|| state.write_ssz(&mut out).unwrap()).1);
        assert!(out == ssz);
        drop(state);
        sha.push(time(|| black_box(Sha256::digest(ssz))).1);
        let before = clock_gettime(ClockId::ProcessCPUTime);
        black_box(hash_state(Preset::Mainnet, &mut &ssz[..]).unwrap());
        let took = clock_gettime(ClockId::ProcessCPUTime) - before;
        hashed
            .push(Duration::new(took.tv_sec.unsigned_abs(), u32::try_from(took.tv_nsec).unwrap()));
    }
    let [copied, decoded, encoded, sha, hashed] =
        [copied, decoded, encoded, sha, hashed].map(median);
    println!("copy of the bytes {copied:.1} ms");
    println!("from SSZ {decoded:.1} ms ({:.1} x)", decoded / copied);
    println!("to SSZ {encoded:.1} ms ({:.1} x)", encoded / copied);
    let speed = |took: f64| ssz.len() as f64 / 1000.0 / took;
    println!("SHA-256 {sha:.0} ms, {:.0} MB/s", speed(sha));
    println!("hash_tree_root {hashed:.0} ms, {:.0} MB/s", speed(hashed));
}

/// A block's root, beside SHA-256 of its bytes.
fn a_block(rules: &Arc<ChainRules>, ssz: &[u8]) {
    let mut state = BeaconState::from_ssz(Arc::clone(rules), ssz).unwrap();
    let slot = state.slot() + 1;
    state.process_slots(slot, root_of_slot).unwrap();
    let block = state.synthetic_block(PAYLOAD_BYTES).unwrap();
    let mut hasher = BlockHasher::new(Preset::Mainnet);
    let (mut sha, mut hashed) = (vec![], vec![]);
    for _ in 0..200 {
        sha.push(time(|| black_box(Sha256::digest(&block))).1);
        hashed.push(time(|| black_box(hasher.hash(&block).unwrap())).1);
    }
    let (sha, hashed) = (median(sha), median(hashed));
    println!("a block of {} bytes: SHA-256 {sha:.3} ms, root {hashed:.3} ms", block.len());
}

/// Two eras at once, beside one alone.
fn two(rules: &Arc<ChainRules>, ssz: &[u8], slots: u64) {
    let run = || {
        let mut state = BeaconState::from_ssz(Arc::clone(rules), ssz).unwrap();
        replay(&mut state, slots, None).unchecked().as_secs_f64()
    };
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let alone = run();
        let alone_wall = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let both: [f64; 2] = std::thread::scope(|scope| {
            [scope.spawn(run), scope.spawn(run)].map(|thread| thread.join().unwrap())
        });
        let wall = start.elapsed().as_secs_f64();
        println!(
            "alone {alone:.2} s ({alone_wall:.2} s wall), both {:.2} and {:.2} s ({wall:.2} s wall)",
            both[0], both[1]
        );
        println!(
            "{:.2} x by processor time, {:.2} x by wall time",
            2.0 * alone / both[0].max(both[1]),
            2.0 * alone_wall / wall
        );
    }
}

/// `VmRSS` of proc(5), in bytes: the state, its tree, and the encoded state, which an archive would map.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
