//! Power cuts, killed processes and failing calls, on a disk in memory: see `README.md` beside this
//! file.

#![allow(clippy::disallowed_methods, reason = "states are laid out for the real reader by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod at_once;
mod campaign;
mod check;
mod copying;
mod disk;
mod drive;
mod expect;
mod failing;
mod faults;
mod foreign;
mod lies;
mod look;
mod manifest;
mod medium;
mod pipeline;
mod random;
mod scripts;
mod states;
mod turns;
mod variants;

use std::sync::Arc;
use std::time::Instant;

use campaign::{Campaign, Effort, assert_distinct, table};
use lies::Lie;
use scripts::{Script, Step, scripts};
use test_support::size::quick_or_whole;

/// `COLDSTORE_CRASH_SEED` starts from another seed.
fn seed() -> u64 {
    std::env::var("COLDSTORE_CRASH_SEED").map_or(2026, |seed| seed.parse().unwrap())
}

/// `COLDSTORE_CRASH_LIMIT` sets the maximum number of choices at one point of a script.
fn limit() -> Option<usize> {
    std::env::var("COLDSTORE_CRASH_LIMIT").ok().map(|limit| limit.parse().unwrap())
}

fn effort() -> Effort {
    Effort {
        limit: limit().unwrap_or(quick_or_whole(40, 24_000)),
        limit_after: quick_or_whole(3, 10),
        healings: quick_or_whole(1, 2),
        real_every: 64,
        seed: seed(),
    }
}

/// What random scripts are given: there are many of them.
fn short_effort() -> Effort {
    Effort { limit: quick_or_whole(40, 400), limit_after: 3, healings: 1, ..effort() }
}

/// Runs a campaign, says how much there was, and fails with what failed.
fn run(campaign: &Campaign, name: &str) {
    let started = Instant::now();
    let outcome = campaign.run(2);
    println!("{name}\n{}", table(campaign));
    println!("{} distinct states in {:?}\n", campaign.total(), started.elapsed());
    if let Err(failure) = outcome {
        panic!("seed {}: {failure}", seed());
    }
}

/// Guards against a power cut, at any point of anything that a writer does, that loses what was
/// acknowledged, shows a part of what was not, or leaves a column that does not heal.
#[test]
fn no_power_cut_loses_or_tears_anything() {
    let seen = Arc::default();
    let short = Campaign::new(scripts(), effort(), None).after(&seen);
    assert_distinct(short.scripts());
    run(&short, "short scripts");
    let scripts = (0..quick_or_whole(2, 6)).map(|nth| random::script(seed() + nth, 8)).collect();
    let long = Campaign::new(scripts, short_effort(), None).after(&seen);
    run(&long, "random scripts");
    let total = short.total() + long.total();
    println!("{total} distinct states in all");
    let wanted = quick_or_whole(20_000, 200_000);
    assert!(limit().is_some() || total >= wanted, "{total} distinct states");
}

/// The same, and then random scripts from one seed after the other, until there were so many distinct
/// states as `COLDSTORE_CRASH_STATES` says.
#[test]
#[ignore = "takes minutes"]
fn a_million_power_cuts() {
    let wanted = std::env::var("COLDSTORE_CRASH_STATES");
    let wanted = wanted.map_or(1_000_000, |wanted| wanted.parse().unwrap());
    let started = Instant::now();
    let seen = Arc::default();
    let short = Campaign::new(scripts(), effort(), None).after(&seen);
    run(&short, "short scripts");
    let mut total = short.total();
    let mut first = seed();
    while total < wanted {
        let scripts = (first..first + 4).map(|seed| random::script(seed, 30)).collect();
        // More choices at each point are cheaper than more points: what comes after a process was
        // killed is mostly what was there already.
        let effort = Effort { limit: 3000, limit_after: 10, seed: first, ..effort() };
        let long = Campaign::new(scripts, effort, None).after(&seen);
        run(&long, "random scripts");
        total += long.total();
        first += 4;
        println!("{total} distinct states so far, {:?}\n", started.elapsed());
    }
}

/// Guards against a campaign without teeth: when the disk leaves out one kind of flush, it fails.
#[test]
fn a_disk_that_lies_about_one_kind_of_flush_is_caught() {
    // Small: it ends at the first failure.
    let effort = Effort { limit: 150, limit_after: 24, healings: 1, ..effort() };
    let scripts = scripts();
    let mut survivors = Vec::new();
    for lie in Lie::ALL {
        let started = Instant::now();
        let mut scripts = scripts.clone();
        // What catches it comes first, what takes long comes last.
        scripts.sort_by_key(|script| {
            (script.name != lie.caught_by(), script.name.starts_with("batch over"))
        });
        assert_eq!(scripts[0].name, lie.caught_by());
        let campaign = Campaign::new(scripts, effort, Some(lie));
        match campaign.run(2) {
            Err(failure) => {
                println!(
                    "{lie:?}: {} states, {:?}: {failure}",
                    campaign.total(),
                    started.elapsed()
                );
            }
            Ok(()) => survivors.push(lie),
        }
    }
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}

/// Guards against an error that tells of the wrong call, a writer that goes on after a failure or
/// stops without one, and data that is lost when a flush fails and the next one succeeds.
#[test]
fn every_call_may_fail_once() {
    // Another kind of writer does not hand on its errors.
    let is_ours =
        |script: &Script| !script.steps.iter().any(|step| matches!(step, Step::Foreign { .. }));
    let scripts: Vec<Script> = scripts().into_iter().filter(is_ours).collect();
    let campaign = Campaign::new(scripts.clone(), effort(), None);
    match failing::fail_every_call(&scripts, effort(), &campaign) {
        Ok(cases) => println!("{cases} failing calls, {} states after them", campaign.total()),
        Err(failure) => panic!("{failure}"),
    }
}
