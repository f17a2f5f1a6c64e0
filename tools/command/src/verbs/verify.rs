//! `coldstore verify`

mod checkpoint;
pub(super) mod deep;
pub(super) mod lines;
mod verdict;

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use coldstore::archive::check::Lacking;
use coldstore::files::pread::{OsPread, Pread};
use coldstore::format::names;
use coldstore::verify::{Finding, Severity, Summary, VerifyOptions, verify_column};
use coldstore::{Column, CorruptItem, Error, Manifest, Slot, manifest};
use coldstore_history::import::TrustedRoot;
use serde::Serialize;

use self::deep::Deep;
use self::verdict::ProofObject;
use crate::chain::{Chain, Contradiction, States};
use crate::cli::{column_parser, parse_slot, slot_range};
use crate::failure::{self, Answer, Usage};
use crate::open;
use crate::output::{self, Decimal, Output};
use crate::progress::Progress;

/// Check everything and change nothing
///
/// Reads every byte and prints one line per damage: file, offset, slot, wanted, found. Exits 1 if there
/// is damage. Data that cannot be read (a bad sector, a permission) does not count as damage: it is
/// listed as unreadable, the rest is still checked, and the exit status is 3.
///
/// With --deep the verdict is printed first: the proved range and the root on which the proof rests. If
/// nothing is proved, the exit status is 1. The proof of one column also reads the other columns, and is
/// skipped if one of them cannot be read.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The archive's directory
    archive: PathBuf,
    /// The column (default: all columns of the archive)
    #[arg(value_parser = column_parser())]
    column: Option<Column>,
    /// Also decode every value, and prove blocks, roots and states against each other, era by era
    #[arg(long)]
    deep: bool,
    /// The first slot to prove, rounded to whole eras
    #[arg(long, value_name = "SLOT", requires = "deep", value_parser = parse_slot)]
    from: Option<Slot>,
    /// The last slot to prove, rounded to whole eras
    #[arg(long, value_name = "SLOT", requires = "deep", value_parser = parse_slot)]
    to: Option<Slot>,
    /// Save the proved eras in this file, outside the archive, and skip them next time if they are
    /// unchanged. Roots are always hashed again; blocks and states are skipped only if they have
    /// checksums
    #[arg(long, value_name = "FILE", requires = "deep")]
    resume: Option<PathBuf>,
    /// The state root of a slot, from a source you trust. It proves every era up to that state, if the
    /// archive has it
    #[arg(long, value_name = "SLOT:0xROOT", requires = "deep")]
    trusted_state_root: Vec<TrustedRoot>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Verified {
    damages: Decimal,
    /// Number of ranges and files that could not be read.
    unreadable: Decimal,
    /// Findings for the archive itself, and for columns read only for the proof.
    findings: Vec<FindingObject>,
    /// The slot of the newest state according to the manifest, as long as nothing proves it.
    unproved_state: Option<Decimal>,
    /// Columns and ranges that the archive as a whole lacks.
    lacking: Vec<LackingObject>,
    columns: Vec<ColumnObject>,
    /// Only with `--deep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<ProofObject>,
}

#[derive(Serialize)]
struct LackingObject {
    /// "damage" or "unfinished".
    severity: &'static str,
    column: &'static str,
    first_slot: Option<Decimal>,
    last_slot: Option<Decimal>,
    what: String,
    remedy: &'static str,
}

#[derive(Serialize)]
struct ColumnObject {
    column: &'static str,
    records: Decimal,
    with_checksum: Decimal,
    /// Records read whole that have no checksum.
    not_compared: Decimal,
    /// Records that could not be read to their end.
    unread_records: Decimal,
    files: Decimal,
    damages: Decimal,
    unreadable: Decimal,
    /// Notes that leave open whether a record was lost.
    undecided: Decimal,
    findings: Vec<FindingObject>,
}

#[derive(Serialize)]
struct FindingObject {
    severity: &'static str,
    file: String,
    offset: Option<Decimal>,
    length: Option<Decimal>,
    slot: Option<Decimal>,
    what: String,
    wanted: String,
    found: String,
}

impl Verify {
    pub(crate) fn run(self) -> Result<Answer> {
        slot_range(self.from, self.to).map_err(Usage)?;
        let mut lacking = open::lacking(&self.archive)?;
        lacking.retain(|lacking| self.column.is_none_or(|column| column == lacking.column));
        let columns = match self.column {
            Some(column) => vec![column],
            None => open::present_columns(&self.archive)?,
        };
        let mut report = Report::new(self.json, self.deep);
        report.lacking(&self.archive, &lacking)?;
        if self.deep {
            Deep::check_arguments(&self, &columns)?;
        }
        for &column in &columns {
            self.verify_column(column, &mut report)?;
        }
        if self.deep {
            let pread: Arc<dyn Pread> = Arc::new(OsPread);
            deep::read_others(&self.archive, &columns, &pread, &mut report)?;
        }
        let mut proved = Ok(());
        if report.failed == 0 {
            proved = self.verify_manifest(&mut report);
        }
        // The proof maps the columns, where a bad sector would end the process.
        let is_readable = report.verified.unreadable.0 == 0 && report.failed == 0;
        if self.deep && is_readable {
            let deep = proved.and_then(|()| Deep::prepare(&self, &columns));
            proved = deep.and_then(|deep| deep.run(&mut report));
        } else if self.deep {
            output::tell("not proved: not all of the archive can be read");
        }
        let is_proved = report.tell_verdict();
        if !self.json {
            open::tell_unknown(&self.archive)?;
        }
        proved?;
        let Report { mut out, verified, failed, .. } = report;
        if self.json {
            out.json_line(&verified)?;
        }
        out.flush()?;
        if verified.damages.0 > 0 || !is_proved {
            return Ok(Answer::No);
        }
        failure::none_failed(failed, "column", "verified")?;
        failure::none_failed(verified.unreadable.0, "place", "read")
    }

