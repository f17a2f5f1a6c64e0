//! Which records of a mapped file were asked for already.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

use crate::files::map::{SomeEntries, major_faults};
use crate::format::offsets::ENTRIES;

/// Whether a read of the slot at this index finds out how memory is. Some of the reads are enough:
/// looking at the clock takes as long as all else that they do.
#[inline]
pub(crate) const fn is_sample(index: usize) -> bool {
    index.is_multiple_of(64)
}

/// Bytes of a data file of which it is remembered together that they are in memory.
pub(crate) const WINDOW_BYTES: u64 = 2 << 20;

/// So many reads of a file are asked for, all of them, after one whose record had gone from memory;
/// twice as many each time that another one has gone among them, up to the most.
const READS_WITHOUT_TRUST: u32 = 512;
const MOST_READS_WITHOUT_TRUST: u32 = 16_384;

/// So many reads of records that are in memory are worth a table of these.
const READS_WORTH_A_TABLE: u32 = 256;

/// How well a record is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It was asked for and is taken to be in memory.
    Asked,
    /// It was asked for some time ago and may have gone since.
    Before,
    /// It was never asked for.
    Never,
}

/// One bit for each slot of a file, and one for each window of its data.
///
/// What was asked for is trusted to stay in memory, until it shows that this process had to wait for
/// pages: then all is asked for again, once. Where a record of this file turns out to have gone,
/// memory is short, and every read asks for a while: for as long as more turn out to have gone.
#[derive(Debug)]
pub(crate) struct Touched {
    slots: [AtomicU64; ENTRIES / 64],
    /// Those of the generation before.
    slots_before: [AtomicU64; ENTRIES / 64],
    /// Reads that are still to be asked for, all of them.
    without_trust: AtomicU32,
    /// How many they were to be.
    reads_without_trust: AtomicU32,
    windows: Box<[AtomicU64]>,
    /// How many windows have their bit.
    windows_found: AtomicU64,
    /// The entries of records that are taken to be in memory. With this table in place of the file's
    /// own, a read has nothing more to find out.
    asked: OnceLock<SomeEntries>,
    /// Reads that such a table would have been used by.
    reads_again: AtomicU32,
    /// All of the data is worth one look: nothing is known of it, or it was all in memory before.
    look_at_all: AtomicBool,
    /// The generation that the bits are of.
    generation: AtomicU64,
}

impl Touched {
    /// For a data file of which so many bytes are mapped.
    pub(crate) fn new(mapped_bytes: usize) -> Self {
        let windows = (mapped_bytes as u64).div_ceil(WINDOW_BYTES).div_ceil(64);
        Self {
            slots: [const { AtomicU64::new(0) }; ENTRIES / 64],
            slots_before: [const { AtomicU64::new(0) }; ENTRIES / 64],
            without_trust: AtomicU32::new(0),
            reads_without_trust: AtomicU32::new(0),
            windows: (0..windows).map(|_| AtomicU64::new(0)).collect(),
            windows_found: AtomicU64::new(0),
            asked: OnceLock::new(),
            reads_again: AtomicU32::new(0),
            look_at_all: AtomicBool::new(true),
            generation: MEMORY.generation.load(Ordering::Relaxed).into(),
        }
    }

    /// Marks the record at an index below [`ENTRIES`], in data of so many bytes, and says what was
    /// known of it.
    ///
    /// Threads that mark at the same moment may lose a mark or both be told that there was none:
    /// that costs one system call too many.
    pub(crate) fn mark(&self, index: usize, byte_len: u64) -> Known {
        self.mark_in(index, byte_len, MEMORY.generation.load(Ordering::Relaxed))
    }

    fn mark_in(&self, index: usize, byte_len: u64, generation: u64) -> Known {
        if self.generation.load(Ordering::Relaxed) != generation {
            self.look_at_all.store(self.has_found(byte_len), Ordering::Relaxed);
            self.generation.store(generation, Ordering::Relaxed);
            for (before, slots) in self.slots_before.iter().zip(&self.slots) {
                before.store(slots.swap(0, Ordering::Relaxed), Ordering::Relaxed);
            }
            self.forget();
        }
        let (word, bit) = (index / 64, index as u64 % 64);
        let is_new = set(&self.slots[word], bit);
        let without_trust = self.without_trust.load(Ordering::Relaxed);
        if without_trust > 0 {
            self.without_trust.store(without_trust - 1, Ordering::Relaxed);
        }
        let was_marked = self.slots_before[word].load(Ordering::Relaxed) >> bit & 1 == 1;
        match (is_new, without_trust) {
            (false, 0) => Known::Asked,
            (true, _) if !was_marked => Known::Never,
            _ => Known::Before,
        }
    }

