//! `coldstore get`

use std::borrow::Cow;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use coldstore::{Error, Slot};
use coldstore_consensus::Root;

use crate::absence::Absence;
use crate::arguments::{ColumnOf, parse_slot};
use crate::disk;
use crate::failure::{Answer, Usage};
use crate::open;
use crate::output::{self, Output};
use coldstore_history::roots;

/// Print one value
///
/// If there is no record, the exit status is 1 and standard error says why: the slot was skipped, not
/// imported, or pruned, its record is missing, or it is beyond the end.
#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    of: ColumnOf,
    /// The slot
    #[arg(value_parser = parse_slot, required_unless_present = "root")]
    slot: Option<Slot>,
    /// Look the slot up by this block root or state root
    #[arg(long, value_name = "ROOT", conflicts_with = "slot")]
    root: Option<Root>,
    /// Print the bytes as stored on disk, compressed if the column is
    #[arg(long)]
    stored: bool,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Get {
    pub(crate) fn run(self) -> Result<Answer> {
        let file = self.out.as_deref().filter(|path| path.as_os_str() != "-");
        let to_stdout = match file {
            None => Some(Output::for_bytes("--out FILE")?),
            Some(_) => None,
        };
        let archive = open::archive(&self.of.archive)?;
        let ColumnOf { archive: root, column } = &self.of;
        let view = match archive.column(*column) {
            Ok(reader) => Some(reader.view()),
            // The absence below says whether the column was lost or never created.
            Err(Error::NoSuchColumn { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let slot = match (self.slot, self.root) {
            (Some(slot), _) => slot,
            (None, Some(root)) => match roots::find(&archive, &root)? {
                Some((_, slot)) => slot,
                None => {
                    output::tell(&format!("no block and no state has the root {root}"));
                    return Ok(Answer::No);
                }
            },
            (None, None) => return Err(Usage("a slot or a root is missing".to_owned()).into()),
        };
        let found = match &view {
            Some(view) if self.stored => {
                view.get_stored(slot).map(|stored| stored.map(Cow::Borrowed))
            }
            Some(view) => view.get(slot),
            None => Ok(None),
        };
        let Some(bytes) = found.with_context(|| format!("slot {slot}"))? else {
            output::tell(&Absence::of(root, &archive, *column, slot)?.to_string());
            return Ok(Answer::No);
        };
        if let Some(path) = file {
            disk::write(path, &bytes)?;
        }
        if let Some(mut out) = to_stdout {
            out.write_all(&bytes)?;
            out.flush()?;
        }
        Ok(Answer::Yes)
    }
}
