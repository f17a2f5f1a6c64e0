//! Checking a whole column without changing anything.
//!
//! Works beside a live writer: what is checked is one view, the last commit.

use std::path::{Path, PathBuf};

use crate::column::ColumnSpec;
use crate::error::{Error, Result};
use crate::files::map::SlotMap;
use crate::format::names;
use crate::format::offsets::entry_offset;
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES, VERSION_RECORD};
use crate::format::sums::{SUMS_BYTES, SumEntry, SumTable, SumVerdict, sum_entry_offset};
use crate::read::{Reader, ReaderOptions, Record, View};
use crate::slot::{FileId, Slot};

/// What is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Decode every value, too.
    pub deep: bool,
}

/// Whether a finding is damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The bytes on disk contradict the format, or are gone.
    Damage,
    /// Worth knowing, and nothing that a writer could not have left: healing takes away
    /// uncommitted bytes, a range without files was skipped or its files were deleted.
    Note,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Damage or not.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// Byte offset in the file.
    pub offset: Option<u64>,
    /// How many bytes of the file it concerns, where that is known.
    pub byte_len: Option<u64>,
    /// The slot that it concerns.
    pub slot: Option<Slot>,
    /// What is concerned: "record header", "payload" …
    pub what: &'static str,
    /// What the format wants there.
    pub wanted: String,
    /// What is there.
    pub found: String,
}

/// What was checked, and how it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records that are whole.
    pub records: u64,
    /// Those of them that are what was written, by the checksum that was kept.
    pub with_checksum: u64,
    /// Files, data and offsets as one, that were checked.
    pub files: u64,
    /// Findings that are damage.
    pub damages: u64,
    /// Findings that are not.
    pub notes: u64,
}

/// Checks a column and reports each finding as it is made.
///
/// # Errors
/// [`Error::NoSuchColumn`]; [`Error::Io`] when the directory cannot be read. Damage is no error.
///
/// # Safety
/// As [`Reader::open`].
#[expect(unsafe_code, reason = "passes the contract of Reader::open on")]
pub unsafe fn verify_column(
    directory: &Path,
    expect: Option<ColumnSpec>,
    options: &VerifyOptions,
    report: &mut dyn FnMut(Finding),
) -> Result<Summary> {
    let mut check = Check { summary: Summary::default(), deep: options.deep, report };
    let mut asked = ReaderOptions::default().without_fit_check();
    if let Some(spec) = expect {
        asked = asked.expect(spec);
    }
    match Reader::open_mapped(directory, asked) {
        Ok(reader) => check.column(&reader.view())?,
        Err(error @ (Error::NoSuchColumn { .. } | Error::Io(_))) => return Err(error),
        Err(error) => check.damage(&directory.join(names::CONF), None, error),
    }
    Ok(check.summary)
}

struct Check<'a> {
    summary: Summary,
    deep: bool,
    report: &'a mut dyn FnMut(Finding),
}

