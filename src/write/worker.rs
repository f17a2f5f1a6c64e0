//! The thread of a pipeline's writer.
//!
//! It merges the queued jobs into as few commits as the rules allow (group commit), and answers each job
//! when its own commits are durable.
//!
//! Producers that put, wait and put again return one by one, within a fraction of a commit's duration. A
//! commit for the first of them alone would make all others wait for two commits. So the thread pauses
//! briefly while jobs keep arriving ([`Worker::collect`]). It never waits for a single producer.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::slot::{FileId, Slot};
use crate::sync::channel::Receiver;
use crate::sync::thread;
use crate::sync::{Arc, Mutex, OnceLock, PoisonError};
use crate::write::batch::{Batch, Committed, Finished};
use crate::write::door::Door;
use crate::write::group_commit::{Fills, GroupPlan, JobPlan, RecordJob};
use crate::write::queue::{CloseAtEnd, Gate};
use crate::write::writer::Writer;

/// One commit, as reported to [`PipelineOptions::on_commit`](crate::PipelineOptions::on_commit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Records written.
    pub records: u64,
    /// Jobs answered by it.
    pub jobs: u64,
    /// Bytes of payload written.
    pub bytes: u64,
    /// Duration of the commit, from the first write to the durable conf.
    pub elapsed: Duration,
    /// The part of `elapsed` spent waiting for flushes: of data, offsets, checksums and the new conf.
    pub flush: Duration,
    /// Whether backfill moved on to another sealed file.
    pub switched_file: bool,
}

/// Length of one pause of the writer's thread while jobs arrive.
const PAUSE: Duration = Duration::from_micros(20);

/// Maximum number of consecutive pauses: with timer overhead, about as long as a commit takes.
const MAX_PAUSES: usize = 16;

pub(super) type OnCommit = Arc<dyn Fn(&CommitInfo) + Send + Sync>;
pub(super) type OnAnswer = Box<dyn FnOnce(Result<Committed>) + Send>;

pub(super) struct Job {
    pub(super) work: Work,
    /// Bytes of payload that the job holds in memory.
    pub(super) bytes: u64,
    pub(super) answer: OnAnswer,
}

pub(super) enum Work {
    Records(RecordJob<'static>),
    /// One value that is read while it is written, in a separate commit.
    Stream {
        slot: Slot,
        byte_len: u64,
        source: Box<dyn Read + Send>,
        door: Option<Door>,
    },
}

impl Job {
    fn is_stream(&self) -> bool {
        matches!(self.work, Work::Stream { .. })
    }

    fn first_slot(&self) -> Option<Slot> {
        match &self.work {
            Work::Records(job) => job.slots().next(),
            Work::Stream { slot, .. } => Some(*slot),
        }
    }
}

/// State that the writer's thread publishes to the handles of its pipeline.
#[derive(Debug, Default)]
pub(super) struct Status {
    highest: Mutex<Option<Slot>>,
    poisoned: OnceLock<Error>,
}

impl Status {
    /// The highest committed slot.
    pub(super) fn highest(&self) -> Option<Slot> {
        *self.highest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`Error::Poisoned`] if the writer is poisoned.
    pub(super) fn poisoned(&self) -> Option<Error> {
        self.poisoned.get().cloned()
    }

    pub(super) fn note(&self, writer: &Writer) {
        let highest = writer.highest_written_slot();
        *self.highest.lock().unwrap_or_else(PoisonError::into_inner) = highest;
        if let Some(poisoned) = writer.column.poisoned() {
            self.poisoned.get_or_init(|| poisoned);
        }
    }
}

pub(super) struct Worker {
    pub(super) writer: Writer,
    pub(super) queue: Receiver<Job>,
    pub(super) gate: Arc<Gate>,
    pub(super) status: Arc<Status>,
    /// Maximum bytes of the jobs that are committed together.
    pub(super) group_bytes: u64,
    pub(super) on_commit: Option<OnCommit>,
}

impl Worker {
    pub(super) fn run(mut self) -> Writer {
        let _close = CloseAtEnd(Arc::clone(&self.gate));
        let mut waiting: Vec<Job> = Vec::new();
        let mut answered = 0;
        loop {
            if waiting.is_empty() {
                match self.queue.recv() {
                    Ok(job) => waiting.push(job),
                    Err(_) => return self.writer,
                }
            }
            self.collect(answered, &mut waiting);
            answered = waiting.len();
            // Jobs before a stream are committed before it, and jobs after it afterwards.
            let before = waiting.iter().position(Job::is_stream).unwrap_or(waiting.len());
            let rest = waiting.split_off(before.max(1));
            let jobs = std::mem::replace(&mut waiting, rest);
            self.commit(jobs, &mut waiting);
        }
    }

    /// Takes the queued jobs. While there are fewer than the last commits answered, pauses for more, until
    /// none arrives during a pause.
    fn collect(&self, answered: usize, waiting: &mut Vec<Job>) {
        self.take(waiting);
        for _ in 0..MAX_PAUSES {
            if waiting.len() >= answered {
                break;
            }
            let before = waiting.len();
            thread::sleep(PAUSE);
            self.take(waiting);
            if waiting.len() == before {
                break;
            }
        }
    }

