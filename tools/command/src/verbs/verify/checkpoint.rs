//! The result of an earlier proof, in the file of `--resume`.
//!
//! The file is not trusted. Roots are always hashed again. An era's blocks and states are skipped only
//! if its roots and the checksums of its records are unchanged since the proof (`seal`), and its records
//! were just compared with their checksums. The file of another archive, an outdated file or a forged
//! one therefore does no harm.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coldstore_consensus::Root;
use coldstore_history::atomic_file;
use coldstore_history::deep::ProvedEra;
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::failure::Usage;

/// Minimum time between two writes of the file; it is also written at the end.
const INTERVAL: Duration = Duration::from_secs(1);

/// The subject of a proof. A file only serves proofs of the same subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProofOf {
    pub(super) genesis_validators_root: Option<Root>,
    pub(super) preset: String,
    pub(super) column: Option<String>,
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
    pub(super) trusted: Vec<String>,
    #[serde(default)]
    pub(super) states: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    of: ProofOf,
    eras: Vec<ProvedEra>,
}

#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    of: ProofOf,
    eras: BTreeMap<u64, ProvedEra>,
    written: Instant,
}

/// Refuses a file inside the archive, which is opened for reading only.
pub(super) fn check_place(path: &Path, archive: &Path) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let real = |path: &Path| {
        path.canonicalize().with_context(|| format!("{}: cannot open", path.display()))
    };
    if real(parent)?.starts_with(real(archive)?) {
        let message = format!("{}: the file must not be in the archive", path.display());
        return Err(Usage(message).into());
    }
    Ok(())
}

impl Checkpoint {
    /// Reads the file, if it exists.
    pub(super) fn open(path: PathBuf, of: ProofOf) -> Result<Self> {
        let eras = match disk::read_checkpoint(&path) {
            Ok(text) => parse(&text, &of).with_context(|| path.display().to_string())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                let message = format!("{}: cannot read", path.display());
                return Err(anyhow::Error::new(error).context(message));
            }
        };
        Ok(Self { path, of, eras, written: Instant::now() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The earlier result for an era.
    pub(super) fn earlier(&self, era: u64) -> Option<ProvedEra> {
        self.eras.get(&era).copied()
    }

    /// Saves the result for an era; `None` removes it.
    pub(super) fn keep(&mut self, era: u64, proved: Option<ProvedEra>) -> Result<()> {
        match proved {
            Some(proved) => self.eras.insert(era, proved),
            None => self.eras.remove(&era),
        };
        if self.written.elapsed() < INTERVAL {
            return Ok(());
        }
        self.write()
    }

    pub(super) fn write(&mut self) -> Result<()> {
        let eras = self.eras.values().copied().collect();
        atomic_file::replace(
            &self.path,
            &serde_json::to_vec(&File { of: self.of.clone(), eras })?,
        )?;
        self.written = Instant::now();
        Ok(())
    }
}

fn parse(text: &str, of: &ProofOf) -> Result<BTreeMap<u64, ProvedEra>> {
    let file: File = serde_json::from_str(text)
        .context("not a checkpoint of a proof, or one of an earlier version: remove it")?;
    if file.of != *of {
        let message = "it is of another proof: of another chain, column, range or trusted root";
        return Err(Usage(message.to_owned()).into());
    }
    Ok(file.eras.into_iter().map(|kept| (kept.era, kept)).collect())
}
