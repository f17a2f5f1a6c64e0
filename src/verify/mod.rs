//! Checking a whole column without changing anything.
//!
//! Works beside a live writer: what is checked is one commit, the last. Files are read by calls, not
//! mapped: a bad sector is a range in the report, and the rest is checked all the same. The memory it
//! takes grows neither with the files nor with their values.
//!
//! # What is damage
//! What no writer leaves, whenever it is stopped (`FORMAT.md`, the last section). Of bytes that no slot
//! refers to, below the committed length:
//! * In the current file, and in every file of a column without backfill, a crash leaves none: what is
//!   uncommitted lies behind the length, and a batch that is given up is cut off. A whole record there
//!   has lost its slot: damage, but where nothing can be missing, since its slot (which blocks and
//!   states tell) or every slot of the file has a record; such a copy stays when a lost record is
//!   written again.
//! * In the other files of a column with backfill, a writer without the intent step may have died
//!   between the record and its entry. A whole record there cannot be told from one that lost its slot,
//!   and is counted as undecided; but a checksum that fits it proves that it was committed.
//! * What does not begin as a record does is damage everywhere: a record was shortened or moved. No
//!   append begins in the middle of one.
//! * Zeros in all whole blocks are what [`reclaim`](crate::reclaim) leaves: a note.
//!
//! An entry that leads to or behind the length is damage without backfill, at or below the highest
//! slot. With backfill it may be one of a commit under way, or of one that a crash cut off: a note,
//! unless a checksum shows where the record of that slot lies. A checksum without entry and without
//! such a record is that of a commit that did not happen, cut off by software that knows of no
//! checksums: a note. So is a checksum that does not fit a record of the last commit, where nothing says
//! that this writer finished it.

mod check;
mod gap;
mod value;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::column::{Column, ColumnSpec};
use crate::error::{Error, Result};
use crate::files::pread::{OsPread, Pread, is_of_the_process};
use crate::format::names;
use crate::format::witness::{CHECK_BYTES, Standing, Witness};
use crate::read::Unmapped;
use crate::slot::{FileId, Slot};
use crate::stat;

use self::check::{FileCheck, Vouched};

/// What is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Decode every value, too.
    pub deep: bool,
    /// The column that it is, where it is one of an archive: blocks and states then must be of the
    /// slots that refer to them, and roots have 32 bytes.
    pub column: Option<Column>,
    /// Records below this slot were removed on purpose, as the archive's manifest says.
    pub pruned_before: Option<Slot>,
}

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The bytes on disk contradict the format, or are gone.
    Damage,
    /// The environment does not give out what is there: a bad sector, a permission, a limit. Whether
    /// it is whole is not known.
    Unreadable,
    /// What an interrupted import, or one that is under way, has still to write.
    Unfinished,
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
    /// Records that could not be read to their end. They are not among the whole ones.
    pub unread_records: u64,
    /// Files, data and offsets as one, that were checked.
    pub files: u64,
    /// Findings that are damage.
    pub damages: u64,
    /// Findings that are ranges, or files, that could not be read.
    pub unreadable: u64,
    /// Findings that are neither.
    pub notes: u64,
    /// Notes of them of which nothing tells whether a record was lost.
    pub undecided: u64,
}

impl Summary {
    /// Whole records of which nothing tells whether they are what was written: no checksum was kept,
    /// or other software has written since, and it may be that of another record.
    #[must_use]
    pub fn not_compared(&self) -> u64 {
        self.records.saturating_sub(self.with_checksum)
    }
}

/// Checks a column and reports each finding as it is made.
///
/// # Errors
/// [`Error::NoSuchColumn`]; [`Error::Replaced`] when that happens meanwhile; [`Error::Io`] when the conf cannot be read or the directory not listed, and
/// when the process may open no more files or has no memory. Damage is no error, and neither is a
/// file, or a part of one, that cannot be read.
pub fn verify_column(
    directory: &Path,
    expect: Option<ColumnSpec>,
    options: &VerifyOptions,
    report: &mut dyn FnMut(Finding),
) -> Result<Summary> {
    verify_column_on(Arc::new(OsPread), directory, expect, options, report)
}

