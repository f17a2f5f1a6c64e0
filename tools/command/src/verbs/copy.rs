//! `coldstore copy`

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use coldstore::write::copy::{CopiedColumn, copy};
use serde_json::{Value, json};

use crate::failure::Answer;
use crate::output;
use crate::progress::Progress;
use crate::signals;

/// Make a consistent copy of an archive, even while it is written to
///
/// The copy holds everything committed before it began, and needs no healing. Run the same command
/// again to resume an interrupted copy; until it is finished, DEST holds a file copy.unfinished.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The archive's directory
    archive: PathBuf,
    /// The destination: a missing or empty directory, or one with an unfinished copy
    #[arg(value_name = "DEST")]
    destination: PathBuf,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

impl Copy {
    pub(crate) fn run(self) -> Result<Answer> {
        let stop = signals::stop_flag()?;
        let (started, bar) = (Instant::now(), Progress::of_bytes("copy", None));
        let copied = copy(&self.archive, &self.destination, &mut |progress| {
            let total = output::bytes_for_people(progress.bytes_total);
            bar.set_message(format!("copy {} ({total} in total)", progress.column));
            bar.set_position(progress.bytes_done);
            match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        drop(bar);
        let columns = copied?;
        let sum = |of: fn(&CopiedColumn) -> u64| columns.iter().map(of).sum::<u64>();
        let found = match sum(|column| column.bytes_found) {
            0 => String::new(),
            bytes => format!(", of which {} were there", output::bytes_for_people(bytes)),
        };
        output::tell(&format!(
            "copied {} records in {} columns, {}{found}, in {:.1} s",
            sum(|column| column.records),
            columns.len(),
            output::bytes_for_people(sum(|column| column.bytes)),
            started.elapsed().as_secs_f64()
        ));
        if self.json {
            output::print_json(&columns.iter().map(object).collect::<Vec<_>>())?;
        }
        Ok(Answer::Yes)
    }
}

fn object(copied: &CopiedColumn) -> Value {
    json!({
        "column": copied.column.dir_name(),
        "highest_slot": copied.highest.map(|slot| slot.0),
        "files": copied.files,
        "records": copied.records,
        "bytes": copied.bytes,
        "bytes_found": copied.bytes_found,
    })
}
