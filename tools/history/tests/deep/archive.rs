//! Archives to damage and prove.

use std::cell::Cell;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use coldstore::era::{ImportColumns, import};
use coldstore::era::{ImportPlan, ImportProgress};
use coldstore::verify::{Finding, Severity};
use coldstore::{
    Archive, ArchiveWriter, Checksums, Column, MappedArchive, ReaderOptions, Slot, StatesPolicy,
    Writer, WriterOptions,
};
use coldstore_consensus::Preset;
use coldstore_history::deep::{DeepOptions, DeepReport, DeepVerifier, NotProved, ProvedEra};
use coldstore_history::import::{Trust, TrustedRoot};
use tempfile::TempDir;

use test_support::era_files;
use test_support::scratch;

pub(crate) struct Held {
    directory: TempDir,
    preset: Preset,
    /// The slot below which blocks were pruned, from the manifest.
    pub(crate) pruned: Cell<Option<Slot>>,
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

impl Held {
    /// Imports the files of a chain.
    pub(crate) fn imported(chain: &str, preset: Preset) -> Self {
        Self::of(&era_files(chain), preset)
    }

    /// Imports these files.
    pub(crate) fn of(files: &[PathBuf], preset: Preset) -> Self {
        let held = Self { directory: scratch(), preset, pruned: Cell::new(None) };
        let options = ImportColumns::options().checksums(Checksums::On);
        let mut archive = ArchiveWriter::open(held.path(), options).unwrap();
        let columns = ImportColumns::of(&mut archive).unwrap();
        let plan = ImportPlan::scan(files).unwrap();
        let mut observer = |_: &ImportProgress<'_>| ControlFlow::Continue(());
        import(&plan, columns, StatesPolicy::All, &mut observer).unwrap();
        held
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn file(&self, column: Column, name: &str) -> PathBuf {
        self.path().join(column.dir_name()).join(name)
    }

    pub(crate) fn open(&self) -> MappedArchive {
        // SAFETY: nobody writes to the archive while it is looked at.
        #[expect(unsafe_code, reason = "readers map the files")]
        unsafe {
            Archive::open_mapped(self.path(), ReaderOptions::default()).unwrap()
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
        let options =
            DeepOptions { preset: self.preset, column, blocks_pruned_before: self.pruned.get() };
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

    /// Replaces a column by the one of another archive.
    pub(crate) fn take_column(&self, column: Column, other: &Self) {
        let name = column.dir_name();
        fs::remove_dir_all(self.path().join(name)).unwrap();
        fs::rename(other.path().join(name), self.path().join(name)).unwrap();
    }

    /// Rebuilds a column from its records, changed by `change`, with checksums; `None` omits a record.
    pub(crate) fn remake(
        &self,
        column: Column,
        mut change: impl FnMut(u64, Vec<u8>) -> Option<Vec<u8>>,
    ) {
        let view = self.open().column(column).unwrap().view();
        let values: Vec<(Slot, Vec<u8>)> = view
            .range(..)
            .filter_map(|record| {
                let record = record.unwrap();
                let value = change(record.slot().0, record.value().unwrap().into_owned())?;
                Some((record.slot(), value))
            })
            .collect();
        let directory = self.path().join(column.dir_name());
        fs::remove_dir_all(&directory).unwrap();
        let options = WriterOptions::create(column.spec()).checksums(Checksums::On);
        let mut writer = Writer::open(&directory, options).unwrap();
        for (slot, value) in values {
            writer.put(slot, &value).unwrap();
        }
    }

    /// The offset of a slot's stored bytes in the column's first file.
    pub(crate) fn place_of(&self, column: Column, slot: u64) -> usize {
        let file = fs::read(self.file(column, "data_00000")).unwrap();
        let view = self.open().column(column).unwrap().view();
        let stored = view.get_stored(Slot(slot)).unwrap().unwrap();
        let mut places =
            file.windows(stored.len()).enumerate().filter(|(_, bytes)| *bytes == stored);
        let skipped = (0..slot)
            .rev()
            .take_while(|before| view.get_stored(Slot(*before)).unwrap() == Some(stored));
        places.nth(skipped.count()).unwrap().0
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
