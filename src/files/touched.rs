//! Which records of a mapped file were asked for already.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

use crate::format::offsets::ENTRIES;

/// How long a record that was asked for counts as being in memory, in seconds. The system may
/// take it away again; then it is asked for once more, at the price of one system call.
const SECONDS: u64 = 1;

/// One bit for each slot of a file.
#[derive(Debug)]
pub(crate) struct Touched {
    bits: [AtomicU64; ENTRIES / 64],
    /// When the bits were cleared, in seconds of a clock that only goes forward.
    since: AtomicU64,
}

impl Default for Touched {
    fn default() -> Self {
        Self { bits: [const { AtomicU64::new(0) }; ENTRIES / 64], since: AtomicU64::new(now()) }
    }
}

impl Touched {
    /// Marks the record at an index below [`ENTRIES`]; true when it was not marked.
    ///
    /// Threads that mark at the same moment may lose a mark or both be told that there was none:
    /// that costs one system call too many.
    pub(crate) fn mark(&self, index: usize) -> bool {
        self.mark_at(index, now())
    }

    fn mark_at(&self, index: usize, now: u64) -> bool {
        if now.saturating_sub(self.since.load(Ordering::Relaxed)) >= SECONDS {
            self.since.store(now, Ordering::Relaxed);
            self.bits.iter().for_each(|bits| bits.store(0, Ordering::Relaxed));
        }
        let (word, bit) = (&self.bits[index / 64], 1 << (index % 64));
        let is_new = word.load(Ordering::Relaxed) & bit == 0;
        if is_new {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        is_new
    }
}

/// The coarse clock is read without a system call, in a third of the time of the exact one.
fn now() -> u64 {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::MonotonicCoarse;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    u64::try_from(clock_gettime(CLOCK).tv_sec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_new_once_and_again_when_its_time_is_over() {
        let touched = Touched::default();
        let start = touched.since.load(Ordering::Relaxed);
        for index in [0, 63, 64, ENTRIES - 1] {
            assert!(touched.mark_at(index, start) && !touched.mark_at(index, start), "{index}");
        }
        assert!(touched.mark_at(0, start + SECONDS) && touched.mark_at(64, start + SECONDS));
        assert!(!touched.mark_at(0, start + SECONDS));
        // A clock that another thread read a moment earlier changes nothing.
        assert!(!touched.mark_at(0, start));
    }
}
