//! Groups: the records of one era in a file, and how to find them.
//!
//! `Version | block* | era-state | other* | slot-index(block)? | slot-index(state)`
//! (e2store-format-specs, `formats/era.md`).

use super::e2store::{RecordAt, RecordFile, record_type};
use super::slot_index::SlotIndex;
use super::value_reader::ValueReader;
use crate::error::{Error, Result};
use crate::format::ssz::{self, BlockHead, EraRoots, StateHead};
use crate::slot::Slot;

pub(super) const BLOCK: &str = "block record";
pub(super) const STATE: &str = "state record";

/// The slots of an era above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EraSlots {
    /// The first slot of the era.
    pub first: Slot,
    /// The last slot of the era; the era's state is that of the next slot.
    pub last: Slot,
}

impl EraSlots {
    /// `SLOTS_PER_HISTORICAL_ROOT` of the preset.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last.0.saturating_sub(self.first.0).saturating_add(1)
    }

    /// The index of a slot within the era; `None` for a slot of another era.
    #[must_use]
    pub fn index_of(&self, slot: Slot) -> Option<usize> {
        if slot < self.first || slot > self.last {
            return None;
        }
        usize::try_from(slot.0.checked_sub(self.first.0)?).ok()
    }

    /// The slot at an index within the era.
    #[must_use]
    pub const fn slot_at(&self, index: usize) -> Slot {
        Slot(self.first.0.saturating_add(index as u64))
    }
}

/// The location of one era's group in a file, according to its indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EraGroup {
    /// The number of the era.
    pub era: u64,
    /// The era's slots; era 0 is the genesis state and has none.
    pub slots: Option<EraSlots>,
    /// The slot of the era's state.
    pub state_slot: Slot,
    /// The offset of the group's version record.
    pub offset: u64,
    /// The offset of the first byte after the group.
    pub end: u64,
    /// The offset of the state's record.
    pub state_offset: u64,
    /// The offset of the first index. The indices are the last records of the group.
    pub indices_offset: u64,
}

/// A state record that was decoded at least as far as its roots.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EraState {
    /// Where it lies.
    pub record: RecordAt,
    /// The head of the state.
    pub head: StateHead,
    /// The roots of the era's slots; era 0 has no slots.
    pub roots: Option<EraRoots>,
}

/// A block record that was fully decoded.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EraBlock {
    /// Where it lies.
    pub record: RecordAt,
    /// The head of the block.
    pub head: BlockHead,
    /// A keyed hash of the record's payload.
    pub(super) sum: u64,
}

impl EraGroup {
    /// The length of the group in bytes.
    #[must_use]
    pub const fn byte_len(&self) -> u64 {
        self.end.saturating_sub(self.offset)
    }

    /// Locates the group between `offset` and `end` by the indices at its end.
    pub(super) fn locate(file: &mut RecordFile, offset: u64, end: u64) -> Result<Self> {
        let states = SlotIndex::ending_at(file, end, "state index")?;
        let (&[entry], state_slot) = (states.entries.as_slice(), states.start_slot) else {
            let found = format!("{} entries", states.count());
            return Err(file.corrupt(states.offset, "state index", "one entry", found));
        };
        let (era, slots, indices_offset) = if state_slot.0 == 0 {
            (0, None, states.offset)
        } else {
            let (era, slots, indices_offset) = locate_blocks(file, &states)?;
            (era, Some(slots), indices_offset)
        };
        let Some(state_offset) =
            states.target(entry).filter(|target| (offset..indices_offset).contains(target))
        else {
            return Err(file.corrupt(
                states.offset,
                "state index",
                format!("slot {state_slot}: the state between {offset} and {indices_offset}"),
                format!("offset {entry}"),
            ));
        };
        Ok(Self { era, slots, state_slot, offset, end, state_offset, indices_offset })
    }
}

// The block index lies directly before the state index; its slots end where the state's slot begins.
fn locate_blocks(file: &mut RecordFile, states: &SlotIndex) -> Result<(u64, EraSlots, u64)> {
    let state_slot = states.start_slot;
    let blocks = SlotIndex::ending_at(file, states.offset, "block index")?;
    let slots_per_era = blocks.count();
    let era = state_slot.0.checked_div(slots_per_era).unwrap_or_default();
    let first = state_slot.0.checked_sub(slots_per_era);
    if !state_slot.0.is_multiple_of(slots_per_era) || first != Some(blocks.start_slot.0) {
        return Err(file.corrupt(
            blocks.offset,
            "block index",
            format!("the slots of one era, up to the state's slot {state_slot}"),
            format!("{slots_per_era} slots from slot {}", blocks.start_slot),
        ));
    }
    let last = Slot(state_slot.0.saturating_sub(1));
    Ok((era, EraSlots { first: blocks.start_slot, last }, blocks.offset))
}

