//! The records of a group: blocks and a state, with the checks that apply to every reader.

use std::io::{Read, Seek};

use super::e2store::{RecordAt, RecordFile, record_type};
use super::group::{self, Group};
use super::ssz::{self, BlockHead, EraRoots, Mismatch, StateHead};
use crate::error::{Error, Result};

pub(super) const BLOCK: &str = "block record";
pub(super) const STATE: &str = "state record";

/// Maximum sizes of decoded values, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One block.
    pub block_bytes: u64,
    /// One state.
    pub state_bytes: u64,
}

impl Limits {
    /// Maximum length of a block's record. Frames of incompressible bytes are slightly longer than their
    /// value. Longer records are never read into memory.
    fn block_record_bytes(&self) -> u64 {
        self.block_bytes.saturating_add(self.block_bytes / 8).saturating_add(1024)
    }
}

/// A block record that was fully decoded.
#[derive(Clone, Copy, Debug)]
pub struct EraBlock {
    /// Where it lies.
    pub record: RecordAt,
    /// The head of the block.
    pub head: BlockHead,
    /// A keyed hash of the record's payload; `None` if the payload is kept.
    pub(super) sum: Option<u64>,
}

/// A state record that was decoded at least as far as its roots.
#[derive(Clone, Debug)]
pub struct EraState {
    /// Where it lies.
    pub record: RecordAt,
    /// The head of the state.
    pub head: StateHead,
    /// The roots of the era's slots; era 0 has no slots.
    pub roots: Option<EraRoots>,
}

pub(super) fn place_of_state(group: &Group) -> String {
    format!("slot {}", group.state_slot)
}

/// Reads the header of the state's record, at the offset in the index.
pub(super) fn state_record<R: Read + Seek>(
    file: &mut RecordFile<R>,
    group: &Group,
) -> Result<RecordAt> {
    let wanted = format!("slot {}: the state (02 00) of the index", group.state_slot);
    let record = match file.record_at(group.state_offset) {
        Err(error) if error.is_corrupt() => {
            return Err(file.corrupt(group.state_offset, STATE, wanted, "no record"));
        }
        record => record?,
    };
    if record.record_type == record_type::STATE {
        return Ok(record);
    }
    Err(group::unexpected(file, &record, wanted))
}

pub(super) fn head_bytes(group: &Group) -> usize {
    group.slots.map_or(ssz::STATE_HEAD_BYTES, |slots| {
        usize::try_from(slots.count()).map_or(usize::MAX, ssz::state_roots_end)
    })
}

pub(super) fn read_state<R: Read + Seek>(
    file: &RecordFile<R>,
    group: &Group,
    record: RecordAt,
    value: &[u8],
    byte_len: u64,
) -> Result<EraState> {
    let head = read_head(file, group, record, value)?;
    let roots = match group.slots.map(|slots| usize::try_from(slots.count())) {
        Some(Ok(count)) => {
            let roots = EraRoots::parse(value, byte_len, count);
            Some(roots.map_err(|mismatch| unfit(file, group, record, mismatch))?)
        }
        _ => None,
    };
    Ok(EraState { record, head, roots })
}

pub(super) fn read_head<R: Read + Seek>(
    file: &RecordFile<R>,
    group: &Group,
    record: RecordAt,
    value: &[u8],
) -> Result<StateHead> {
    let slot = group.state_slot;
    let head = StateHead::parse(value).map_err(|mismatch| unfit(file, group, record, mismatch))?;
    if head.slot != slot {
        let wanted = format!("the state of slot {slot}, as the index says");
        return Err(file.corrupt(record.offset, STATE, wanted, format!("slot {}", head.slot)));
    }
    Ok(head)
}

fn unfit<R: Read + Seek>(
    file: &RecordFile<R>,
    group: &Group,
    record: RecordAt,
    mismatch: Mismatch,
) -> Error {
    let wanted = format!("{}: {}", place_of_state(group), mismatch.wanted);
    file.corrupt(record.offset, STATE, wanted, mismatch.found)
}

pub(super) fn check_block_record<R: Read + Seek>(
    file: &RecordFile<R>,
    record: &RecordAt,
    limits: Limits,
) -> Result<(), Error> {
    let limit = limits.block_record_bytes();
    if u64::from(record.payload_len) <= limit {
        return Ok(());
    }
    let wanted =
        format!("a record of at most {limit} bytes, for a block of {}", limits.block_bytes);
    Err(file.corrupt(record.offset, BLOCK, wanted, format!("{} bytes", record.payload_len)))
}
