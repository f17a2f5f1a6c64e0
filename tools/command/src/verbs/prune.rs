//! `coldstore prune`

use anyhow::Result;
use clap::Args;
use coldstore::Slot;
use coldstore::removal::Removal;

use super::removal::Scope;
use crate::arguments::parse_slot;
use crate::failure::Answer;

/// Remove the files that lie wholly below a slot
///
/// A file holds 8192 slots; the file with a column's highest slot stays. More files of states and state
/// diffs may stay, because a diff above the slot may build on a snapshot below it. The
/// archive records the pruning, and import does not restore pruned slots unless asked to (import
/// --backfill --refill).
#[derive(Debug, Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    scope: Scope,
    /// Remove files below this slot
    #[arg(long, value_name = "SLOT", value_parser = parse_slot)]
    before: Slot,
}

impl Prune {
    pub(crate) fn run(self) -> Result<Answer> {
        self.scope.remove(Removal::Prune(self.before))
    }
}
