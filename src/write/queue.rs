//! Bounds the queue of a pipeline by jobs and bytes.

use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The jobs that are queued in a pipeline or being written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Number of jobs.
    pub jobs: u64,
    /// Total size of their payloads in bytes.
    pub bytes: u64,
}

/// Admits jobs in order of arrival, within limits on their number and bytes.
#[derive(Debug)]
pub(super) struct Gate {
    max: Queue,
    state: Mutex<GateState>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    next_turn: u64,
    turn: u64,
    inside: Queue,
    /// The writer's thread has ended.
    closed: bool,
}

impl Gate {
    pub(super) fn new(max: Queue) -> Self {
        Self { max, state: Mutex::default(), moved: Condvar::new() }
    }

    pub(super) fn queue(&self) -> Queue {
        self.state().inside
    }

    /// Admits a job; blocks while the queue is full.
    pub(super) fn enter(&self, bytes: u64) {
        let mut state = self.state();
        let turn = state.next_turn;
        state.next_turn += 1;
        while !state.closed && (state.turn != turn || self.is_full(state.inside, bytes)) {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.admit(&mut state, bytes);
    }

    /// Admits a job unless it would have to wait.
    pub(super) fn try_enter(&self, bytes: u64) -> bool {
        let mut state = self.state();
        let waits = state.turn != state.next_turn || self.is_full(state.inside, bytes);
        if waits && !state.closed {
            return false;
        }
        state.next_turn += 1;
        self.admit(&mut state, bytes);
        true
    }

    fn admit(&self, state: &mut GateState, bytes: u64) {
        state.turn += 1;
        state.inside.jobs += 1;
        state.inside.bytes += bytes;
        self.moved.notify_all();
    }

    fn is_full(&self, inside: Queue, bytes: u64) -> bool {
        let is_too_large = inside.bytes.saturating_add(bytes) > self.max.bytes;
        inside.jobs >= self.max.jobs || inside.jobs > 0 && is_too_large
    }

    /// Changes the size of an admitted job from `from` to `to` bytes.
    pub(super) fn resize(&self, from: u64, to: u64) {
        let mut state = self.state();
        state.inside.bytes = state.inside.bytes - from + to;
        self.moved.notify_all();
    }

    pub(super) fn leave(&self, bytes: u64) {
        let mut state = self.state();
        state.inside.jobs -= 1;
        state.inside.bytes -= bytes;
        self.moved.notify_all();
    }

    /// Wakes all waiters: the writer's thread has ended, so sending to it fails.
    fn close(&self) {
        self.state().closed = true;
        self.moved.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the gate when the writer's thread ends, even by a panic.
pub(super) struct CloseAtEnd(pub(super) Arc<Gate>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}