    /// Checks that `archive.toml` agrees with the states about the chain.
    fn verify_manifest(&self, report: &mut Report) -> Result<()> {
        let Some(manifest) = Manifest::read(&self.archive)? else { return Ok(()) };
        let of_states = self.column.is_none_or(|column| column == Column::StateSnapshots);
        if of_states {
            report.verified.unproved_state = manifest.unproved_state.map(|slot| Decimal(slot.0));
        }
        // The proof reports the unproved state itself.
        if of_states && !self.deep && !self.json {
            lines::unproved_state(&manifest).iter().for_each(|line| output::tell(line));
        }
        let states = States::of(&self.archive);
        let denied = states.and_then(|states| Chain::recorded(&manifest).contradiction(&states));
        let (severity, file, (what, wanted, found)) = match denied {
            Ok(None) => return Ok(()),
            Ok(Some(Contradiction { what, wanted, found })) => {
                report.verified.damages.0 += 1;
                let file = self.archive.join(manifest::FILE_NAME);
                (Severity::Damage, file, (CorruptItem::from(what), wanted, found))
            }
            // The file may have been reported with its column.
            Err(Error::Io(io)) if report.told.iter().any(|(file, _)| *file == io.path) => {
                return Ok(());
            }
            Err(Error::Io(io)) => {
                report.verified.unreadable.0 += 1;
                let wanted = "a file that identifies the chain".to_owned();
                let found = format!("cannot {}: {}", io.operation, io.source);
                (Severity::Unreadable, io.path, ("file".into(), wanted, found))
            }
            Err(error) => return Err(error.into()),
        };
        let (offset, byte_len, slot) = (None, None, None);
        let finding = Finding { severity, file, offset, byte_len, slot, what, wanted, found };
        if report.json {
            report.verified.findings.push(FindingObject::of(&finding));
            return Ok(());
        }
        report.print(Column::StateSnapshots, &finding)
    }

    fn verify_column(&self, column: Column, report: &mut Report) -> Result<()> {
        let directory = self.archive.join(column.dir_name());
        let pruned_before =
            Manifest::read(&self.archive)?.and_then(|known| known.column(column).pruned_before);
        let options = VerifyOptions { deep: self.deep, column: Some(column), pruned_before };
        let progress = Progress::waiting(&format!("verify {column}"));
        let (mut damages, mut findings, mut printed) = (0, Vec::new(), Ok(()));
        let mut take = |finding: Finding| {
            damages += u64::from(finding.severity == Severity::Damage);
            report.verified.unreadable.0 += u64::from(finding.severity == Severity::Unreadable);
            report.told.insert((finding.file.clone(), finding.slot));
            if report.json {
                findings.push(FindingObject::of(&finding));
            } else if printed.is_ok() {
                printed = progress.suspend(|| report.print(column, &finding));
            }
        };
        let verified = verify_column(&directory, Some(column.spec()), &options, &mut take);
        let verified = match verified {
            Err(error @ Error::NoSuchColumn { .. }) => match open::has_slot_files(&directory) {
                Ok(true) => {
                    take(lost_conf(&directory));
                    Ok(Summary::default())
                }
                Ok(false) => Err(error),
                Err(error) => Err(error),
            },
            verified => verified,
        };
        drop(progress);
        printed?;
        report.verified.damages.0 += damages;
        match verified {
            Ok(summary) => report.summary(column, &summary, damages, findings),
            Err(error) => {
                failure::tell(column, error);
                report.failed += 1;
            }
        }
        Ok(())
    }
}

/// Prints findings as they come, and collects the rest for the end.
struct Report {
    out: Output,
    json: bool,
    verified: Verified,
    /// Files and slots already reported.
    told: HashSet<(PathBuf, Option<Slot>)>,
    is_deep: bool,
    /// One line per column, held back until the verdict of the proof is printed.
    summaries: Vec<String>,
    /// Columns with records but no checksums.
    without_sums: Vec<&'static str>,
    failed: u64,
}

impl Report {
    fn new(json: bool, is_deep: bool) -> Self {
        Self {
            out: Output::stdout(),
            json,
            verified: Verified::default(),
            told: HashSet::new(),
            is_deep,
            summaries: Vec::new(),
            without_sums: Vec::new(),
            failed: 0,
        }
    }

