//! Bounds the memory held by all request bodies together.
//!
//! A body takes bytes from one budget as they arrive, and returns them when its values are durable.
//! Values above [`SPOOL_FROM`] are spooled to a file and take next to nothing. An eighth of the budget
//! is reserved for small bodies ([`SMALL_BYTES`]), so a root is accepted however many larger bodies are
//! in flight.
//!
//! Bodies waiting for each other's bytes would deadlock. One body at a time may therefore exceed the
//! budget: a waiting body takes free bytes or this one lane, whichever comes first. The memory held is
//! at most the budget and one body. In addition, each pipeline has answered values not yet freed (one
//! round, at most half of its bound), and each connection has socket buffers and hyper's read buffer
//! (about 400 KiB).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Default budget of the daemon, in MiB.
pub(crate) const BUDGET_MIB: u32 = 256;

/// Maximum length of a body that may use the reserve. Bodies of this length from the default number of
/// connections fit twice into the reserve of the default budget.
pub(super) const SMALL_BYTES: usize = 64 << 10;

/// Longer values are spooled.
pub(super) const SPOOL_FROM: usize = 16 << 20;

/// The budget. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    budget_bytes: usize,
    shared: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    lane: Arc<Semaphore>,
}

/// Memory held by one body; released on drop.
#[derive(Debug)]
pub(super) struct Held {
    memory: Memory,
    is_small: bool,
    bytes: Option<OwnedSemaphorePermit>,
    reserved: Option<OwnedSemaphorePermit>,
    lane: Option<OwnedSemaphorePermit>,
}

impl Memory {
    pub(super) fn new(budget_bytes: usize) -> Self {
        Self::with_reserve(budget_bytes, budget_bytes / 8)
    }

    fn with_reserve(budget_bytes: usize, reserve_bytes: usize) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let shared = semaphore(budget_bytes - reserve_bytes);
        Self { budget_bytes, shared, reserve: semaphore(reserve_bytes), lane: semaphore(1) }
    }

    /// Holds nothing yet, for a body of this length, if known.
    pub(super) fn hold(&self, byte_len: Option<u64>) -> Held {
        let is_small = byte_len.is_some_and(|byte_len| byte_len <= SMALL_BYTES as u64);
        Held { memory: self.clone(), is_small, bytes: None, reserved: None, lane: None }
    }

    /// Bytes taken from the budget.
    pub(super) fn held_bytes(&self) -> u64 {
        let free = self.shared.available_permits() + self.reserve.available_permits();
        (self.budget_bytes - free) as u64
    }
}

impl Held {
    /// Waits until this many more bytes are available, and takes them.
    pub(super) async fn grow(&mut self, byte_count: usize) {
        if self.lane.is_some() {
            return;
        }
        let count = u32::try_from(byte_count).unwrap_or(u32::MAX);
        let Memory { shared, reserve, lane, .. } = &self.memory;
        if let Ok(more) = Arc::clone(shared).try_acquire_many_owned(count) {
            return keep(&mut self.bytes, more);
        }
        let reserved = self.reserved.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let may_reserve = self.is_small && reserved.saturating_add(byte_count) <= 2 * SMALL_BYTES;
        // The semaphores are never closed.
        tokio::select! {
            Ok(more) = Arc::clone(shared).acquire_many_owned(count) => keep(&mut self.bytes, more),
            Ok(more) = Arc::clone(reserve).acquire_many_owned(count), if may_reserve => {
                keep(&mut self.reserved, more);
            }
            Ok(lane) = Arc::clone(lane).acquire_owned() => self.lane = Some(lane),
            else => {}
        }
    }

    /// Releases all but this many bytes.
    pub(super) fn shrink_to(&mut self, byte_count: usize) {
        if let Some(bytes) = &mut self.bytes {
            drop(bytes.split(bytes.num_permits().saturating_sub(byte_count)));
        }
    }

    /// Releases everything.
    pub(super) fn release(&mut self) {
        (self.bytes, self.reserved, self.lane) = (None, None, None);
    }
}

fn keep(held: &mut Option<OwnedSemaphorePermit>, more: OwnedSemaphorePermit) {
    match held {
        Some(held) => held.merge(more),
        none => *none = Some(more),
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
    fn a_body_returns_its_bytes_to_the_budget() {
        run(async {
            let memory = Memory::with_reserve(100, 0);
            let mut held = memory.hold(None);
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
    fn bodies_that_exceed_the_budget_together_all_end() {
        run(async {
            let memory = Memory::with_reserve(100, 0);
            let body = |memory: Memory| async move {
                let mut held = memory.hold(None);
                for _ in 0..20 {
                    held.grow(10).await;
                    tokio::task::yield_now().await;
                }
            };
            let bodies: Vec<_> = (0..50).map(|_| tokio::spawn(body(memory.clone()))).collect();
            for body in bodies {
                timeout(Duration::from_secs(60), body).await.unwrap().unwrap();
            }
            assert_eq!(memory.held_bytes(), 0);
        });
    }

    #[test]
    fn only_one_body_exceeds_the_budget() {
        run(async {
            let memory = Memory::with_reserve(10, 0);
            let (mut first, mut second) = (memory.hold(None), memory.hold(None));
            first.grow(1000).await;
            assert!(timeout(Duration::from_millis(20), second.grow(1000)).await.is_err());
            drop(first);
            second.grow(1000).await;
        });
    }

    #[test]
    fn small_bodies_are_accepted_however_much_larger_ones_hold() {
        run(async {
            let memory = Memory::new(8 * SMALL_BYTES);
            let mut large = [memory.hold(Some(1 << 30)), memory.hold(None)];
            large[0].grow(7 * SMALL_BYTES).await;
            large[1].grow(SMALL_BYTES).await;
            let mut waiting = memory.hold(Some(1 << 20));
            assert!(timeout(Duration::from_millis(20), waiting.grow(1)).await.is_err());
            let mut small = memory.hold(Some(32));
            timeout(Duration::from_secs(60), small.grow(32)).await.unwrap();
            assert_eq!(memory.held_bytes(), (7 * SMALL_BYTES + 32) as u64);
            drop(small);
            assert_eq!(memory.held_bytes(), (7 * SMALL_BYTES) as u64);
        });
    }
}
