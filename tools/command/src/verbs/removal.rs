//! Shared by `coldstore rewind` and `coldstore prune`: arguments, removal and report.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Error, Result, bail};
use clap::Args;
use coldstore::removal::{self, Removal, Removed};
use coldstore::{Column, Manifest};
use coldstore_history::states::links::removal_of_states;
use serde_json::{Value, json};

use crate::absence::is_of_states;
use crate::arguments::column_parser;
use crate::chain::{Chain, preset_of};
use crate::failure::Answer;
use crate::open;
use crate::output::{self, Output};

/// Arguments of both verbs.
#[derive(Debug, Args)]
pub(super) struct Scope {
    /// The archive's directory
    archive: PathBuf,
    /// The columns (default: all columns of the archive)
    #[arg(value_name = "COLUMN", value_parser = column_parser())]
    columns: Vec<Column>,
    /// Report what would be removed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Scope {
    pub(super) fn remove(&self, removal: Removal) -> Result<Answer> {
        let present = open::present_columns(&self.archive)?;
        if present.is_empty() {
            bail!("{}: the archive has no columns", self.archive.display());
        }
        if let Some(missing) = self.columns.iter().find(|column| !present.contains(column)) {
            bail!("{}: the archive has no column {missing}", self.archive.display());
        }
        let columns = if self.columns.is_empty() { &present } else { &self.columns };
        let of_states = self.of_states(removal, columns)?;
        let (states, others): (Vec<Column>, Vec<Column>) =
            columns.iter().partition(|column| of_states != removal && is_of_states(**column));
        let mut removed = Vec::new();
        for (removal, columns) in [(removal, others), (of_states, states)] {
            if !columns.is_empty() {
                removed.extend(match self.dry_run {
                    true => removal::inspect(&self.archive, removal, &columns)?,
                    false => self.begin(removal, &columns)?,
                });
            }
        }
        let mut out = Output::stdout();
        if self.json {
            out.json_line(&removed.iter().map(|column| self.object(column)).collect::<Vec<_>>())?;
        } else {
            for column in &removed {
                writeln!(out, "{}", self.line(column))?;
            }
        }
        out.flush()?;
        self.tell(&removed);
        Ok(Answer::Yes)
    }

    /// What is removed of the states: not what diffs that stay build on.
    fn of_states(&self, removal: Removal, columns: &[Column]) -> Result<Removal> {
        if !columns.iter().any(|column| is_of_states(*column)) {
            return Ok(removal);
        }
        let manifest = Manifest::read(&self.archive)?.unwrap_or_default();
        if manifest.state_values.is_none() {
            return Ok(removal);
        }
        let preset = preset_of(&Chain::of(&self.archive)?, &open::archive(&self.archive)?)?;
        let preset = preset.map_err(Error::msg)?;
        let limited = removal_of_states(&self.archive, &manifest, preset, removal, columns)?;
        if let (Removal::Prune(asked), Removal::Prune(limit)) = (removal, limited)
            && limit < asked
        {
            output::tell(&format!(
                "bss and bsd keep everything from slot {limit} on: diffs that stay build on it"
            ));
        }
        Ok(limited)
    }

    /// Removes, and reports when an error leaves the removal unfinished.
    fn begin(&self, removal: Removal, columns: &[Column]) -> Result<Vec<Removed>> {
        let removed = removal::remove(&self.archive, removal, columns);
        let manifest = if removed.is_err() { Manifest::read(&self.archive)? } else { None };
        if manifest.is_some_and(|manifest| !manifest.intents().is_empty()) {
            output::tell(
                "the removal is not finished: the next command that writes finishes it, or `heal`; it \
                 rewrites the last file of a column, and needs space for that",
            );
        }
        Ok(removed?)
    }

    fn object(&self, removed: &Removed) -> Value {
        json!({
            "column": removed.column.dir_name(),
            "records": removed.cut.records,
            "files": removed.cut.files,
            "bytes": removed.cut.bytes,
            "highest_slot": removed.cut.highest.map(|slot| slot.0),
            "pruned_before": removed.pruned_before.map(|slot| slot.0),
            "dry_run": self.dry_run,
        })
    }

    fn line(&self, removed: &Removed) -> String {
        let (column, cut) = (removed.column, &removed.cut);
        if !cut.changes {
            return format!("{column}: nothing to remove");
        }
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        let records = output::count(cut.records, "record");
        let files = output::count(cut.files, "data file");
        let bytes = output::bytes_for_people(cut.bytes);
        let highest = match cut.highest {
            Some(slot) => format!("highest slot {slot}"),
            None => "empty".to_owned(),
        };
        let pruned = match removed.pruned_before {
            Some(before) => format!(", pruned before slot {before}"),
            None => String::new(),
        };
        format!("{column}: {records}, {files}, {bytes} {verb}; {highest}{pruned}")
    }

    fn tell(&self, removed: &[Removed]) {
        let bytes = removed.iter().map(|column| column.cut.bytes).sum();
        let verb = if self.dry_run { "would be freed" } else { "freed" };
        output::tell(&format!("{} {verb}", output::bytes_for_people(bytes)));
    }
}
