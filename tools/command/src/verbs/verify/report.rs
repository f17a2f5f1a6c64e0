//! The report of `verify`: findings as they come, then the rest.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use coldstore::verify::{Finding, Severity, Summary};
use coldstore::{Column, Slot};
use coldstore_history::lacking::Lacking;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::lines;
use super::verdict::ProofOutcome;
use crate::output::{self, Output, name_of};

/// What `--json` prints.
#[derive(Default, Serialize)]
pub(super) struct Verified {
    pub(super) damages: u64,
    /// Number of ranges and files that could not be read.
    pub(super) unreadable: u64,
    /// Findings for the archive itself, and for columns read only for the proof.
    pub(super) findings: Vec<Value>,
    /// The slot of the newest state according to the manifest, as long as nothing proves it.
    pub(super) unproved_state: Option<u64>,
    /// Columns and ranges that the archive as a whole lacks.
    lacking: Vec<Value>,
    columns: Vec<Value>,
    /// Only with `--deep`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "proof_object")]
    pub(super) proof: Option<ProofOutcome>,
}

fn proof_object<S: Serializer>(proof: &Option<ProofOutcome>, to: S) -> Result<S::Ok, S::Error> {
    proof.as_ref().map(ProofOutcome::object).serialize(to)
}

/// A finding in JSON.
pub(super) fn object(finding: &Finding) -> Value {
    json!({
        "severity": name_of(finding.severity),
        "file": finding.file.display().to_string(),
        "offset": finding.offset,
        "length": finding.byte_len,
        "slot": finding.slot.map(|slot| slot.0),
        "what": finding.what.to_string(),
        "wanted": finding.wanted,
        "found": finding.found,
    })
}

fn lacking_object(lacking: &Lacking) -> Value {
    json!({
        "severity": name_of(lacking.severity),
        "column": lacking.column.dir_name(),
        "first_slot": lacking.slots.map(|(first, _)| first.0),
        "last_slot": lacking.slots.map(|(_, last)| last.0),
        "what": lacking.what,
        "remedy": lacking.remedy,
    })
}

/// Prints findings as they come, and collects the rest for the end.
pub(super) struct Report {
    pub(super) out: Output,
    pub(super) json: bool,
    pub(super) verified: Verified,
    /// Files and slots already reported.
    pub(super) told: HashSet<(PathBuf, Option<Slot>)>,
    is_deep: bool,
    /// One line per column, held back until the verdict of the proof is printed.
    summaries: Vec<String>,
    /// Columns with records but no checksums.
    without_sums: Vec<&'static str>,
    pub(super) failed: u64,
}

impl Report {
    pub(super) fn new(json: bool, is_deep: bool) -> Self {
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
    pub(super) fn unreadable(&mut self, column: Column, finding: &Finding) -> Result<()> {
        self.verified.unreadable += 1;
        self.told.insert((finding.file.clone(), finding.slot));
        if self.json {
            self.verified.findings.push(object(finding));
            return Ok(());
        }
        self.print(column, finding)
    }

    /// Prints a finding: damage and unreadable places to standard output, notes to standard error.
    pub(super) fn print(&mut self, column: Column, finding: &Finding) -> Result<()> {
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
    pub(super) fn lacking(&mut self, archive: &Path, lacking: &[Lacking]) -> Result<()> {
        for lacking in lacking {
            let is_damage = lacking.severity == Severity::Damage;
            self.verified.damages += u64::from(is_damage);
            if self.json {
                self.verified.lacking.push(lacking_object(lacking));
            } else if is_damage {
                writeln!(self.out, "{}: {lacking}", archive.display())?;
                self.out.flush()?;
            } else {
                output::tell(&format!("{}: {lacking}", name_of(lacking.severity)));
            }
        }
        Ok(())
    }

    /// Adds a column, or prints its line.
    pub(super) fn summary(
        &mut self,
        column: Column,
        summary: &Summary,
        damages: u64,
        findings: Vec<Value>,
    ) {
        let Summary { records, files, with_checksum, unreadable, undecided, .. } = *summary;
        if records > 0 && with_checksum == 0 {
            self.without_sums.push(column.dir_name());
        }
        if self.json {
            self.verified.columns.push(json!({
                "column": column.dir_name(),
                "records": records,
                "with_checksum": with_checksum,
                "not_compared": summary.not_compared(),
                "unread_records": summary.unread_records,
                "files": files,
                "damages": damages,
                "unreadable": unreadable,
                "undecided": undecided,
                "findings": Value::Array(findings),
            }));
            return;
        }
        let line = lines::of_column(column, summary, damages);
        match self.is_deep {
            true => self.summaries.push(line),
            false => output::tell(&line),
        }
    }

    /// Prints the verdict, then the details. Returns false if nothing is proved.
    pub(super) fn tell_verdict(&mut self) -> bool {
        let damages = self.verified.damages;
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
