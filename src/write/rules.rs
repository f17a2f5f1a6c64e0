//! The rules of a put, checked before the first byte is written: `FORMAT.md`, section 5.1.

use std::ops::Range;

use crate::column::ColumnSpec;
use crate::error::{Error, Result};
use crate::format::conf::Conf;
use crate::slot::{FileId, Slot};

/// Rule 1: slots strictly ascend, and none is `u64::MAX`.
pub(super) fn check_slots(slots: impl Iterator<Item = Slot>) -> Result<()> {
    let mut previous = None;
    for slot in slots {
        if slot > Slot::MAX {
            return Err(Error::InvalidSlot);
        }
        if let Some(previous) = previous
            && slot <= previous
        {
            return Err(Error::NotAscending { previous, slot });
        }
        previous = Some(slot);
    }
    Ok(())
}

/// Rule 1: a value must not be longer than the column's bound.
pub(super) fn check_value_len(spec: ColumnSpec, slot: Slot, byte_len: u64) -> Result<()> {
    match byte_len <= spec.max_value_bytes {
        true => Ok(()),
        false => Err(too_large(spec, slot, byte_len, false)),
    }
}

/// The error for a value above the column's bound. `at_least`: decoding stopped at the bound.
pub(super) fn too_large(spec: ColumnSpec, slot: Slot, byte_len: u64, at_least: bool) -> Error {
    let limit = spec.max_value_bytes;
    Error::TooLarge { slot, byte_len, at_least, limit, bound: "the column's bound" }
}

/// Rule 1: the length of a stored payload has 32 bits.
pub(super) fn check_stored_len(slot: Slot, byte_len: u64) -> Result<u32> {
    u32::try_from(byte_len).map_err(|_| Error::TooLarge {
        slot,
        byte_len,
        at_least: false,
        limit: u64::from(u32::MAX),
        bound: "the record format's 32-bit length",
    })
}

/// The slots of a batch that fall into one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) file_id: FileId,
    /// Their positions in the batch.
    pub(super) items: Range<usize>,
}

/// Groups the slots of a batch, none of which has a record yet, by file. Rules 2, 4, 5 and 6.
pub(super) fn group<T>(conf: &Conf, items: &[(Slot, T)]) -> Result<Vec<Group>> {
    let (gaps, groups) = (gaps(items, conf.highest), by_file(items));
    if let (Some((first, _)), Some(highest)) = (items[..gaps].first(), conf.highest) {
        if !conf.allows_backfill() {
            return Err(Error::BackfillDisabled { slot: *first, highest });
        }
        if let Some((sequential, _)) = items.get(gaps) {
            return Err(Error::MixedBatch { backfill: *first, sequential: *sequential });
        }
        let sealed = groups.iter().map(|group| group.file_id);
        let sealed: Box<[FileId]> =
            sealed.filter(|file_id| *file_id != highest.file_id()).collect();
        if sealed.len() > 1 {
            return Err(Error::SpansFiles { files: sealed });
        }
    }
    Ok(groups)
}

/// The number of leading slots at or below the highest; `items` ascend.
fn gaps<T>(items: &[(Slot, T)], highest: Option<Slot>) -> usize {
    items.partition_point(|(slot, _)| Some(*slot) <= highest)
}

/// Divides ascending slots into parts that can each be committed: slots up to `highest` by file, then
/// all others.
pub(super) fn split<T>(items: &[(Slot, T)], highest: Option<Slot>) -> Vec<Range<usize>> {
    let gaps = gaps(items, highest);
    let groups = by_file(&items[..gaps]);
    let mut parts: Vec<_> = groups.into_iter().map(|group| group.items).collect();
    if gaps < items.len() {
        parts.push(gaps..items.len());
    }
    parts
}

/// Groups ascending slots by file.
fn by_file<T>(items: &[(Slot, T)]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, (slot, _)) in items.iter().enumerate() {
        match groups.last_mut() {
            Some(group) if group.file_id == slot.file_id() => group.items.end = index + 1,
            _ => groups.push(Group { file_id: slot.file_id(), items: index..index + 1 }),
        }
    }
    groups
}
