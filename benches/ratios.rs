//! Reads against their floor in paired, interleaved rounds: medians and quartiles of the ratios.
//!
//! `cargo bench --bench ratios` prints a table. `-- --instructions get|floor|checked|nothing N` runs N gets and
//! nothing else, for callgrind; `benches/instructions.sh` does the subtraction.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::hint::black_box;
use std::time::Instant;

use coldstore::{Slot, View};
use support::{Floor, digest, open, slots, write_roots, write_sparse};

const RECORDS: u64 = 1 << 21;
const GETS: usize = 1 << 18;
const ROUNDS: usize = 60;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--instructions") {
        return instructions(&arguments[at + 1], arguments[at + 2].parse().unwrap());
    }
    // Without `--bench` this is `cargo test`: a smoke test.
    let quick = !arguments.iter().any(|argument| argument == "--bench");
    let (records, gets, rounds) =
        if quick { (1 << 14, 1 << 10, 2) } else { (RECORDS, GETS, ROUNDS) };
    warm_get(records, gets, rounds);
    scan(records, rounds);
    refresh_and_open(if quick { 10 } else { 1000 }, rounds);
}

/// Nanoseconds per operation, for `count` operations.
fn time(count: usize, work: impl FnOnce() -> u64) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}

/// The first quartile, the median and the third quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

fn report(what: &str, subject: Vec<f64>, floor: &[f64]) {
    let ratios: Vec<f64> = subject.iter().zip(floor).map(|(ours, floor)| ours / floor).collect();
    let [low, ratio, high] = quartiles(ratios);
    let ([_, ours, _], [_, floor, _]) = (quartiles(subject), quartiles(floor.to_vec()));
    println!("{what:<44} {ours:>9.1} ns  floor {floor:>7.1} ns  {ratio:.3}× ({low:.3}–{high:.3})");
}

/// Sums the results of `get` for all slots. With a `mask` of 0 unknown to the compiler, each slot
/// depends on the previous root, so gets do not overlap.
fn sum(slots: &[Slot], mask: u64, get: impl Fn(Slot) -> u64) -> u64 {
    slots.iter().fold(0, |sum, slot| sum ^ get(Slot(slot.0 + (sum & mask))))
}

/// Inlined, because the floor is part of its loop too.
#[inline]
fn get(view: &View, slot: Slot) -> u64 {
    digest(view.get_stored(slot).unwrap().unwrap())
}

fn warm_get(records: u64, gets: usize, rounds: usize) {
    let directory = tempfile::tempdir().unwrap();
    write_roots(directory.path(), records);
    let view = open(directory.path()).view();
    let floor = Floor::open(directory.path(), records);
    let slots = slots(gets, records);
    println!("{records} roots, {gets} random gets a round, {rounds} rounds; median (quartiles)");

    warm_gets::<true>("one after the other", &view, &floor, &slots, rounds);
    warm_gets::<false>("overlapping in the processor", &view, &floor, &slots, rounds);
}

fn warm_gets<const DEPENDENT: bool>(
    how: &str,
    view: &View,
    floor: &Floor,
    slots: &[Slot],
    rounds: usize,
) {
    // `black_box` hides the 0 from the compiler.
    let mask = if DEPENDENT { black_box(0) } else { 0 };
    let mut times = [(); 3].map(|()| Vec::new());
    for round in 0..rounds {
        for turn in 0..3 {
            // Every other round runs backwards, so that no subject always follows the same one.
            let turn = if round % 2 == 0 { turn } else { 3 - turn };
            let index = (round + turn) % 3;
            times[index].push(time(slots.len(), || match index {
                0 => sum(slots, mask, |slot| digest(floor.get(slot))),
                1 => sum(slots, mask, |slot| digest(floor.get_checked(slot).unwrap())),
                _ => sum(slots, mask, |slot| get(view, slot)),
            }));
        }
    }
    let [plain, checked, ours] = times;
    report(&format!("get_stored, {how}"), ours, &plain);
    report("  plain maps with the record's checks", checked, &plain);
}

fn scan(records: u64, rounds: usize) {
    let directory = tempfile::tempdir().unwrap();
    write_roots(directory.path(), records);
    let view = open(directory.path()).view();
    let floor = Floor::open(directory.path(), records);
    let count = usize::try_from(records).unwrap();
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(time(count, || {
            view.range(..).map(|record| digest(record.unwrap().stored())).fold(0, |a, b| a ^ b)
        }));
        plain.push(time(count, || {
            (0..records).map(|slot| digest(floor.get(Slot(slot)))).fold(0, |a, b| a ^ b)
        }));
    }
    report("scan, each record", ours, &plain);
}

fn refresh_and_open(files: u64, rounds: usize) {
    let directory = tempfile::tempdir().unwrap();
    write_sparse(directory.path(), files);
    let reader = open(directory.path());
    let times = 100;
    let (mut refreshes, mut opens, mut stats) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        refreshes.push(time(times, || {
            (0..times).map(|_| reader.refresh().unwrap().conf().current_data_len).sum()
        }));
        opens.push(time(times, || {
            (0..times).map(|_| open(directory.path()).view().conf().current_data_len).sum()
        }));
        let conf = directory.path().join("column.conf");
        stats.push(time(times, || (0..times).map(|_| conf.metadata().unwrap().len()).sum()));
    }
    report("refresh without a new commit / stat", refreshes, &stats);
    report(&format!("open a column of {files} files / stat"), opens, &stats);
}

/// Runs `count` gets over a small store, all maps touched before.
fn instructions(subject: &str, count: usize) {
    let records = 1 << 16;
    let directory = tempfile::tempdir().unwrap();
    write_roots(directory.path(), records);
    let view = open(directory.path()).view();
    let floor = Floor::open(directory.path(), records);
    let slots = slots(count, records);
    let total = match subject {
        "get" => sum(&slots, 0, |slot| get(&view, slot)),
        "floor" => sum(&slots, 0, |slot| digest(floor.get(slot))),
        "checked" => sum(&slots, 0, |slot| digest(floor.get_checked(slot).unwrap())),
        "nothing" => sum(&slots, 0, |slot| slot.0),
        other => panic!("'get', 'floor', 'checked' or 'nothing', not '{other}'"),
    };
    black_box(total);
}
