//! Diffs of states with a registry of mainnet's size, beside a floor: copying the state's bytes.
//!
//! `cargo bench -p coldstore-history --bench diffs -- [VALIDATORS]` (default: the registry of mainnet). Epochs and slots
//! of a made-up chain on one stored state. Without `--bench` it is a quick smoke test. Medians of rounds in which
//! everything is measured in turn, since other work on the machine changes from one moment to the next: of the time
//! that passes, and of the processor time of all threads.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that fails must stop")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod support;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{self, Write};
use std::time::Instant;

use coldstore::Slot;
use coldstore_consensus::transition::{SyntheticChain, SyntheticParameters};
use coldstore_consensus::{Preset, Root};
use coldstore_history::states::value::{
    DiffContext, DiffValue, DutyCache, RootsError, SlotRoots, apply_path, encode_slot,
};
use coldstore_history::states::{Columns, StateRef};

const PRESET: Preset = Preset::Mainnet;
const EPOCHS: u64 = 15;
const SLOTS: u64 = 31;

#[derive(Default)]
struct Roots(BTreeMap<u64, [Root; 2]>);

impl SlotRoots for Roots {
    fn block_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.0.get(&slot.0).map(|roots| roots[0]))
    }

    fn state_root(&self, slot: Slot) -> Result<Option<Root>, RootsError> {
        Ok(self.0.get(&slot.0).map(|roots| roots[1]))
    }
}

/// The columns of the chain's state on a stored one.
fn columns(chain: &SyntheticChain, base: &[u8]) -> Columns {
    let ssz = chain.state().to_ssz();
    Columns::from_stream(PRESET, base, ssz.len() as u64, &mut &ssz[..]).unwrap()
}

/// What is measured, by name.
type Measured<'m> = (&'static str, Box<dyn FnMut() + 'm>);

fn on<'a>(base: &'a [u8], columns: &'a Columns) -> StateRef<'a> {
    StateRef { base, columns }
}

/// Looks at what is written as far as a sink must.
struct Sink(u64);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A byte of each page, so that mapped pages are there.
        self.0 += bytes.iter().step_by(4096).map(|byte| u64::from(*byte)).sum::<u64>();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Processor time of all threads, in seconds.