/// [`verify_column`] on another medium than the operating system's.
///
/// # Errors
/// As [`verify_column`].
pub fn verify_column_on(
    pread: Arc<dyn Pread>,
    directory: &Path,
    expect: Option<ColumnSpec>,
    options: &VerifyOptions,
    report: &mut dyn FnMut(Finding),
) -> Result<Summary> {
    let mut check = Check { found: Found::default(), options: *options, report };
    match Unmapped::open_on(pread, directory, expect) {
        Ok(column) => match check.column(&column) {
            Err(error) if error.is_corrupt() => {
                check.found.error(&directory.join(names::CONF), None, error)?;
            }
            checked => checked?,
        },
        Err(error @ (Error::NoSuchColumn { .. } | Error::Io(_))) => return Err(error),
        Err(error) => check.found.error(&directory.join(names::CONF), None, error)?,
    }
    check.tell();
    Ok(check.found.summary)
}

/// What was found and is still to be reported, and the counts of all.
#[derive(Debug, Default)]
struct Found {
    summary: Summary,
    findings: Vec<Finding>,
}

impl Found {
    fn push(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Damage => self.summary.damages += 1,
            Severity::Unreadable => self.summary.unreadable += 1,
            Severity::Unfinished | Severity::Note => self.summary.notes += 1,
        }
        self.findings.push(finding);
    }

    /// A note of which nothing tells whether a record was lost.
    fn undecided(&mut self, finding: Finding) {
        self.summary.undecided += 1;
        self.push(finding);
    }

    /// What became of a call. What the whole process lacks ends the verification.
    fn error(&mut self, path: &Path, slot: Option<Slot>, error: Error) -> Result<()> {
        let finding = match error {
            Error::Corrupt(corruption) => Finding {
                offset: corruption.offset,
                ..finding(
                    Severity::Damage,
                    corruption.file,
                    corruption.what,
                    corruption.wanted,
                    corruption.found,
                )
            },
            replaced @ Error::Replaced { .. } => return Err(replaced),
            Error::Io(io) if is_of_the_process(&io.source) => return Err(Error::Io(io)),
            Error::Io(io) => {
                let found = format!("cannot {}: {}", io.operation, io.source);
                finding(Severity::Unreadable, io.path, "file", "one that can be read", found)
            }
            other => {
                let found = other.to_string();
                finding(Severity::Damage, path.into(), "file", "a readable file", found)
            }
        };
        self.push(Finding { slot, ..finding });
        Ok(())
    }

    fn add(&mut self, of_file: Found) {
        let (all, one) = (&mut self.summary, of_file.summary);
        all.records += one.records;
        all.with_checksum += one.with_checksum;
        all.unread_records += one.unread_records;
        all.undecided += one.undecided;
        of_file.findings.into_iter().for_each(|finding| self.push(finding));
    }
}

struct Check<'a> {
    found: Found,
    options: VerifyOptions,
    report: &'a mut dyn FnMut(Finding),
}

