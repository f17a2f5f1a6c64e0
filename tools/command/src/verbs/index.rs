//! `coldstore index`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::failure::Answer;
use crate::open;
use crate::output::Output;
use crate::progress::Progress;
use coldstore_history::roots::{self, Updated};

/// Build or update the root index, which makes slot-of and get --root fast
///
/// The index is in the archive's index/ and is built from bbr and bsr. It may be removed at any time.
#[derive(Debug, Args)]
pub(crate) struct Index {
    /// The archive's directory
    archive: PathBuf,
    /// Rebuild the whole index
    #[arg(long)]
    anew: bool,
    /// Print a summary of the index as JSON
    #[arg(long)]
    json: bool,
}

impl Index {
    pub(crate) fn run(self) -> Result<Answer> {
        let archive = open::archive(&self.archive)?;
        let progress = Progress::waiting("index");
        let updated = roots::update(&archive, self.anew, &mut |kind, slot| {
            progress.set_message(format!("index of {}s: slot {slot}", kind.name()));
        })?;
        drop(progress);
        let mut out = Output::stdout();
        if self.json {
            let object = |(kind, updated): (&str, Updated)| {
                json!({
                    "kind": kind,
                    "roots": updated.keys,
                    "bytes": updated.byte_len,
                    "segments": updated.segments,
                    "written": updated.written,
                })
            };
            out.json_line(&updated.into_iter().map(object).collect::<Vec<_>>())?;
        } else {
            for (kind, Updated { keys, byte_len, segments, written }) in updated {
                writeln!(
                    out,
                    "{kind}: {keys} roots, {byte_len} bytes in {segments} files, {written} written"
                )?;
            }
        }
        out.flush()?;
        Ok(Answer::Yes)
    }
}
