//! How far a proof is, in a file that the operator names.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use coldstore::Slot;
use coldstore_proof::deep::DeepReport;
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::failure::Usage;

/// What a proof is of. It goes on only where it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProofOf {
    pub(super) genesis_validators_root: Option<String>,
    pub(super) column: Option<String>,
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
    pub(super) trusted: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Earlier {
    of: ProofOf,
    pub(super) next_era: u64,
    pub(super) counts: Counts,
}

/// A [`DeepReport`], without what it rests on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Counts {
    trusted_eras: u64,
    agreeing_eras: u64,
    blocks: u64,
    blinded_blocks: u64,
    unproved_blocks: u64,
    skipped_slots: u64,
    never_imported: u64,
    lost_blocks: u64,
    unknown_slots: u64,
    states: u64,
    unproved_states: u64,
    last_unproved_state: Option<u64>,
    bytes: u64,
    damages: u64,
}

#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    of: ProofOf,
    earlier: Option<Earlier>,
}

impl Checkpoint {
    /// Reads the file, if there is one. A file in the archive is refused: whoever reads an archive
    /// does not write into it.
    pub(super) fn open(path: PathBuf, of: ProofOf, archive: &Path) -> Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let real = |path: &Path| {
            path.canonicalize().with_context(|| format!("{}: cannot open", path.display()))
        };
        if real(parent)?.starts_with(real(archive)?) {
            let message = format!("{}: the file must not be in the archive", path.display());
            return Err(Usage(message).into());
        }
        let earlier = match disk::read_settings(&path) {
            Ok(text) => Some(parse(&text, &of).with_context(|| path.display().to_string())?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let message = format!("{}: cannot read", path.display());
                return Err(anyhow::Error::new(error).context(message));
            }
        };
        Ok(Self { path, of, earlier })
    }

    pub(super) fn earlier(&self) -> Option<Earlier> {
        self.earlier.clone()
    }

    pub(super) fn keep(&mut self, next_era: u64, report: &DeepReport) -> Result<()> {
        let now = Earlier { of: self.of.clone(), next_era, counts: report.into() };
        disk::replace(&self.path, &serde_json::to_vec(&now)?)
    }
}

fn parse(text: &str, of: &ProofOf) -> Result<Earlier> {
    let earlier: Earlier = serde_json::from_str(text).context("it is no checkpoint of a proof")?;
    if earlier.of == *of {
        return Ok(earlier);
    }
    let message = "it is of another proof: of another archive, column, range or trusted root";
    Err(Usage(message.to_owned()).into())
}

impl From<&DeepReport> for Counts {
    fn from(report: &DeepReport) -> Self {
        Self {
            trusted_eras: report.trusted_eras,
            agreeing_eras: report.agreeing_eras,
            blocks: report.blocks,
            blinded_blocks: report.blinded_blocks,
            unproved_blocks: report.unproved_blocks,
            skipped_slots: report.skipped_slots,
            never_imported: report.never_imported,
            lost_blocks: report.lost_blocks,
            unknown_slots: report.unknown_slots,
            states: report.states,
            unproved_states: report.unproved_states,
            last_unproved_state: report.last_unproved_state.map(|slot| slot.0),
            bytes: report.bytes,
            damages: report.damages,
        }
    }
}

impl From<Counts> for DeepReport {
    fn from(counts: Counts) -> Self {
        Self {
            trusted_eras: counts.trusted_eras,
            agreeing_eras: counts.agreeing_eras,
            blocks: counts.blocks,
            blinded_blocks: counts.blinded_blocks,
            unproved_blocks: counts.unproved_blocks,
            skipped_slots: counts.skipped_slots,
            never_imported: counts.never_imported,
            lost_blocks: counts.lost_blocks,
            unknown_slots: counts.unknown_slots,
            states: counts.states,
            unproved_states: counts.unproved_states,
            last_unproved_state: counts.last_unproved_state.map(Slot),
            bytes: counts.bytes,
            damages: counts.damages,
            ..Self::default()
        }
    }
}
