//! Runs scripts, and checks every state that a power cut leaves at every point of them, of what
//! comes after a process was killed, and of healing.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::check::{check_real_reader, go_on, heal};
use crate::disk::CrashDisk;
use crate::drive::Driver;
use crate::expect::Expect;
use crate::lies::Lie;
use crate::medium::Op;
use crate::scripts::{Script, Step};
use crate::states::{Limit, Random, State, for_each_state};
use crate::turns::Turns;
use test_support::mix;

/// How far a campaign goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Choices at one point of a script.
    pub(crate) limit: usize,
    /// Choices at one point after a process was killed, or of healing.
    pub(crate) limit_after: usize,
    /// Of each kind of healing, in each part of a script, so many are cut off in turn.
    pub(crate) healings: usize,
    /// One state in so many is put before the real reader.
    pub(crate) real_every: u64,
    pub(crate) seed: u64,
}

/// What went wrong, and how to come there.
pub(crate) struct Failure {
    pub(crate) script: String,
    pub(crate) history: String,
    pub(crate) error: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.script, self.history, self.error)
    }
}

/// A part of a campaign that can be done alone.
#[derive(Clone, Copy, Debug)]
enum Task {
    /// The power goes after the first so many operations of a script.
    Power { script: usize, position: usize },
    /// The process is killed there.
    Kill { script: usize, position: usize },
}

/// A script that was run once on a disk that does not fail.
struct Run {
    script: Script,
    disk: CrashDisk,
    len: usize,
}

/// The states that were there, and whether an ordered journal leaves them.
pub(crate) struct Seen([Mutex<HashMap<u64, bool>>; 64]);

impl Default for Seen {
    fn default() -> Seen {
        Seen(std::array::from_fn(|_| Mutex::default()))
    }
}

pub(crate) struct Campaign {
    runs: Vec<Run>,
    effort: Effort,
    lie: Option<Lie>,
    /// By script: states, and those of them that an ordered journal leaves.
    pub(crate) counts: Vec<[AtomicUsize; 2]>,
    seen: Arc<Seen>,
    /// Microseconds by script, of all threads.
    spent: Vec<AtomicUsize>,
    /// What killed processes left, and how it went on.
    killed: Mutex<HashSet<u64>>,
    /// What healing has come to, and was gone on with.
    ends: Mutex<HashSet<u64>>,
    /// States with those that came several times.
    tried: AtomicUsize,
    /// Kinds of healing that were cut off, and how often.
    healings: Mutex<HashMap<(usize, String), usize>>,
}

impl Campaign {
    pub(crate) fn new(scripts: Vec<Script>, effort: Effort, lie: Option<Lie>) -> Campaign {
        Campaign::on(scripts, effort, lie, None)
    }

    /// On a disk that does the flushes of a commit at once.
    pub(crate) fn at_once(scripts: Vec<Script>, effort: Effort, turns: Turns) -> Campaign {
        Campaign::on(scripts, effort, None, Some(turns))
    }

    fn on(
        scripts: Vec<Script>,
        effort: Effort,
        lie: Option<Lie>,
        turns: Option<Turns>,
    ) -> Campaign {
        let runs: Vec<Run> = scripts
            .into_iter()
            .map(|script| {
                let mut driver = Driver::set_up(&script, lie);
                driver.disk.fs().turns = turns;
                driver.run_to_end().unwrap_or_else(|error| panic!("{}: {error}", script.name));
                let len = driver.disk.fs().log.len();
                Run { script, disk: driver.disk, len }
            })
            .collect();
        let spent = runs.iter().map(|_| AtomicUsize::new(0)).collect();
        Campaign {
            counts: runs.iter().map(|_| Default::default()).collect(),
            runs,
            effort,
            lie,
            seen: Arc::default(),
            spent,
            killed: Mutex::default(),
            ends: Mutex::default(),
            tried: AtomicUsize::new(0),
            healings: Mutex::default(),
        }
    }

    /// Counts only what was not there in earlier campaigns.
    pub(crate) fn after(self, seen: &Arc<Seen>) -> Campaign {
        Campaign { seen: Arc::clone(seen), ..self }
    }

    pub(crate) fn scripts(&self) -> impl Iterator<Item = &str> {
        self.runs.iter().map(|run| run.script.name.as_str())
    }

