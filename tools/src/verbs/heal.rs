//! `coldstore heal`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use coldstore::{Column, HealReport, Writer, WriterOptions};
use serde::Serialize;

use crate::failure::{self, Answer};
use crate::open;
use crate::output::Output;

/// Put right what a crash left behind, as opening for writing does, and say what that was
#[derive(Debug, Args)]
pub(crate) struct Heal {
    /// The archive's directory
    archive: PathBuf,
    /// Only say what would be changed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Healed {
    column: &'static str,
    actions: Vec<String>,
}

impl Heal {
    pub(crate) fn run(self) -> Result<Answer> {
        let mut out = Output::stdout();
        let (mut healed, mut failed) = (Vec::new(), 0);
        for column in open::present_columns(&self.archive)? {
            match self.heal(column) {
                Ok(report) => {
                    let actions = report.actions.iter().map(ToString::to_string).collect();
                    healed.push(Healed { column: column.dir_name(), actions });
                }
                Err(error) => {
                    failure::tell(column, error);
                    failed += 1;
                }
            }
        }
        if self.json {
            out.json_line(&healed)?;
        } else {
            self.print(&healed, &mut out)?;
        }
        out.flush()?;
        failure::none_failed(failed, "column", "healed")
    }

    fn heal(&self, column: Column) -> coldstore::Result<HealReport> {
        let directory = self.archive.join(column.dir_name());
        if self.dry_run {
            return coldstore::inspect(directory);
        }
        let writer = Writer::open(directory, WriterOptions::existing())?;
        Ok(writer.heal_report().clone())
    }

    fn print(&self, healed: &[Healed], out: &mut Output) -> Result<()> {
        let nothing = if self.dry_run { "nothing to heal" } else { "clean" };
        for Healed { column, actions } in healed {
            if actions.is_empty() {
                writeln!(out, "{column}: {nothing}")?;
            }
            for action in actions {
                writeln!(out, "{column}: {action}")?;
            }
        }
        Ok(())
    }
}
