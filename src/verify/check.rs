//! Verifies one file of a column: its data, offsets and checksums.

use std::path::PathBuf;

use super::gap::Orphan;
use super::value::ValueStream;
use super::{Finding, Found, Severity, VerifyOptions, finding, hex};
use crate::column::{Column, Compression};
use crate::error::{CorruptItem, Error, Result};
use crate::files::pread::{PreadFile, Unreadable};
use crate::format::names;
use crate::format::offsets::{OffsetTable, TABLE_BYTES, entry_offset};
use crate::format::record::{
    FIRST_RECORD_OFFSET, HEADER_BYTES, RecordFault, RecordTag, VERSION_RECORD,
};
use crate::format::sums::{
    RecordSum, SUMS_BYTES, SUMS_HEADER_BYTES, SumEntry, SumTable, SumVerdict, sum_entry_offset,
};
use crate::read::Unmapped;
use crate::read::sums;
use crate::read::unmapped::UnmappedFile;
use crate::slot::{FileId, Slot};

/// Length in bytes of a block root or state root.
const ROOT_BYTES: usize = 32;

/// The checksums of a file.
pub(super) struct Sums {
    pub(super) table: Box<SumTable>,
    /// Whether length and header are intact. If not, an entry counts only if it matches a record, since
    /// the file may never have been completed.
    pub(super) is_whole: bool,
    /// The finding to report for a file that is not whole.
    pub(super) broken: Option<Finding>,
}

pub(super) struct FileCheck<'a> {
    pub(super) column: &'a Unmapped,
    pub(super) options: &'a VerifyOptions,
    pub(super) file_id: FileId,
    pub(super) table: Box<OffsetTable>,
    pub(super) is_known: Vec<bool>,
    pub(super) data: Option<PreadFile>,
    pub(super) bound: u64,
    pub(super) sums: Option<Sums>,
    vouched: Vouched,
    /// A crash leaves no bytes below the length that no slot refers to.
    pub(super) is_strict: bool,
    pub(super) allows_backfill: bool,
    pub(super) found: Found,
    /// Records that no slot refers to.
    pub(super) orphans: Vec<Orphan>,
}

/// How far the checksums of a file vouch for its records.
#[derive(Clone, Copy)]
pub(super) struct Vouched {
    /// A record that starts at or past this offset may have replaced one whose commit did not happen:
    /// other software healed and wrote there, and the checksum belongs to the earlier record.
    pub(super) len: u64,
    /// Whether the doubt was already reported, with the finding for the conf.
    pub(super) is_doubt_told: bool,
}

