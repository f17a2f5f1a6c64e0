//! Locks, atomics, channels and threads of the standard library and crossbeam, or of Shuttle under
//! `cfg(shuttle)`, which only `tests/interleavings` sets.
//!
//! Two places use the standard library's under both: mapped memory, whose atomics lie in files, and
//! [`crate::files::deferred_close`], whose thread outlives a test.

#[cfg(not(shuttle))]
mod system {
    pub(crate) use std::sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, atomic,
    };
    pub(crate) use std::thread;

    pub(crate) use crossbeam_channel as channel;

    /// Whether a thread may wait in the kernel while others run.
    pub(crate) const MAY_BLOCK_IN_KERNEL: bool = true;

    /// Where Shuttle may run another thread.
    #[inline]
    pub(crate) const fn yield_point() {}
}

#[cfg(shuttle)]
#[path = "../tests/interleavings/system.rs"]
mod system;

pub(crate) use system::*;