/// Finds the groups of a file.
///
/// For a file of one group, as all published files are, reading its two ends suffices: the first block
/// and the last index belong to the same era. Otherwise all record headers are walked.
pub(super) fn locate_groups(file: &mut RecordFile) -> Result<Vec<EraGroup>> {
    let last = EraGroup::locate(file, 0, file.byte_len)?;
    if first_era(file, &last)? == last.era {
        return Ok(vec![last]);
    }
    let mut groups: Vec<EraGroup> = Vec::new();
    let mut offset = 0;
    while offset < file.byte_len {
        let end = group_end(file, offset)?;
        let group = EraGroup::locate(file, offset, end)?;
        if let Some(before) = groups.last() {
            check_successor(file, before, &group)?;
        }
        groups.push(group);
        offset = end;
    }
    Ok(groups)
}

/// The era of the first block or state in the file, with eras of the same length as `last`.
fn first_era(file: &mut RecordFile, last: &EraGroup) -> Result<u64> {
    let mut offset = version_at(file, 0)?.end();
    while offset < last.indices_offset {
        let record = file.record_at(offset)?;
        let (what, wanted, place, head_bytes) = match record.record_type {
            record_type::BLOCK => {
                (BLOCK, "a signed block", "the first block", ssz::BLOCK_HEAD_BYTES)
            }
            record_type::STATE => (STATE, "a state", "the first state", ssz::STATE_HEAD_BYTES),
            record_type::VERSION | record_type::SLOT_INDEX => {
                return Err(unexpected(file, &record, "a block or a state"));
            }
            _ => {
                offset = record.end();
                continue;
            }
        };
        let head = ValueReader::new(file, record, what, place).keep(head_bytes).into_head()?;
        let slot = match what {
            BLOCK => ssz::block_slot(&head),
            _ => StateHead::parse(&head).ok().map(|state| state.slot),
        };
        let Some(slot) = slot else {
            return Err(file.corrupt(offset, what, wanted, format!("{} bytes", head.len())));
        };
        let slots_per_era = last.slots.map_or(u64::MAX, |slots| slots.count());
        let eras_before = slot.0.checked_div(slots_per_era).unwrap_or_default();
        return Ok(eras_before.saturating_add(u64::from(what == BLOCK)));
    }
    Err(file.corrupt(offset, "group", "a block or a state", "its indices"))
}

/// The offset of the first byte after the indices of the group that starts at `offset`.
fn group_end(file: &mut RecordFile, offset: u64) -> Result<u64> {
    let mut offset = version_at(file, offset)?.end();
    loop {
        let record = file.record_at(offset)?;
        offset = record.end();
        match record.record_type {
            record_type::SLOT_INDEX => break,
            record_type::VERSION => {
                return Err(unexpected(file, &record, "the indices of the group before it"));
            }
            _ => {}
        }
    }
    // Era 0 has only the state's index.
    if offset < file.byte_len {
        let second = file.record_at(offset)?;
        if second.record_type == record_type::SLOT_INDEX {
            return Ok(second.end());
        }
    }
    Ok(offset)
}

fn check_successor(file: &RecordFile, before: &EraGroup, group: &EraGroup) -> Result<()> {
    let fits = before.era.checked_add(1) == Some(group.era)
        && before
            .slots
            .is_none_or(|slots| group.slots.is_some_and(|next| next.count() == slots.count()));
    if fits {
        return Ok(());
    }
    let (wanted, per_era) = (before.era.saturating_add(1), describe(before));
    let wanted = format!("era {wanted}, after era {} {per_era}", before.era);
    let found = format!("era {} {}", group.era, describe(group));
    Err(file.corrupt(group.offset, "group", wanted, found))
}

fn describe(group: &EraGroup) -> String {
    group.slots.map_or_else(String::new, |slots| format!("of {} slots", slots.count()))
}

/// Reads the version record at the start of a group.
pub(super) fn version_at(file: &mut RecordFile, offset: u64) -> Result<RecordAt> {
    let record = file.record_at(offset)?;
    if record.record_type != record_type::VERSION || record.payload_len != 0 {
        return Err(unexpected(file, &record, "a version record (65 32, length 0)"));
    }
    Ok(record)
}

/// The error for a record at a place where the format does not allow it.
pub(super) fn unexpected(file: &RecordFile, record: &RecordAt, wanted: impl Into<String>) -> Error {
    let [a, b] = record.record_type;
    let found = format!("type {a:02x} {b:02x}, length {}", record.payload_len);
    file.corrupt(record.offset, "record", wanted, found)
}
