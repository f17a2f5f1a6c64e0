//! A writer on its own thread, for many producers.
//!
//! Producers check and compress their values on their own threads and block while the queue is full;
//! [`worker`](super::worker) commits them.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::column::{ColumnSpec, Compression};
use crate::error::{Error, Result};
use crate::slot::Slot;
use crate::sync::channel::{self, Sender};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Mutex, PoisonError};
use crate::write::batch::{Batch, Committed, Form};
use crate::write::door::Door;
use crate::write::group_commit::RecordJob;
use crate::write::queue::{Gate, Queue};
use crate::write::rules;
use crate::write::ticket::Ticket;
use crate::write::worker::{CommitInfo, Job, OnAnswer, OnCommit, Status, Work, Worker};
use crate::write::writer::Writer;

/// Slots with their values.
type Items = Vec<(Slot, Vec<u8>)>;

/// The bounds of a pipeline's queue.
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
    /// Maximum number of jobs that are queued or being written (default 1024).
    #[must_use]
    pub fn max_jobs(self, jobs: NonZeroUsize) -> Self {
        Self { max_jobs: jobs, ..self }
    }

    /// Maximum bytes of payload that are queued or being written (default 256 MiB). A larger job is
    /// admitted when the queue is empty.
    #[must_use]
    pub fn max_bytes(self, bytes: u64) -> Self {
        Self { max_bytes: bytes, ..self }
    }

    /// Called after every commit, on the writer's thread.
    #[must_use]
    pub fn on_commit(self, told: impl Fn(&CommitInfo) + Send + Sync + 'static) -> Self {
        Self { on_commit: Some(Arc::new(told)), ..self }
    }
}

/// A handle to a writer that runs on its own thread. Clones share the writer. It finishes its jobs and
/// stops on [`Pipeline::shutdown`], or when the last handle is dropped.
///
/// Queued jobs share commits. While fewer jobs have arrived than the last commits answered, the writer
/// pauses briefly for more, in total about as long as a commit takes, so that producers that put, wait
/// and put again are answered together. It never waits for a single producer.
///
/// If the writer has a [`Door`], [`Pipeline::raw`] and [`Pipeline::far`] make handles whose jobs skip
/// some of its checks.
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
    status: Arc<Status>,
    /// `None` once no more jobs are accepted.
    queue: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<Writer>>>,
}

/// The error of [`Pipeline::try_submit`]; nothing was queued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySubmitError {
    /// The queue is full. Returns the items.
    #[error("the queue is full")]
    Full(Vec<(Slot, Vec<u8>)>),
    /// As [`Pipeline::submit`].
    #[error(transparent)]
    Refused(#[from] Error),
}

