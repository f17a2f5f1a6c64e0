//! `coldstore follow`

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use coldstore::{FollowOptions, Slot};
use serde::Serialize;

use crate::cli::{ColumnOf, parse_slot};
use crate::failure::Answer;
use crate::open;
use crate::output::{self, Decimal, Output};
use crate::signals;

/// Print every slot as soon as it is committed
///
/// Slots above the highest come in order, backfilled ones as they are committed. Ends on SIGINT,
/// on SIGTERM, and when nobody reads its output any more.
#[derive(Debug, Args)]
pub(crate) struct Follow {
    #[command(flatten)]
    of: ColumnOf,
    /// The first slot, also of those that are there already; without it, what is committed from
    /// now on is shown, wherever it lies
    #[arg(long, value_name = "SLOT", value_parser = parse_slot)]
    from: Option<Slot>,
    /// Leave backfilled slots out
    #[arg(long)]
    sequential: bool,
    /// Stop after this many slots; with --from, those that are there already count
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Object {
    column: &'static str,
    slot: Decimal,
}

/// How long a signal or a closed pipe may go unnoticed while nothing is committed.
const ATTENTION: Duration = Duration::from_millis(250);

impl Follow {
    pub(crate) fn run(self) -> Result<Answer> {
        let stop = signals::stop_flag()?;
        let reader = open::column(&self.of)?;
        let after_highest = match reader.view().highest_written_slot() {
            Some(highest) => highest.next().context("the column holds the last slot there is")?,
            None => Slot(0),
        };
        let options = match self.sequential {
            true => FollowOptions::default(),
            false => FollowOptions::default().backfilled_from(self.from.unwrap_or(Slot(0))),
        };
        let mut follower = reader.follow(self.from.unwrap_or(after_highest), options)?;
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
            let column = self.of.column.dir_name();
            out.json_line(&Object { column, slot: Decimal(slot.0) })?;
        } else {
            writeln!(out, "{slot}")?;
        }
        Ok(out.flush()?)
    }
}
