//! A writer on a thread of its own, for many producers.
//!
//! Producers check and compress their values on their own threads and block while the queue is
//! full. The writer's thread takes what waits, merges it into as few commits as the rules allow
//! (group commit), and answers every job when its own commit is durable.
//!
//! Producers that wait for their answers come back one by one, within a fraction of the time that a
//! commit takes. A commit for the first of them alone would make all others wait for two; so the
//! thread rests for moments while they come ([`Worker::gather`]). A single producer is never waited for.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::column::{ColumnSpec, Compression};
use crate::error::{Error, Result};
use crate::slot::{FileId, Slot};
use crate::write::door::Door;
use crate::write::encode;
use crate::write::plan;
use crate::write::writer::{Committed, StreamJob, Writer};

/// One commit, as it is told to [`PipelineOptions::on_commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Records written.
    pub records: u64,
    /// Jobs that were answered by it.
    pub jobs: u64,
    /// Bytes of payload written.
    pub bytes: u64,
    /// How long the commit took, from the first write to the durable conf.
    pub elapsed: Duration,
    /// How long it waited for its flushes: of data, offsets, checksums and the new conf.
    pub flush: Duration,
    /// Whether backfill moved on to another sealed file.
    pub switched_file: bool,
}

/// How long the writer's thread rests at a time while jobs come.
const MOMENT: Duration = Duration::from_micros(20);

/// How often in a row, at most: with what timers add, about as long as a commit takes.
const MAX_MOMENTS: usize = 16;

type OnCommit = Arc<dyn Fn(&CommitInfo) + Send + Sync>;

/// The bounds of a pipeline.
#[derive(Clone)]
pub struct PipelineOptions {
    max_jobs: NonZeroUsize,
    max_bytes: u64,
    on_commit: Option<OnCommit>,
}

impl std::fmt::Debug for PipelineOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipelineOptions")
            .field("max_jobs", &self.max_jobs)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

impl Default for PipelineOptions {
    fn default() -> Self {
        const JOBS: NonZeroUsize = NonZeroUsize::new(1024).expect("not 0");
        Self { max_jobs: JOBS, max_bytes: 256 << 20, on_commit: None }
    }
}

impl PipelineOptions {
    /// The most jobs that wait or are being written; 1024 unless said otherwise.
    #[must_use]
    pub fn max_jobs(self, jobs: NonZeroUsize) -> Self {
        Self { max_jobs: jobs, ..self }
    }

    /// The most bytes of payload that wait or are being written; 256 MiB unless said otherwise. A
    /// job that is larger than that is taken when nothing else is there.
    #[must_use]
    pub fn max_bytes(self, bytes: u64) -> Self {
        Self { max_bytes: bytes, ..self }
    }

    /// Is told of every commit, on the writer's thread.
    #[must_use]
    pub fn on_commit(self, told: impl Fn(&CommitInfo) + Send + Sync + 'static) -> Self {
        Self { on_commit: Some(Arc::new(told)), ..self }
    }
}

/// What waits in a pipeline or is being written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Jobs.
    pub jobs: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// A handle on a writer that runs on a thread of its own. Clones lead to the same writer; it
/// finishes what it has and ends with [`Pipeline::shutdown`], or when the last handle is dropped.
///
/// Jobs that wait share commits. When fewer have come than the last commit has answered, it rests for
/// moments while more come, all in all about as long as a commit takes: producers that put, wait and
/// put again are answered together. A single one is never waited for.
///
/// Where the writer has a [`Door`], [`Pipeline::raw`] and [`Pipeline::far`] make handles whose jobs
/// skip a part of its checks.
#[derive(Clone, Debug)]
pub struct Pipeline {
    shared: Arc<Shared>,
    door: Option<Door>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    spec: ColumnSpec,
    gate: Arc<Gate>,
    /// `None` when no more jobs are taken.
    queue: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<Writer>>>,
}

struct Job {
    work: Work,
    /// Bytes of payload that it holds in memory.
    bytes: u64,
    answer: OnAnswer,
}

enum Work {
    /// Records in their stored form, and what their slots have to pass.
    Records(Vec<(Slot, Vec<u8>)>, Option<Door>),
    /// One value that is not in memory.
    Stream(StreamJob),
}

type OnAnswer = Box<dyn FnOnce(Result<Committed>) + Send>;

impl Job {
    fn is_stream(&self) -> bool {
        matches!(self.work, Work::Stream(_))
    }

    fn first_slot(&self) -> Option<Slot> {
        match &self.work {
            Work::Records(records, _) => records.first().map(|(slot, _)| *slot),
            Work::Stream(stream) => Some(stream.slot),
        }
    }
}

