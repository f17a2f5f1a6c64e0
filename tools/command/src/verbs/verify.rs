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
use coldstore::{Column, Error, Manifest, Slot, manifest};
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
/// Reads every byte, and prints one line for each damage: file, offset, slot, wanted, found. Exits 1
/// when there is any. What cannot be read (a bad sector, a permission) is no damage: it is listed as
/// unreadable, the rest is checked all the same, and the exit status is 3. With
/// --deep the verdict comes first: what is proved, and on what it rests; the exit status is also 1 when
/// that is nothing. The proof of one column reads the others, too, and is skipped when one of them cannot
/// be read.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The archive's directory
    archive: PathBuf,
    /// One column; without it all that are there
    #[arg(value_parser = column_parser())]
    column: Option<Column>,
    /// Decode every value as well, and prove blocks, roots and states by each other, era by era
    #[arg(long)]
    deep: bool,
    /// The first slot to prove; eras are proved whole
    #[arg(long, value_name = "SLOT", requires = "deep", value_parser = parse_slot)]
    from: Option<Slot>,
    /// The last slot to prove; eras are proved whole
    #[arg(long, value_name = "SLOT", requires = "deep", value_parser = parse_slot)]
    to: Option<Slot>,
    /// Keep in this file what was proved, and take from it what has not changed since; not in the
    /// archive. Roots are hashed anew; blocks and states are taken where checksums are kept of them
    #[arg(long, value_name = "FILE", requires = "deep")]
    resume: Option<PathBuf>,
    /// The root of the state of a slot, from a source that you trust: it proves every era up to the
    /// state of that slot, where the archive has it
    #[arg(long, value_name = "SLOT:0xROOT", requires = "deep")]
    trusted_state_root: Vec<TrustedRoot>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Verified {
    damages: Decimal,
    /// Ranges and files that could not be read.
    unreadable: Decimal,
    /// Of the archive itself, and of columns that were read for the proof alone.
    findings: Vec<FindingObject>,
    /// The slot of the newest state, while nothing proves it, as the manifest has it.
    unproved_state: Option<Decimal>,
    /// What the archive lacks as a whole.
    lacking: Vec<LackingObject>,
    columns: Vec<ColumnObject>,
    /// Of `--deep` alone.
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
    /// Whole records that no checksum vouches for.
    not_compared: Decimal,
    /// Records that could not be read to their end.
    unread_records: Decimal,
    files: Decimal,
    damages: Decimal,
    unreadable: Decimal,
    /// Notes of which nothing tells whether a record was lost.
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
        // A proof maps what it reads: a bad sector would end the process.
        let is_readable = report.verified.unreadable.0 == 0 && report.failed == 0;
        if self.deep && is_readable {
            let deep = proved.and_then(|()| Deep::prepare(&self, &columns));
            proved = deep.and_then(|deep| deep.run(&mut report));
        } else if self.deep {
            output::tell("not proved: not all of the archive can be read");
        }
        let is_proved = report.tell_verdict();
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

    /// What `archive.toml` says of the chain must be what the states say.
    fn verify_manifest(&self, report: &mut Report) -> Result<()> {
        let Some(manifest) = Manifest::read(&self.archive)? else { return Ok(()) };
        let of_states = self.column.is_none_or(|column| column == Column::StateSnapshots);
        if of_states {
            report.verified.unproved_state = manifest.unproved_state.map(|slot| Decimal(slot.0));
        }
        // A proof has its own words for it.
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
                (Severity::Damage, file, (what, wanted, found))
            }
            // It may have been told with its column.
            Err(Error::Io(io)) if report.told.iter().any(|(file, _)| *file == io.path) => {
                return Ok(());
            }
            Err(Error::Io(io)) => {
                report.verified.unreadable.0 += 1;
                let wanted = "what tells of which chain it is".to_owned();
                let found = format!("cannot {}: {}", io.operation, io.source);
                (Severity::Unreadable, io.path, ("file", wanted, found))
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

/// What is printed as it is found, and what is kept for the end.
struct Report {
    out: Output,
    json: bool,
    verified: Verified,
    /// Files and slots of what was told already.
    told: HashSet<(PathBuf, Option<Slot>)>,
    is_deep: bool,
    /// A line for each column, where the verdict of the proof comes first.
    summaries: Vec<String>,
    /// Columns with records and without a checksum.
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

    /// What cannot be read of a column that was not asked for.
    fn unreadable(&mut self, column: Column, finding: &Finding) -> Result<()> {
        self.verified.unreadable.0 += 1;
        self.told.insert((finding.file.clone(), finding.slot));
        if self.json {
            self.verified.findings.push(FindingObject::of(finding));
            return Ok(());
        }
        self.print(column, finding)
    }

    /// Damage and what cannot be read are the result; a note is for people.
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

    /// Records that are gone are damage; what is not finished is for people.
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

    /// The verdict first, and then what it comes from. True unless it is that nothing is proved.
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

/// As it stands in JSON.
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
            what: finding.what.to_owned(),
            wanted: finding.wanted.clone(),
            found: finding.found.clone(),
        }
    }
}

/// A column's files without the conf that says what of them is committed.
fn lost_conf(directory: &Path) -> Finding {
    Finding {
        severity: Severity::Damage,
        file: directory.join(names::CONF),
        offset: None,
        byte_len: None,
        slot: None,
        what: "column",
        wanted: "a conf beside the files that hold slots".to_owned(),
        found: "none".to_owned(),
    }
}
