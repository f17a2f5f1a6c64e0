//! Verifies a whole column without changing anything.
//!
//! Works beside a live writer: it verifies one snapshot, the latest commit. It reads with `pread`, not
//! through a map, so a bad sector becomes a range in the report and the rest is still checked. Memory
//! use is independent of the size of files and values.
//!
//! # Damage
//! Damage is what no writer leaves, wherever it is stopped (`FORMAT.md`, "What verification knows").
//! For bytes below the committed length that no slot refers to:
//! * **In the current file, and in every file without backfill**, a crash leaves none: uncommitted bytes
//!   lie past the length, and an abandoned batch is cut off. A whole record there has lost its slot. It
//!   is damage unless no slot can have lost it: its slot (which blocks and states contain), or every
//!   slot of the file, has a record. (Such a copy remains when a lost record is written again.)
//! * **In the other files with backfill**, a writer without the intent step may have died between the
//!   record and its entry. A whole record there looks the same as one that lost its slot, and counts as
//!   undecided. A matching checksum proves that it was committed.
//! * **Bytes that do not start with a record header** are damage in every file: a record was shortened
//!   or moved, since no append starts in the middle of a record.
//! * **Zeros in all whole blocks** are a note: [`reclaim`](crate::reclaim) leaves them.
//!
//! Without backfill, an entry at or below the highest slot that points to or past the length is damage.
//! With backfill it may belong to a commit in flight, or to one that a crash interrupted: a note, unless
//! a checksum shows where the slot's record lies. A checksum without an entry and without such a record
//! belongs to a commit that did not happen and was healed by software without checksums: a note. So is a checksum that does not fit a record of the last commit, where nothing says
//! that this writer finished it.

mod check;
mod finding;
mod gap;
mod record;
mod value;

use std::path::Path;
use std::sync::Arc;

use crate::column::{Column, ColumnSpec};
use crate::error::{CorruptItem, Corruption, Error, Result};
use crate::files::pread::{OsPread, Pread, is_of_the_process};
use crate::format::names;
use crate::format::witness::{CHECK_BYTES, Standing, Witness};
use crate::read::{PreadView, ReaderOptions, Snapshot as _};
use crate::slot::{FileId, Slot};
use crate::stat;

pub use self::finding::{Finding, Severity, Summary, VerifyOptions};

use self::check::{FileCheck, Vouched};

/// Verifies a column and passes the findings to `report`, file by file.
///
/// # Errors
/// [`Error::NoSuchColumn`]; [`Error::Replaced`] if the column is replaced meanwhile; [`Error::Io`] if the
/// conf or the directory cannot be read, or the process is out of file descriptors or memory. Damage
/// and unreadable files are findings, not errors.
pub fn verify_column(
    directory: &Path,
    expect: Option<ColumnSpec>,
    options: &VerifyOptions,
    report: &mut dyn FnMut(Finding),
) -> Result<Summary> {
    verify_column_on(Arc::new(OsPread), directory, expect, options, report)
}