/// The answer to a job, when it comes.
#[derive(Debug)]
pub struct Ticket {
    answer: Receiver<Result<Committed>>,
    directory: PathBuf,
}

impl Ticket {
    /// Waits until the job is durable, or has failed.
    ///
    /// # Errors
    /// As [`Writer::put_batch`](crate::Writer::put_batch).
    pub fn wait(self) -> Result<Committed> {
        let ended = || Err(Error::ShuttingDown { directory: self.directory.into() });
        self.answer.recv().unwrap_or_else(|_| ended())
    }
}

impl Pipeline {
    /// Moves a writer to a thread of its own.
    ///
    /// # Errors
    /// [`Error::Io`] when the system has no thread to give.
    pub fn start(writer: Writer, options: PipelineOptions) -> Result<Self> {
        let (directory, spec) = (writer.directory().to_owned(), writer.conf().spec);
        let door = writer.door();
        let (sender, jobs) = crossbeam_channel::bounded(options.max_jobs.get());
        let max = Queue { jobs: options.max_jobs.get() as u64, bytes: options.max_bytes };
        let gate = Arc::new(Gate::new(max));
        let worker = Worker {
            writer,
            jobs,
            gate: Arc::clone(&gate),
            round_bytes: (options.max_bytes / 2).max(1),
            on_commit: options.on_commit,
        };
        let name =
            directory.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
        let thread = std::thread::Builder::new()
            .name(format!("coldstore-{name}"))
            .spawn(move || worker.run())
            .map_err(|error| Error::io(&directory, "start a thread for", error))?;
        let (queue, thread) = (Mutex::new(Some(sender)), Mutex::new(Some(thread)));
        Ok(Self { shared: Arc::new(Shared { directory, spec, gate, queue, thread }), door })
    }

    /// A handle whose jobs may hold any values, and roots with gaps: [`Door::raw`].
    #[must_use]
    pub fn raw(self, raw: bool) -> Self {
        Self { door: self.door.map(|door| door.waiving(raw, false)), ..self }
    }

    /// A handle whose jobs may go far above the archive's highest slot: [`Door::far`].
    #[must_use]
    pub fn far(self, far: bool) -> Self {
        Self { door: self.door.map(|door| door.waiving(false, far)), ..self }
    }

    /// The column's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// The column's record type, compression and bound.
    #[must_use]
    pub fn spec(&self) -> ColumnSpec {
        self.shared.spec
    }

    /// What waits or is being written.
    #[must_use]
    pub fn queue(&self) -> Queue {
        self.shared.gate.queue()
    }

    /// Queues a batch, to be committed as one: slots ascend, and [`Writer`]'s rules hold for it as
    /// if it were alone, but that of those which wait together and go past the highest slot the
    /// lower comes first. Blocks while the queue is full. It is durable when the ticket says so.
    ///
    /// # Errors
    /// At once: [`Error::NotAscending`], [`Error::InvalidSlot`], [`Error::TooLarge`],
    /// [`Error::ShuttingDown`], [`Error::Refused`] for a value. All others come with the ticket.
    pub fn submit(&self, items: Vec<(Slot, Vec<u8>)>) -> Result<Ticket> {
        let (sender, answer) = crossbeam_channel::bounded(1);
        // Whoever does not wait for the answer does not want it.
        self.submit_then(items, move |outcome| drop(sender.send(outcome)))?;
        Ok(Ticket { answer, directory: self.shared.directory.clone() })
    }

    /// [`Pipeline::submit`] with a function that gets the answer, on the writer's thread: it must
    /// not block. When that thread has ended by a panic, it is dropped without being called.
    ///
    /// # Errors
    /// As [`Pipeline::submit`]; the function is not called then.
    pub fn submit_then(
        &self,
        items: Vec<(Slot, Vec<u8>)>,
        answer: impl FnOnce(Result<Committed>) + Send + 'static,
    ) -> Result<()> {
        let (Shared { spec, directory, .. }, door) = (&*self.shared, self.door);
        plan::check_values(*spec, items.iter().map(|(slot, value)| (*slot, value.len())))?;
        let mut records = Vec::with_capacity(items.len());
        for (slot, value) in items {
            if let Some(door) = door {
                door.check_value(slot, &value, value.len() as u64)?;
            }
            let stored = encode::encode_owned(value, spec.compression)
                .map_err(|error| Error::io(directory, "compress a value for", error))?;
            plan::check_stored_len(slot, stored.len() as u64)?;
            records.push((slot, stored));
        }
        let bytes = records.iter().map(|(_, stored)| stored.len() as u64).sum();
        self.shared.queue(Job {
            work: Work::Records(records, door),
            bytes,
            answer: Box::new(answer),
        })
    }

