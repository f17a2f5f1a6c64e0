//! `coldstore follow`

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use coldstore::Slot;
use serde_json::json;

use crate::arguments::{ColumnOf, parse_slot};
use crate::failure::Answer;
use crate::open;
use crate::output::{self, Output};
use crate::signals;

/// Print each slot when it is committed
///
/// Appended slots come in order, backfilled slots as they are committed. Ends on SIGINT, on SIGTERM,
/// and when its output is closed.
#[derive(Debug, Args)]
pub(crate) struct Follow {
    #[command(flatten)]
    of: ColumnOf,
    /// Start at this slot, including slots already committed (default: only slots committed from now
    /// on, backfilled ones anywhere)
    #[arg(long, value_name = "SLOT", value_parser = parse_slot)]
    from: Option<Slot>,
    /// Omit backfilled slots
    #[arg(long)]
    sequential: bool,
    /// Stop after this many slots; with --from, slots already committed count
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// How long the verb waits for a commit before it checks for signals and a closed pipe.
const ATTENTION: Duration = Duration::from_millis(250);

impl Follow {
    pub(crate) fn run(self) -> Result<Answer> {
        let stop = signals::stop_flag()?;
        let reader = open::column(&self.of)?;
        let after_highest = match reader.view().highest_written_slot() {
            Some(highest) => highest.next().context("the column holds the last slot there is")?,
            None => Slot(0),
        };
        let from = self.from.unwrap_or(after_highest);
        let mut follower = match self.sequential {
            true => reader.follow(from),
            false => reader.follow_backfill(from, self.from.unwrap_or(Slot(0))),
        }?;
        let mut out = Output::stdout();
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 && !stop.load(Ordering::Relaxed) && !output::is_closed() {
            if let Some(slot) = follower.next_slot(Some(ATTENTION))? {
                self.print(slot, &mut out)?;
                left -= 1;
            }
        }
        Ok(Answer::Yes)
    }

    fn print(&self, slot: Slot, out: &mut Output) -> Result<()> {
        if self.json {
            out.json_line(&json!({ "column": self.of.column.dir_name(), "slot": slot.0 }))?;
        } else {
            writeln!(out, "{slot}")?;
        }
        Ok(out.flush()?)
    }
}