impl FileCheck<'_> {
    /// Checks a file. Problems of the file become findings, not errors.
    ///
    /// 1. Open its two files and establish the bound.
    /// 2. Check the lengths of both files and the version record.
    /// 3. If it is the current file, check that the conf fits.
    /// 4. Check the records in the order in which they lie, and the bytes between them.
    /// 5. Match entries, checksums and records that have lost each other.
    pub(super) fn run(
        column: &Unmapped,
        options: &VerifyOptions,
        file_id: FileId,
        vouched: Vouched,
    ) -> Result<Found> {
        let (files, conf) = (column.files(), column.conf());
        let mut found = Found::default();
        let path = files.data_path(file_id);
        // 1.
        let UnmappedFile { table, is_known, table_len, unreadable, data, bound } =
            match column.file(file_id) {
                Ok(file) => file,
                Err(error) => return found.error(&path, None, error).map(|()| found),
            };
        found.unreadable(&unreadable);
        // Backfill may have been turned on since.
        let latest = || files.latest_conf().is_ok_and(|latest| latest.conf.backfill.is_some());
        let is_latest = column.is_latest().unwrap_or(false);
        let allows_backfill = conf.backfill.is_some() || !is_latest && latest();
        let mut check = FileCheck {
            column,
            options,
            file_id,
            table,
            is_known,
            data,
            bound,
            sums: None,
            vouched,
            is_strict: !allows_backfill || conf.current_file() == Some(file_id),
            allows_backfill,
            found,
            orphans: Vec::new(),
        };
        if let Err(error) = check.all(table_len) {
            check.found.error(&path, None, error)?;
        }
        if let Some(data) = check.data.take() {
            check.tell_unreadable(&data);
        }
        Ok(check.found)
    }

    fn all(&mut self, table_len: Option<u64>) -> Result<()> {
        // 2.
        self.table_length(table_len);
        self.tail()?;
        self.version_record()?;
        // 3.
        if self.column.conf().current_file() == Some(self.file_id) {
            self.fit()?;
        }
        // Reads the checksums after the bound was established, so that they cover all records below it.
        self.sums = self.sum_table()?;
        // 4.
        let (records, nowhere) = self.entries()?;
        self.records(records)?;
        // 5.
        self.unite(&nowhere)
    }

    fn table_length(&mut self, table_len: Option<u64>) {
        let Some(byte_len) = table_len.filter(|byte_len| *byte_len < TABLE_BYTES as u64) else {
            return;
        };
        // A file without records may have been in creation when its writer stopped.
        if self.bound > FIRST_RECORD_OFFSET {
            let path = self.column.files().offset_path(self.file_id);
            let wanted = format!("{TABLE_BYTES} bytes, because there are committed records");
            let found = format!("{byte_len} bytes: the entries past them are lost");
            let short = finding(Severity::Damage, path, CorruptItem::OffsetLength, wanted, found);
            self.found.push(Finding { offset: Some(byte_len), ..short });
        }
    }

    fn tail(&mut self) -> Result<()> {
        let files = self.column.files();
        let status = files.directory.status(&names::data_file(self.file_id))?;
        let uncommitted = status.map_or(0, |status| status.byte_len.saturating_sub(self.bound));
        if uncommitted > 0 {
            let wanted = format!("an end at the committed {} bytes", self.bound);
            let bytes = if uncommitted == 1 { "byte" } else { "bytes" };
            let found = format!("{uncommitted} uncommitted {bytes}");
            let tail = finding(
                Severity::Note,
                files.data_path(self.file_id),
                CorruptItem::DataFile,
                wanted,
                found,
            );
            self.found.push(Finding { offset: Some(self.bound), ..tail });
        }
        Ok(())
    }

    fn version_record(&mut self) -> Result<()> {
        let Some(data) = &mut self.data else { return Ok(()) };
        let found = match data.piece(0, FIRST_RECORD_OFFSET)? {
            Ok(found) if !found.is_empty() && found != VERSION_RECORD => hex(found),
            _ => return Ok(()),
        };
        let path = self.column.files().data_path(self.file_id);
        let wrong = finding(
            Severity::Damage,
            path,
            CorruptItem::VersionRecord,
            hex(&VERSION_RECORD),
            found,
        );
        self.found.push(Finding { offset: Some(0), ..wrong });
        Ok(())
    }

    /// Checks that the conf fits this file, as far as the file is readable.
    fn fit(&mut self) -> Result<()> {
        let (files, conf) = (self.column.files(), self.column.conf());
        let highest_is_known =
            conf.highest.is_some_and(|highest| self.is_known[highest.index_in_file()]);
        let fits = match files.check_fit_of_entries(conf, self.table.entries()) {
            Err(error) if highest_is_known => Err(error),
            Ok(Some(largest)) => match self.header(largest)? {
                Header::Unreadable => Ok(()),
                Header::Of(byte_len) => {
                    let end = largest.saturating_add(HEADER_BYTES).saturating_add(byte_len);
                    let end = Some(end).filter(|end| *end <= self.bound);
                    files.check_last_record(conf, largest, end)
                }
                Header::Fault(_) => files.check_last_record(conf, largest, None),
            },
            _ => Ok(()),
        };
        let path = files.data_path(self.file_id);
        fits.or_else(|error| self.found.error(&path, None, error))
    }

    /// Reads the checksum file. If it cannot be read, reports that; the records are checked without it.
    fn sum_table(&mut self) -> Result<Option<Sums>> {
        let name = names::sums_file(self.file_id);
        let path = self.column.files().directory.file_path(&name);
        let (bytes, unreadable) = match self.column.small_file(&name, SUMS_BYTES as u64 + 1) {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(None),
            Err(error) => return self.found.error(&path, None, error).map(|()| None),
        };
        self.found.unreadable(&unreadable);
        let record_type = self.column.conf().spec.record_type;
        if let Some(table) = SumTable::from_bytes(&bytes, self.file_id, record_type) {
            return Ok(Some(Sums { table, is_whole: true, broken: None }));
        }
        let table = SumTable::from_damaged(&bytes, self.file_id, record_type);
        let is_read = unreadable.iter().all(|lost| lost.bytes.start >= SUMS_HEADER_BYTES as u64);
        let broken = is_read.then(|| {
            let wanted = format!("{SUMS_BYTES} bytes with an intact header");
            let found = format!("{} bytes: only entries that match a record count", bytes.len());
            finding(Severity::Note, path, CorruptItem::ChecksumFile, wanted, found)
        });
        Ok(Some(Sums { table, is_whole: false, broken }))
    }

    /// The entries that point below the bound, sorted by offset, and those that point to or past it.
    #[expect(clippy::type_complexity, reason = "two lists of the same type")]
    fn entries(&mut self) -> Result<(Vec<(u64, Slot)>, Vec<(u64, Slot)>)> {
        let (mut records, mut nowhere) = (Vec::new(), Vec::new());
        let (files, tag) = (self.column.files(), self.tag());
        let mut largest: Option<(u64, Slot)> = None;
        for (index, entry) in self.table.records() {
            let slot = self.file_id.slot_at(index);
            if entry < FIRST_RECORD_OFFSET {
                let fault = RecordFault::InVersionRecord;
                let error = files.no_record(tag, slot, (entry, self.bound), fault);
                self.found.error(&files.offset_path(self.file_id), Some(slot), error)?;
            } else if entry >= self.bound {
                nowhere.push((entry, slot));
            } else {
                records.push((entry, slot));
                if let Some((largest, before)) = largest
                    && entry < largest
                    && !self.allows_backfill
                {
                    let wanted = format!("more than {largest}, the entry of slot {before}");
                    let lower = finding(
                        Severity::Damage,
                        files.offset_path(self.file_id),
                        CorruptItem::OffsetEntry,
                        wanted,
                        format!("{entry}, although entries rise with the slot without backfill"),
                    );
                    let offset = Some(entry_offset(index));
                    self.found.push(Finding { offset, slot: Some(slot), ..lower });
                }
                largest = largest.max(Some((entry, slot)));
            }
        }
        records.sort_unstable();
        Ok((records, nowhere))
    }

    /// Checks the records, which must not overlap, and the unreferenced bytes between them.
    fn records(&mut self, records: Vec<(u64, Slot)>) -> Result<()> {
        let mut end = FIRST_RECORD_OFFSET.min(self.bound);
        let (mut last, mut end_is_known) = (None, true);
        for (entry, slot) in records {
            if entry < end {
                let wanted = format!("a record that starts at or after {end}");
                let found = match last {
                    Some(last) => format!("a record that overlaps that of slot {last}"),
                    None => "a record inside the version record".to_owned(),
                };
                let path = self.column.files().data_path(self.file_id);
                let overlap = finding(Severity::Damage, path, CorruptItem::Record, wanted, found);
                self.found.push(Finding { offset: Some(entry), slot: Some(slot), ..overlap });
            } else if end_is_known {
                self.gap(end, entry, last)?;
            }
            let overlaps = entry < end;
            let damages = self.found.summary.damages;
            let stop = self.record(slot, entry)?;
            // The end of a damaged record is unknown, since its length may be what is damaged.
            let stop = stop.filter(|_| overlaps || self.found.summary.damages == damages);
            end_is_known = stop.is_some() || overlaps && end_is_known;
            end = end.max(stop.unwrap_or(entry));
            last = Some(slot);
        }
        if end_is_known { self.gap(end, self.bound, last) } else { Ok(()) }
    }

    /// Checks a record, and returns its end offset if that is known.
    fn record(&mut self, slot: Slot, entry: u64) -> Result<Option<u64>> {
        let (files, conf) = (self.column.files(), self.column.conf());
        let path = files.data_path(self.file_id);
        let is_beyond = Some(slot) > conf.highest;
        let fault = match self.header(entry)? {
            Header::Of(byte_len) => {
                let end = entry.saturating_add(HEADER_BYTES).saturating_add(byte_len);
                if end <= self.bound {
                    if !is_beyond {
                        self.payload(slot, entry, end)?;
                    }
                    return Ok(Some(end));
                }
                RecordFault::PayloadPastBound(end)
            }
            Header::Fault(fault) => fault,
            Header::Unreadable => {
                self.found.summary.unread_records += 1;
                return Ok(None);
            }
        };
        // A record above the highest slot was already reported: the conf does not fit the file.
        if !is_beyond {
            let error = files.no_record(self.tag(), slot, (entry, self.bound), fault);
            self.found.error(&path, Some(slot), error)?;
        }
        Ok(None)
    }

    /// Checks the payload of a record, which lies within the bound.
    fn payload(&mut self, slot: Slot, entry: u64, end: u64) -> Result<()> {
        let (files, spec) = (self.column.files(), self.column.conf().spec);
        let path = files.data_path(self.file_id);
        let byte_len = end - entry - HEADER_BYTES;
        if spec.compression == Compression::None
            && byte_len > spec.max_value_bytes
            && let Err(error) = files.check_len(slot, entry, byte_len)
        {
            return self.found.error(&path, Some(slot), error);
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
                let at = entry.saturating_add(HEADER_BYTES);
                Err(Error::corrupt(
                    path.clone(),
                    at,
                    CorruptItem::Payload,
                    wanted,
                    fault.to_string(),
                ))
            }
            Ok(Some(value_len)) if value_len > spec.max_value_bytes => {
                files.check_len(slot, entry, value_len)
            }
            Ok(_) => Ok(()),
        };
        // A record that does not match its checksum is reported once, not again for its decoding.
        if self.found.summary.damages == before {
            decoded.or_else(|error| self.found.error(&path, Some(slot), error))?;
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
        let files = self.column.files();
        let is_root = matches!(self.options.column, Some(Column::BlockRoots | Column::StateRoots));
        if is_root && byte_len != ROOT_BYTES as u64 {
            let wanted = format!("the {ROOT_BYTES} bytes of a root");
            let path = files.data_path(self.file_id);
            let odd = finding(
                Severity::Damage,
                path,
                CorruptItem::ValueLength,
                wanted,
                format!("{byte_len} bytes"),
            );
            self.found.push(Finding { offset: Some(entry), slot: Some(slot), ..odd });
        }
        if let Some(told) = told.filter(|told| *told != slot) {
            let wanted = format!("the offset of a record of slot {slot}");
            let found = format!("{entry}, which leads to the value of slot {told}");
            let other = finding(
                Severity::Damage,
                files.offset_path(self.file_id),
                CorruptItem::OffsetEntry,
                wanted,
                found,
            );
            let offset = Some(entry_offset(slot.index_in_file()));
            self.found.push(Finding { offset, slot: Some(slot), ..other });
        }
    }

    /// Compares a record with its checksum. Returns whether a checksum vouches for it.
    fn compare(&mut self, kept: SumEntry, slot: Slot, entry: u64, sum: RecordSum) -> Result<bool> {
        let files = self.column.files();
        let verdict = kept.compare(slot, entry, sum);
        match verdict {
            SumVerdict::Unknown => return Ok(false),
            SumVerdict::Intact => return Ok(true),
            SumVerdict::EntryDamaged => {
                let path = files.directory.file_path(&names::sums_file(self.file_id));
                let wanted = "two checksums that match";
                let found = "one checksum that matches the record, and one that does not";
                let wrong =
                    finding(Severity::Damage, path, CorruptItem::ChecksumEntry, wanted, found);
                let offset = Some(sum_entry_offset(slot.index_in_file()));
                self.found.push(Finding { offset, slot: Some(slot), ..wrong });
                return Ok(true);
            }
            SumVerdict::Damaged { .. } | SumVerdict::Misplaced if !self.vouches(entry) => {
                self.doubt(slot, entry);
                return Ok(false);
            }
            SumVerdict::Damaged { .. } | SumVerdict::Misplaced => {}
        }
        if let Err(error) = sums::accept(&files.directory, verdict, slot, entry) {
            self.found.error(&files.data_path(self.file_id), Some(slot), error)?;
        }
        Ok(false)
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
        let path = self.column.files().data_path(self.file_id);
        let doubt = finding(Severity::Note, path, CorruptItem::RecordChecksum, wanted, found);
        self.found.undecided(Finding { offset: Some(entry), slot: Some(slot), ..doubt });
    }

    /// Reads a record and computes its checksum; `None` if a part cannot be read.
    pub(super) fn sum_of(
        &mut self,
        slot: Slot,
        (entry, end): (u64, u64),
        value: &mut ValueStream,
    ) -> Result<Option<RecordSum>> {
        let Some(data) = &mut self.data else { return Ok(None) };
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
        let fits = entry.checked_add(HEADER_BYTES).is_some_and(|end| end <= self.bound);
        let Some(data) = self.data.as_mut().filter(|_| fits) else {
            return Ok(Header::Fault(RecordFault::HeaderPastBound));
        };
        let header = data.array(entry)?;
        let tag = self.tag();
        Ok(match header {
            None => Header::Unreadable,
            Some(header) => match tag.payload_bytes(header) {
                Some(byte_len) => Header::Of(byte_len as u64),
                None => Header::Fault(RecordFault::Header(header)),
            },
        })
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

    fn tell_unreadable(&mut self, data: &PreadFile) {
        for lost in data.unreadable() {
            // Only the last record that starts before an offset can extend to it.
            let last_before = |end: u64| {
                let before = self.table.records().filter(|(_, entry)| *entry < end);
                let last = before.max_by_key(|(_, entry)| *entry);
                last.map(|(index, _)| self.file_id.slot_at(index))
            };
            let (first, last) = (last_before(lost.bytes.start + 1), last_before(lost.bytes.end));
            let mut finding = unreadable(lost);
            match (first, last) {
                (first, Some(last)) if first == Some(last) => finding.slot = Some(last),
                (_, Some(last)) => {
                    let first = first.unwrap_or(self.file_id.first_slot());
                    finding.found += &format!(", in the records from slot {first} to slot {last}");
                }
                (_, None) => {}
            }
            self.found.push(finding);
        }
    }
}

impl Found {
    pub(super) fn unreadable(&mut self, lost: &[Unreadable]) {
        lost.iter().for_each(|lost| self.push(unreadable(lost)));
    }
}

fn unreadable(lost: &Unreadable) -> Finding {
    let (file, found) = match &lost.error {
        Error::Io(io) => (io.path.clone(), format!("cannot {}: {}", io.operation, io.source)),
        other => (PathBuf::new(), other.to_string()),
    };
    let bytes = lost.bytes.clone();
    let wanted = "readable bytes";
    Finding {
        offset: Some(bytes.start),
        byte_len: Some(bytes.end - bytes.start),
        ..finding(Severity::Unreadable, file, "bytes", wanted, found)
    }
}

/// The 8 bytes at an offset, taken as a record header.
pub(super) enum Header {
    /// A valid header; the payload length in bytes.
    Of(u64),
    Fault(RecordFault),
    Unreadable,
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
