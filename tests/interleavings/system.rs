//! Stand-ins for the standard library, crossbeam and the system, made of Shuttle's locks and threads.
//! See `src/sync.rs`.
#![allow(clippy::disallowed_types, reason = "a stand-in wraps what it stands for")]

pub(crate) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, atomic};
pub(crate) use shuttle::thread::yield_now as yield_point;

/// Inotify is not used: a thread that sleeps in the kernel would block all others.
pub(crate) const MAY_BLOCK_IN_KERNEL: bool = false;

/// Like `std::sync::OnceLock`. Other threads may run before each access and while the value is made.
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    filling: Mutex<()>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { value: std::sync::OnceLock::new(), filling: Mutex::new(()) }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        shuttle::thread::yield_now();
        self.value.get()
    }

    pub(crate) fn get_or_init(&self, fill: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        self.value.get_or_init(fill)
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.value.fmt(f)
    }
}

pub(crate) mod thread {
    pub(crate) use shuttle::thread::*;

    /// The engine starts this many threads.
    pub(crate) fn available_parallelism() -> std::io::Result<std::num::NonZeroUsize> {
        std::num::NonZeroUsize::new(2).ok_or_else(|| std::io::ErrorKind::Unsupported.into())
    }
}

/// Like crossbeam's: a message is dropped as soon as the last receiver is.
pub(crate) mod channel {
    use std::collections::VecDeque;

    use super::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

    pub(crate) struct Sender<T>(Arc<Channel<T>>);
    pub(crate) struct Receiver<T>(Arc<Channel<T>>);

    #[derive(Debug)]
    pub(crate) struct SendError<T>(pub(crate) T);
    #[derive(Debug)]
    pub(crate) struct RecvError;

    struct Channel<T> {
        bound: usize,
        state: Mutex<State<T>>,
        moved: Condvar,
    }

    struct State<T> {
        queue: VecDeque<T>,
        senders: usize,
        receivers: usize,
    }

    impl<T> Channel<T> {
        fn state(&self) -> MutexGuard<'_, State<T>> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
            self.moved.wait(state).unwrap_or_else(PoisonError::into_inner)
        }
    }

    pub(crate) fn bounded<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
        let state = State { queue: VecDeque::new(), senders: 1, receivers: 1 };
        let channel = Channel { bound, state: Mutex::new(state), moved: Condvar::new() };
        let channel = Arc::new(channel);
        (Sender(Arc::clone(&channel)), Receiver(channel))
    }

    pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        bounded(usize::MAX)
    }

    impl<T> Sender<T> {
        pub(crate) fn send(&self, message: T) -> Result<(), SendError<T>> {
            let mut state = self.0.state();
            while state.receivers > 0 && state.queue.len() >= self.0.bound {
                state = self.0.wait(state);
            }
            if state.receivers == 0 {
                return Err(SendError(message));
            }
            state.queue.push_back(message);
            self.0.moved.notify_all();
            Ok(())
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn recv(&self) -> Result<T, RecvError> {
            let mut state = self.0.state();
            loop {
                if let Some(message) = state.queue.pop_front() {
                    self.0.moved.notify_all();
                    return Ok(message);
                }
                if state.senders == 0 {
                    return Err(RecvError);
                }
                state = self.0.wait(state);
            }
        }

        pub(crate) fn try_recv(&self) -> Result<T, RecvError> {
            let message = self.0.state().queue.pop_front();
            self.0.moved.notify_all();
            message.ok_or(RecvError)
        }
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            self.0.state().senders += 1;
            Self(Arc::clone(&self.0))
        }
    }

    impl<T> Clone for Receiver<T> {
        fn clone(&self) -> Self {
            self.0.state().receivers += 1;
            Self(Arc::clone(&self.0))
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            self.0.state().senders -= 1;
            self.0.moved.notify_all();
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            let mut state = self.0.state();
            state.receivers -= 1;
            let dropped = match state.receivers {
                0 => std::mem::take(&mut state.queue),
                _ => VecDeque::new(),
            };
            drop(state);
            self.0.moved.notify_all();
            drop(dropped);
        }
    }

    impl<T> std::fmt::Debug for Sender<T> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Sender")
        }
    }

    impl<T> std::fmt::Debug for Receiver<T> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Receiver")
        }
    }
}
