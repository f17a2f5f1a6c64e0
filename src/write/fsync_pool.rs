//! Flushes files concurrently.
//!
//! Everything that a conf names must be durable before the conf is renamed. The order of the flushes
//! does not matter, since nothing is trusted before the rename. Flushed one after the other, each file
//! costs the file system a journal commit; flushed concurrently, they share one.

use crate::error::{Error, Result};
use crate::sync::channel::{self, Receiver, Sender};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Mutex, PoisonError};
use crate::write::column_dir::ColumnDir;
use crate::write::named_file::NamedFile;

/// Number of threads besides the caller's: a commit flushes four files, five with checksums.
const MAX_THREADS: usize = 4;

/// Something to flush.
#[derive(Debug)]
pub(super) enum Flush {
    File(NamedFile),
    /// A file that is written to again after the flush.
    Kept(Arc<Mutex<NamedFile>>),
    /// The entries of the directory.
    Names(ColumnDir),
}

impl Flush {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Flush::File(mut file) => file.sync(),
            Flush::Kept(file) => file.lock().unwrap_or_else(PoisonError::into_inner).sync(),
            Flush::Names(directory) => directory.sync(),
        }
    }
}

/// A position in the caller's list and its flush; `None` ends the thread.
type Job = (usize, Option<Flush>);
type Done = (usize, Result<()>);

/// Threads that flush files, started by the first commit that needs them.
#[derive(Debug, Default)]
pub(super) struct FsyncPool {
    pool: Option<Pool>,
}

#[derive(Debug)]
struct Pool {
    jobs: Sender<Job>,
    /// The caller takes jobs too.
    queue: Receiver<Job>,
    done: Receiver<Done>,
    threads: Vec<JoinHandle<()>>,
}

impl FsyncPool {
    /// Flushes everything in the list: concurrently if the disk supports it, otherwise one after the other.
    /// Of several errors, returns the first in the order of the list.
    pub(super) fn flush_all(&mut self, directory: &ColumnDir, flushes: Vec<Flush>) -> Result<()> {
        if !directory.disk().flushes_at_once() {
            return flushes.into_iter().try_for_each(Flush::run);
        }
        let pool = self.pool.get_or_insert_with(Pool::start);
        let mut outcomes: Vec<Option<Result<()>>> = flushes.iter().map(|_| None).collect();
        for (index, flush) in flushes.into_iter().enumerate() {
            // Sending cannot fail: the pool holds the receiver too.
            drop(pool.jobs.send((index, Some(flush))));
        }
        while let Ok((index, Some(flush))) = pool.queue.try_recv() {
            outcomes[index] = Some(flush.run());
        }
        while outcomes.iter().any(Option::is_none)
            && let Ok((index, outcome)) = pool.done.recv()
        {
            outcomes[index] = Some(outcome);
        }
        outcomes.into_iter().try_for_each(|outcome| outcome.unwrap_or_else(unanswered))
    }
}

impl Pool {
    fn start() -> Self {
        let (jobs, queue) = channel::unbounded::<Job>();
        let (sender, done) = channel::unbounded();
        let mut threads = Vec::new();
        for _ in 0..MAX_THREADS {
            let (queue, done) = (queue.clone(), sender.clone());
            let work = move || {
                while let Ok((index, Some(flush))) = queue.recv() {
                    let mut answer = Answer { index, outcome: None, done: &done };
                    answer.outcome = Some(flush.run());
                }
            };
            let thread = thread::Builder::new().name("coldstore-flush".to_owned());
            match thread.spawn(work) {
                Ok(thread) => threads.push(thread),
                // Fewer threads only make it slower: the caller flushes too.
                Err(error) => tracing::debug!(%error, "cannot start a flush thread"),
            }
        }
        Self { jobs, queue, done, threads }
    }
}

/// The result of a flush, sent on drop, so that a panic also sends one: the commit waits for it.
struct Answer<'a> {
    index: usize,
    outcome: Option<Result<()>>,
    done: &'a Sender<Done>,
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        // Sending fails when the pool was dropped.
        drop(self.done.send((self.index, self.outcome.take().unwrap_or_else(unanswered))));
    }
}

/// A flush without a result counts as failed.
fn unanswered() -> Result<()> {
    let source = std::io::Error::other("a panic interrupted it");
    Err(Error::io("a file of the column", "flush", source))
}

impl Drop for Pool {
    fn drop(&mut self) {
        for _ in &self.threads {
            drop(self.jobs.send((0, None)));
        }
        for thread in self.threads.drain(..) {
            // The panic hook has already reported a panic.
            drop(thread.join());
        }
    }
}
