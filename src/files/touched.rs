//! Which records of a mapped file were asked for already.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

use crate::files::map::major_faults;
use crate::format::offsets::ENTRIES;

/// One bit for each slot of a file.
#[derive(Debug)]
pub(crate) struct Touched {
    bits: [AtomicU64; ENTRIES / 64],
    /// The generation that the bits are of.
    generation: AtomicU64,
}

impl Default for Touched {
    fn default() -> Self {
        let generation = MEMORY.generation.load(Ordering::Relaxed).into();
        Self { bits: [const { AtomicU64::new(0) }; ENTRIES / 64], generation }
    }
}

impl Touched {
    /// Marks the record at an index below [`ENTRIES`]; true when it was not marked, or may have
    /// gone from memory since.
    ///
    /// Threads that mark at the same moment may lose a mark or both be told that there was none:
    /// that costs one system call too many.
    pub(crate) fn mark(&self, index: usize) -> bool {
        // Some of the reads are enough to look at the clock, which takes as long as all else here.
        if index.is_multiple_of(16) {
            MEMORY.look(now(), major_faults);
        }
        self.mark_in(index, MEMORY.generation.load(Ordering::Relaxed))
    }

    fn mark_in(&self, index: usize, generation: u64) -> bool {
        if self.generation.load(Ordering::Relaxed) != generation {
            self.generation.store(generation, Ordering::Relaxed);
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

/// What is known of the memory that maps are in. A record that was asked for is there when it is
/// read; so when this process had to wait for pages of its maps, some have gone that were there.
/// Then all records are asked for again, once.
struct Memory {
    generation: AtomicU64,
    /// When the faults were counted, in seconds of a clock that only goes forward.
    counted: AtomicU64,
    faults: AtomicU64,
}

static MEMORY: Memory =
    Memory { generation: AtomicU64::new(0), counted: AtomicU64::new(0), faults: AtomicU64::new(0) };

/// Seconds between two counts.
const SECONDS: u64 = 5;

impl Memory {
    fn look(&self, now: u64, faults: impl FnOnce() -> u64) {
        let counted = self.counted.load(Ordering::Relaxed);
        if now.saturating_sub(counted) < SECONDS
            || self
                .counted
                .compare_exchange(counted, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let faults = faults();
        if self.faults.swap(faults, Ordering::Relaxed) < faults {
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
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
    fn a_record_is_new_once_in_each_generation() {
        let touched = Touched::default();
        let first = touched.generation.load(Ordering::Relaxed);
        for index in [0, 63, 64, ENTRIES - 1] {
            assert!(touched.mark_in(index, first) && !touched.mark_in(index, first), "{index}");
        }
        assert!(touched.mark_in(0, first + 1) && touched.mark_in(64, first + 1));
        assert!(!touched.mark_in(0, first + 1));
    }

    #[test]
    fn a_generation_ends_when_pages_had_to_be_waited_for() {
        let memory = Memory { generation: 0.into(), counted: 100.into(), faults: 7.into() };
        let generation_after = |now, faults| {
            memory.look(now, || faults);
            memory.generation.load(Ordering::Relaxed)
        };
        assert_eq!(generation_after(100 + SECONDS - 1, 50), 0, "too early to count");
        assert_eq!(generation_after(100 + SECONDS, 7), 0, "none had to");
        assert_eq!(generation_after(100 + 2 * SECONDS, 8), 1);
        assert_eq!(generation_after(100 + 2 * SECONDS, 9), 1, "counted just now");
        assert_eq!(generation_after(50, 9), 1, "a clock read earlier");
        assert_eq!(generation_after(100 + 3 * SECONDS, 9), 2);
    }
}