    /// Takes queued jobs, as many as may be committed together.
    fn take(&self, waiting: &mut Vec<Job>) {
        let mut bytes: u64 = waiting.iter().map(|job| job.bytes).sum();
        while bytes < self.group_bytes
            && let Ok(job) = self.queue.try_recv()
        {
            bytes += job.bytes;
            waiting.push(job);
        }
    }

    /// Commits one stream, or several jobs of records.
    fn commit(&mut self, jobs: Vec<Job>, waiting: &mut Vec<Job>) {
        let (mut records, mut answers) = (Vec::new(), Vec::new());
        for Job { work, bytes, answer } in jobs {
            match work {
                Work::Stream { slot, byte_len, mut source, door } => {
                    let put = |writer: &mut Writer| {
                        writer.put_from_through(door, slot, byte_len, &mut *source)
                    };
                    let committed = self.measure(1, put);
                    self.gate.leave(bytes);
                    answer(committed);
                }
                Work::Records(job) => {
                    records.push(job);
                    answers.push(Some((answer, bytes)));
                }
            }
        }
        let gate = Arc::clone(&self.gate);
        let answer = |position: usize, outcome: Result<Committed>| {
            if let Some((answer, bytes)) = answers[position].take() {
                gate.leave(bytes);
                answer(outcome);
            }
        };
        self.commit_records(&records, answer, waiting);
    }

    /// Commits jobs in as few commits as the rules allow, and answers each when it is durable. Before the
    /// last commit, takes further jobs into `waiting`: the conf of the last commit already names the sealed
    /// file that they fill.
    fn commit_records(
        &mut self,
        jobs: &[RecordJob<'static>],
        mut answer: impl FnMut(usize, Result<Committed>),
        waiting: &mut Vec<Job>,
    ) {
        if let Err(refused) = self.writer.column.check_writable() {
            return (0..jobs.len()).for_each(|job| answer(job, Err(refused.clone())));
        }
        let Writer { column, archive, .. } = &mut self.writer;
        let GroupPlan { commits, jobs: plans, .. } = GroupPlan::new(column, archive, jobs);
        for (job, plan) in plans.iter().enumerate().filter(|(_, plan)| plan.commits.is_empty()) {
            answer(job, plan.outcome.clone());
        }
        let fills: Vec<_> = commits.keys().copied().collect();
        let mut failed: Vec<Option<Error>> = vec![None; commits.len()];
        for (index, records) in commits.into_values().enumerate() {
            let next = match fills.get(index + 1) {
                Some(Fills::Sealed(file_id)) => Some(*file_id),
                Some(Fills::Current | Fills::Nothing) => None,
                None => {
                    self.take(waiting);
                    let last = records.keys().next_back().map(|slot| slot.file_id());
                    let current = last.max(self.writer.conf().current_file());
                    current.and_then(|current| first_sealed(current, waiting))
                }
            };
            let records = records.into_iter().map(|(slot, stored)| (slot, stored.into()));
            let batch = Batch::encoded(records.collect()).followed_by(next);
            let ends_here = |plan: &JobPlan| plan.commits.iter().max() == Some(&index);
            let answered = plans.iter().filter(|plan| ends_here(plan)).count();
            let put = |writer: &mut Writer| {
                writer.column.check_writable()?;
                batch.write(&mut writer.column)?.finish()
            };
            failed[index] = self.measure(answered as u64, put).err();
            for (job, plan) in plans.iter().enumerate().filter(|(_, plan)| ends_here(plan)) {
                let error = plan.commits.iter().find_map(|commit| failed[*commit].clone());
                answer(job, error.map_or_else(|| plan.outcome.clone(), Err));
            }
        }
    }

    /// Makes a commit that answers `jobs` jobs, and publishes its outcome before they are answered.
    fn measure(
        &mut self,
        jobs: u64,
        commit: impl FnOnce(&mut Writer) -> Result<Finished>,
    ) -> Result<Committed> {
        let (started, before) = (Instant::now(), self.target());
        let finished = commit(&mut self.writer);
        self.status.note(&self.writer);
        let Finished { committed, bytes, flush } = finished?;
        if committed.written > 0
            && let Some(on_commit) = &self.on_commit
        {
            on_commit(&CommitInfo {
                records: committed.written,
                jobs,
                bytes,
                elapsed: started.elapsed(),
                flush,
                switched_file: self.target() != before,
            });
        }
        Ok(committed)
    }

    fn target(&self) -> Option<FileId> {
        self.writer.conf().backfill_target().map(|target| target.file_id)
    }
}

/// The sealed file of the first job that fills one.
fn first_sealed(current: FileId, jobs: &[Job]) -> Option<FileId> {
    let first = |job: &Job| job.first_slot().map(Slot::file_id);
    jobs.iter().filter_map(first).find(|file_id| *file_id < current)
}
