//! Prefetches exactly the records that are about to be read.

use std::ops::Range;

use crate::files::map::{Part, SlotMap};
use crate::format::offsets::ENTRIES;
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES};
use crate::read::mapped::MappedSnapshot;
use crate::read::options::Access;
use crate::slot::Slot;

/// Maximum length of a record, by the offset table, for a prefetch before its header is read. In a file
/// that was not written in slot order, other records may lie between two entries.
const MAX_UNREAD_BYTES: u64 = 256 << 10;

/// Maximum number of empty slots that are passed in the search for the next record.
pub(super) const MAX_SKIPPED: usize = 64;

/// Bytes that are prefetched at a time, ahead of a long sequential read. If the kernel reads ahead, a point
/// read of a longer record prefetches only this much.
pub(super) const PIECE_BYTES: u64 = 4 << 20;

/// An upper bound on the end of the record at `entry`, from the offset table alone: the start of the next
/// slot's record, if it lies after this one and near. `later` are the entries of the slots that follow.
pub(super) fn end_by_table(
    entry: u64,
    later: impl Iterator<Item = u64>,
    bound: u64,
) -> Option<u64> {
    let next = later.take(MAX_SKIPPED + 1).find(|next| *next != 0)?;
    let is_near = next > entry && next - entry <= MAX_UNREAD_BYTES && next <= bound;
    is_near.then_some(next)
}

/// As [`end_by_table`], for the record of the slot at `index`.
pub(super) fn end_by_map(map: &SlotMap, index: usize, entry: u64) -> Option<u64> {
    let later = (index + 1..ENTRIES).map(|index| map.entry(index));
    end_by_table(entry, later, map.bound())
}

impl MappedSnapshot {
    /// Prefetches a part of the record at `entry` before it is read.
    #[inline]
    pub(super) fn touch(&self, map: &SlotMap, slot: Slot, entry: u64, part: Part) {
        let is_record = (FIRST_RECORD_OFFSET..map.bound()).contains(&entry);
        if is_record && (self.reads_ahead() || map.is_first_touch(slot.index_in_file(), part)) {
            self.prefetch(map, slot, entry, part);
        }
    }

    #[inline(never)]
    fn prefetch(&self, map: &SlotMap, slot: Slot, entry: u64, part: Part) {
        if part == Part::Header {
            return map.prefetch(header_at(entry));
        }
        if let Some(end) = end_by_map(map, slot.index_in_file(), entry) {
            return map.prefetch(entry..end);
        }
        map.prefetch(header_at(entry));
        if let Ok(payload) = self.commit.tag.payload(map.records(), entry) {
            self.prefetch_payload(map, entry, payload.len() as u64);
        }
    }

    fn prefetch_payload(&self, map: &SlotMap, entry: u64, byte_len: u64) {
        let is_all = self.commit.options.access == Access::Random;
        let byte_len = if is_all { byte_len } else { byte_len.min(PIECE_BYTES) };
        map.prefetch(payload_part(entry, 0..byte_len));
    }

    /// Prefetches the payload of a record whose header was already read.
    pub(super) fn touch_payload(&self, slot: Slot, byte_len: usize) {
        let Some(map) = self.index.get(slot.file_id()) else { return };
        if self.reads_ahead() || map.is_first_touch(slot.index_in_file(), Part::Whole) {
            self.prefetch_payload(map, map.entry(slot.index_in_file()), byte_len as u64);
        }
    }

    /// Prefetches a range of a slot's payload.
    pub(super) fn prefetch_range(&self, map: &SlotMap, slot: Slot, bytes: Range<u64>) {
        let entry = map.entry(slot.index_in_file());
        if (FIRST_RECORD_OFFSET..map.bound()).contains(&entry) {
            map.prefetch(payload_part(entry, bytes));
        }
    }
}

fn header_at(entry: u64) -> Range<u64> {
    entry..entry.saturating_add(HEADER_BYTES)
}

/// The file offsets of a range of a payload.
pub(super) fn payload_part(entry: u64, bytes: Range<u64>) -> Range<u64> {
    let start = entry.saturating_add(HEADER_BYTES);
    start.saturating_add(bytes.start)..start.saturating_add(bytes.end)
}
