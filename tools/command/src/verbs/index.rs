//! `coldstore index`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::failure::Answer;
use crate::open;
use crate::output::{Decimal, Output};
use crate::progress::Progress;
use coldstore_history::roots;

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

#[derive(Debug, Serialize)]
struct Object {
    kind: &'static str,
    roots: Decimal,
    bytes: Decimal,
    segments: Decimal,
    written: Decimal,
}

impl Index {
    pub(crate) fn run(self) -> Result<Answer> {
        let archive = open::archive(&self.archive)?;
        let progress = Progress::waiting("index");
        let updated = roots::update(&archive, self.anew, &mut |kind, slot| {
            progress.set_message(format!("index of {}s: slot {slot}", kind.name()));
        })?;
        drop(progress);
        let objects: Vec<Object> = updated
            .into_iter()
            .map(|(kind, updated)| Object {
                kind,
                roots: Decimal(updated.roots),
                bytes: Decimal(updated.byte_len),
                segments: Decimal(updated.segments),
                written: Decimal(updated.written),
            })
            .collect();
        let mut out = Output::stdout();
        if self.json {
            out.json_line(&objects)?;
        } else {
            for Object { kind, roots, bytes, segments, written } in &objects {
                let (roots, bytes) = (roots.0, bytes.0);
                let (segments, written) = (segments.0, written.0);
                writeln!(
                    out,
                    "{kind}: {roots} roots, {bytes} bytes in {segments} files, {written} written"
                )?;
            }
        }
        out.flush()?;
        Ok(Answer::Yes)
    }
}
