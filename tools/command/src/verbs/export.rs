//! `coldstore export`

mod eras;
mod name;
mod streams;

use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use coldstore::{Column, Slot};

use crate::arguments::{column_parser, parse_eras, parse_slot, slot_range};
use crate::failure::{Answer, Usage};

/// Export .era files or slot streams
///
/// Block records are copied as they were imported, states are compressed again. Each file is durable
/// before the next begins. An existing file with the same bytes is kept, so run the same command again
/// to resume an interrupted export. An era with anything missing is an error that names the slot.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The archive's directory
    archive: PathBuf,
    /// The directory for the files, created if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What to write: .era files, or one slot stream DIR/COLUMN.e2s per column, readable by `load`
    #[arg(long, value_enum, default_value_t = Format::Era)]
    format: Format,
    /// The eras, both ends included (default: all). For .era files
    #[arg(long = "era", value_name = "A[..B]", value_parser = parse_eras)]
    eras: Option<RangeInclusive<u64>>,
    /// The network, for the file names: a known name, or a config file (default: the archive's own
    /// network). For .era files
    #[arg(long, value_name = "NAME|FILE")]
    network: Option<String>,
    /// The columns (default: all columns of the archive). With one column, `--out -` writes to standard
    /// output. For slot streams
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', value_parser = column_parser())]
    column: Vec<Column>,
    /// The first slot. For slot streams
    #[arg(long, value_name = "SLOT", value_parser = parse_slot)]
    from: Option<Slot>,
    /// The last slot. For slot streams
    #[arg(long, value_name = "SLOT", value_parser = parse_slot)]
    to: Option<Slot>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Era files, as exchanged by consensus clients
    Era,
    /// Slot streams
    Stream,
}

impl Export {
    pub(crate) fn run(self) -> Result<Answer> {
        let misplaced = match self.format {
            Format::Era => [
                ("--column", !self.column.is_empty()),
                ("--from", self.from.is_some()),
                ("--to", self.to.is_some()),
            ]
            .into_iter()
            .find(|(_, given)| *given),
            Format::Stream => {
                [("--era", self.eras.is_some()), ("--network", self.network.is_some())]
                    .into_iter()
                    .find(|(_, given)| *given)
            }
        };
        if let Some((option, _)) = misplaced {
            let format = if self.format == Format::Era { "era" } else { "stream" };
            return Err(Usage(format!("{option} does not go with --format {format}")).into());
        }
        match self.format {
            Format::Era => eras::export(
                &self.archive,
                &self.out,
                self.eras,
                self.network.as_deref(),
                self.json,
            ),
            Format::Stream => {
                let slots = slot_range(self.from, self.to).map_err(Usage)?;
                streams::export(&self.archive, &self.out, self.column, &slots, self.json)
            }
        }
    }
}
