//! `coldstore verify`

mod checkpoint;
mod deep;
mod lines;
mod report;
mod verdict;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use coldstore::files::pread::{OsPread, Pread};
use coldstore::format::names;
use coldstore::verify::{Finding, Severity, Summary, VerifyOptions, verify_column};
use coldstore::{Column, CorruptItem, Error, Manifest, Slot, manifest};
use coldstore_history::deep::{StateSample, stored_states};
use coldstore_history::import::TrustedRoot;
use coldstore_history::states::{PathFault, links};

use self::deep::Deep;
use self::report::Report;
use crate::arguments::{column_parser, parse_slot, slot_range};
use crate::chain::{Chain, Contradiction, States, preset_of};
use crate::failure::{self, Answer, Usage};
use crate::notes;
use crate::open;
use crate::output;
use crate::progress::Progress;

/// Check everything and change nothing
///
/// Reads every byte and prints one line per damage: file, offset, slot, wanted, found. Exits 1 if there
/// is damage. Data that cannot be read (a bad sector, a permission) does not count as damage: it is
/// listed as unreadable, the rest is still checked, and the exit status is 3.
///
/// Of states that are stored as diffs, the headers are checked, and the states on which they build.
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
    /// Which of the states that are stored as diffs to rebuild and prove, besides those at the
    /// boundaries of eras: `ends`, on which no other builds, so that their proofs take in every
    /// diff; `every:N`, of slots that are multiples of N; or `all`
    #[arg(
        long,
        value_name = "ends|every:N|all",
        requires = "deep",
        default_value_t = StateSample::default()
    )]
    states: StateSample,
    /// The state root of a slot, from a source you trust. It proves every era up to that state, if the
    /// archive has it
    #[arg(long, value_name = "SLOT:0xROOT", requires = "deep")]
    trusted_state_root: Vec<TrustedRoot>,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
        let is_readable = report.verified.unreadable == 0 && report.failed == 0;
        if is_readable && columns.contains(&Column::StateDiffs) {
            self.verify_links(&mut report)?;
        }
        if self.deep && is_readable {
            let deep = proved.and_then(|()| Deep::prepare(&self, &columns));
            proved = deep.and_then(|deep| deep.run(&mut report));
        } else if self.deep {
            output::tell("not proved: not all of the archive can be read");
        }
        let is_proved = report.tell_verdict();
        if !self.json {
            notes::tell_unknown(&self.archive)?;
        }
        proved?;
        let Report { mut out, verified, failed, .. } = report;
        if self.json {
            out.json_line(&verified)?;
        }
        out.flush()?;
        if verified.damages > 0 || !is_proved {
            return Ok(Answer::No);
        }
        failure::none_failed(failed, "column", "verified")?;
        failure::none_failed(verified.unreadable, "place", "read")
    }

    /// Checks that `archive.toml` agrees with the states about the chain.
    fn verify_manifest(&self, report: &mut Report) -> Result<()> {
        let Some(manifest) = Manifest::read(&self.archive)? else { return Ok(()) };
        let of_states = self.column.is_none_or(|column| column == Column::StateSnapshots);
        if of_states {
            report.verified.unproved_state = manifest.unproved_state.map(|slot| slot.0);
        }
        // The proof reports the unproved state itself.
        if of_states && !self.deep && !self.json {
            notes::unproved_state(&manifest).iter().for_each(|line| output::tell(line));
        }
        let states = States::of(&self.archive);
        let denied = states.and_then(|states| Chain::recorded(&manifest).contradiction(&states));
        let (severity, file, (what, wanted, found)) = match denied {
            Ok(None) => return Ok(()),
            Ok(Some(Contradiction { what, wanted, found })) => {
                report.verified.damages += 1;
                let file = self.archive.join(manifest::FILE_NAME);
                (Severity::Damage, file, (CorruptItem::from(what), wanted, found))
            }
            // The file may have been reported with its column.
            Err(Error::Io(io)) if report.told.iter().any(|(file, _)| *file == io.path) => {
                return Ok(());
            }
            Err(Error::Io(io)) => {
                report.verified.unreadable += 1;
                let wanted = "a file that identifies the chain".to_owned();
                let found = format!("cannot {}: {}", io.operation, io.source);
                (Severity::Unreadable, io.path, ("file".into(), wanted, found))
            }
            Err(error) => return Err(error.into()),
        };
        let finding = Finding::new(severity, file, what, wanted, found);
        if report.json {
            report.verified.findings.push(report::object(&finding));
            return Ok(());
        }
        report.print(Column::StateSnapshots, &finding)
    }

    /// Checks the headers of diffs, and that the states on which they build are there.
    fn verify_links(&self, report: &mut Report) -> Result<()> {
        let archive = open::archive(&self.archive)?;
        let preset = preset_of(&Chain::of(&self.archive)?, &archive)?;
        let Some(states) = stored_states(&archive, preset.ok())? else { return Ok(()) };
        let progress = Progress::waiting("check the state diffs");
        let mut printed = Ok(());
        let mut take = |_: &PathFault, column, finding: Finding| {
            if !report.told.insert((finding.file.clone(), finding.slot)) {
                return;
            }
            report.verified.damages += 1;
            if report.json {
                report.verified.findings.push(report::object(&finding));
            } else if printed.is_ok() {
                printed = progress.suspend(|| report.print(column, &finding));
            }
        };
        links::check(&self.archive, &states, &mut |_| {}, &mut take)?;
        drop(progress);
        printed
    }

    fn verify_column(&self, column: Column, report: &mut Report) -> Result<()> {
        let directory = self.archive.join(column.dir_name());
        let pruned_before =
            Manifest::read(&self.archive)?.and_then(|known| known.column(column).pruned_before);
        let options = VerifyOptions::default()
            .deep(self.deep)
            .column(Some(column))
            .pruned_before(pruned_before);
        let progress = Progress::waiting(&format!("verify {column}"));
        let (mut damages, mut findings, mut printed) = (0, Vec::new(), Ok(()));
        let mut take = |finding: Finding| {
            damages += u64::from(finding.severity == Severity::Damage);
            report.verified.unreadable += u64::from(finding.severity == Severity::Unreadable);
            report.told.insert((finding.file.clone(), finding.slot));
            if report.json {
                findings.push(report::object(&finding));
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
        report.verified.damages += damages;
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

/// The finding for a column with files but no conf.
fn lost_conf(directory: &Path) -> Finding {
    let wanted = "a conf beside the files that hold slots";
    Finding::new(Severity::Damage, directory.join(names::CONF), CorruptItem::Column, wanted, "none")
}