impl Check<'_> {
    fn tell(&mut self) {
        self.found.findings.drain(..).for_each(|finding| (self.report)(finding));
    }

    fn column(&mut self, column: &Unmapped) -> Result<()> {
        let directory = &column.files().directory;
        if directory.status(names::CONF_TMP)?.is_some() {
            let path = directory.file_path(names::CONF_TMP);
            let found = "one of an unfinished commit";
            self.found.push(finding(Severity::Note, path, "conf", "none but column.conf", found));
        }
        for aside in stat::asides_of(directory)? {
            let wanted = "none that was put aside";
            self.found.push(finding(
                Severity::Note,
                aside.file.clone(),
                "file",
                wanted,
                aside.in_words(),
            ));
        }
        let ids = column.file_ids()?;
        let Some(current) = column.conf().current_file() else {
            ids.iter().for_each(|file_id| self.leftover(column, *file_id));
            return Ok(());
        };
        let witness = self.witness(column)?;
        let mut expected = 0;
        for file_id in ids {
            // What is gone because the column was replaced was not lost.
            directory.check_conf()?;
            if file_id > current {
                self.leftover(column, file_id);
                continue;
            }
            self.gap(column, expected, file_id.0);
            expected = file_id.0 + 1;
            self.file(column, &witness, file_id)?;
            self.tell();
        }
        directory.check_conf()
    }

    /// The witness of the conf, and what it says of it. Without one nothing is said, and all checksums
    /// count.
    fn witness(&mut self, column: &Unmapped) -> Result<Witness> {
        let path = column.files().directory.file_path(names::CHECK);
        let witness = match column.small_file(names::CHECK, CHECK_BYTES as u64) {
            Ok(Some((bytes, unreadable))) => {
                self.found.unreadable(&unreadable);
                Witness::from_bytes(&bytes)
            }
            Ok(None) => Witness::default(),
            Err(error) => {
                self.found.error(&path, None, error)?;
                Witness::default()
            }
        };
        let conf_path = column.files().directory.file_path(names::CONF);
        // A live writer may have made newer ones of both.
        match witness.standing(column.conf()) {
            _ if !column.is_latest()? => {}
            Standing::Contradicted { newest } => {
                let wanted = format!("one that may follow {newest:?}, which {} has", names::CHECK);
                let found = format!("{:?}: it has rotted, or is an old one", column.conf());
                self.found.push(finding(Severity::Damage, conf_path, "conf", wanted, found));
            }
            Standing::Continued { .. } => {
                let wanted = format!("one that {} has", names::CHECK);
                let found = "one that other software may have written: checksums of what it wrote \
                             do not count";
                self.found.undecided(finding(Severity::Note, conf_path, "conf", wanted, found));
            }
            Standing::Unwitnessed | Standing::Newest | Standing::Before { .. } => {}
        }
        Ok(witness)
    }

    fn leftover(&mut self, column: &Unmapped, file_id: FileId) {
        // A live writer may have gone on to it since.
        let latest = column.files().latest_conf().ok();
        if latest.is_some_and(|latest| Some(file_id) <= latest.conf.current_file()) {
            return;
        }
        let found = "an uncommitted file, which healing removes";
        let path = column.files().data_path(file_id);
        self.found.push(finding(Severity::Note, path, "file", "none after the current", found));
    }

    /// Nothing tells a range of skipped slots from files that somebody deleted. But roots are there of
    /// every slot: appended without a gap, and only with backfill from behind.
    fn gap(&mut self, column: &Unmapped, from: u64, to: u64) {
        if from == to {
            return;
        }
        let pruned_to = self.options.pruned_before.map_or(0, |before| before.file_id().0);
        if (from + 1..to).contains(&pruned_to) {
            self.gap(column, from, pruned_to);
            return self.gap(column, pruned_to, to);
        }
        let (first, last) = (FileId(from), FileId(to - 1));
        let is_pruned = pruned_to >= to;
        let path = column.files().data_path(first);
        let (first_slot, last_slot) = (first.first_slot(), last.last_slot());
        let is_of_roots =
            matches!(self.options.column, Some(Column::BlockRoots | Column::StateRoots));
        if from > 0 && is_of_roots && !is_pruned && !column.conf().allows_backfill() {
            let wanted = format!("a root of every slot from {first_slot}");
            let found = format!("none up to slot {last_slot}: the files are gone");
            return self.found.push(finding(Severity::Damage, path, "files", wanted, found));
        }
        let why = if is_pruned { "pruned" } else { "skipped, or the files deleted" };
        let slots = format!("slots {first_slot} to {last_slot} were {why}");
        let found = match first == last {
            true => format!("none: {slots}"),
            false => format!("none, nor any up to data_{last}: {slots}"),
        };
        self.found.push(finding(Severity::Note, path, "files", "any", found));
    }

    /// What looks damaged is looked at once more when there was a commit since: it may have changed
    /// under our eyes.
    fn file(&mut self, column: &Unmapped, witness: &Witness, file_id: FileId) -> Result<()> {
        self.found.summary.files += 1;
        let vouched = Vouched {
            len: witness.vouched_len(column.conf(), file_id),
            is_doubt_told: !witness.knows(column.conf()),
        };
        let check = || FileCheck::run(column, &self.options, file_id, vouched);
        let mut of_file = check()?;
        if of_file.summary.damages > 0 && !column.is_latest().unwrap_or(false) {
            of_file = check()?;
        }
        self.found.add(of_file);
        Ok(())
    }
}

fn finding(
    severity: Severity,
    file: PathBuf,
    what: &'static str,
    wanted: impl Into<String>,
    found: impl Into<String>,
) -> Finding {
    let (wanted, found) = (wanted.into(), found.into());
    Finding { severity, file, offset: None, byte_len: None, slot: None, what, wanted, found }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}
