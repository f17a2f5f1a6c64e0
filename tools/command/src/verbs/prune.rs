//! `coldstore prune`

use anyhow::Result;
use clap::Args;
use coldstore::Slot;
use coldstore::removal::Removal;

use super::removal::Scope;
use crate::cli::parse_slot;
use crate::failure::Answer;

/// Remove the files that lie wholly below a slot
///
/// A file holds 8192 slots, and the one with a column's highest slot stays. Of states and state
/// differences more may stay: a difference above the slot may build on a snapshot below it. The archive
/// remembers what was pruned, and import does not bring it back unless it is told to.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    scope: Scope,
    /// Files below this slot are removed
    #[arg(long, value_name = "SLOT", value_parser = parse_slot)]
    before: Slot,
}

impl Prune {
    pub(crate) fn run(self) -> Result<Answer> {
        self.scope.remove(Removal::Prune(self.before))
    }
}
