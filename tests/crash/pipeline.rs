//! A pipeline, with several producers, on a disk whose power may go at any moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use coldstore::{Pipeline, PipelineOptions, Writer};

use crate::campaign::{Campaign, Effort};
use crate::disk::{CrashDisk, Mark, Phase};
use crate::drive::{Driver, batch};
use crate::expect::Expect;
use crate::look::look;
use crate::medium::{Left, Op};
use crate::scripts::{COLUMN, Script, Step, V3, plain};
use crate::states::Limit;
use crate::turns::Turns;
use test_support::size::quick_or_whole;
use test_support::{Content, mix};

/// The jobs of three producers: gaps in two sealed files and in the current one, and slots above.
fn jobs() -> Vec<Vec<Vec<u64>>> {
    vec![
        vec![vec![2, 3], vec![9001], vec![4], vec![9002, 9003], vec![5]],
        vec![vec![9010], vec![10, 11], vec![17_003], vec![9011], vec![12]],
        vec![vec![17_010, 17_011], vec![17_012], vec![30_000], vec![30_001, 40_000]],
    ]
}

fn script() -> Script {
    let setup = vec![Step::Open(V3), Step::Put(vec![1, 9000, 17_000])];
    Script { setup, ..plain("pipeline") }
}

/// Slots, and the length of the log when their job was answered.
type Answered = Vec<(Vec<u64>, usize)>;

/// Runs the jobs through a pipeline; how they are merged is up to the threads.
fn run(disk: &CrashDisk, writer: Writer, seed: u64) -> Answered {
    let answered = Arc::new(Mutex::new(Answered::new()));
    let pipeline = Pipeline::start(writer, PipelineOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for (producer, jobs) in jobs().into_iter().enumerate() {
            let (pipeline, answered) = (pipeline.clone(), Arc::clone(&answered));
            scope.spawn(move || {
                for (nth, slots) in jobs.into_iter().enumerate() {
                    let (disk, answered) = (disk.clone(), Arc::clone(&answered));
                    let told = slots.clone();
                    let answer = move |outcome: coldstore::Result<_>| {
                        outcome.unwrap();
                        answered.lock().unwrap().push((told, disk.fs().log.len()));
                    };
                    pipeline.submit_then(batch(&slots), answer).unwrap();
                    // Some wait a little, so that others come between.
                    if mix(seed ^ (producer * 16 + nth) as u64).is_multiple_of(3) {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    drop(pipeline.shutdown().unwrap());
    std::mem::take(&mut *answered.lock().unwrap())
}

/// What the column holds after each commit, by the position in the log of its end: the flush of
/// the directory behind the rename.
fn commits(disk: &CrashDisk) -> Vec<(usize, Content)> {
    let fs = disk.fs();
    let mut medium = fs.base.clone();
    let (mut commits, mut renamed) = (Vec::new(), false);
    for (at, logged) in fs.log.iter().enumerate() {
        medium.apply(&logged.op, Left::Whole);
        renamed |= matches!(logged.op, Op::Rename { .. });
        if renamed && matches!(logged.op, Op::SyncDir(_)) {
            renamed = false;
            let seen = look(&medium, COLUMN.as_ref()).unwrap().unwrap();
            commits.push((at + 1, seen.content));
        }
    }
    commits
}

/// Guards against an answer before the commit, a job that is there in part, and a merge that tears
/// jobs apart.
#[test]
fn no_power_cut_loses_what_a_pipeline_has_answered_or_tears_a_job() {
    let limit = quick_or_whole(60, 300);
    let effort = Effort { limit, limit_after: 3, healings: 1, real_every: 64, seed: crate::seed() };
    let orders = Turns::all();
    let (mut total, mut merged) = (0, 0);
    for round in 0..quick_or_whole(4, 8_usize) {
        let script = script();
        let campaign = Campaign::new(vec![script.clone()], effort, None);
        let mut driver = Driver::set_up(&script, None);
        let disk = driver.disk.clone();
        disk.fs().turns = Some(orders[round * 5 % orders.len()]);
        disk.begin(Phase::Put);
        let answered = run(&disk, driver.writer.take().unwrap(), round as u64);
        disk.fs().turns = None;

        let job_of: HashMap<u64, Vec<u64>> = jobs()
            .into_iter()
            .flatten()
            .flat_map(|job| job.clone().into_iter().map(move |slot| (slot, job.clone())))
            .collect();
        assert_eq!(answered.iter().map(|(job, _)| job.len()).sum::<usize>(), job_of.len());
        let commits = commits(&disk);
        merged += job_of.len().saturating_sub(commits.len());
        // The commit in flight at a point of the log is the next one that ends.
        let mut acked = (*driver.expect.acked).clone();
        let mut from = disk.fs().marks.last().unwrap().at;
        for (end, content) in &commits {
            for slot in content.keys().filter(|slot| !acked.contains_key(slot)) {
                assert!(job_of[slot].iter().all(|slot| content.contains_key(slot)), "{slot}");
            }
            mark(&disk, &driver.expect, from, acked, Some(content.clone()));
            (from, acked) = (*end, content.clone());
        }
        mark(&disk, &driver.expect, from, acked, None);
        for (job, position) in &answered {
            let fs = disk.fs();
            let acked = &fs.mark(*position).unwrap().expect.acked;
            assert!(job.iter().all(|slot| acked.contains_key(slot)), "{job:?}: answered too early");
        }
        let len = disk.fs().log.len();
        for position in 0..=len {
            let gone = campaign.power(0, &disk, position..position + 1, Limit(effort.limit), 1, "");
            if let Err(failure) = gone {
                panic!("round {round}: {failure}");
            }
        }
        total += campaign.total();
    }
    println!("{total} distinct states, {merged} jobs merged into others' commits");
    assert!(merged > 0, "jobs were merged");
}

/// From a position on this is expected, until the next.
fn mark(disk: &CrashDisk, expect: &Expect, at: usize, acked: Content, next: Option<Content>) {
    let (acked, next) = (Arc::new(acked), next.map(Arc::new));
    let expect = Expect { acked, next, ..expect.clone() };
    let digest = expect.digest();
    disk.fs().marks.push(Mark { at, expect: Arc::new(expect), digest });
}
