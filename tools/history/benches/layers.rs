//! Sizes of the states that an archive keeps, layer by layer, on a chain like mainnet's, beside what others
//! store.
//!
//! `cargo bench -p coldstore-history --bench layers -- [ERAS]` (default: 2, the distance of the last era state from
//! its snapshot; 31 are all, and take an hour). It prints the chain's parameters, and whether the chain is
//! calibrated: sizes count only if `zstd --patch-from -3` of its states gives what it gives for mainnet's. Sizes
//! are exact, and every diff is applied and compared with the state. Times are medians. Without `--bench` it
//! is a quick smoke test.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that fails must stop")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod support;

use std::collections::BTreeMap;
use std::time::Instant;

use coldstore_consensus::Preset;
use coldstore_consensus::transition::{SyntheticChain, SyntheticParameters};
use coldstore_history::states::StateRef;
use coldstore_history::states::value::{
    DiffContext, DiffValue, DutyCache, apply_path, encode_slot,
};
use support::reference::{like_lighthouse, packed, patch};
use support::year::{self, Layers};
use support::{Roots, State, rules};

const PRESET: Preset = Preset::Mainnet;
const EPOCH: u64 = 32;
const ERA: u64 = 8192;
/// Where the epochs in a row begin, and the slots in a row after them: nine of those 1024 slots have no block, and
/// one of those 128, which is as many as the chain's rate asks for.
const EPOCHS_FROM: u64 = 4096;
const EPOCHS: u64 = 32;
const EPOCHS_OF_SLOTS: u64 = 4;
/// Eras between two snapshots.
const ERAS_PER_SNAPSHOT: u64 = 32;
/// Era records of this chain in MB, by their distance from the snapshot in eras, from a run over all of them.
const FURTHER_ERAS: [(f64, f64); 12] = [
    (1.0, 2.47),
    (2.0, 3.49),
    (3.0, 4.11),
    (4.0, 4.71),
    (6.0, 5.08),
    (8.0, 5.38),
    (12.0, 5.97),
    (16.0, 6.47),
    (20.0, 7.05),
    (24.0, 7.57),
    (28.0, 7.99),
    (31.0, 8.30),
];
/// Bytes of `zstd --patch-from -3` between two states of mainnet, by their distance in slots.
const CALIBRATION: [(u64, f64); 2] = [(EPOCH, 3.4e6), (ERA, 4.4e6)];
/// Deviation of a calibrated chain.
const TOLERANCE: f64 = 0.2;

/// A chain and the roots of its slots.
struct Chain {
    chain: SyntheticChain,
    roots: Roots,
    duties: DutyCache,
    start: u64,
}

impl Chain {
    fn new(parameters: SyntheticParameters) -> Self {
        let chain = SyntheticChain::new(&rules(), parameters);
        let (first, mut roots) = (chain.slot(), Roots::default());
        roots.add(&first);
        Self { chain, roots, duties: DutyCache::default(), start: first.slot }
    }

    /// The state so many slots after the first one.
    fn state_after(&mut self, slots: u64) -> State {
        while self.chain.state().slot() < self.start + slots {
            self.roots.add(&self.chain.advance().unwrap());
        }
        State::of(&self.chain)
    }
}

/// The records of one layer.
#[derive(Default)]
struct Records {
    bytes: Vec<f64>,
    seconds: Vec<f64>,
    /// A copy of the state, in the same run.
    copy_seconds: Vec<f64>,
    /// Bytes by field and encoding.
    sections: BTreeMap<(&'static str, u8), usize>,
}

impl Records {
    /// Encodes a state on an earlier one, and compares it with what the record gives back.
    fn add(&mut self, chain: &Chain, base: &State, next: &State) {
        let context = DiffContext { duties: Some(&chain.duties), ..DiffContext::new(&chain.roots) };
        let mut copy = vec![1; next.ssz.len()];
        let started = Instant::now();
        copy.copy_from_slice(&next.ssz);
        self.copy_seconds.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let value = encode_slot(base.as_ref(), next.as_ref(), context).unwrap();
        self.seconds.push(started.elapsed().as_secs_f64());
        self.bytes.push(value.len() as f64);
        let diff = DiffValue::parse(next.slot(), &value).unwrap();
        for (field, encoding, byte_len) in diff.sections() {
            *self.sections.entry((field, encoding)).or_default() += byte_len;
        }
        let columns = apply_path(PRESET, &base.ssz, &base.columns, &[diff], context).unwrap();
        copy.clear();
        StateRef { base: &base.ssz, columns: &columns }.write_ssz(&mut copy).unwrap();
        assert!(copy == next.ssz, "slot {}", next.slot());
    }

    fn mean(&self) -> f64 {
        self.bytes.iter().sum::<f64>() / self.bytes.len() as f64
    }

