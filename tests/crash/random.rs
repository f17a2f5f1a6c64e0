//! Long scripts from a seed.

use std::collections::BTreeSet;

use crate::scripts::{Script, Step, V2, V3, plain};
use crate::states::Random;
use test_support::PER_FILE;

/// Slots come from a few places in a few files.
const FILES: usize = 5;
const PLACES: [u64; 9] = [0, 1, 2, 63, 64, 65, 4096, 8190, 8191];

/// A script of `len` steps.
pub(crate) fn script(seed: u64, len: usize) -> Script {
    let mut random = Random(seed << 20);
    let backfill = random.below(4) > 0;
    let opening = if backfill { V3 } else { V2 };
    let mut held = BTreeSet::from([1]);
    let mut steps = Vec::new();
    while steps.len() < len {
        if steps.len() == len / 2 {
            steps.extend(cut(seed, backfill, &mut held));
        }
        let step = match random.below(13) {
            0 => Step::Open(opening),
            1..=4 => ascend(&mut random, &held),
            5 if backfill => Step::Run(any(&mut random)),
            6..=9 if backfill => fill(&mut random, &held),
            10 => one(&mut random, &held, backfill, Step::Stream),
            11 => one(&mut random, &held, backfill, Step::FailingStream),
            12 if backfill => given_up(fill(&mut random, &held)),
            12 => given_up(ascend(&mut random, &held)),
            _ => continue,
        };
        match &step {
            Step::Put(slots) | Step::Run(slots) if slots.is_empty() => continue,
            Step::Put(slots) | Step::Run(slots) => held.extend(slots),
            Step::Stream(slot) => drop(held.insert(*slot)),
            Step::FailingStream(slot) if held.contains(slot) => continue,
            Step::FailingStream(_) | Step::GivenUp(_) | Step::Open(_) | Step::Foreign { .. } => {}
            Step::Rewind(_) | Step::Prune(_) => {}
        }
        steps.push(step);
    }
    let last = Step::Put(vec![60_000]);
    let elsewhere = if backfill {
        vec![Step::Put(vec![6001]), Step::Put(vec![9003]), Step::Put(vec![17_003]), last]
    } else {
        vec![last]
    };
    let setup = vec![Step::Open(opening), Step::Put(vec![1])];
    let exchanges = (seed / 8).is_multiple_of(2);
    Script { setup, steps, elsewhere, exchanges, ..plain(&format!("random script {seed}")) }
}

/// Fills gaps in a sealed file, where that is possible, and cuts the column: the file lies above the cut,
/// is cut through, lies below it, or it goes or stays when files are removed from below.
fn cut(seed: u64, backfill: bool, held: &mut BTreeSet<u64>) -> Vec<Step> {
    let (filled, top) = (PER_FILE, 3 * PER_FILE + 100);
    let mut steps = Vec::new();
    if held.last().is_none_or(|highest| *highest < top) {
        steps.push(Step::Put(vec![top]));
        held.insert(top);
    }
    if backfill {
        let gaps = [filled + 100, filled + 200];
        steps.push(Step::Put(gaps.to_vec()));
        held.extend(gaps);
    }
    let step = match seed % 4 {
        0 => Step::Rewind(filled - 1),
        1 => Step::Rewind(filled + 150),
        2 => Step::Rewind(2 * PER_FILE + 64),
        _ => Step::Prune(1 + seed / 4 % 2),
    };
    match &step {
        Step::Prune(first) => held.retain(|slot| *slot >= first * PER_FILE),
        Step::Rewind(to) => held.retain(|slot| slot <= to),
        _ => {}
    }
    steps.push(step);
    steps
}

fn slot(random: &mut Random, file: usize) -> u64 {
    file as u64 * PER_FILE + PLACES[random.below(PLACES.len())]
}

/// One to four slots above the highest.
fn ascend(random: &mut Random, held: &BTreeSet<u64>) -> Step {
    let highest = held.last().copied().unwrap_or_default();
    let above = (0..FILES as u64).flat_map(|file| PLACES.map(|place| file * PER_FILE + place));
    let above: Vec<u64> = above.filter(|slot| *slot > highest).collect();
    let mut slots: Vec<u64> = Vec::new();
    let mut at = random.below(4);
    for _ in 0..=random.below(4) {
        slots.extend(above.get(at));
        at += 1 + random.below(3);
    }
    Step::Put(slots)
}

/// Some slots of one file and perhaps of the current one, none above the highest; some of them may
/// be there already.
fn fill(random: &mut Random, held: &BTreeSet<u64>) -> Step {
    let highest = held.last().copied().unwrap_or_default();
    let current = usize::try_from(highest / PER_FILE).expect("a few files");
    let file = random.below(current + 1);
    let mut slots = BTreeSet::new();
    for _ in 0..=random.below(4) {
        let file = if random.below(4) == 0 { current } else { file };
        slots.insert(slot(random, file));
    }
    Step::Put(slots.into_iter().filter(|slot| *slot <= highest).collect())
}

fn given_up(step: Step) -> Step {
    match step {
        Step::Put(slots) => Step::GivenUp(slots),
        other => other,
    }
}

fn any(random: &mut Random) -> Vec<u64> {
    let slots: BTreeSet<u64> = (0..2 + random.below(5))
        .map(|_| {
            let file = random.below(FILES);
            slot(random, file)
        })
        .collect();
    slots.into_iter().collect()
}

fn one(
    random: &mut Random,
    held: &BTreeSet<u64>,
    backfill: bool,
    step: impl Fn(u64) -> Step,
) -> Step {
    let highest = held.last().copied().unwrap_or_default();
    let file = random.below(FILES);
    let slot = slot(random, file);
    if slot > highest || backfill { step(slot) } else { Step::Put(Vec::new()) }
}
