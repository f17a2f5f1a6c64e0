//! What stands in for the standard library, crossbeam and the system.

pub mod sync {
    pub use shuttle::sync::*;

    /// As `std::sync::OnceLock`: looking at it is a step, and so is every wait for another thread
    /// that is filling it.
    pub struct OnceLock<T> {
        value: std::sync::OnceLock<T>,
        filling: Mutex<()>,
    }

    impl<T> OnceLock<T> {
        pub fn new() -> Self {
            Self { value: std::sync::OnceLock::new(), filling: Mutex::new(()) }
        }

        pub fn get(&self) -> Option<&T> {
            shuttle::thread::yield_now();
            self.value.get()
        }

        pub fn get_or_init(&self, fill: impl FnOnce() -> T) -> &T {
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
}

pub mod thread {
    pub use shuttle::thread::*;

    /// Whoever asks wants to know how many threads to start.
    pub fn available_parallelism() -> std::io::Result<std::num::NonZeroUsize> {
        std::num::NonZeroUsize::new(2).ok_or_else(|| std::io::ErrorKind::Unsupported.into())
    }
}

/// As crossbeam's: a message that nobody can receive any more is dropped at once.
pub mod channel {
    use std::collections::VecDeque;

    use super::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

    pub struct Sender<T>(Arc<Channel<T>>);
    pub struct Receiver<T>(Arc<Channel<T>>);

    #[derive(Debug)]
    pub struct SendError<T>(pub T);
    #[derive(Debug)]
    pub struct RecvError;

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

    pub fn bounded<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
        let state = State { queue: VecDeque::new(), senders: 1, receivers: 1 };
        let channel = Channel { bound, state: Mutex::new(state), moved: Condvar::new() };
        let channel = Arc::new(channel);
        (Sender(Arc::clone(&channel)), Receiver(channel))
    }

    pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        bounded(usize::MAX)
    }

    impl<T> Sender<T> {
        pub fn send(&self, message: T) -> Result<(), SendError<T>> {
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
        pub fn recv(&self) -> Result<T, RecvError> {
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

        pub fn try_recv(&self) -> Result<T, RecvError> {
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

/// The calls by which a reader looks at its directory: others may have their turn before each.
pub mod fs {
    use std::os::fd::{AsFd, OwnedFd};

    pub use rustix::fs::*;

    pub fn open(
        path: impl rustix::path::Arg,
        flags: OFlags,
        mode: Mode,
    ) -> rustix::io::Result<OwnedFd> {
        shuttle::thread::yield_now();
        rustix::fs::open(path, flags, mode)
    }

    pub fn openat(
        directory: impl AsFd,
        path: impl rustix::path::Arg,
        flags: OFlags,
        mode: Mode,
    ) -> rustix::io::Result<OwnedFd> {
        shuttle::thread::yield_now();
        rustix::fs::openat(directory, path, flags, mode)
    }

    pub fn statat(
        directory: impl AsFd,
        path: impl rustix::path::Arg,
        flags: AtFlags,
    ) -> rustix::io::Result<Stat> {
        shuttle::thread::yield_now();
        rustix::fs::statat(directory, path, flags)
    }
}

/// There is none: followers poll.
pub fn no_inotify(_: rustix::fs::inotify::CreateFlags) -> rustix::io::Result<std::os::fd::OwnedFd> {
    Err(rustix::io::Errno::NOSYS)
}
