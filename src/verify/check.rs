//! Verifies one file of a column: its data, offsets and checksums.

use std::path::PathBuf;

use super::gap::Orphan;
use super::record::Header;
use super::{Finding, Found, Severity, VerifyOptions, hex};
use crate::error::{CorruptItem, Error, Result};
use crate::files::pread::{PreadFile, Unreadable};
use crate::format::conf_check;
use crate::format::names;
use crate::format::offsets::{TABLE_BYTES, entry_offset};
use crate::format::record::{FIRST_RECORD_OFFSET, RecordFault, VERSION_RECORD};
use crate::format::sums::{SUMS_BYTES, SUMS_HEADER_BYTES, SumTable};
use crate::read::file_pair::FilePair;
use crate::read::{PreadView, Snapshot as _};
use crate::slot::{FileId, Slot};

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
    pub(super) column: &'a PreadView,
    pub(super) options: &'a VerifyOptions,
    pub(super) file_id: FileId,
    pub(super) pair: FilePair,
    pub(super) sums: Option<Sums>,
    pub(super) vouched: Vouched,
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
        column: &PreadView,
        options: &VerifyOptions,
        file_id: FileId,
        vouched: Vouched,
    ) -> Result<Found> {
        let (files, conf) = (column.files(), column.conf());
        let mut found = Found::default();
        // 1.
        let pair = match column.fresh_pair(file_id) {
            Ok(pair) => pair,
            Err(error) => {
                return found.error(&files.data_path(file_id), None, error).map(|()| found);
            }
        };
        found.unreadable(&pair.unreadable);
        // Backfill may have been turned on since.
        let latest = || files.latest_conf().is_ok_and(|latest| latest.conf.backfill.is_some());
        let is_latest = column.commit().is_latest().unwrap_or(false);
        let allows_backfill = conf.backfill.is_some() || !is_latest && latest();
        let mut check = FileCheck {
            column,
            options,
            file_id,
            pair,
            sums: None,
            vouched,
            is_strict: !allows_backfill || conf.current_file() == Some(file_id),
            allows_backfill,
            found,
            orphans: Vec::new(),
        };
        if let Err(error) = check.all() {
            check.error(None, error)?;
        }
        if let Some(data) = check.pair.data.take() {
            check.tell_unreadable(&data);
        }
        Ok(check.found)
    }

    fn all(&mut self) -> Result<()> {
        // 2.
        self.table_length();
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

    fn table_length(&mut self) {
        let is_short = |byte_len: &u64| *byte_len < TABLE_BYTES as u64;
        let Some(byte_len) = self.pair.table_len.filter(is_short) else { return };
        // A file without records may have been in creation when its writer stopped.
        if self.pair.bound > FIRST_RECORD_OFFSET {
            let wanted = format!("{TABLE_BYTES} bytes, because there are committed records");
            let found = format!("{byte_len} bytes: the entries past them are lost");
            let short = self.finding(Severity::Damage, CorruptItem::OffsetLength, wanted, found);
            self.found.push(short.at(byte_len));
        }
    }

    fn tail(&mut self) -> Result<()> {
        let directory = &self.column.files().directory;
        let status = directory.status(&names::data_file(self.file_id))?;
        let uncommitted =
            status.map_or(0, |status| status.byte_len.saturating_sub(self.pair.bound));
        if uncommitted > 0 {
            let wanted = format!("an end at the committed {} bytes", self.pair.bound);
            let bytes = if uncommitted == 1 { "byte" } else { "bytes" };
            let found = format!("{uncommitted} uncommitted {bytes}");
            let tail = self.finding(Severity::Note, CorruptItem::DataFile, wanted, found);
            self.found.push(tail.at(self.pair.bound));
        }
        Ok(())
    }

    fn version_record(&mut self) -> Result<()> {
        let Some(data) = &mut self.pair.data else { return Ok(()) };
        let found = match data.piece(0, FIRST_RECORD_OFFSET)? {
            Ok(found) if !found.is_empty() && found != VERSION_RECORD => hex(found),
            _ => return Ok(()),
        };
        let (item, wanted) = (CorruptItem::VersionRecord, hex(&VERSION_RECORD));
        self.found.push(self.finding(Severity::Damage, item, wanted, found).at(0));
        Ok(())
    }

    /// Checks that the conf fits this file, as far as the file is readable.
    fn fit(&mut self) -> Result<()> {
        let (files, conf) = (self.column.files(), self.column.conf());
        let highest = conf.highest.filter(|highest| self.pair.is_known[highest.index_in_file()]);
        let Some(highest) = highest else { return Ok(()) };
        let (path, data_len) = (files.offset_path(self.file_id), conf.current_data_len);
        let entries = self.pair.table.entries();
        let largest = match conf_check::check_entries(path, highest, data_len, entries) {
            Ok(largest) => largest,
            Err(error) => return self.error(None, error),
        };
        let end = match self.header(largest)? {
            Header::Unreadable => return Ok(()),
            Header::EndsAt(end) => Some(end).filter(|end| *end <= self.pair.bound),
            Header::Fault(_) => None,
        };
        conf_check::check_last_record(files.data_path(self.file_id), data_len, largest, end)
            .or_else(|error| self.error(None, error))
    }

    /// Reads the checksum file. If it cannot be read, reports that; the records are checked without it.
    fn sum_table(&mut self) -> Result<Option<Sums>> {
        let name = names::sums_file(self.file_id);
        let (bytes, unreadable) = match self.column.small_file(&name, SUMS_BYTES as u64 + 1) {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(None),
            Err(error) => return self.error(None, error).map(|()| None),
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
            self.finding(Severity::Note, CorruptItem::ChecksumFile, wanted, found)
        });
        Ok(Some(Sums { table, is_whole: false, broken }))
    }

    /// The entries that point below the bound, sorted by offset, and those that point to or past it.
    #[expect(clippy::type_complexity, reason = "two lists of the same type")]
    fn entries(&mut self) -> Result<(Vec<(u64, Slot)>, Vec<(u64, Slot)>)> {
        let (mut records, mut nowhere, mut inside) = (Vec::new(), Vec::new(), Vec::new());
        let mut largest: Option<(u64, Slot)> = None;
        for (index, entry) in self.pair.table.records() {
            let slot = self.file_id.slot_at(index);
            if entry < FIRST_RECORD_OFFSET {
                inside.push((entry, slot));
            } else if entry >= self.pair.bound {
                nowhere.push((entry, slot));
            } else {
                records.push((entry, slot));
                if let Some((largest, before)) = largest
                    && entry < largest
                    && !self.allows_backfill
                {
                    let wanted = format!("more than {largest}, the entry of slot {before}");
                    let found =
                        format!("{entry}, although entries rise with the slot without backfill");
                    self.found.push(self.entry_finding(Severity::Damage, slot, wanted, found));
                }
                largest = largest.max(Some((entry, slot)));
            }
        }
        for (entry, slot) in inside {
            self.no_record(slot, entry, RecordFault::InVersionRecord)?;
        }
        records.sort_unstable();
        Ok((records, nowhere))
    }

    /// Checks the records, which must not overlap, and the unreferenced bytes between them.
    fn records(&mut self, records: Vec<(u64, Slot)>) -> Result<()> {
        let mut end = FIRST_RECORD_OFFSET.min(self.pair.bound);
        let (mut last, mut end_is_known) = (None, true);
        for (entry, slot) in records {
            if entry < end {
                let wanted = format!("a record that starts at or after {end}");
                let found = match last {
                    Some(last) => format!("a record that overlaps that of slot {last}"),
                    None => "a record inside the version record".to_owned(),
                };
                let overlap = self.finding(Severity::Damage, CorruptItem::Record, wanted, found);
                self.found.push(overlap.at(entry).of(slot));
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
        if end_is_known { self.gap(end, self.pair.bound, last) } else { Ok(()) }
    }

    /// A finding about an item of this file.
    pub(super) fn finding(
        &self,
        severity: Severity,
        item: CorruptItem,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) -> Finding {
        let name = match item {
            CorruptItem::OffsetEntry | CorruptItem::OffsetLength => {
                names::offset_file(self.file_id)
            }
            CorruptItem::ChecksumEntry | CorruptItem::ChecksumFile => {
                names::sums_file(self.file_id)
            }
            _ => names::data_file(self.file_id),
        };
        let path = self.column.files().directory.file_path(&name);
        Finding::new(severity, path, item, wanted, found)
    }

    /// A finding about the offset entry of a slot.
    pub(super) fn entry_finding(
        &self,
        severity: Severity,
        slot: Slot,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) -> Finding {
        let finding = self.finding(severity, CorruptItem::OffsetEntry, wanted, found);
        finding.at(entry_offset(slot.index_in_file())).of(slot)
    }

    /// Turns a failed call into a finding about this file.
    pub(super) fn error(&mut self, slot: impl Into<Option<Slot>>, error: Error) -> Result<()> {
        self.found.error(&self.column.files().data_path(self.file_id), slot.into(), error)
    }

    fn tell_unreadable(&mut self, data: &PreadFile) {
        for lost in data.unreadable() {
            // Only the last record that starts before an offset can extend to it.
            let last_before = |end: u64| {
                let before = self.pair.table.records().filter(|(_, entry)| *entry < end);
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
    Finding::new(Severity::Unreadable, file, "bytes", "readable bytes", found)
        .about(lost.bytes.clone())
}