    fn print(&self, what: &str) {
        if self.bytes.is_empty() {
            return;
        }
        let count = self.bytes.len();
        let (least, most) = (
            self.bytes.iter().copied().fold(f64::MAX, f64::min),
            self.bytes.iter().copied().fold(0.0, f64::max),
        );
        println!(
            "{what}: mean of {count}: {:.0} bytes ({least:.0} to {most:.0}); encoded from whole states in \
             {:.1} ms, a copy of the state {:.1} ms",
            self.mean(),
            median(&self.seconds) * 1e3,
            median(&self.copy_seconds) * 1e3
        );
        let mut sections: Vec<_> = self.sections.iter().collect();
        sections.sort_by_key(|(_, byte_len)| std::cmp::Reverse(**byte_len));
        for ((field, encoding), byte_len) in sections.into_iter().take(10) {
            let mean = *byte_len as f64 / count as f64;
            println!("    {field} (encoding {encoding}): {mean:.0}");
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Prints what others need for a span, and whether the chain is calibrated; `true` unless it is not.
fn references(span: u64, base: &State, next: &State) -> bool {
    let (like, patch) =
        (like_lighthouse(base.as_ref(), next.as_ref()), patch(3, &base.ssz, &next.ssz));
    print!("{span} slots: like Lighthouse {like} bytes, zstd --patch-from -3 {patch}");
    let Some((_, wanted)) = CALIBRATION.into_iter().find(|(of, _)| *of == span) else {
        println!();
        return true;
    };
    let deviation = patch as f64 / wanted - 1.0;
    let is_calibrated = deviation.abs() <= TOLERANCE;
    let verdict = if is_calibrated { "calibrated" } else { "NOT calibrated" };
    println!(", {:+.1} % from {:.1} MB: {verdict}", deviation * 100.0, wanted / 1e6);
    is_calibrated
}

/// The mean of all era records between two snapshots: those that are measured, and further ones in proportion
/// to the last of them by [`FURTHER_ERAS`].
fn mean_era(measured: &[f64]) -> f64 {
    let known = |era: u64| {
        let era = era as f64;
        let after = FURTHER_ERAS.iter().position(|(known, _)| *known >= era).unwrap().max(1);
        let [(from, low), (to, high)] = [FURTHER_ERAS[after - 1], FURTHER_ERAS[after]];
        low + (high - low) * (era - from) / (to - from)
    };
    let last = measured.len() as u64;
    let scale = measured.last().unwrap() / known(last);
    let further = (last + 1..ERAS_PER_SNAPSHOT).map(|era| scale * known(era));
    (measured.iter().sum::<f64>() + further.sum::<f64>()) / (ERAS_PER_SNAPSHOT - 1) as f64
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = !arguments.iter().any(|argument| argument == "--bench");
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u64>().ok());
    let eras = numbers.next().unwrap_or(if quick { 0 } else { 2 });
    let of_size = if quick { SyntheticParameters::small() } else { SyntheticParameters::default() };
    let parameters = SyntheticParameters { true_roots: false, ..of_size };
    println!("{parameters:#?}");
    let mut chain = Chain::new(parameters);
    let first = chain.state_after(0);
    let snapshot = first.ssz.len() as f64;
    println!("state: {snapshot} bytes, zstd 1 {}", packed(1, &first.ssz));

    let [mut epochs, mut slots, mut keyframes_9, mut keyframes_11, mut era_records]: [Records; 5] =
        Default::default();
    let mut is_calibrated = true;
    let (from, count, of_slots) =
        if quick { (EPOCH, 2, 1) } else { (EPOCHS_FROM, EPOCHS, EPOCHS_OF_SLOTS) };
    for span in [512, 1024, 1536, 2048, 4096].into_iter().filter(|_| !quick) {
        let next = chain.state_after(span);
        let records = if span < 2048 { &mut keyframes_9 } else { &mut keyframes_11 };
        records.add(&chain, &first, &next);
        if span == 2048 {
            is_calibrated &= references(span, &first, &next);
        }
    }
    let mut before = chain.state_after(from);
    let slots_from = from + count * EPOCH;
    for slot in (from..slots_from).step_by(32).map(|slot| slot + EPOCH) {
        let next = chain.state_after(slot);
        epochs.add(&chain, &before, &next);
        if slot == from + EPOCH {
            is_calibrated &= references(EPOCH, &before, &next);
        }
        before = next;
    }
    for slot in slots_from + 1..slots_from + of_slots * EPOCH {
        let next = chain.state_after(slot);
        if !slot.is_multiple_of(EPOCH) {
            slots.add(&chain, &before, &next);
        }
        before = next;
    }
    drop(before);
    let spans = (0..=eras).map(|era| if era == 0 { 6144 } else { era * ERA });
    for span in spans.filter(|_| !quick) {
        let next = chain.state_after(span);
        let records = if span < ERA { &mut keyframes_11 } else { &mut era_records };
        records.add(&chain, &first, &next);
        if span == ERA {
            is_calibrated &= references(span, &first, &next);
        }
    }
    slots.print("slot on the one before");
    epochs.print("epoch on the one before");
    keyframes_9.print("keyframe 2^9 on 2^11 (512, 1024, 1536 slots)");
    keyframes_11.print("keyframe 2^11 on an era (2048, 4096, 6144 slots)");
    era_records.print("era on the snapshot");
    if eras > 0 {
        println!("    by distance: {:?}", era_records.bytes);
        let layers = Layers {
            snapshot,
            era: mean_era(&era_records.bytes),
            keyframe_11: keyframes_11.mean(),
            keyframe_9: keyframes_9.mean(),
            epoch: epochs.mean(),
            slot: slots.mean(),
        };
        year::print(layers, is_calibrated);
    }
}
