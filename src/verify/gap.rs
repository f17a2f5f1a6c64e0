//! Unreferenced bytes below the committed length, and entries that point past it.

use std::ops::Range;

use super::check::FileCheck;
use super::record::{Header, stream};
use super::value::ValueStream;
use super::{Finding, Severity};
use crate::error::{CorruptItem, Result};
use crate::format::names;
use crate::format::offsets::ENTRIES;
use crate::format::record::RecordFault;
use crate::format::sums::SumVerdict;
use crate::slot::Slot;

/// Size in bytes of the blocks that [`reclaim`](crate::reclaim) frees.
const BLOCK_BYTES: u64 = 4096;

/// Number of bytes scanned for zeros between two queries for the next hole.
const PIECE_BYTES: u64 = 1 << 20;

/// A whole record that no slot refers to.
#[derive(Debug)]
pub(super) struct Orphan {
    offset: u64,
    end: u64,
    /// The slot that it was written for, as a checksum proves.
    proved: Option<Slot>,
    /// The slot that its value contains.
    told: Option<Slot>,
}

impl FileCheck<'_> {
    /// Checks the bytes between two records, or after the last one. `last` is the slot of the preceding
    /// record.
    pub(super) fn gap(&mut self, from: u64, to: u64, last: Option<Slot>) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        if self.is_hole(from, to)? {
            self.found.push(self.bytes(Severity::Note, from..to, "zeros in place of freed bytes"));
            return Ok(());
        }
        let mut at = from;
        while at < to {
            let end = match self.header(at)? {
                Header::EndsAt(end) => end,
                Header::Unreadable => return Ok(()),
                Header::Fault(fault) => return self.no_record_in(at, to, fault, last),
            };
            if end > to {
                self.cut_record(at, to, last);
                return Ok(());
            }
            let orphan = self.orphan(at, end)?;
            self.orphans.push(orphan);
            at = end;
        }
        Ok(())
    }

    /// Whether there is at least one whole block, and all whole blocks are zero.
    fn is_hole(&mut self, from: u64, to: u64) -> Result<bool> {
        let first = from.next_multiple_of(BLOCK_BYTES);
        let end = to / BLOCK_BYTES * BLOCK_BYTES;
        self.is_zero(first, end)
    }

    fn is_zero(&mut self, from: u64, to: u64) -> Result<bool> {
        let Some(data) = self.pair.data.as_mut().filter(|_| from < to) else { return Ok(false) };
        let mut at = data.next_data(from).min(to);
        while at < to {
            let (mut is_zero, end) = (true, to.min(at.saturating_add(PIECE_BYTES)));
            let is_whole = stream(data, at, end, &mut |bytes| {
                is_zero &= bytes.iter().all(|byte| *byte == 0);
                is_zero
            })?;
            if !is_zero || !is_whole {
                return Ok(false);
            }
            at = data.next_data(end).min(to);
        }
        Ok(true)
    }

    fn orphan(&mut self, offset: u64, end: u64) -> Result<Orphan> {
        // The slots with a checksum entry for a record at this offset.
        let candidates = self.sums.as_ref().into_iter().flat_map(|sums| sums.table.known());
        let candidates: Vec<Slot> = candidates
            .map(|index| self.file_id.slot_at(index))
            .filter(|slot| self.kept(*slot).is_of(*slot, offset))
            .collect();
        let spec = self.column.conf().spec;
        let mut value = ValueStream::new(spec.compression, self.options.column, false);
        let mut proved = None;
        let claimed = candidates.first().copied().unwrap_or(self.file_id.first_slot());
        if let Some(sum) = self.sum_of(claimed, (offset, end), &mut value)? {
            let kept = self.kept(claimed);
            let is_proved = kept.compare(claimed, offset, sum) == SumVerdict::Intact;
            proved = is_proved.then_some(claimed);
        }
        Ok(Orphan { offset, end, proved, told: value.told_slot() })
    }

    /// Reports a record that overlaps the next one: its length was changed, or its end overwritten.
    fn cut_record(&mut self, at: u64, to: u64, last: Option<Slot>) {
        let found = "a record that overlaps the next";
        if self.is_strict {
            self.lost_bytes(at, to, last, found);
        } else {
            let found = format!("{found} and that no slot refers to");
            self.undecided_bytes(at, to, None, &found);
        }
    }

    fn no_record_in(
        &mut self,
        at: u64,
        to: u64,
        fault: RecordFault,
        last: Option<Slot>,
    ) -> Result<()> {
        if !self.is_strict && self.is_zero(at, to)? {
            self.undecided_bytes(at, to, None, "zeros that no slot refers to");
            return Ok(());
        }
        let found = match fault {
            RecordFault::Header(bytes) => super::hex(&bytes),
            other => other.describe(to),
        };
        self.lost_bytes(at, to, last, &format!("{found}, which no writer leaves"));
        Ok(())
    }

    fn lost_bytes(&mut self, from: u64, to: u64, last: Option<Slot>, found: &str) {
        let wanted = match last {
            Some(last) => format!("a record right after that of slot {last}"),
            None => "a record".to_owned(),
        };
        let lost = self.finding(Severity::Damage, CorruptItem::DataFile, wanted, found);
        self.found.push(Finding { slot: last, ..lost.about(from..to) });
    }

    fn undecided_bytes(&mut self, from: u64, to: u64, slot: Option<Slot>, found: &str) {
        let finding = self.bytes(Severity::Note, from..to, found);
        self.found.undecided(Finding { slot, ..finding });
    }

    /// A finding about bytes that no slot refers to.
    fn bytes(&self, severity: Severity, bytes: Range<u64>, found: &str) -> Finding {
        let wanted = "a record that a slot refers to";
        self.finding(severity, CorruptItem::DataFile, wanted, found).about(bytes)
    }

    /// Matches entries that point past the bound, checksums without an entry, and records that no slot
    /// refers to.
    pub(super) fn unite(&mut self, nowhere: &[(u64, Slot)]) -> Result<()> {
        let orphans = std::mem::take(&mut self.orphans);
        let mut explained = Vec::new();
        for orphan in &orphans {
            explained.extend(self.of_orphan(orphan));
        }
        for (entry, slot) in nowhere {
            if !explained.contains(slot) {
                self.entry_past_bound(*slot, *entry)?;
            }
        }
        self.checksums_without_record(&explained);
        self.damaged_checksum_file();
        Ok(())
    }

    /// Reports a record that no slot refers to. Returns the slot that has lost it, if known.
    fn of_orphan(&mut self, orphan: &Orphan) -> Option<Slot> {
        let Orphan { offset, end, proved, told } = *orphan;
        let is_of_this_file = |slot: &Slot| slot.file_id() == self.file_id;
        // The unreadable entry was already reported.
        if let Some(slot) = proved.filter(|slot| !self.pair.is_known[slot.index_in_file()]) {
            return Some(slot);
        }
        if let Some(slot) = proved {
            let sums = names::sums_file(self.file_id);
            self.lost_entry(slot, format!("{offset}, where {sums} has its record"));
            return Some(slot);
        }
        let told = told.filter(is_of_this_file);
        if let Some(slot) = told.filter(|slot| self.has_record(*slot)) {
            let found = format!("another record of slot {slot}, which has one");
            self.found.push(self.bytes(Severity::Note, offset..end, &found));
            return None;
        }
        let found = format!("{} bytes of a record that no slot refers to", end - offset);
        if !self.is_strict || self.pair.is_known.contains(&false) {
            self.undecided_bytes(offset, end, told, &found);
            return None;
        }
        if let Some(slot) = told {
            self.lost_entry(slot, format!("{offset}, where a record contains this slot"));
            return Some(slot);
        }
        if self.all_slots_have_records() {
            self.found.push(self.bytes(Severity::Note, offset..end, &found));
            return None;
        }
        self.found.push(self.bytes(Severity::Damage, offset..end, &found));
        None
    }

    fn lost_entry(&mut self, slot: Slot, wanted: String) {
        let found = self.pair.table.get(slot.index_in_file()).to_string();
        self.found.push(self.entry_finding(Severity::Damage, slot, wanted, found));
    }

    fn has_record(&self, slot: Slot) -> bool {
        let entry = self.pair.table.get(slot.index_in_file());
        entry != 0 && entry < self.pair.bound
    }

    /// Whether every slot of the file, up to the highest, has a record, so that none can have lost one.
    fn all_slots_have_records(&self) -> bool {
        let last = match self.column.conf().highest {
            Some(highest) if highest.file_id() == self.file_id => highest.index_in_file(),
            _ => ENTRIES - 1,
        };
        (0..=last).all(|index| self.has_record(self.file_id.slot_at(index)))
    }

    /// Reports an entry that points to or past the bound.
    fn entry_past_bound(&mut self, slot: Slot, entry: u64) -> Result<()> {
        if !self.allows_backfill && Some(slot) <= self.column.conf().highest {
            return self.no_record(slot, entry, RecordFault::HeaderPastBound);
        }
        let wanted = format!("an offset below the committed {} bytes", self.pair.bound);
        let found = format!("the entry {entry} of an uncommitted record");
        self.found.push(self.entry_finding(Severity::Note, slot, wanted, found));
        Ok(())
    }

    /// Reports checksums of slots without an entry. Unless a record matches (`explained`), they belong to
    /// commits that did not happen. A commit in flight writes checksums before entries, so files that are
    /// open for backfill are exempt.
    fn checksums_without_record(&mut self, explained: &[Slot]) {
        let Some(sums) = self.sums.as_ref().filter(|sums| sums.is_whole) else { return };
        let (conf, file_id) = (self.column.conf(), self.file_id);
        let is_open = conf.backfill.is_some() && conf.named_len(file_id).is_some();
        let lost: Vec<Slot> = sums
            .table
            .known()
            .filter(|index| self.pair.table.get(*index) == 0 && self.pair.is_known[*index])
            .map(|index| file_id.slot_at(index))
            .filter(|slot| Some(*slot) <= conf.highest && !is_open && !explained.contains(slot))
            .collect();
        for slot in lost {
            let wanted = "the offset of a record, because its checksum is kept";
            let found = "0, and no record that matches the checksum";
            self.found.undecided(self.entry_finding(Severity::Note, slot, wanted, found));
        }
    }

    /// Reports a broken checksum file. It is damage if any entry matched a committed record: a file that
    /// was never completed has no such entry.
    fn damaged_checksum_file(&mut self) {
        let broken = self.sums.as_mut().and_then(|sums| sums.broken.take());
        let has_held_some = self.found.summary.with_checksum > 0;
        let severity = if has_held_some { Severity::Damage } else { Severity::Note };
        if let Some(broken) = broken {
            self.found.push(Finding { severity, ..broken });
        }
    }
}
