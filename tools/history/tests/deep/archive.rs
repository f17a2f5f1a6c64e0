//! Archives to damage and prove.

use std::cell::Cell;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use coldstore::verify::{Finding, Severity};
use coldstore::{Column, Slot};
use coldstore_consensus::Preset;
use coldstore_history::deep::{
    DeepOptions, DeepReport, DeepVerifier, NotProved, ProvedEra, StateSample,
};
use coldstore_history::import::{Trust, TrustedRoot};

use test_support::{ImportedArchive, era_files};

pub(crate) struct Held {
    archive: ImportedArchive,
    preset: Preset,
    /// The slot below which blocks were pruned, from the manifest.
    pub(crate) pruned: Cell<Option<Slot>>,
    pub(crate) sample: Cell<StateSample>,
}

/// The result of a proof.
#[derive(Debug)]
pub(crate) struct Proved {
    pub(crate) report: DeepReport,
    pub(crate) why_not: Option<NotProved>,
    /// The eras that a later proof may reuse.
    pub(crate) kept: Vec<ProvedEra>,
    pub(crate) damages: Vec<(Column, Finding)>,
    pub(crate) notes: Vec<(Column, Finding)>,
}

impl Proved {
    /// Asserts a single damage, of this column and slot.
    #[track_caller]
    pub(crate) fn names(&self, column: Column, slot: u64) -> &Finding {
        let is_it =
            |(of, finding): &&(Column, Finding)| *of == column && finding.slot == Some(Slot(slot));
        let found = self.damages.iter().find(is_it);
        &found.unwrap_or_else(|| panic!("{column} {slot}: {:?}", self.damages)).1
    }
}

impl Deref for Held {
    type Target = ImportedArchive;

    fn deref(&self) -> &ImportedArchive {
        &self.archive
    }
}

impl Held {
    /// Imports the files of a chain.
    pub(crate) fn imported(chain: &str, preset: Preset) -> Self {
        Self::of(&era_files(chain), preset)
    }

    /// Imports these files.
    pub(crate) fn of(files: &[PathBuf], preset: Preset) -> Self {
        Self {
            archive: ImportedArchive::of(files),
            preset,
            pruned: Cell::default(),
            sample: Cell::default(),
        }
    }

    pub(crate) fn proved(&self) -> Proved {
        self.proved_with(None, &[])
    }

    pub(crate) fn proved_with(&self, column: Option<Column>, trusted: &[TrustedRoot]) -> Proved {
        self.proved_after(&[], column, trusted)
    }

    /// Proves the archive, and reuses an earlier proof as far as possible.
    pub(crate) fn proved_after(
        &self,
        earlier: &[ProvedEra],
        column: Option<Column>,
        trusted: &[TrustedRoot],
    ) -> Proved {
        let archive = self.open();
        let trust = Trust::establish(trusted.to_vec(), self.preset, None, Some(&archive)).unwrap();
        let options = DeepOptions {
            preset: self.preset,
            column,
            blocks_pruned_before: self.pruned.get(),
            sample: self.sample.get(),
        };
        let mut verifier = DeepVerifier::new(&archive, options, trust).unwrap();
        let (mut damages, mut notes, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for era in verifier.eras().unwrap().unwrap() {
            let before = earlier.iter().find(|earlier| earlier.era == era);
            if before.is_some_and(|earlier| verifier.take_era(earlier).unwrap()) {
                continue;
            }
            let mut take = |column, finding: Finding| {
                match finding.severity {
                    Severity::Damage => damages.push((column, finding)),
                    _ => notes.push((column, finding)),
                }
                true
            };
            verifier.verify_era(era, &mut take).unwrap();
            kept.extend(verifier.proved_era().unwrap());
        }
        let (report, why_not) = (*verifier.report(), verifier.why_not_proved());
        Proved { report, why_not, kept, damages, notes }
    }

    /// Flips a bit of a file during `look`.
    pub(crate) fn flipped<T>(&self, path: &Path, at: usize, look: impl FnOnce(&Self) -> T) -> T {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1 << (at % 8);
        fs::write(path, &bytes).unwrap();
        let looked = look(self);
        bytes[at] ^= 1 << (at % 8);
        fs::write(path, &bytes).unwrap();
        looked
    }
}