impl Pipeline {
    /// Moves a writer to its own thread.
    ///
    /// # Errors
    /// [`Error::Io`] when the system cannot start a thread.
    pub fn start(writer: Writer, options: PipelineOptions) -> Result<Self> {
        let (directory, spec) = (writer.directory().to_owned(), writer.conf().spec);
        let (door, status) = (writer.door(), Arc::<Status>::default());
        status.note(&writer);
        let (sender, queue) = channel::bounded(options.max_jobs.get());
        let max = Queue { jobs: options.max_jobs.get() as u64, bytes: options.max_bytes };
        let gate = Arc::new(Gate::new(max));
        let worker = Worker {
            writer,
            queue,
            gate: Arc::clone(&gate),
            status: Arc::clone(&status),
            group_bytes: (options.max_bytes / 2).max(1),
            on_commit: options.on_commit,
        };
        let name =
            directory.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
        let thread = thread::Builder::new()
            .name(format!("coldstore-{name}"))
            .spawn(move || worker.run())
            .map_err(|error| Error::io(&directory, "start the writer's thread", error))?;
        let (queue, thread) = (Mutex::new(Some(sender)), Mutex::new(Some(thread)));
        Ok(Self { shared: Arc::new(Shared { directory, spec, gate, status, queue, thread }), door })
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

    /// The jobs that are queued or being written.
    #[must_use]
    pub fn queue(&self) -> Queue {
        self.shared.gate.queue()
    }

    /// [`Error::Poisoned`], when every further job will be refused.
    #[must_use]
    pub fn poisoned(&self) -> Option<Error> {
        self.shared.status.poisoned()
    }

    /// Queues a batch to be committed as a whole. Slots ascend, and the rules of [`Writer`] apply to each
    /// batch as if it were alone. (Of queued batches above the highest slot, those with lower slots come
    /// first.) Blocks while the queue is full. The ticket reports when the batch is durable.
    ///
    /// Callers that do not need atomicity should use [`Pipeline::submit_bulk`].
    ///
    /// # Errors
    /// Immediately: [`Error::NotAscending`], [`Error::InvalidSlot`], [`Error::TooLarge`],
    /// [`Error::ShuttingDown`], [`Error::Refused`] for a value. The ticket reports all others.
    pub fn submit(&self, items: Vec<(Slot, Vec<u8>)>) -> Result<Ticket> {
        self.submit_records(self.encode(self.check(items)?)?, false)
    }

    /// Waits until everything submitted before is answered, and durable unless its own answer is an error.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Io`] if the writer failed; [`Error::ShuttingDown`].
    pub fn sync(&self) -> Result<()> {
        // A job without records is answered after all commits before it.
        self.submit(Vec::new())?.wait().map(drop)
    }

    /// [`Pipeline::submit`] without blocking.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] returns the items when the queue is full; otherwise as
    /// [`Pipeline::submit`].
    pub fn try_submit(&self, items: Vec<(Slot, Vec<u8>)>) -> Result<Ticket, TrySubmitError> {
        let (gate, sender) = (&self.shared.gate, self.shared.sender()?);
        // Space is reserved before the values are compressed, so that a refusal can return them.
        let bytes = items.iter().map(|(_, value)| value.len() as u64).sum();
        if !gate.try_enter(bytes) {
            return Err(TrySubmitError::Full(items));
        }
        let encoded = self.check(items).and_then(|batch| self.encode(batch));
        let batch = encoded.inspect_err(|_| gate.leave(bytes))?;
        let (ticket, answerer) = Ticket::new(&self.shared.directory, batch.slots());
        let job = self.job(batch, false, Box::new(|outcome| answerer.answer(outcome)));
        gate.resize(bytes, job.bytes);
        self.shared.send(&sender, job)?;
        Ok(ticket)
    }

    /// Queues any ascending run of slots, divided into jobs that obey the rules: gaps by file, then
    /// everything above the highest slot. Blocks while the queue is full. Each ticket reports when its job
    /// is durable; a job that needs several commits is answered after the last one.
    ///
    /// # Errors
    /// As [`Pipeline::submit`]; nothing is queued then, unless the pipeline shuts down during the call.
    pub fn submit_bulk(&self, items: Vec<(Slot, Vec<u8>)>) -> Result<Vec<Ticket>> {
        // Slots up to the highest committed one certainly fill gaps. The others may turn into gaps
        // before they are committed, so the writer may split them.
        let parts = self.check(items)?.split(self.shared.status.highest());
        parts.into_iter().map(|part| self.submit_records(self.encode(part)?, true)).collect()
    }

    /// [`Pipeline::submit`] with a callback for the answer. It runs on the writer's thread and must not
    /// block. If that thread has panicked, the callback is dropped without being called.
    ///
    /// # Errors
    /// As [`Pipeline::submit`]; the callback is not called then.
    pub fn submit_then(
        &self,
        items: Vec<(Slot, Vec<u8>)>,
        answer: impl FnOnce(Result<Committed>) + Send + 'static,
    ) -> Result<()> {
        let batch = self.encode(self.check(items)?)?;
        self.shared.enter(self.job(batch, false, Box::new(answer)))
    }

    /// Queues one value without holding it in memory: the writer's thread reads it from `source`, in a
    /// separate commit. Other jobs of the column wait for that commit, so the source must be fast: a file
    /// rather than a connection. (In a compressed column, the compressed bytes are held in memory.) Blocks
    /// while the queue is full.
    ///
    /// # Errors
    /// Immediately: [`Error::InvalidSlot`], [`Error::TooLarge`], [`Error::ShuttingDown`]. The ticket
    /// reports all others: see [`Writer::put_from`].
    pub fn submit_from(
        &self,
        slot: Slot,
        byte_len: u64,
        source: Box<dyn Read + Send>,
    ) -> Result<Ticket> {
        let (ticket, answerer) = Ticket::new(&self.shared.directory, [slot].into_iter());
        self.submit_from_then(slot, byte_len, source, |outcome| answerer.answer(outcome))?;
        Ok(ticket)
    }

    /// [`Pipeline::submit_from`] with a callback for the answer: see [`Pipeline::submit_then`].
    ///
    /// # Errors
    /// As [`Pipeline::submit_from`]; the callback is not called then.
    pub fn submit_from_then(
        &self,
        slot: Slot,
        byte_len: u64,
        source: Box<dyn Read + Send>,
        answer: impl FnOnce(Result<Committed>) + Send + 'static,
    ) -> Result<()> {
        let spec = self.spec();
        rules::check_slots([slot].into_iter())?;
        rules::check_value_len(spec, slot, byte_len)?;
        if spec.compression == Compression::None {
            rules::check_stored_len(slot, byte_len)?;
        }
        let work = Work::Stream { slot, byte_len, source, door: self.door };
        self.shared.enter(Job { work, bytes: 0, answer: Box::new(answer) })
    }

    /// Stores one value from a stream with [`Pipeline::submit_from`], and waits.
    ///
    /// # Errors
    /// As [`Writer::put_from`], and [`Error::ShuttingDown`].
    pub fn put_from(
        &self,
        slot: Slot,
        byte_len: u64,
        source: Box<dyn Read + Send>,
    ) -> Result<Committed> {
        self.submit_from(slot, byte_len, source)?.wait()
    }

    /// Stores one value with [`Pipeline::submit`], and waits.
    ///
    /// # Errors
    /// As [`Writer::put`](crate::Writer::put), and [`Error::ShuttingDown`].
    pub fn put(&self, slot: Slot, value: Vec<u8>) -> Result<Committed> {
        self.submit(vec![(slot, value)])?.wait()
    }

    /// Stores a batch with [`Pipeline::submit`], and waits.
    ///
    /// # Errors
    /// As [`Writer::put_batch`](crate::Writer::put_batch), and [`Error::ShuttingDown`].
    pub fn put_batch(&self, items: Vec<(Slot, Vec<u8>)>) -> Result<Committed> {
        self.submit(items)?.wait()
    }

    /// Stores any ascending run of slots with [`Pipeline::submit_bulk`], and waits.
    ///
    /// # Errors
    /// As [`Pipeline::submit_bulk`]; the first error of a job, while the others may be stored.
    pub fn put_bulk(&self, items: Vec<(Slot, Vec<u8>)>) -> Result<Committed> {
        let mut done = Ok(Committed::default());
        for ticket in self.submit_bulk(items)? {
            let stored = ticket.wait();
            done = done.and_then(|Committed { written, unchanged }| {
                let stored = stored?;
                Ok(Committed {
                    written: written + stored.written,
                    unchanged: unchanged + stored.unchanged,
                })
            });
        }
        done
    }

    /// Stops accepting jobs, finishes and answers the queued ones, and returns the writer. Returns `None`
    /// to all but the first caller. Also returns `None`, without waiting, inside an answer callback.
    #[must_use = "dropping the writer releases its lock"]
    pub fn shutdown(&self) -> Option<Writer> {
        self.shared.shutdown()
    }

    fn check(&self, items: Items) -> Result<Batch<'static>> {
        let records = items.into_iter().map(|(slot, value)| (slot, value.into())).collect();
        Batch::check(records, Form::Values, self.spec(), self.door)
    }

