//! Where a column's records begin.
//!
//! Reads the offset tables, and the block roots of slots without a block; no other data.

use crate::error::{Error, Result};
use crate::files::pread::is_of_the_process;
use crate::format::record::FIRST_RECORD_OFFSET;
use crate::format::ssz::BlockHead;
use crate::read::{SlotTable, Snapshot};
use crate::slot::Slot;

/// The lowest slot with a record. An unreadable file, or one that has lost its entries, may have held
/// records from its first slot on, so that slot counts.
///
/// # Errors
/// [`Error::Io`] if the directory cannot be listed, or the process is out of file descriptors or memory.
pub fn lowest_slot<L: Snapshot + ?Sized>(view: &L) -> Result<Option<Slot>> {
    let Some(highest) = view.conf().highest else { return Ok(None) };
    for file_id in view.file_ids()?.into_iter().take_while(|id| *id <= highest.file_id()) {
        let SlotTable { entries, is_known, bound, .. } = match view.table(file_id) {
            Ok(table) => table,
            Err(Error::Io(error)) if is_of_the_process(&error.source) => {
                return Err(Error::Io(error));
            }
            Err(_) => return Ok(Some(file_id.first_slot())),
        };
        // With backfill, an entry past the bound may belong to a commit in flight.
        let bound_of_entries = if view.conf().allows_backfill() { bound } else { u64::MAX };
        let is_record = |entry: u64| entry >= FIRST_RECORD_OFFSET && entry < bound_of_entries;
        let mut entries = entries.into_iter().zip(is_known);
        let lowest = entries.position(|(entry, is_known)| !is_known || is_record(entry));
        let lowest = lowest.map(|index| file_id.slot_at(index));
        let lost = (bound > FIRST_RECORD_OFFSET).then(|| file_id.first_slot());
        if let Some(lowest) = lowest.or(lost).filter(|slot| *slot <= highest) {
            return Ok(Some(lowest));
        }
    }
    Ok(None)
}

/// True if `slot`, which has no block, is the first with a block root and was skipped: the next block
/// names that root as its parent. A block at `slot` itself would be the parent too, so this proves only
/// that no block is missing after `slot`; the import has seen that `slot` itself has none.
///
/// # Errors
/// [`Error::Io`] if a column cannot be read. Damage yields `false`.
pub fn first_slot_was_skipped(
    blocks: &impl Snapshot,
    roots: &(impl Snapshot + ?Sized),
    slot: Slot,
) -> Result<bool> {
    let parent_is_root = || {
        let is_first = roots.first_from(Slot(0))? == Some(slot);
        let next = slot.next().filter(|_| is_first);
        let next = next.map(|next| blocks.first_from(next)).transpose()?.flatten();
        let Some(next) = next.map(|next| blocks.value(next)).transpose()?.flatten() else {
            return Ok(false);
        };
        let head = BlockHead::parse(&next);
        let root = roots.value(slot)?;
        Ok(head.is_ok_and(|head| root.is_some_and(|root| head.parent_root[..] == root)))
    };
    match parent_is_root() {
        Err(error @ Error::Io(_)) => Err(error),
        outcome => Ok(outcome.unwrap_or(false)),
    }
}