    /// Queues one value that is not held in memory: the writer's thread reads it from `source`, in a
    /// commit of its own that other jobs of this column wait for. So the source must not be one that
    /// makes others wait: a file rather than a connection. (In a compressed column the compressed
    /// bytes are held meanwhile.) Blocks while the queue is full; the function gets the answer, on the
    /// writer's thread.
    ///
    /// # Errors
    /// At once: [`Error::InvalidSlot`], [`Error::TooLarge`], [`Error::ShuttingDown`]. All others, those
    /// of [`Writer::put_from`], come with the answer.
    pub fn submit_from_then(
        &self,
        slot: Slot,
        byte_len: u64,
        source: Box<dyn Read + Send>,
        answer: impl FnOnce(Result<Committed>) + Send + 'static,
    ) -> Result<()> {
        let spec = self.shared.spec;
        plan::check_slots([slot].into_iter())?;
        plan::check_value_len(spec, slot, byte_len)?;
        if spec.compression == Compression::None {
            plan::check_stored_len(slot, byte_len)?;
        }
        self.shared.queue(Job {
            work: Work::Stream(StreamJob { slot, byte_len, source, door: self.door }),
            bytes: 0,
            answer: Box::new(answer),
        })
    }

    /// Stores one value from a stream: [`Pipeline::submit_from_then`], and waits.
    ///
    /// # Errors
    /// As [`Writer::put_from`], and [`Error::ShuttingDown`].
    pub fn put_from(
        &self,
        slot: Slot,
        byte_len: u64,
        source: Box<dyn Read + Send>,
    ) -> Result<Committed> {
        let (sender, answer) = crossbeam_channel::bounded(1);
        self.submit_from_then(slot, byte_len, source, move |outcome| drop(sender.send(outcome)))?;
        Ticket { answer, directory: self.shared.directory.clone() }.wait()
    }

    /// Stores one value: [`Pipeline::submit`], and waits.
    ///
    /// # Errors
    /// As [`Writer::put`](crate::Writer::put), and [`Error::ShuttingDown`].
    pub fn put(&self, slot: Slot, value: Vec<u8>) -> Result<Committed> {
        self.submit(vec![(slot, value)])?.wait()
    }

    /// Stores a batch: [`Pipeline::submit`], and waits.
    ///
    /// # Errors
    /// As [`Writer::put_batch`](crate::Writer::put_batch), and [`Error::ShuttingDown`].
    pub fn put_batch(&self, items: Vec<(Slot, Vec<u8>)>) -> Result<Committed> {
        self.submit(items)?.wait()
    }

    /// Takes no more jobs, finishes and answers those that wait, and gives the writer back. `None`
    /// for all but the first who calls it, and in an answer, where it does not wait.
    #[must_use = "dropping the writer gives its lock back"]
    pub fn shutdown(&self) -> Option<Writer> {
        self.shared.shutdown()
    }
}

impl Shared {
    /// Blocks while the queue is full.
    fn queue(&self, job: Job) -> Result<()> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ended = || Error::ShuttingDown { directory: self.directory.as_path().into() };
        let queue = queue.ok_or_else(ended)?;
        let bytes = job.bytes;
        self.gate.enter(bytes);
        queue.send(job).map_err(|_| {
            self.gate.leave(bytes);
            ended()
        })
    }

    fn shutdown(&self) -> Option<Writer> {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        // An answer that drops the last handle runs on the writer's thread, which ends by itself.
        if thread.thread().id() == std::thread::current().id() {
            return None;
        }
        // A panic there has dropped the answers, which fails the jobs that waited for them.
        thread.join().ok()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.shutdown());
    }
}

/// Lets jobs in, in the order in which they came, as far as their number and bytes allow.
#[derive(Debug)]
struct Gate {
    max: Queue,
    state: Mutex<GateState>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    next_turn: u64,
    turn: u64,
    inside: Queue,
    /// The writer's thread is gone, whoever is inside.
    closed: bool,
}

impl Gate {
    fn new(max: Queue) -> Self {
        Self { max, state: Mutex::default(), moved: Condvar::new() }
    }