fn processor_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = !arguments.iter().any(|argument| argument == "--bench");
    let parameters =
        if quick { SyntheticParameters::small() } else { SyntheticParameters::default() };
    let parameters = SyntheticParameters { true_roots: false, ..parameters };
    let mut chain = SyntheticChain::new(&support::rules(), parameters);
    let first = chain.slot().slot;
    let base = chain.state().to_ssz();
    let mut roots = Roots::default();
    let mut states = vec![Columns::of_raw(PRESET, &base).unwrap()];
    let start = chain.slot();
    roots.0.insert(start.slot, [start.block_root, start.state_root]);
    for slot in first + 1..=first + 32 * EPOCHS + SLOTS {
        let made = chain.advance().unwrap();
        roots.0.insert(slot, [made.block_root, made.state_root]);
        if slot.is_multiple_of(32) || slot > first + 32 * EPOCHS {
            states.push(columns(&chain, &base));
        }
    }
    drop(chain);
    let context = DiffContext::new(&roots);
    let duties = DutyCache::default();
    let encoding = DiffContext { duties: Some(&duties), ..context };
    let values: Vec<(Slot, Vec<u8>)> = states
        .windows(2)
        .map(|pair| {
            let value = encode_slot(on(&base, &pair[0]), on(&base, &pair[1]), encoding).unwrap();
            (pair[1].slot(), value)
        })
        .collect();
    let path: Vec<DiffValue<'_>> =
        values.iter().map(|(slot, value)| DiffValue::parse(*slot, value).unwrap()).collect();
    let epochs = usize::try_from(EPOCHS).unwrap();
    for place in [1, epochs, epochs + 1, path.len() - 1] {
        println!("slot {} of {} bytes:", path[place].slot(), values[place].1.len());
        for (field, encoding, byte_len) in path[place].sections() {
            println!("    {field:32} {encoding:3} {byte_len:8}");
        }
    }
    let mean = |values: &[(Slot, Vec<u8>)]| {
        values.iter().map(|(_, value)| value.len()).sum::<usize>() / values.len().max(1)
    };
    println!("epoch: {} bytes (mean of {epochs})", mean(&values[..epochs]));
    println!("slot: {} bytes (mean of {SLOTS})", mean(&values[epochs..]));

    let raw = &states[0];
    let apply = |path: &[DiffValue<'_>]| apply_path(PRESET, &base, raw, path, context).unwrap();
    let apply_knowing =
        |path: &[DiffValue<'_>]| apply_path(PRESET, &base, raw, path, encoding).unwrap();
    let write = |columns: &Columns| {
        let mut sink = Sink(0);
        on(&base, columns).write_ssz(&mut sink).unwrap();
        black_box(sink.0);
    };
    // Right before it is fast.
    for (place, end) in [(epochs, epochs), (states.len() - 1, path.len())] {
        let (mut wanted, mut found) = (Vec::new(), Vec::new());
        on(&base, &states[place]).write_ssz(&mut wanted).unwrap();
        on(&base, &apply(&path[..end])).write_ssz(&mut found).unwrap();
        assert!(wanted == found);
    }
    let mut copy = vec![0u8; base.len()];
    let last = apply(&path);
    println!("columns: {} bytes of memory", last.bytes());
    let encode = |place: usize| {
        black_box(encode_slot(on(&base, &states[place]), on(&base, &states[place + 1]), encoding))
            .unwrap();
    };
    let mut measured: Vec<Measured<'_>> = vec![
        ("memcpy of the state", Box::new(|| copy.copy_from_slice(black_box(&base)))),
        (
            "columns of the stored state",
            Box::new(|| drop(black_box(Columns::of_raw(PRESET, &base)))),
        ),
        ("write to a sink", Box::new(|| write(&last))),
        ("apply 1 epoch", Box::new(|| drop(black_box(apply(&path[..1]))))),
        ("apply 15 epochs", Box::new(|| drop(black_box(apply(&path[..epochs]))))),
        ("apply 15 epochs and 31 slots", Box::new(|| drop(black_box(apply(&path))))),
        ("epoch start to a sink", Box::new(|| write(&apply(&path[..epochs])))),
        ("any slot to a sink", Box::new(|| write(&apply(&path)))),
        ("the same, committees known", Box::new(|| write(&apply_knowing(&path)))),
        ("encode an epoch", Box::new(|| encode(2))),
        ("encode a slot", Box::new(|| encode(epochs + 5))),
    ];
    let mut times: Vec<[Vec<f64>; 2]> = vec![<[Vec<f64>; 2]>::default(); measured.len()];
    for _ in 0..if quick { 1 } else { 9 } {
        for ((_, run), times) in measured.iter_mut().zip(&mut times) {
            let (started, used) = (Instant::now(), processor_time());
            run();
            times[0].push(started.elapsed().as_secs_f64() * 1e3);
            times[1].push((processor_time() - used) * 1e3);
        }
    }
    let mut floor = [0.0; 2];
    for (place, ((name, _), times)) in measured.iter().zip(&mut times).enumerate() {
        times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
        let medians = times.each_ref().map(|times| times[times.len() / 2]);
        if place == 0 {
            floor = medians;
        }
        let least = times[0][0];
        let [passed, used] = medians;
        let [of_passed, of_used] = [passed / floor[0], used / floor[1]];
        println!(
            "{name:32} {passed:8.2} ms (least {least:8.2}) = {of_passed:6.2} memcpy; processor {used:8.2} ms = \
             {of_used:6.2} memcpy"
        );
    }
}