impl Check<'_> {
    fn column(&mut self, view: &View) -> Result<()> {
        let directory = &view.files().directory;
        if directory.status(names::CONF_TMP)?.is_some() {
            let path = directory.file_path(names::CONF_TMP);
            self.note(path, None, "conf", "none but column.conf", "one of an unfinished commit");
        }
        let ids = view.file_ids()?;
        let Some(current) = view.conf().current_file() else {
            ids.iter().for_each(|file_id| self.leftover(view, *file_id));
            return Ok(());
        };
        let mut expected = 0;
        for file_id in ids.iter().copied() {
            if file_id > current {
                self.leftover(view, file_id);
                continue;
            }
            self.gap(view, expected, file_id.0);
            expected = file_id.0 + 1;
            self.file(view, file_id)?;
        }
        Ok(())
    }

    fn leftover(&mut self, view: &View, file_id: FileId) {
        // A live writer may have gone on to it since.
        let latest = view.files().latest_conf().ok();
        if latest.is_some_and(|latest| Some(file_id) <= latest.conf.current_file()) {
            return;
        }
        let found = "an uncommitted file, which healing removes";
        self.note(view.files().data_path(file_id), None, "file", "none after the current", found);
    }

    /// Nothing tells a range of skipped slots from files that somebody deleted.
    fn gap(&mut self, view: &View, from: u64, to: u64) {
        if from == to {
            return;
        }
        let (first, last) = (FileId(from), FileId(to - 1));
        let found = format!(
            "none of data_{first} to data_{last}: slots {} to {} were skipped, or the files deleted",
            first.first_slot(),
            last.last_slot()
        );
        self.note(view.files().data_path(first), None, "files", "any", found);
    }

    fn file(&mut self, view: &View, file_id: FileId) -> Result<()> {
        self.summary.files += 1;
        let data_path = view.files().data_path(file_id);
        let map = match view.file(file_id) {
            Ok(map) => map,
            Err(error) => {
                self.damage(&data_path, None, error);
                return Ok(());
            }
        };
        let conf = view.conf();
        if conf.current_file() == Some(file_id)
            && let Err(error) = view.files().check_fit(conf, map)
        {
            self.damage(&data_path, None, error);
        }
        let version = map.version_record();
        if !version.is_empty() && version != VERSION_RECORD {
            let (wanted, found) = (hex(&VERSION_RECORD), hex(version));
            self.finding(
                Severity::Damage,
                data_path.clone(),
                Some(0),
                "version record",
                wanted,
                found,
            );
        }
        let bound = map.bound();
        let status = view.files().directory.status(&names::data_file(file_id))?;
        if let Some(status) = status
            && status.byte_len > bound
        {
            let found = format!("{} uncommitted bytes", status.byte_len - bound);
            let wanted = format!("an end at the committed {bound} bytes");
            self.note(data_path.clone(), Some(bound), "data file", wanted, found);
        }
        // Read once for the file, and after its bound was established: then it has the checksums of
        // all records below that.
        let sums = self.sum_table(view, file_id);
        let mut spans = Vec::new();
        for (index, entry) in map.entries().enumerate() {
            if entry != 0 {
                let slot = file_id.slot_at(index);
                let sum = sums.as_ref().map_or_else(SumEntry::default, |sums| sums.get(index));
                self.entry(view, slot, (entry, sum), bound, &mut spans);
            }
        }
        self.spans(&data_path, spans, bound);
        if let Some(sums) = sums {
            self.lost_entries(view, file_id, map, &sums);
        }
        Ok(())
    }

    /// The checksums of a file; it is worth a note when nobody can make use of them, and a file that
    /// cannot be read is damage. The records are checked all the same.
    fn sum_table(&mut self, view: &View, file_id: FileId) -> Option<Box<SumTable>> {
        let files = view.files();
        let path = || files.directory.file_path(&names::sums_file(file_id));
        match files.sum_table(view.conf().spec.record_type, file_id) {
            Ok(Some(Ok(table))) => return Some(table),
            Ok(Some(Err(byte_len))) => {
                let wanted = format!("{SUMS_BYTES} bytes with an intact header");
                let found = format!("{byte_len} bytes: no checksum is known");
                self.note(path(), None, "checksum file", wanted, found);
            }
            Ok(None) => {}
            Err(error) => self.damage(&path(), None, error),
        }
        None
    }

    /// Checksums without a record.
    fn lost_entries(&mut self, view: &View, file_id: FileId, map: &SlotMap, sums: &SumTable) {
        let (files, conf) = (view.files(), view.conf());
        let is_lost = |index: &usize| map.entry(*index) == 0;
        for index in sums.known().filter(is_lost) {
            let slot = file_id.slot_at(index);
            // A backfill under way writes both, and so does what comes behind the highest slot.
            let is_open = conf.backfill.is_some() && conf.named_len(file_id).is_some();
            if Some(slot) > conf.highest || is_open {
                continue;
            }
            let wanted = "the offset of a record, for its checksum is kept".to_owned();
            let offsets = files.offset_path(file_id);
            let mut lost = finding(Severity::Damage, offsets, "offset entry", wanted, "0".into());
            lost.offset = Some(entry_offset(index));
            lost.slot = Some(slot);
            self.report(lost);
        }
    }

    fn entry(
        &mut self,
        view: &View,
        slot: Slot,
        (entry, sum): (u64, SumEntry),
        bound: u64,
        spans: &mut Vec<(u64, u64, Slot)>,
    ) {
        let data_path = view.files().data_path(slot.file_id());
        match view.record(slot) {
            Ok(Some(record)) => {
                let record_type = view.conf().spec.record_type;
                let stored = record.stored();
                let is_intact = view.files().judge(sum, record_type, slot, entry, stored);
                match is_intact.and_then(|verdict| self.decodes(&record).map(|()| verdict)) {
                    Ok(verdict) => {
                        // The entry may have changed since it was loaded: it is still anything.
                        let byte_len = HEADER_BYTES + record.stored().len() as u64;
                        spans.push((entry, entry.saturating_add(byte_len), slot));
                        self.summary.records += 1;
                        self.verdict(view, slot, verdict);
                    }
                    Err(error) => self.damage(&data_path, Some(slot), error),
                }
            }
            Ok(None) if entry < bound => {} // After the highest slot: the conf does not fit.
            Ok(None) => {
                let path = view.files().offset_path(slot.file_id());
                let wanted = format!("an offset below the committed {bound} bytes");
                let found = format!("the entry {entry} of an uncommitted record");
                let mut finding = finding(Severity::Note, path, "offset entry", wanted, found);
                finding.offset = Some(entry_offset(slot.index_in_file()));
                finding.slot = Some(slot);
                self.report(finding);
            }
            Err(error) => self.damage(&data_path, Some(slot), error),
        }
    }

    fn verdict(&mut self, view: &View, slot: Slot, verdict: SumVerdict) {
        self.summary.with_checksum += u64::from(verdict != SumVerdict::Unknown);
        if verdict == SumVerdict::EntryDamaged {
            let name = names::sums_file(slot.file_id());
            let path = view.files().directory.file_path(&name);
            let wanted = "two checksums that fit each other".to_owned();
            let found = "one that fits the record, and another".to_owned();
            let mut damage = finding(Severity::Damage, path, "checksum entry", wanted, found);
            damage.offset = Some(sum_entry_offset(slot.index_in_file()));
            damage.slot = Some(slot);
            self.report(damage);
        }
    }

    fn decodes(&self, record: &Record<'_>) -> Result<()> {
        if self.deep { record.value_len().map(|_| ()) } else { Ok(()) }
    }

    /// Records must not overlap; what lies between them belongs to no slot.
    fn spans(&mut self, path: &Path, mut spans: Vec<(u64, u64, Slot)>, bound: u64) {
        spans.sort_unstable();
        let mut end = FIRST_RECORD_OFFSET.min(bound);
        let mut last = None;
        for (start, stop, slot) in spans {
            if start < end {
                let wanted = format!("a record that starts behind {end}");
                let found = match last {
                    Some(last) => format!("one that overlaps the record of slot {last}"),
                    None => "one inside the version record".to_owned(),
                };
                let mut finding = finding(Severity::Damage, path.into(), "record", wanted, found);
                finding.offset = Some(start);
                finding.slot = Some(slot);
                self.report(finding);
            }
            self.unreferenced(path, end, start);
            end = end.max(stop);
            last = Some(slot);
        }
        self.unreferenced(path, end, bound);
    }

    fn unreferenced(&mut self, path: &Path, from: u64, to: u64) {
        if from < to {
            let found = format!("{} bytes that no slot refers to", to - from);
            let (severity, wanted) = (Severity::Note, "a record".to_owned());
            let finding = finding(severity, path.into(), "data file", wanted, found);
            self.report(Finding { offset: Some(from), byte_len: Some(to - from), ..finding });
        }
    }

    fn damage(&mut self, path: &Path, slot: Option<Slot>, error: Error) {
        let mut damage = match error {
            Error::Corrupt(corruption) => Finding {
                severity: Severity::Damage,
                file: corruption.file,
                offset: corruption.offset,
                byte_len: None,
                slot,
                what: corruption.what,
                wanted: corruption.wanted,
                found: corruption.found,
            },
            other => {
                let wanted = "a readable file".to_owned();
                finding(Severity::Damage, path.into(), "file", wanted, other.to_string())
            }
        };
        damage.slot = slot;
        self.report(damage);
    }

    fn note(
        &mut self,
        file: PathBuf,
        offset: Option<u64>,
        what: &'static str,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.finding(Severity::Note, file, offset, what, wanted.into(), found.into());
    }

    fn finding(
        &mut self,
        severity: Severity,
        file: PathBuf,
        offset: Option<u64>,
        what: &'static str,
        wanted: String,
        found: String,
    ) {
        self.report(Finding { offset, ..finding(severity, file, what, wanted, found) });
    }

    fn report(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Damage => self.summary.damages += 1,
            Severity::Note => self.summary.notes += 1,
        }
        (self.report)(finding);
    }
}

fn finding(
    severity: Severity,
    file: PathBuf,
    what: &'static str,
    wanted: String,
    found: String,
) -> Finding {
    Finding { severity, file, offset: None, byte_len: None, slot: None, what, wanted, found }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}
