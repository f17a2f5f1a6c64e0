//! The fields of a map that a plain read needs, in half a cache line.
//!
//! The only place besides [`SlotMap`] with pointers. Reading through the maps themselves takes 46
//! instructions instead of 43, and twice the cache lines: overlapping gets of roots take 1.40 times as long
//! as on plain maps, and 1.20 times with these copies (`benches/ratios.rs`).

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::mapping::{Entries, NO_ENTRIES, SlotMap, load};
use crate::format::record::{BoundedTag, FIRST_RECORD_OFFSET, RecordHeader};

const HEADER_LEN: usize = size_of::<RecordHeader>();

/// Copies of the pointers of one [`SlotMap`], stored once, before they are read.
#[derive(Debug)]
#[repr(C, align(32))]
pub(super) struct PlainCell {
    /// [`NO_ENTRIES`] until the map is published. The fields below are stored before it.
    entries: AtomicPtr<Entries>,
    /// The first byte after the version record.
    records: AtomicPtr<u8>,
    /// The number of offsets from `records` at which a header can start and end within the bound.
    header_starts: AtomicUsize,
}
const _: () = assert!(size_of::<PlainCell>() == 32);

impl PlainCell {
    pub(super) const fn new() -> Self {
        Self {
            entries: AtomicPtr::new((&raw const NO_ENTRIES).cast_mut()),
            records: AtomicPtr::new(std::ptr::null_mut()),
            header_starts: AtomicUsize::new(0),
        }
    }

    /// Makes a map visible to plain reads. Every call must pass the same map.
    pub(super) fn publish(&self, map: &SlotMap) {
        let records = map.records();
        self.records.store(records.as_ptr().cast_mut(), Ordering::Relaxed);
        let header_starts = (records.len() + 1).saturating_sub(HEADER_LEN);
        self.header_starts.store(header_starts, Ordering::Relaxed);
        let entries = std::ptr::from_ref(map.table()).cast_mut();
        self.entries.store(entries, Ordering::Release);
    }

    /// The payload of the record at `index`, below
    /// [`ENTRIES`](crate::format::offsets::ENTRIES); `None` if no map is published, or no record there
    /// matches `tag`.
    ///
    /// # Safety
    /// The map that was published must be kept for as long as this cell.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "64-bit targets only")]
    pub(super) unsafe fn payload(&self, index: usize, tag: BoundedTag) -> Option<&[u8]> {
        // SAFETY: it leads to a static, or to the table of the map, which the caller keeps.
        let entries = unsafe { &*self.entries.load(Ordering::Acquire) };
        // An offset inside the version record becomes an enormous one, and so does 0.
        let start = load(&entries[index]).wrapping_sub(FIRST_RECORD_OFFSET) as usize;
        let header_starts = self.header_starts.load(Ordering::Relaxed);
        if start >= header_starts {
            return None;
        }
        let header = self.records.load(Ordering::Relaxed).cast_const().wrapping_add(start);
        // SAFETY: `header_starts` is above 0, so it and `records` are those of a map that was
        // published; the bytes of a header from `start` on are among those of
        // `SlotMap::records`, which the caller keeps and nobody changes.
        let header_bytes = unsafe { header.cast::<[u8; HEADER_LEN]>().read() };
        let byte_len = tag.payload_bytes(header_bytes)?;
        // As many bytes follow the header as headers could begin at `start` or later, less one.
        if byte_len >= header_starts - start {
            return None;
        }
        // SAFETY: so these bytes are among them too.
        Some(unsafe { std::slice::from_raw_parts(header.wrapping_add(HEADER_LEN), byte_len) })
    }
}
