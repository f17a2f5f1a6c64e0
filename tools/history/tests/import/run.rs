//! Imports into temporary archives.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use coldstore::era::{COLUMNS, ImportOptions, ImportPlan, ImportProgress, import};
use coldstore::{
    Archive, ArchiveWriter, ArchiveWriterOptions, Column, MappedArchive, ReaderOptions,
};
use coldstore_consensus::Preset;
use coldstore_history::import::{ImportProver, ProofReport, Trust, TrustedRoot};
use tempfile::TempDir;

use test_support::era_files;
use test_support::scratch;

/// Slots per era of the minimal chain.
pub(crate) const ERA_SLOTS: u64 = 64;

/// Files to import, and an archive to import them into.
pub(crate) struct Place {
    directory: TempDir,
}

/// The result of an import.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) error: Option<String>,
    pub(crate) proved: ProofReport,
}

impl Imported {
    #[track_caller]
    pub(crate) fn succeeded(self) -> ProofReport {
        assert_eq!(self.error, None);
        self.proved
    }
}

impl Place {
    /// Creates a place with these eras of the minimal chain.
    pub(crate) fn with_eras(eras: std::ops::RangeInclusive<u64>) -> Self {
        let place = Self { directory: scratch() };
        fs::create_dir(place.files()).unwrap();
        let all = era_files("chain-minimal");
        for era in eras {
            let path = &all[usize::try_from(era).unwrap()];
            fs::copy(path, place.files().join(path.file_name().unwrap())).unwrap();
        }
        place
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    fn archive(&self) -> PathBuf {
        self.directory.path().join("archive")
    }

    /// The file of an era.
    pub(crate) fn file(&self, era: u64) -> PathBuf {
        let number = format!("-{era:05}-");
        let mut paths = fs::read_dir(self.files()).unwrap().map(|entry| entry.unwrap().path());
        paths.find(|path| path.to_str().unwrap().contains(&number)).unwrap()
    }

    pub(crate) fn has_archive(&self) -> bool {
        self.archive().exists()
    }

    /// Removes the archive.
    pub(crate) fn clear(&self) {
        let _ = fs::remove_dir_all(self.archive());
    }

    pub(crate) fn import(&self, trusted: &[TrustedRoot]) -> Imported {
        let outcome = self.try_import(trusted);
        match outcome {
            Ok((error, proved)) => Imported { error, proved },
            Err(error) => Imported { error: Some(error), proved: ProofReport::default() },
        }
    }

    fn try_import(&self, trusted: &[TrustedRoot]) -> Result<(Option<String>, ProofReport), String> {
        let plan = ImportPlan::scan(&[self.files()]).map_err(|error| error.to_string())?;
        let held = self.archive().is_dir().then(|| self.open());
        let trust = Trust::establish(trusted.to_vec(), Preset::Minimal, Some(&plan), held.as_ref())
            .map_err(|error| error.to_string())?;
        let mut prover = ImportProver::new(&plan, Preset::Minimal, &trust, held.as_ref());
        let columns = ArchiveWriterOptions::default().columns(COLUMNS);
        let mut archive = ArchiveWriter::open(self.archive(), columns).unwrap();
        let options = ImportOptions::default().prover(&mut prover);
        let mut observer = |_: &ImportProgress<'_>| ControlFlow::Continue(());
        let done = import(&plan, &mut archive, options, &mut observer);
        // A file left out explains everything missing after it.
        let left_out = plan.bad_files().first().map(|file| file.error.to_string());
        let error = left_out.or(done.err().map(|failure| failure.error.to_string()));
        Ok((error, prover.into_report()))
    }

    pub(crate) fn open(&self) -> MappedArchive {
        // SAFETY: nobody writes to the archive while it is looked at.
        #[expect(unsafe_code, reason = "readers map the files")]
        unsafe {
            Archive::open_mapped(self.archive(), ReaderOptions::default()).unwrap()
        }
    }

    /// Asserts that the archive ends with this era.
    #[track_caller]
    pub(crate) fn assert_ends_with_era(&self, era: u64, what: &str) {
        let archive = self.open();
        let last = era * ERA_SLOTS;
        for column in archive.columns().unwrap() {
            let found = archive.column(column).unwrap().view().highest_written_slot();
            let bound = if column == Column::StateSnapshots { last } else { last - 1 };
            assert!(found.is_none_or(|slot| slot.0 <= bound), "{what}: {column} to {found:?}");
        }
        let view = archive.column(Column::BlockRoots).unwrap().view();
        assert_eq!(view.highest_written_slot().map(|slot| slot.0), Some(last - 1), "{what}");
    }
}