/// As [`verify_column`], on another medium than the operating system's.
#[doc(hidden)]
pub fn verify_column_on(
    pread: Arc<dyn Pread>,
    directory: &Path,
    expect: Option<ColumnSpec>,
    options: &VerifyOptions,
    report: &mut dyn FnMut(Finding),
) -> Result<Summary> {
    let mut check = Check { found: Found::default(), options: *options, report };
    let defaults = ReaderOptions::default();
    let reading = expect.map_or(defaults, |spec| defaults.expect(spec));
    match PreadView::open_on(pread, directory, reading) {
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

/// The findings that have not been reported yet, and the totals.
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

    /// Adds a note that leaves open whether a record was lost.
    fn undecided(&mut self, finding: Finding) {
        self.summary.undecided += 1;
        self.push(finding);
    }

    /// Turns a failed call into a finding. Errors that concern the whole process or column end the
    /// verification.
    fn error(&mut self, path: &Path, slot: Option<Slot>, error: Error) -> Result<()> {
        let finding = match error {
            Error::Corrupt(corruption) => {
                let Corruption { file, offset, what, wanted, found } = *corruption;
                let damage = Finding::new(Severity::Damage, file, what, wanted, found);
                Finding { offset, ..damage }
            }
            replaced @ Error::Replaced { .. } => return Err(replaced),
            Error::Io(io) if is_of_the_process(&io.source) => return Err(Error::Io(io)),
            Error::Io(io) => {
                let found = format!("cannot {}: {}", io.operation, io.source);
                Finding::new(Severity::Unreadable, io.path, "file", "a readable file", found)
            }
            other => {
                let found = other.to_string();
                Finding::new(Severity::Damage, path, "file", "a readable file", found)
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

    fn column(&mut self, column: &PreadView) -> Result<()> {
        let directory = &column.files().directory;
        if directory.status(names::CONF_TMP)?.is_some() {
            let path = directory.file_path(names::CONF_TMP);
            let (conf, found) = (CorruptItem::Conf("conf"), "the conf of an unfinished commit");
            self.found.push(Finding::new(Severity::Note, path, conf, "only column.conf", found));
        }
        for aside in stat::asides_of(directory)? {
            let (wanted, found) = ("no file that was put aside", aside.in_words());
            self.found.push(Finding::new(Severity::Note, aside.file, "file", wanted, found));
        }
        let ids = column.file_ids()?;
        let Some(current) = column.conf().current_file() else {
            ids.iter().for_each(|file_id| self.leftover(column, *file_id));
            return Ok(());
        };
        let witness = self.witness(column)?;
        let mut expected = 0;
        for file_id in ids {
            // Files that are gone because the column was replaced were not lost.
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

    /// Reads the witness and compares the conf with it. Without a witness, every checksum counts.
    fn witness(&mut self, column: &PreadView) -> Result<Witness> {
        let directory = &column.files().directory;
        let witness = match column.small_file(names::CHECK, CHECK_BYTES as u64) {
            Ok(Some((bytes, unreadable))) => {
                self.found.unreadable(&unreadable);
                Witness::from_bytes(&bytes)
            }
            Ok(None) => Witness::default(),
            Err(error) => {
                self.found.error(&directory.file_path(names::CHECK), None, error)?;
                Witness::default()
            }
        };
        let conf_path = directory.file_path(names::CONF);
        // If the conf is no longer the latest, a live writer may have changed the witness too.
        match witness.standing(column.conf()) {
            _ if !column.commit().is_latest()? => {}
            Standing::Contradicted { newest } => {
                let wanted = format!("a conf that may follow {newest}, which {} has", names::CHECK);
                let found = format!("{}: it has rotted or is outdated", column.conf());
                let conf = CorruptItem::Conf("conf");
                self.found.push(Finding::new(Severity::Damage, conf_path, conf, wanted, found));
            }
            Standing::Continued { .. } => {
                let wanted = format!("a conf that {} has", names::CHECK);
                let found = "a conf that other software may have written; the checksums of records \
                             that it may have replaced do not count";
                let conf = CorruptItem::Conf("conf");
                self.found.undecided(Finding::new(Severity::Note, conf_path, conf, wanted, found));
            }
            Standing::Unwitnessed | Standing::Newest | Standing::Before { .. } => {}
        }
        Ok(witness)
    }

    fn leftover(&mut self, column: &PreadView, file_id: FileId) {
        // A live writer may have continued with this file since.
        let latest = column.files().latest_conf().ok();
        if latest.is_some_and(|latest| Some(file_id) <= latest.conf.current_file()) {
            return;
        }
        let found = "an uncommitted file, which healing removes";
        let path = column.files().data_path(file_id);
        let wanted = "no file after the current one";
        self.found.push(Finding::new(Severity::Note, path, "file", wanted, found));
    }

    /// Reports a range without files: its slots were skipped, or its files deleted. But roots are there of
    /// every slot: appended without a gap, and only with backfill from behind.
    fn gap(&mut self, column: &PreadView, from: u64, to: u64) {
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
            return self.found.push(Finding::new(Severity::Damage, path, "files", wanted, found));
        }
        let why = if is_pruned { "pruned" } else { "skipped, or the files deleted" };
        let slots = format!("slots {first_slot} to {last_slot} were {why}");
        let found = match first == last {
            true => format!("none: {slots}"),
            false => format!("none, nor any up to data_{last}: {slots}"),
        };
        self.found.push(Finding::new(Severity::Note, path, "files", "any", found));
    }

    /// Checks a file. If it looks damaged and there was a commit meanwhile, checks it again: the damage may
    /// have been a change in progress.
    fn file(&mut self, column: &PreadView, witness: &Witness, file_id: FileId) -> Result<()> {
        self.found.summary.files += 1;
        let vouched = Vouched {
            len: witness.vouched_len(column.conf(), file_id),
            is_doubt_told: !witness.knows(column.conf()),
        };
        let check = || FileCheck::run(column, &self.options, file_id, vouched);
        let mut of_file = check()?;
        if of_file.summary.damages > 0 && !column.commit().is_latest().unwrap_or(false) {
            of_file = check()?;
        }
        self.found.add(of_file);
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}