    /// What is in memory.
    fn forget(&self) {
        let windows = self.windows.iter().chain([&self.windows_found]);
        windows.for_each(|bits| bits.store(0, Ordering::Relaxed));
        if let Some(asked) = self.asked.get() {
            asked.clear();
        }
    }

    /// The record that this entry of the table leads to is taken to be in memory, where the data has
    /// so many bytes.
    pub(crate) fn is_there(&self, index: usize, entry: u64, byte_len: u64) {
        if !self.is_trusted() || self.has_found(byte_len) {
            return;
        }
        let reads = self.reads_again.load(Ordering::Relaxed);
        if reads < READS_WORTH_A_TABLE {
            self.reads_again.store(reads + 1, Ordering::Relaxed);
        } else {
            self.asked.get_or_init(SomeEntries::none).put(index, entry);
        }
    }

    /// The entries of the records that are taken to be in memory; `None` as long as that is not worth
    /// a table.
    pub(crate) fn asked(&self) -> Option<&SomeEntries> {
        self.asked.get()
    }

    /// A record that was [known before](Known::Before) has gone from memory.
    pub(crate) fn lost(&self) {
        let again = self.without_trust.load(Ordering::Relaxed) > 0;
        let reads = if again { 2 * self.reads_without_trust.load(Ordering::Relaxed) } else { 0 };
        let reads = reads.clamp(READS_WITHOUT_TRUST, MOST_READS_WITHOUT_TRUST);
        self.reads_without_trust.store(reads, Ordering::Relaxed);
        self.without_trust.store(reads, Ordering::Relaxed);
        self.forget();
    }

    /// Whether what was found in memory is taken to be there still.
    pub(crate) fn is_trusted(&self) -> bool {
        self.without_trust.load(Ordering::Relaxed) == 0
            && self.generation.load(Ordering::Relaxed) == MEMORY.generation.load(Ordering::Relaxed)
    }

    /// Whether the windows of these two offsets in the data were found in memory: what most reads
    /// of a column that is in memory come down to. `index` is that of the slot that is read.
    #[inline]
    pub(crate) fn is_in_memory(&self, index: usize, offsets: [u64; 2]) -> bool {
        if is_sample(index) {
            MEMORY.look(now(), major_faults);
        }
        let is_there = |offset: u64| self.is_window_in_memory(offset / WINDOW_BYTES);
        self.is_trusted() && offsets.into_iter().all(is_there)
    }

