//! `coldstore get`

use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use coldstore::Slot;

use crate::cli::{ColumnOf, parse_slot};
use crate::disk;
use crate::failure::Answer;
use crate::open;
use crate::output::{self, Output};

/// Print one value
#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    of: ColumnOf,
    /// The slot
    #[arg(value_parser = parse_slot)]
    slot: Slot,
    /// The bytes as they lie on disk, compressed where the column is
    #[arg(long)]
    stored: bool,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Get {
    pub(crate) fn run(self) -> Result<Answer> {
        let view = open::column(&self.of)?.view();
        let slot = self.slot;
        let found = if self.stored {
            view.get_stored(slot).map(|stored| stored.map(Cow::Borrowed))
        } else {
            view.get(slot)
        };
        let Some(bytes) = found.with_context(|| format!("slot {slot}"))? else {
            let column = self.of.column;
            output::tell(&format!("{column} has no record of slot {slot}"));
            return Ok(Answer::No);
        };
        match self.out.as_deref() {
            Some(path) if path != Path::new("-") => disk::write(path, &bytes)?,
            _ => {
                let mut out = Output::stdout();
                out.write_all(&bytes)?;
                out.flush()?;
            }
        }
        Ok(Answer::Yes)
    }
}
