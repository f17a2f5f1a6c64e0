//! `coldstore put`

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use coldstore::Slot;

use crate::arguments::{ColumnOf, DoorOptions, parse_slot};
use crate::failure::Answer;
use crate::input::Input;
use crate::output;

/// Write one value, durably
#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    of: ColumnOf,
    /// The slot
    #[arg(value_parser = parse_slot)]
    slot: Slot,
    /// The file with the value; standard input if `-` or missing
    file: Option<PathBuf>,
    /// Turn backfill on for the column: missing slots may be filled from now on
    #[arg(long)]
    backfill: bool,
    #[command(flatten)]
    door: DoorOptions,
}

impl Put {
    pub(crate) fn run(self) -> Result<Answer> {
        let slot = self.slot;
        let mut input = Input::open(self.file.as_deref())?;
        let mut archive = self.door.open(&self.of, self.backfill)?;
        let writer = archive.writer(self.of.column)?;
        let committed = match input.byte_len() {
            Some(byte_len) => writer.put_from(slot, byte_len, &mut input),
            None => {
                // One byte more than the bound is enough for the writer to refuse the value.
                let enough = writer.conf().spec.max_value_bytes.saturating_add(1);
                let mut value = Vec::new();
                input.take(enough).read_to_end(&mut value)?;
                writer.put(slot, &value)
            }
        };
        let committed = committed.with_context(|| format!("slot {slot}"))?;
        if committed.written == 0 {
            output::tell(&format!("slot {slot} already held this value"));
        }
        Ok(Answer::Yes)
    }
}
