//! The first touch of a large record: exactly that record is asked for, in one request.

use std::ops::Range;

use crate::files::map::SlotMap;
use crate::format::offsets::ENTRIES;
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES, RecordTag};

/// A record that the offset table makes out to be longer is asked for when its header has told the
/// length: in a file that was not written in slot order, others may lie in between.
const MAX_GUESS_BYTES: u64 = 256 << 10;

/// Slots in a row without a record, behind which the next one is not looked for.
const MAX_SKIPPED: usize = 64;

/// Of a longer record the beginning is asked for, and the rest left to readahead.
const MAX_ASKED_BYTES: u64 = 16 << 20;

/// Where a record ends at the latest, by the offset table alone: where the next slot's record
/// begins, when it lies behind and not far. No byte of the record is looked at.
pub(super) fn guessed_end(map: &SlotMap, index: usize, entry: u64) -> Option<u64> {
    let behind = index + 1..ENTRIES.min(index + 2 + MAX_SKIPPED);
    let next = behind.map(|index| map.entry(index)).find(|next| *next != 0)?;
    let is_near = next > entry && next - entry <= MAX_GUESS_BYTES && next <= map.bound();
    is_near.then_some(next)
}

/// Asks for the record that `entry`, below the bound, leads to, unless that was done just now.
pub(super) fn ask(map: &SlotMap, tag: RecordTag, index: usize, entry: u64) {
    if entry < FIRST_RECORD_OFFSET || !map.touched().mark(index) {
        return;
    }
    if let Some(end) = guessed_end(map, index, entry) {
        return map.will_need(entry..end);
    }
    map.will_need(entry..entry.saturating_add(HEADER_BYTES));
    if let Ok(payload) = tag.payload(map.records(), entry) {
        map.will_need(asked(entry, payload.len() as u64));
    }
}

/// What is asked for of a record whose length is known.
fn asked(entry: u64, payload_bytes: u64) -> Range<u64> {
    let start = entry.saturating_add(HEADER_BYTES);
    start..start.saturating_add(payload_bytes.min(MAX_ASKED_BYTES))
}