    /// The disks on which the scripts were run.
    pub(crate) fn disks(&self) -> impl Iterator<Item = &CrashDisk> {
        self.runs.iter().map(|run| &run.disk)
    }

    /// Distinct states.
    pub(crate) fn total(&self) -> usize {
        self.counts.iter().map(|[all, _]| all.load(Ordering::Relaxed)).sum()
    }

    /// All of it, on so many threads, or until something fails.
    pub(crate) fn run(&self, threads: usize) -> Result<(), Failure> {
        let mut tasks = Vec::new();
        for (script, run) in self.runs.iter().enumerate() {
            for position in 0..=run.len {
                tasks.push(Task::Power { script, position });
                tasks.push(Task::Kill { script, position });
            }
        }
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let started = Instant::now();
                        let done = self.work(*task);
                        let (Task::Power { script, .. } | Task::Kill { script, .. }) = task;
                        let spent = usize::try_from(started.elapsed().as_micros()).expect("small");
                        self.spent[*script].fetch_add(spent, Ordering::Relaxed);
                        if let Err(failed) = done {
                            let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                            first.get_or_insert(failed);
                            next.store(tasks.len(), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn work(&self, task: Task) -> Result<(), Failure> {
        match task {
            Task::Power { script, position } => {
                let disk = &self.runs[script].disk;
                let limit = Limit(self.effort.limit);
                self.power(script, disk, position..position + 1, limit, 1, "")
            }
            Task::Kill { script, position } => {
                let run = &self.runs[script];
                self.kill(script, &run.disk, position, run.script.kills, "")
            }
        }
    }

    /// The power goes at these points of a log.
    pub(crate) fn power(
        &self,
        script: usize,
        disk: &CrashDisk,
        positions: std::ops::Range<usize>,
        limit: Limit,
        nested: usize,
        history: &str,
    ) -> Result<(), Failure> {
        let fs = disk.fs();
        let seed = self.effort.seed ^ (positions.start as u64) << 32 ^ script as u64;
        let mut random = Random(seed);
        for_each_state(&fs, positions, limit, &mut random, &mut |state| {
            self.visit(script, &state, nested, history)
        })
    }

    fn visit(
        &self,
        script: usize,
        state: &State<'_>,
        nested: usize,
        history: &str,
    ) -> Result<(), Failure> {
        self.tried.fetch_add(1, Ordering::Relaxed);
        let hash = state.medium.hash() ^ state.mark.digest;
        if !self.is_new(script, hash, state.ordered) {
            return Ok(());
        }
        let run = &self.runs[script];
        let failed = |error| Failure {
            script: run.script.name.clone(),
            history: format!("{history}{}", state.describe()),
            error,
        };
        if hash.is_multiple_of(self.effort.real_every) {
            check_real_reader(&state.medium, &state.mark.expect).map_err(failed)?;
        }
        let mut healed =
            heal(&state.medium, &state.mark.expect, run.script.spec, self.lie).map_err(failed)?;
        let is_cut = nested > 0 && healed.healing > 0 && self.is_rare(script, &healed.kind);
        // The same bytes, to the same writer, come to the same end.
        if is_cut
            || self.is_new_end(healed.hash ^ state.mark.digest ^ mix(state.mark.expect.at as u64))
        {
            go_on(&mut healed).map_err(failed)?;
        }
        if !is_cut {
            return Ok(());
        }
        // The power goes while this is healed, or a while later; or the process is killed.
        let history = format!("{history}{}; then healing [{}]; ", state.describe(), healed.kind);
        let disk = healed.driver.disk.clone();
        drop(healed.driver);
        let len = disk.fs().log.len();
        let limit = Limit(self.effort.limit_after);
        self.power(script, &disk, 0..len + 1, limit, nested - 1, &history)?;
        for position in 1..=healed.healing {
            self.kill(script, &disk, position, 1, &history)?;
        }
        Ok(())
    }

    fn is_new(&self, script: usize, hash: u64, ordered: bool) -> bool {
        let shard = &self.seen.0[usize::try_from(hash % 64).expect("small")];
        let mut seen = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.insert(hash, ordered);
        if before == Some(true) {
            seen.insert(hash, true);
        }
        let [all, of_journal] = &self.counts[script];
        all.fetch_add(usize::from(before.is_none()), Ordering::Relaxed);
        let newly_ordered = ordered && before != Some(true);
        of_journal.fetch_add(usize::from(newly_ordered), Ordering::Relaxed);
        before.is_none()
    }

    fn is_new_end(&self, hash: u64) -> bool {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).insert(hash)
    }

    fn is_new_kill(&self, hash: u64) -> bool {
        self.killed.lock().unwrap_or_else(PoisonError::into_inner).insert(hash)
    }

    fn is_rare(&self, script: usize, kind: &str) -> bool {
        let mut healings = self.healings.lock().unwrap_or_else(PoisonError::into_inner);
        let count = healings.entry((script, kind.to_owned())).or_default();
        *count += 1;
        *count <= self.effort.healings
    }

    /// The process is killed at this point of a log; the next one goes on in one of several ways,
    /// and the power goes then.
    fn kill(
        &self,
        script: usize,
        disk: &CrashDisk,
        position: usize,
        kills: usize,
        history: &str,
    ) -> Result<(), Failure> {
        if kills == 0 {
            return Ok(());
        }
        let (expect, last) = {
            let fs = disk.fs();
            let Some(mark) = fs.mark(position).filter(|mark| mark.expect.holds) else {
                return Ok(());
            };
            if fs.is_dull(position) {
                return Ok(());
            }
            let last = position.checked_sub(1).map(|last| fs.log[last].op.clone());
            (Arc::clone(&mark.expect), last)
        };
        let torn = match &last {
            Some(Op::Write { bytes, .. }) if bytes.len() > 8 => Some(bytes.len() / 2),
            _ => None,
        };
        let run = &self.runs[script];
        for torn in [None, torn].into_iter().take(1 + usize::from(torn.is_some())) {
            for elsewhere in [false, true] {
                let history = format!(
                    "{history}killed after operation {position} ({}{}), then {}; ",
                    last.as_ref().map_or_else(|| "none".to_owned(), |op| format!("{op:?}")),
                    if torn.is_some() { ", half of it" } else { "" },
                    if elsewhere { "elsewhere" } else { "the rest" },
                );
                let failed = |error| Failure {
                    script: run.script.name.clone(),
                    history: history.clone(),
                    error,
                };
                let forked = disk.fork(position, torn);
                let digest = expect.digest() ^ mix(kills as u64 * 2 + u64::from(elsewhere));
                if !self.is_new_kill(forked.fs().digest() ^ digest) {
                    continue;
                }
                let from = forked.fs().log.len();
                let mut driver = Driver {
                    disk: forked,
                    spec: run.script.spec,
                    writer: None,
                    expect: Expect::clone(&expect),
                };
                driver.open(expect.asked).map_err(|error| failed(error.into()))?;
                if elsewhere {
                    let plan: Arc<[Step]> = run.script.elsewhere.clone().into();
                    (driver.expect.plan, driver.expect.at) = (plan, 0);
                } else {
                    // What comes later is as it was without the kill.
                    let to = driver.expect.plan.len().min(driver.expect.at + 2);
                    driver.expect.plan = driver.expect.plan[..to].into();
                }
                driver.run_to_end().map_err(failed)?;
                let disk = driver.disk.clone();
                drop(driver);
                let len = disk.fs().log.len();
                let shorter = run.script.kills - kills.min(run.script.kills);
                let limit = Limit(self.effort.limit_after >> (3 * shorter));
                self.power(script, &disk, from..len + 1, limit, 0, &history)?;
                for again in from + 1..len {
                    self.kill(script, &disk, again, kills - 1, &history)?;
                }
            }
        }
        Ok(())
    }
}

/// States by script, for people.
pub(crate) fn table(campaign: &Campaign) -> String {
    let mut text = "   states   ordered        ms\n".to_owned();
    for (nth, name) in campaign.scripts().enumerate() {
        let [all, ordered] = &campaign.counts[nth];
        let (all, ordered) = (all.load(Ordering::Relaxed), ordered.load(Ordering::Relaxed));
        let spent = campaign.spent[nth].load(Ordering::Relaxed) / 1000;
        text += &format!("{all:>9} {ordered:>9} {spent:>9}  {name}\n");
    }
    text + &format!("of {} that were made\n", campaign.tried.load(Ordering::Relaxed))
}

/// Names that come once.
pub(crate) fn assert_distinct<'a>(names: impl Iterator<Item = &'a str>) {
    let mut seen = HashSet::new();
    names.for_each(|name| assert!(seen.insert(name), "{name} comes twice"));
}
