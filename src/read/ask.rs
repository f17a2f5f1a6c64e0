//! The first touch of a large record: exactly that record is asked for, in one request.

use std::fs::File;
use std::ops::Range;

use rustix::param::page_size;

use crate::files::map::{SlotMap, missing_pages};
use crate::files::touched::{Known, WINDOW_BYTES};
use crate::format::offsets::ENTRIES;
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES, RecordTag};
use crate::read::files::Files;
use crate::slot::Slot;

/// A record that the offset table makes out to be longer is asked for when its header has told the
/// length: in a file that was not written in slot order, others may lie in between.
const MAX_GUESS_BYTES: u64 = 256 << 10;

/// Slots in a row without a record, behind which the next one is not looked for.
const MAX_SKIPPED: usize = 64;

/// All of a file is looked at together as long as it has no more bytes: page by page, in the worst
/// case, that takes a millisecond.
const MAX_LOOK_BYTES: u64 = 1 << 30;

/// When no more than this part of a window is missing, all of it is asked for together with what is
/// read there: one hole would keep its whole file from being known to be in memory.
const HOLES_PART: u64 = 8;

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

/// Asks for the record that `entry`, below the bound, leads to, unless it is in memory or that was
/// done before.
#[inline]
pub(super) fn ask(files: &Files, map: &SlotMap, tag: RecordTag, slot: Slot, entry: u64) {
    let (touched, index) = (map.touched(), slot.index_in_file());
    let behind = entry.saturating_add(MAX_GUESS_BYTES).min(map.bound().saturating_sub(1));
    if !touched.is_in_memory(index, [entry, behind]) {
        if entry < FIRST_RECORD_OFFSET {
            return;
        }
        let known = touched.mark(index, map.bound());
        if known != Known::Asked && !ask_for(files, map, tag, slot, entry) {
            if known == Known::Before {
                touched.lost();
            }
            return;
        }
    }
    touched.is_there(index, entry, map.bound());
}

/// True when it was in memory.
#[inline(never)]
fn ask_for(files: &Files, map: &SlotMap, tag: RecordTag, slot: Slot, entry: u64) -> bool {
    // Without the file everything counts as being on the medium.
    let file = files.descriptor(slot.file_id(), map);
    let file = file.as_deref();
    if map.touched().look_at_all() && is_all_in_memory(file, map) {
        map.touched().found_all(map.bound());
        return true;
    }
    if let Some(end) = guessed_end(map, slot.index_in_file(), entry) {
        return will_need(file, map, entry..end);
    }
    let was_there = will_need(file, map, entry..entry.saturating_add(HEADER_BYTES));
    match tag.payload(map.records(), entry) {
        Ok(payload) => will_need(file, map, asked(entry, payload.len() as u64)) && was_there,
        Err(_) => was_there,
    }
}

fn is_all_in_memory(file: Option<&File>, map: &SlotMap) -> bool {
    let is_there = |file| missing_pages(file, 0..map.bound()) == Some(0);
    map.bound() <= MAX_LOOK_BYTES && file.is_some_and(is_there)
}

/// Asks for what is not in memory; true when it was there. What lies around is found out together
/// with it, so that the next records need no look, as long as what is found is trusted.
fn will_need(file: Option<&File>, map: &SlotMap, bytes: Range<u64>) -> bool {
    let last = bytes.end.max(bytes.start + 1) - 1;
    let mut windows = bytes.start / WINDOW_BYTES..=last / WINDOW_BYTES;
    let is_there = map.touched().is_trusted() && windows.all(|window| fill(file, map, window))
        || file.and_then(|file| missing_pages(file, bytes.clone())) == Some(0);
    if !is_there {
        map.will_need(bytes);
    }
    is_there
}

/// Whether a window of the data is in memory, or will be: small holes are asked for.
fn fill(file: Option<&File>, map: &SlotMap, window: u64) -> bool {
    let touched = map.touched();
    if touched.is_window_in_memory(window) {
        return true;
    }
    let start = window * WINDOW_BYTES;
    let around = start..start.saturating_add(WINDOW_BYTES).min(map.bound());
    let byte_len = around.end.saturating_sub(around.start);
    let missing = file.and_then(|file| missing_pages(file, around.clone()));
    match missing.map(|pages| pages.saturating_mul(page_size() as u64)) {
        Some(0) => {}
        Some(bytes) if bytes <= byte_len / HOLES_PART => map.will_need(around),
        _ => return false,
    }
    touched.found_window(window);
    true
}

/// What is asked for of a record whose length is known.
fn asked(entry: u64, payload_bytes: u64) -> Range<u64> {
    let start = entry.saturating_add(HEADER_BYTES);
    start..start.saturating_add(payload_bytes.min(MAX_ASKED_BYTES))
}