    /// Reports an unreadable place in a column read only for the proof.
    fn unreadable(&mut self, column: Column, finding: &Finding) -> Result<()> {
        self.verified.unreadable.0 += 1;
        self.told.insert((finding.file.clone(), finding.slot));
        if self.json {
            self.verified.findings.push(FindingObject::of(finding));
            return Ok(());
        }
        self.print(column, finding)
    }

    /// Prints a finding: damage and unreadable places to standard output, notes to standard error.
    fn print(&mut self, column: Column, finding: &Finding) -> Result<()> {
        let Finding { what, wanted, found, .. } = finding;
        let mut line = finding.file.display().to_string();
        if let Some(offset) = finding.offset {
            line += &format!(" at offset {offset}");
        }
        if let Some(slot) = finding.slot {
            line += &format!(", slot {slot}");
        }
        line += &format!(": {what}: wanted {wanted}, found {found}");
        match finding.severity {
            Severity::Damage => writeln!(self.out, "{line}")?,
            Severity::Unreadable => writeln!(self.out, "unreadable: {line}")?,
            Severity::Unfinished | Severity::Note => {
                output::tell(&format!("{column}: {}: {line}", name_of(finding.severity)));
            }
        }
        Ok(self.out.flush()?)
    }

    /// Reports what the archive lacks: lost records as damage on standard output, unfinished work on
    /// standard error.
    fn lacking(&mut self, archive: &Path, lacking: &[Lacking]) -> Result<()> {
        for lacking in lacking {
            let is_damage = lacking.severity == Severity::Damage;
            self.verified.damages.0 += u64::from(is_damage);
            if self.json {
                self.verified.lacking.push(LackingObject::of(lacking));
            } else if is_damage {
                writeln!(self.out, "{}: {lacking}", archive.display())?;
                self.out.flush()?;
            } else {
                output::tell(&format!("{}: {lacking}", name_of(lacking.severity)));
            }
        }
        Ok(())
    }

    fn summary(
        &mut self,
        column: Column,
        summary: &Summary,
        damages: u64,
        findings: Vec<FindingObject>,
    ) {
        let Summary { records, files, with_checksum, unreadable, undecided, .. } = *summary;
        if records > 0 && with_checksum == 0 {
            self.without_sums.push(column.dir_name());
        }
        if self.json {
            self.verified.columns.push(ColumnObject {
                column: column.dir_name(),
                records: Decimal(records),
                with_checksum: Decimal(with_checksum),
                not_compared: Decimal(summary.not_compared()),
                unread_records: Decimal(summary.unread_records),
                files: Decimal(files),
                damages: Decimal(damages),
                unreadable: Decimal(unreadable),
                undecided: Decimal(undecided),
                findings,
            });
            return;
        }
        let line = lines::of_column(column, summary, damages);
        match self.is_deep {
            true => self.summaries.push(line),
            false => output::tell(&line),
        }
    }

    /// Prints the verdict, then the details. Returns false if nothing is proved.
    fn tell_verdict(&mut self) -> bool {
        let damages = self.verified.damages.0;
        let mut proof = self.verified.proof.as_mut();
        let is_proved = proof.as_mut().is_none_or(|proof| !proof.settle(damages));
        if self.json {
            return is_proved;
        }
        if let Some(proof) = &proof {
            output::tell(&proof.verdict(damages));
        }
        self.summaries.iter().for_each(|summary| output::tell(summary));
        lines::without_sums(&self.without_sums).iter().for_each(|line| output::tell(line));
        if let Some(proof) = proof {
            proof.tell_details();
        }
        is_proved
    }
}

/// The severity's name in JSON.
pub(crate) fn name_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Damage => "damage",
        Severity::Unreadable => "unreadable",
        Severity::Unfinished => "unfinished",
        Severity::Note => "note",
    }
}

impl LackingObject {
    fn of(lacking: &Lacking) -> Self {
        let slots = lacking.slots;
        Self {
            severity: name_of(lacking.severity),
            column: lacking.column.dir_name(),
            first_slot: slots.map(|(first, _)| Decimal(first.0)),
            last_slot: slots.map(|(_, last)| Decimal(last.0)),
            what: lacking.what.clone(),
            remedy: lacking.remedy,
        }
    }
}

impl FindingObject {
    fn of(finding: &Finding) -> Self {
        Self {
            severity: name_of(finding.severity),
            file: finding.file.display().to_string(),
            offset: finding.offset.map(Decimal),
            length: finding.byte_len.map(Decimal),
            slot: finding.slot.map(|slot| Decimal(slot.0)),
            what: finding.what.to_string(),
            wanted: finding.wanted.clone(),
            found: finding.found.clone(),
        }
    }
}

/// The finding for a column with files but no conf.
fn lost_conf(directory: &Path) -> Finding {
    Finding {
        severity: Severity::Damage,
        file: directory.join(names::CONF),
        offset: None,
        byte_len: None,
        slot: None,
        what: CorruptItem::Column,
        wanted: "a conf beside the files that hold slots".to_owned(),
        found: "none".to_owned(),
    }
}
