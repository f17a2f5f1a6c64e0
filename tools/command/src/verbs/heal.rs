//! `coldstore heal`

mod agreement;
mod copy;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use coldstore::{
    Column, HealReport, Manifest, ReclaimReport, Reclaimed, Writer, WriterOptions, inspect_with,
    removal,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::column_parser;
use crate::failure::{self, Answer};
use crate::notes;
use crate::open;
use crate::output::{self, Output};

/// Repair what a crash left, as opening for writing does, and report it
#[derive(Debug, Args)]
pub(crate) struct Heal {
    /// The archive's directory
    archive: PathBuf,
    /// The column to replace by a copy
    #[arg(requires = "from", value_parser = column_parser())]
    column: Option<Column>,
    /// Replace the column by this copy: an archive of the same chain, or its directory of this column.
    /// The copy must agree with the archive's other columns: blocks and states are hashed and compared
    /// with bbr and bsr, roots with blocks, states, and the eras recorded in the newest state
    #[arg(long, value_name = "COPY", requires = "column", conflicts_with_all = ["reclaim", "dry_run"])]
    from: Option<PathBuf>,
    /// Report what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Also free the space of bytes that no slot refers to; lengths and offsets stay the same
    #[arg(long)]
    reclaim: bool,
    /// Remove bytes and files outside the conf without keeping a copy, even if no crash explains them,
    /// and remove copies put aside earlier
    #[arg(long)]
    discard: bool,
    /// Restore the last conf written by coldstore, from column.check, if it fits the files
    #[arg(long, conflicts_with_all = ["dry_run", "discard", "reclaim"])]
    restore_conf: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Healed {
    column: &'static str,
    actions: Vec<String>,
    /// Copies put aside and not yet removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    put_aside: Vec<String>,
    /// With `--reclaim`: whole blocks of a file that no slot refers to.
    #[serde(skip_serializing_if = "Option::is_none")]
    reclaimed: Option<Vec<Value>>,
    /// `reclaimed` for people.
    #[serde(skip)]
    lines: Vec<String>,
}

fn object(span: &Reclaimed) -> Value {
    // `freed` is null on a dry run.
    json!({
        "file": span.file.display().to_string(),
        "offset": span.offset,
        "length": span.byte_len,
        "freed": span.freed,
    })
}

impl Heal {
    pub(crate) fn run(self) -> Result<Answer> {
        if let (Some(column), Some(copy)) = (self.column, &self.from) {
            return copy::replace(&self.archive, column, copy, self.json);
        }
        notes::tell_lacking(&self.archive)?;
        let mut out = Output::stdout();
        let (mut healed, mut failed) = (Vec::new(), 0);
        self.finish_intents()?;
        for column in open::present_columns(&self.archive)? {
            match self.heal(column) {
                Ok((report, reclaimed)) => {
                    let actions = report.actions.iter().map(ToString::to_string).collect();
                    let put_aside =
                        report.asides.iter().map(|path| path.display().to_string()).collect();
                    let ReclaimReport { spans, left_alone } = reclaimed;
                    healed.push(Healed {
                        column: column.dir_name(),
                        actions,
                        put_aside,
                        reclaimed: self.reclaim.then(|| spans.iter().map(object).collect()),
                        lines: spans.iter().map(ToString::to_string).collect(),
                    });
                    // `verify` examines such a file; its surplus bytes stay.
                    failed += u64::from(!left_alone.is_empty());
                    for error in left_alone {
                        failure::tell(column, error);
                    }
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

    /// Finishes an interrupted operation on several columns, such as a rewind.
    fn finish_intents(&self) -> Result<()> {
        let intents = match self.dry_run {
            true => Manifest::read(&self.archive)?.map_or_else(Vec::new, |m| m.intents().to_vec()),
            false => removal::finish_intents(&self.archive)?,
        };
        for intent in intents {
            let verb = if self.dry_run { "would be finished" } else { "finished" };
            let columns = intent.columns.join(" ");
            output::tell(&format!("an interrupted {} of {columns} {verb}", intent.kind));
        }
        Ok(())
    }

    fn heal(&self, column: Column) -> coldstore::Result<(HealReport, ReclaimReport)> {
        let directory = self.archive.join(column.dir_name());
        let options = WriterOptions::default().orphans_aside(true).discard(self.discard);
        let healed = match self.dry_run {
            true => inspect_with(&directory, options)?,
            false => {
                let options = options.restore_conf(self.restore_conf);
                Writer::open(&directory, options)?.heal_report().clone()
            }
        };
        let reclaimed = match (self.reclaim, self.dry_run) {
            (false, _) => ReclaimReport::default(),
            (true, true) => coldstore::inspect_reclaim(directory)?,
            // `reclaim` opens the column again, now healed.
            (true, false) => coldstore::reclaim(directory)?.1,
        };
        Ok((healed, reclaimed))
    }

    fn print(&self, healed: &[Healed], out: &mut Output) -> Result<()> {
        let nothing = if self.dry_run { "nothing to heal" } else { "clean" };
        for Healed { column, actions, put_aside, lines, .. } in healed {
            if actions.is_empty() && lines.is_empty() {
                writeln!(out, "{column}: {nothing}")?;
            }
            for action in actions {
                writeln!(out, "{column}: {action}")?;
            }
            for file in put_aside {
                writeln!(out, "{column}: {file}: put aside, until all of it is committed again")?;
            }
            for line in lines {
                writeln!(out, "{column}: {line}")?;
            }
        }
        Ok(())
    }
}
