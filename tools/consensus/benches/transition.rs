//! Slots and epochs of a state with many validators, beside a floor: copying the state's bytes once.
//!
//! `cargo bench -p coldstore-consensus --bench transition [VALIDATORS]` (default 1,000,000). Medians.

#![allow(clippy::unwrap_used, reason = "a bench that fails must stop")]
#![allow(clippy::print_stdout, reason = "it prints its table")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use coldstore_consensus::transition::{BeaconState, Block, ChainRules, StateTree, TransitionError};
use coldstore_consensus::{Config, KnownNetwork, Preset, Root};

const SLOTS: u64 = 96;
const PAYLOAD_BYTES: usize = 100_000;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn time<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = run();
    (value, start.elapsed())
}

fn main() {
    let count = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(1_000_000);
    let known = KnownNetwork::by_name("mainnet").unwrap();
    let rules = Arc::new(ChainRules::new(Preset::Mainnet, &Config::of_known(known)).unwrap());
    let made = BeaconState::synthetic(&rules, count, 1);
    let ssz = made.to_ssz();
    drop(made);
    println!("{count} validators, {:.1} MB of SSZ", ssz.len() as f64 / 1e6);

    let mut copy = vec![1u8; ssz.len()];
    let copied = median((0..5).map(|_| time(|| copy.copy_from_slice(&ssz)).1).collect());
    drop(copy);
    let read = median(
        (0..5)
            .map(|_| time(|| BeaconState::from_ssz(Arc::clone(&rules), &ssz).unwrap()).1)
            .collect(),
    );
    let mut state = BeaconState::from_ssz(Arc::clone(&rules), &ssz).unwrap();
    let mut out = Vec::with_capacity(ssz.len());
    let written = median(
        (0..5)
            .map(|_| {
                out.clear();
                time(|| state.write_ssz(&mut out).unwrap()).1
            })
            .collect(),
    );
    assert!(out == ssz);
    drop(out);
    println!("copy of the bytes {copied:.1} ms; from SSZ {read:.1} ms, to SSZ {written:.1} ms");

    let mut tree = StateTree::default();
    let (_, whole) = time(|| tree.root(&mut state));
    println!("whole root {:.0} ms", whole.as_secs_f64() * 1000.0);

    let (mut slots, mut epochs, mut roots, mut epoch_roots) = (vec![], vec![], vec![], vec![]);
    for _ in 0..SLOTS {
        let given = |state: &BeaconState<'_>| {
            Ok::<_, Box<TransitionError>>(Root([u8::try_from(state.slot() % 251).unwrap() + 1; 32]))
        };
        let slot = state.slot() + 1;
        let ((), moved) = time(|| state.process_slots(slot, given).unwrap());
        let block = state.synthetic_block(PAYLOAD_BYTES).unwrap();
        let ((), applied) =
            time(|| state.process_block(&Block::parse(Preset::Mainnet, &block).unwrap()).unwrap());
        let (_, root) = time(|| tree.root(&mut state));
        if slot.is_multiple_of(Preset::Mainnet.slots_per_epoch()) {
            epochs.push(moved);
            epoch_roots.push(root);
        } else {
            slots.push(moved + applied);
            roots.push(root);
        }
    }
    let (slot, epoch) = (median(slots), median(epochs));
    let (root, epoch_root) = (median(roots), median(epoch_roots));
    println!("slot with block {slot:.2} ms, its root {root:.2} ms");
    println!("epoch {epoch:.1} ms, its root {epoch_root:.1} ms");
    println!("checked slot, epochs included: {:.2} ms", slot + root + (epoch + epoch_root) / 32.0);
}