    fn encode(&self, mut batch: Batch<'static>) -> Result<Batch<'static>> {
        batch.encode(self.directory())?;
        Ok(batch)
    }

    fn submit_records(&self, batch: Batch<'static>, may_split: bool) -> Result<Ticket> {
        let (ticket, answerer) = Ticket::new(&self.shared.directory, batch.slots());
        let answer = Box::new(|outcome| answerer.answer(outcome));
        self.shared.enter(self.job(batch, may_split, answer))?;
        Ok(ticket)
    }

    fn job(&self, batch: Batch<'static>, may_split: bool, answer: OnAnswer) -> Job {
        let bytes = batch.byte_len();
        let job = RecordJob { records: batch.into_records(), may_split, door: self.door };
        Job { work: Work::Records(job), bytes, answer }
    }
}

impl Shared {
    /// Queues a job; blocks while the queue is full.
    fn enter(&self, job: Job) -> Result<()> {
        let sender = self.sender()?;
        self.gate.enter(job.bytes);
        self.send(&sender, job)
    }

    /// The writer's thread keeps running while this sender is held.
    fn sender(&self) -> Result<Sender<Job>> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.clone().ok_or_else(|| self.ended())
    }

    /// Sends an admitted job.
    fn send(&self, sender: &Sender<Job>, job: Job) -> Result<()> {
        let bytes = job.bytes;
        sender.send(job).map_err(|_| {
            self.gate.leave(bytes);
            self.ended()
        })
    }

    fn ended(&self) -> Error {
        Error::ShuttingDown { directory: self.directory.as_path().into() }
    }

    fn shutdown(&self) -> Option<Writer> {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        // An answer that drops the last handle runs on the writer's thread, which ends by itself.
        if thread.thread().id() == thread::current().id() {
            return None;
        }
        // A panic there drops the answers, which fails their jobs.
        thread.join().ok()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.shutdown());
    }
}
