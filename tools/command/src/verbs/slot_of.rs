//! `coldstore slot-of`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use coldstore_consensus::Root;
use serde_json::json;

use crate::failure::Answer;
use crate::open;
use crate::output::{self, Output};
use coldstore_history::roots;

/// Print the slot of a block root or a state root
///
/// Looks in bbr, then in bsr. With the archive's root index (see `coldstore index`) the lookup is fast;
/// otherwise it reads the whole column.
#[derive(Debug, Args)]
pub(crate) struct SlotOf {
    /// The archive's directory
    archive: PathBuf,
    /// The root, 64 hex digits
    root: Root,
    /// Print the slot and the kind of root as JSON
    #[arg(long)]
    json: bool,
}

impl SlotOf {
    pub(crate) fn run(self) -> Result<Answer> {
        let archive = open::archive(&self.archive)?;
        let Some((kind, slot)) = roots::find(&archive, &self.root)? else {
            output::tell(&format!("no block and no state has the root {}", self.root));
            return Ok(Answer::No);
        };
        let mut out = Output::stdout();
        if self.json {
            out.json_line(&json!({ "slot": slot.0, "kind": kind.name() }))?;
        } else {
            writeln!(out, "{slot}")?;
        }
        out.flush()?;
        Ok(Answer::Yes)
    }
}
