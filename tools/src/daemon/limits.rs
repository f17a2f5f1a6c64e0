//! How much memory the bodies of all requests may take together.
//!
//! A body takes bytes from one budget as they arrive and gives them back when what they became is
//! durable. Bodies that wait for each other's bytes would wait for ever, so one of them at a time
//! may go past the budget: whoever waits takes what comes first, free bytes or that one lane. What
//! is held is at most the budget and one body. Beside it there is what the pipelines have answered
//! and not yet let go of (one round, at most half of a pipeline's bound), and for every connection
//! its socket buffers and hyper's read buffer (some 400 KiB).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget of the daemon.
pub(super) const BUDGET_BYTES: usize = 256 << 20;

/// The budget. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    budget_bytes: usize,
    budget: Arc<Semaphore>,
    lane: Arc<Semaphore>,
}

/// What one body holds; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    memory: Memory,
    bytes: Option<OwnedSemaphorePermit>,
    lane: Option<OwnedSemaphorePermit>,
}

impl Memory {
    pub(super) fn new(budget_bytes: usize) -> Self {
        let budget = Arc::new(Semaphore::new(budget_bytes));
        Self { budget_bytes, budget, lane: Arc::new(Semaphore::new(1)) }
    }

    /// Nothing, to begin with.
    pub(super) fn hold(&self) -> Held {
        Held { memory: self.clone(), bytes: None, lane: None }
    }

    /// What is taken of the budget.
    pub(super) fn held_bytes(&self) -> u64 {
        (self.budget_bytes - self.budget.available_permits()) as u64
    }
}

impl Held {
    /// Takes this many more bytes, as soon as they are to be had.
    pub(super) async fn grow(&mut self, byte_count: usize) {
        if self.lane.is_some() {
            return;
        }
        let count = u32::try_from(byte_count).unwrap_or(u32::MAX);
        let budget = &self.memory.budget;
        if let Ok(more) = Arc::clone(budget).try_acquire_many_owned(count) {
            return self.keep(more);
        }
        // Neither semaphore is ever closed.
        tokio::select! {
            Ok(more) = Arc::clone(budget).acquire_many_owned(count) => self.keep(more),
            Ok(lane) = Arc::clone(&self.memory.lane).acquire_owned() => self.lane = Some(lane),
            else => {}
        }
    }

    /// Gives back what goes beyond this many bytes.
    pub(super) fn shrink_to(&mut self, byte_count: usize) {
        if let Some(bytes) = &mut self.bytes {
            drop(bytes.split(bytes.num_permits().saturating_sub(byte_count)));
        }
    }

    fn keep(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.bytes {
            Some(bytes) => bytes.merge(more),
            none => *none = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    #[test]
    fn what_a_body_took_comes_back_when_it_is_done() {
        run(async {
            let memory = Memory::new(100);
            let mut held = memory.hold();
            held.grow(60).await;
            held.grow(40).await;
            assert_eq!(memory.held_bytes(), 100);
            held.shrink_to(30);
            assert_eq!(memory.held_bytes(), 30);
            drop(held);
            assert_eq!(memory.held_bytes(), 0);
        });
    }

    #[test]
    fn bodies_that_wait_for_each_other_all_end() {
        run(async {
            let memory = Memory::new(100);
            let body = |memory: Memory| async move {
                let mut held = memory.hold();
                for _ in 0..20 {
                    held.grow(10).await;
                    tokio::task::yield_now().await;
                }
            };
            let bodies: Vec<_> = (0..50).map(|_| tokio::spawn(body(memory.clone()))).collect();
            for body in bodies {
                timeout(Duration::from_secs(10), body).await.unwrap().unwrap();
            }
            assert_eq!(memory.held_bytes(), 0);
        });
    }

    #[test]
    fn only_one_body_goes_past_the_budget() {
        run(async {
            let memory = Memory::new(10);
            let (mut first, mut second) = (memory.hold(), memory.hold());
            first.grow(1000).await;
            assert!(timeout(Duration::from_millis(20), second.grow(1000)).await.is_err());
            drop(first);
            second.grow(1000).await;
        });
    }
}
