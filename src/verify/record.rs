//! Verifies one record: its header, payload, checksum, and the slot that it contains.

use super::Severity;
use super::check::FileCheck;
use super::value::ValueStream;
use crate::column::{Column, Compression};
use crate::error::{CorruptItem, Error, Result};
use crate::files::pread::PreadFile;
use crate::format::names;
use crate::format::record::{HEADER_BYTES, RecordFault, RecordTag};
use crate::format::sums::{RecordSum, SumEntry, SumVerdict, sum_entry_offset};
use crate::read::sums;
use crate::slot::Slot;

/// Length in bytes of a block root or state root.
const ROOT_BYTES: u64 = 32;

/// The 8 bytes at an offset, taken as a record header.
pub(super) enum Header {
    /// A valid header; the end offset of its record.
    EndsAt(u64),
    Fault(RecordFault),
    Unreadable,
}

impl FileCheck<'_> {
    /// Checks a record, and returns its end offset if that is known.
    pub(super) fn record(&mut self, slot: Slot, entry: u64) -> Result<Option<u64>> {
        let is_beyond = Some(slot) > self.column.conf().highest;
        let fault = match self.header(entry)? {
            Header::EndsAt(end) if end <= self.pair.bound => {
                if !is_beyond {
                    self.payload(slot, entry, end)?;
                }
                return Ok(Some(end));
            }
            Header::EndsAt(end) => RecordFault::PayloadPastBound(end),
            Header::Fault(fault) => fault,
            Header::Unreadable => {
                self.found.summary.unread_records += 1;
                return Ok(None);
            }
        };
        // A record above the highest slot was already reported: the conf does not fit the file.
        if !is_beyond {
            self.no_record(slot, entry, fault)?;
        }
        Ok(None)
    }

    /// Checks the payload of a record, which lies within the bound.
    fn payload(&mut self, slot: Slot, entry: u64, end: u64) -> Result<()> {
        let (files, spec) = (self.column.files(), self.column.conf().spec);
        let byte_len = end - entry - HEADER_BYTES;
        if spec.compression == Compression::None
            && byte_len > spec.max_value_bytes
            && let Err(error) = files.check_len(slot, entry, byte_len)
        {
            return self.error(slot, error);
        }
        let kept = self.kept(slot);
        let is_bound = kept != SumEntry::default() && self.vouches(entry);
        let column = self.options.column.filter(|_| !is_bound);
        let mut value = ValueStream::new(spec.compression, column, self.options.deep);
        let Some(sum) = self.sum_of(slot, (entry, end), &mut value)? else {
            self.found.summary.unread_records += 1;
            return Ok(());
        };
        let before = self.found.summary.damages;
        let is_compared = self.compare(kept, slot, entry, sum)?;
        let decoded = match value.finish() {
            Err(fault) => {
                let wanted = format!("snappy frames of the value of slot {slot}");
                let (at, path) =
                    (entry.saturating_add(HEADER_BYTES), files.data_path(self.file_id));
                Err(Error::corrupt(path, at, CorruptItem::Payload, wanted, fault.to_string()))
            }
            Ok(Some(value_len)) if value_len > spec.max_value_bytes => {
                files.check_len(slot, entry, value_len)
            }
            Ok(_) => Ok(()),
        };
        // A record that does not match its checksum is reported once, not again for its decoding.
        if self.found.summary.damages == before {
            decoded.or_else(|error| self.error(slot, error))?;
        }
        self.meaning(slot, (entry, byte_len), value.told_slot());
        if self.found.summary.damages == before {
            self.found.summary.records += 1;
            self.found.summary.with_checksum += u64::from(is_compared);
        }
        Ok(())
    }

    /// Checks the length of a root, and the slot that a block or state contains.
    fn meaning(&mut self, slot: Slot, (entry, byte_len): (u64, u64), told: Option<Slot>) {
        let is_root = matches!(self.options.column, Some(Column::BlockRoots | Column::StateRoots));
        if is_root && byte_len != ROOT_BYTES {
            let (wanted, found) =
                (format!("the {ROOT_BYTES} bytes of a root"), format!("{byte_len} bytes"));
            let odd = self.finding(Severity::Damage, CorruptItem::ValueLength, wanted, found);
            self.found.push(odd.at(entry).of(slot));
        }
        if let Some(told) = told.filter(|told| *told != slot) {
            let wanted = format!("the offset of a record of slot {slot}");
            let found = format!("{entry}, which leads to the value of slot {told}");
            self.found.push(self.entry_finding(Severity::Damage, slot, wanted, found));
        }
    }

    /// Compares a record with its checksum. Returns whether a checksum vouches for it.
    fn compare(&mut self, kept: SumEntry, slot: Slot, entry: u64, sum: RecordSum) -> Result<bool> {
        let verdict = kept.compare(slot, entry, sum);
        match verdict {
            SumVerdict::Unknown => return Ok(false),
            SumVerdict::Intact => return Ok(true),
            SumVerdict::EntryDamaged => {
                let wanted = "two checksums that match";
                let found = "one checksum that matches the record, and one that does not";
                let item = CorruptItem::ChecksumEntry;
                let wrong = self.finding(Severity::Damage, item, wanted, found);
                self.found.push(wrong.at(sum_entry_offset(slot.index_in_file())).of(slot));
                return Ok(true);
            }
            SumVerdict::Damaged { .. } | SumVerdict::Misplaced if !self.vouches(entry) => {
                self.doubt(slot, entry);
                return Ok(false);
            }
            SumVerdict::Damaged { .. } | SumVerdict::Misplaced => {}
        }
        let accepted = sums::accept(&self.column.files().directory, verdict, slot, entry);
        accepted.or_else(|error| self.error(slot, error)).map(|()| false)
    }

    /// Reports a checksum that does not match its record and may belong to another record.
    fn doubt(&mut self, slot: Slot, entry: u64) {
        // A checksum file that is not whole has a finding of its own.
        if entry < self.vouched.len || self.vouched.is_doubt_told {
            return;
        }
        let sums = names::sums_file(self.file_id);
        let wanted = format!("the checksum of the record of slot {slot} in {sums}");
        let found = "another checksum: other software may have written the record after an interrupted \
                     commit here, or the record has rotted";
        let doubt = self.finding(Severity::Note, CorruptItem::RecordChecksum, wanted, found);
        self.found.undecided(doubt.at(entry).of(slot));
    }

    /// Reads a record and computes its checksum; `None` if a part cannot be read.
    pub(super) fn sum_of(
        &mut self,
        slot: Slot,
        (entry, end): (u64, u64),
        value: &mut ValueStream,
    ) -> Result<Option<RecordSum>> {
        let Some(data) = &mut self.pair.data else { return Ok(None) };
        let Some(header) = data.array(entry)? else { return Ok(None) };
        let mut sum = RecordSum::new(slot, entry, header);
        let is_whole = stream(data, entry.saturating_add(HEADER_BYTES), end, &mut |bytes| {
            sum.update(bytes);
            value.feed(bytes);
            true
        })?;
        Ok(is_whole.then_some(sum))
    }

    pub(super) fn header(&mut self, entry: u64) -> Result<Header> {
        let fits = entry.checked_add(HEADER_BYTES).is_some_and(|end| end <= self.pair.bound);
        let Some(data) = self.pair.data.as_mut().filter(|_| fits) else {
            return Ok(Header::Fault(RecordFault::HeaderPastBound));
        };
        let Some(header) = data.array(entry)? else { return Ok(Header::Unreadable) };
        Ok(match self.tag().payload_bytes(header) {
            Some(byte_len) => {
                Header::EndsAt(entry.saturating_add(HEADER_BYTES).saturating_add(byte_len as u64))
            }
            None => Header::Fault(RecordFault::Header(header)),
        })
    }

    /// Reports an entry that does not lead to a record.
    pub(super) fn no_record(&mut self, slot: Slot, entry: u64, fault: RecordFault) -> Result<()> {
        let place = (entry, self.pair.bound);
        let error = self.column.files().no_record(self.tag(), slot, place, fault);
        self.error(slot, error)
    }

    fn tag(&self) -> RecordTag {
        RecordTag::new(self.column.conf().spec.record_type)
    }

    pub(super) fn kept(&self, slot: Slot) -> SumEntry {
        let sums = self.sums.as_ref();
        sums.map_or_else(SumEntry::default, |sums| sums.table.get(slot.index_in_file()))
    }

    /// Whether a mismatching checksum proves that the record at `entry` is damaged.
    fn vouches(&self, entry: u64) -> bool {
        self.sums.as_ref().is_some_and(|sums| sums.is_whole) && entry < self.vouched.len
    }
}

/// Passes the bytes from `from` to `end`, which must not exceed the bound, to `take` until it returns
/// `false`. Returns whether all of them could be read.
pub(super) fn stream(
    data: &mut PreadFile,
    from: u64,
    end: u64,
    take: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<bool> {
    let (mut at, mut is_whole) = (from, true);
    while at < end {
        match data.piece(at, end)? {
            Ok([]) => break,
            Ok(piece) => {
                at = at.saturating_add(piece.len() as u64);
                if !take(piece) {
                    break;
                }
            }
            Err(bad_end) => (is_whole, at) = (false, bad_end),
        }
    }
    Ok(is_whole)
}