    fn queue(&self) -> Queue {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).inside
    }

    fn enter(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = state.next_turn;
        state.next_turn += 1;
        let full = |inside: Queue| {
            let too_large = inside.bytes.saturating_add(bytes) > self.max.bytes;
            inside.jobs >= self.max.jobs || inside.jobs > 0 && too_large
        };
        while !state.closed && (state.turn != turn || full(state.inside)) {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.turn += 1;
        state.inside.jobs += 1;
        state.inside.bytes += bytes;
        self.moved.notify_all();
    }

    fn leave(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.inside.jobs -= 1;
        state.inside.bytes -= bytes;
        self.moved.notify_all();
    }

    /// Nobody leaves any more, so nobody may wait for it. Sending fails then.
    fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.moved.notify_all();
    }
}

/// Closes the gate however the writer's thread ends.
struct CloseAtEnd(Arc<Gate>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Worker {
    writer: Writer,
    jobs: Receiver<Job>,
    gate: Arc<Gate>,
    round_bytes: u64,
    on_commit: Option<OnCommit>,
}

impl Worker {
    fn run(mut self) -> Writer {
        let _close = CloseAtEnd(Arc::clone(&self.gate));
        let mut waiting: Vec<Job> = Vec::new();
        let mut answered = 0;
        loop {
            if waiting.is_empty() {
                match self.jobs.recv() {
                    Ok(job) => waiting.push(job),
                    Err(_) => return self.writer,
                }
            }
            self.gather(answered, &mut waiting);
            answered = waiting.len();
            // What came before a stream is committed before it, and what came after it afterwards.
            let before = waiting.iter().position(Job::is_stream).unwrap_or(waiting.len());
            let rest = waiting.split_off(before.max(1));
            let round = std::mem::replace(&mut waiting, rest);
            self.round(round, &mut waiting);
        }
    }

    /// Takes what is in the queue, and what comes to it while there are fewer jobs than the last
    /// round has answered, until for a moment none has come.
    fn gather(&self, answered: usize, waiting: &mut Vec<Job>) {
        collect(&self.jobs, self.round_bytes, waiting);
        for _ in 0..MAX_MOMENTS {
            if waiting.len() >= answered {
                break;
            }
            let before = waiting.len();
            std::thread::sleep(MOMENT);
            collect(&self.jobs, self.round_bytes, waiting);
            if waiting.len() == before {
                break;
            }
        }
    }

    /// Commits what is in `round`, which is records or one stream, and answers it. Before the last
    /// commit of records the jobs of the next round are collected into `waiting`: the conf names the
    /// file that they fill.
    fn round(&mut self, round: Vec<Job>, waiting: &mut Vec<Job>) {
        let mut records = Vec::with_capacity(round.len());
        let mut streams = Vec::new();
        let mut answers = Vec::with_capacity(round.len());
        for Job { work, bytes, answer } in round {
            match work {
                Work::Records(of_job, door) => records.push((of_job, door)),
                Work::Stream(stream) => streams.push(stream),
            }
            answers.push(Some((answer, bytes)));
        }
        debug_assert!(streams.is_empty() || answers.len() == 1, "a stream is alone");
        let jobs: Vec<_> =
            records.iter().map(|(records, door)| (records.as_slice(), *door)).collect();
        let Self { writer, jobs: queue, gate, round_bytes, on_commit } = self;
        let mut tell = |event| match event {
            JobEvent::Answer(position, outcome) => {
                if let Some((answer, bytes)) = answers[position].take() {
                    gate.leave(bytes);
                    answer(outcome);
                }
            }
            JobEvent::Committed(info) => {
                if let Some(told) = on_commit {
                    told(&info);
                }
            }
        };
        if let Some(stream) = streams.pop() {
            return writer.put_stream_job(stream, &mut tell);
        }
        let mut next_file = |current: FileId| {
            collect(queue, *round_bytes, waiting);
            first_sealed(current, waiting)
        };
        writer.put_jobs(&jobs, &mut next_file, &mut tell);
    }
}

/// What [`Writer::put_jobs`] tells while it works.
pub(super) enum JobEvent {
    /// The job at this position is done.
    Answer(usize, Result<Committed>),
    /// A commit is durable; the jobs that it answers are still to be told.
    Committed(CommitInfo),
}

/// Takes what is in the queue, as much as one round may hold.
fn collect(queue: &Receiver<Job>, round_bytes: u64, waiting: &mut Vec<Job>) {
    let mut bytes: u64 = waiting.iter().map(|job| job.bytes).sum();
    while bytes < round_bytes
        && let Ok(job) = queue.try_recv()
    {
        bytes += job.bytes;
        waiting.push(job);
    }
}

/// The sealed file that the first job which fills one will fill.
fn first_sealed(current: FileId, jobs: &[Job]) -> Option<FileId> {
    let first = |job: &Job| job.first_slot().map(Slot::file_id);
    jobs.iter().filter_map(first).find(|file_id| *file_id < current)
}
