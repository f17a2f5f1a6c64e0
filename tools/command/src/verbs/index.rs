//! `coldstore index`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::chain::{Chain, preset_of};
use crate::failure::Answer;
use crate::open;
use crate::output::{self, Output};
use crate::progress::Progress;
use coldstore_history::pubkeys;
use coldstore_history::roots::{self, Updated};

/// Build or update the indexes of roots and public keys, which make slot-of, get --root and validator fast
///
/// The indexes are in the archive's index/, and are built from bbr, bsr and the newest whole state in bss.
/// They may be removed at any time.
#[derive(Debug, Args)]
pub(crate) struct Index {
    /// The archive's directory
    archive: PathBuf,
    /// Rebuild the whole of both
    #[arg(long)]
    anew: bool,
    /// Print a summary as JSON
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
        let preset = preset_of(&Chain::of(&self.archive)?, &archive)?;
        let pubkeys = match &preset {
            Ok(preset) => {
                let watch = &mut |index| {
                    progress.set_message(format!("index of public keys: validator {index}"));
                };
                pubkeys::update_from_snapshots(&archive, *preset, self.anew, watch)?
            }
            Err(why) => {
                progress.suspend(|| output::tell(&format!("no index of public keys: {why}")));
                None
            }
        };
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
            let mut objects: Vec<_> = updated.into_iter().map(object).collect();
            objects.extend(pubkeys.map(|updated| {
                json!({
                    "kind": "pubkey",
                    "pubkeys": updated.keys,
                    "bytes": updated.byte_len,
                    "segments": updated.segments,
                    "written": updated.written,
                })
            }));
            out.json_line(&objects)?;
        } else {
            for (kind, Updated { keys, byte_len, segments, written }) in updated {
                writeln!(
                    out,
                    "{kind}: {keys} roots, {byte_len} bytes in {segments} files, {written} written"
                )?;
            }
            if let Some(Updated { keys, byte_len, segments, written }) = pubkeys {
                writeln!(
                    out,
                    "pubkey: {keys} keys, {byte_len} bytes in {segments} files, {written} written"
                )?;
            }
        }
        out.flush()?;
        Ok(Answer::Yes)
    }
}
