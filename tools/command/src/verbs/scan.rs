//! `coldstore scan`

use std::io::Write;
use std::ops::RangeInclusive;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use coldstore::{Column, Record, Slot, View};
use coldstore_client::slot_stream;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::arguments::{ColumnOf, parse_slot, slot_range};
use crate::failure::{self, Answer, Usage};
use crate::open;
use crate::output::{self, Output};

/// Print the records of a range of slots
#[derive(Debug, Args)]
pub(crate) struct Scan {
    #[command(flatten)]
    of: ColumnOf,
    /// The first slot
    #[arg(long, value_name = "SLOT", value_parser = parse_slot)]
    from: Option<Slot>,
    /// The last slot
    #[arg(long, value_name = "SLOT", value_parser = parse_slot)]
    to: Option<Slot>,
    /// Print from the last slot to the first
    #[arg(long)]
    reverse: bool,
    /// Stop after this many records
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How to print a record
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table: slot, length, stored length, first bytes
    Table,
    /// One JSON object per line
    Json,
    /// A slot stream, readable by `load`
    Stream,
    /// Slot, length and SHA-256 of the value, separated by tabs
    Sha256,
}

const TABLE_PREFIX_BYTES: usize = 16;

impl Scan {
    pub(crate) fn run(self) -> Result<Answer> {
        if self.reverse && self.format == Format::Stream {
            let message = "--reverse does not go with --format stream: its slots ascend";
            return Err(Usage(message.to_owned()).into());
        }
        let slots = slot_range(self.from, self.to).map_err(Usage)?;
        let view = open::column(&self.of)?.view();
        let mut out = match self.format {
            Format::Stream => Output::for_bytes("> FILE")?,
            _ => Output::stdout(),
        };
        match self.format {
            Format::Table => {
                writeln!(out, "{:>10} {:>12} {:>12}  first bytes", "slot", "length", "stored")?;
            }
            Format::Stream => slot_stream::write_start(&mut out)?,
            Format::Json | Format::Sha256 => {}
        }
        let damaged = self.print_records(&view, slots, &mut out)?;
        out.flush()?;
        failure::none_failed(damaged, "record", "read")
    }

    /// Continues after a damaged record, and returns the number of damaged records.
    fn print_records(
        &self,
        view: &View,
        slots: RangeInclusive<Slot>,
        out: &mut Output,
    ) -> Result<u64> {
        let (mut damaged, mut left) = (0, self.limit.unwrap_or(u64::MAX));
        if left == 0 {
            return Ok(0);
        }
        let records = view.range(slots);
        let records: Box<dyn Iterator<Item = coldstore::Result<Record<'_>>> + '_> =
            if self.reverse { Box::new(records.rev()) } else { Box::new(records) };
        for record in records {
            let printed = record
                .map_err(anyhow::Error::from)
                .and_then(|record| self.print(&record, view, out));
            match printed {
                Ok(()) => left -= 1,
                Err(error) if error.is::<coldstore::Error>() => {
                    // Keeps results and messages in order when both go to one terminal.
                    out.flush()?;
                    output::tell(&failure::sentence(&error));
                    damaged += 1;
                }
                Err(error) => return Err(error),
            }
            if left == 0 {
                break;
            }
        }
        Ok(damaged)
    }

    fn print(&self, record: &Record<'_>, view: &View, out: &mut Output) -> Result<()> {
        let slot = record.slot();
        let value = record.value().with_context(|| format!("slot {slot}"))?;
        let (length, stored) = (value.len() as u64, record.stored().len() as u64);
        match self.format {
            Format::Table => {
                let first = const_hex::encode(&value[..value.len().min(TABLE_PREFIX_BYTES)]);
                writeln!(out, "{slot:>10} {length:>12} {stored:>12}  {first}")?;
            }
            Format::Json => {
                let mut object =
                    json!({ "slot": slot.0, "length": length, "stored_length": stored });
                if matches!(self.of.column, Column::BlockRoots | Column::StateRoots) {
                    object["root"] = const_hex::encode_prefixed(&value).into();
                }
                out.json_line(&object)?;
            }
            Format::Stream => {
                slot_stream::write_item(out, view.conf().spec.record_type, slot, &value)?;
            }
            Format::Sha256 => {
                let digest = const_hex::encode(Sha256::digest(&value));
                writeln!(out, "{slot}\t{length}\t{digest}")?;
            }
        }
        Ok(())
    }
}