    /// Whether this window of the data was found in memory.
    #[inline]
    pub(crate) fn is_window_in_memory(&self, window: u64) -> bool {
        let word = self.word_of(window);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (window % 64) & 1 == 1)
    }

    /// This window of the data was found in memory.
    pub(crate) fn found_window(&self, window: u64) {
        if let Some(word) = self.word_of(window)
            && set(word, window % 64)
        {
            self.windows_found.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether all of the data should be looked at, true once: then whoever asks looks.
    pub(crate) fn look_at_all(&self) -> bool {
        self.look_at_all.swap(false, Ordering::Relaxed)
    }

    /// The first so many bytes of the data were found in memory.
    pub(crate) fn found_all(&self, byte_len: u64) {
        (0..byte_len.div_ceil(WINDOW_BYTES)).for_each(|window| self.found_window(window));
    }

    /// Whether the first so many bytes of the data were found in memory, and all of them.
    pub(crate) fn is_all_in_memory(&self, byte_len: u64) -> bool {
        self.is_trusted() && self.has_found(byte_len)
    }

    fn has_found(&self, byte_len: u64) -> bool {
        self.windows_found.load(Ordering::Relaxed) >= byte_len.div_ceil(WINDOW_BYTES)
    }

    /// The word with a window's bit, `None` behind the end of the data.
    #[inline]
    fn word_of(&self, window: u64) -> Option<&AtomicU64> {
        self.windows.get(usize::try_from(window / 64).ok()?)
    }
}

/// Sets a bit; true when it was not set.
fn set(word: &AtomicU64, bit: u64) -> bool {
    let bit = 1 << bit;
    let is_new = word.load(Ordering::Relaxed) & bit == 0;
    if is_new {
        word.fetch_or(bit, Ordering::Relaxed);
    }
    is_new
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
        let touched = Touched::new(1 << 30);
        let first = touched.generation.load(Ordering::Relaxed);
        for index in [0, 63, 64, ENTRIES - 1] {
            let marked = [(); 2].map(|()| touched.mark_in(index, 9, first));
            assert_eq!(marked, [Known::Never, Known::Asked], "{index}");
        }
        touched.found_window(0);
        touched.found_window(511);
        assert!([0, 511].iter().all(|window| touched.is_window_in_memory(*window)));
        assert!([1, 510, 512, u64::MAX].iter().all(|window| !touched.is_window_in_memory(*window)));
        let marked = [0, 1, 64, 0].map(|index| touched.mark_in(index, 9, first + 1));
        assert_eq!(marked, [Known::Before, Known::Never, Known::Before, Known::Asked]);
        assert!(!touched.is_window_in_memory(511), "forgotten with the records");
        touched.found_window(1 << 40);
        assert!(!touched.is_window_in_memory(1 << 40), "behind the end");
    }

    #[test]
    fn a_file_is_in_memory_when_each_of_its_windows_is() {
        let touched = Touched::new(1 << 30);
        let three = 2 * WINDOW_BYTES + 1;
        for window in [0, 2, 2, 0] {
            touched.found_window(window);
            assert!(!touched.is_all_in_memory(three));
        }
        touched.found_window(1);
        assert!(touched.is_all_in_memory(three));
        assert!(!touched.is_all_in_memory(3 * WINDOW_BYTES + 1), "it has grown");
        let generation = touched.generation.load(Ordering::Relaxed);
        touched.mark_in(5, three, generation + 1);
        assert!(!touched.is_all_in_memory(three));
    }

    #[test]
    fn where_a_record_has_gone_every_read_asks_for_a_while() {
        let touched = Touched::new(1 << 30);
        let generation = touched.generation.load(Ordering::Relaxed);
        touched.found_all(1);
        touched.mark_in(7, 1, generation);
        assert!(touched.is_trusted() && touched.is_window_in_memory(0));
        touched.lost();
        assert!(!touched.is_window_in_memory(0));
        for read in 0..READS_WITHOUT_TRUST {
            assert!(!touched.is_trusted(), "{read}");
            assert_eq!(touched.mark_in(7, 1, generation), Known::Before, "{read}");
        }
        assert!(touched.is_trusted());
        assert_eq!(touched.mark_in(7, 1, generation), Known::Asked);
        assert_eq!(touched.mark_in(8, 1, generation), Known::Never);
    }

    #[test]
    fn the_more_records_have_gone_the_longer_it_lasts() {
        let touched = Touched::new(1 << 30);
        let generation = touched.generation.load(Ordering::Relaxed);
        let reads_until_trusted = || {
            let mut reads = 0;
            while !touched.is_trusted() {
                touched.mark_in(7, 1, generation);
                reads += 1;
            }
            reads
        };
        for (losses, reads) in [(1, 512), (2, 1024), (5, 8192), (6, 16_384), (40, 16_384), (1, 512)]
        {
            (0..losses).for_each(|_| touched.lost());
            assert_eq!(reads_until_trusted(), reads, "{losses}");
        }
    }

    #[test]
    fn all_of_a_file_is_looked_at_when_it_is_new_and_when_it_was_all_in_memory() {
        let touched = Touched::new(1 << 30);
        let byte_len = WINDOW_BYTES + 1;
        let first = touched.generation.load(Ordering::Relaxed);
        assert!(touched.look_at_all() && !touched.look_at_all(), "once");
        touched.found_window(0);
        touched.mark_in(0, byte_len, first + 1);
        assert!(!touched.look_at_all(), "some of it was not found");
        touched.found_all(byte_len);
        assert!(touched.has_found(byte_len) && !touched.has_found(byte_len + WINDOW_BYTES));
        touched.mark_in(0, byte_len, first + 2);
        assert!(touched.look_at_all() && !touched.has_found(1));
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
