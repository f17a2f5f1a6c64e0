//! Progress, signals and manifest updates during an import.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coldstore::era::{EraReport, ImportColumns, ImportProgress, Observer, Phase};
use coldstore::{Manifest, StatesPolicy, archive};

use crate::chain::Chain;
use crate::progress::Progress as Bar;

/// Interval between two updates of the columns' highest slots in the manifest. Each is made durable.
const RECORD_EVERY: Duration = Duration::from_secs(60);

/// Draws the progress, checks for signals, and records the chain before the first state is committed.
pub(super) struct Watch<'a> {
    pub(super) archive: &'a Path,
    /// `None` once it is in the manifest.
    pub(super) to_keep: Option<(&'a Chain, StatesPolicy)>,
    /// Time of the last write of the manifest.
    pub(super) recorded_at: Instant,
    pub(super) failed: Option<anyhow::Error>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) bar: Bar,
}

impl Observer for Watch<'_> {
    fn progress(&mut self, progress: &ImportProgress<'_>) -> ControlFlow<()> {
        let doing = match progress.phase {
            Phase::Verify => "verify",
            Phase::Blocks => "blocks",
            Phase::State => "state",
            Phase::BlockRoots => "block roots",
        };
        let ImportProgress { era, eras_done, eras_total, .. } = progress;
        self.bar.set_message(format!("era {era} ({eras_done} of {eras_total} done): {doing}"));
        // Each file is read twice, and the library counts both.
        self.bar.set_position(progress.bytes_done / 2);
        if progress.phase != Phase::Verify {
            self.keep();
        }
        if self.failed.is_some() || self.stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn era_done(&mut self, _era: &EraReport) {
        if self.to_keep.is_some() {
            self.keep();
        } else if self.recorded_at.elapsed() > RECORD_EVERY {
            self.failed = archive::record(self.archive, &ImportColumns::ALL).err().map(Into::into);
            self.recorded_at = Instant::now();
        }
    }
}

impl Watch<'_> {
    /// Records the chain, once. If the import stops early, the length of an era is needed to tell
    /// whether the newest state is at an era's end.
    fn keep(&mut self) {
        let Some((chain, states)) = self.to_keep.take() else { return };
        let recorded = Manifest::update(self.archive, |manifest| {
            chain.record(manifest);
            manifest.states = Some(states);
            Ok(())
        });
        self.failed = recorded.err().map(Into::into);
        self.recorded_at = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use coldstore::era::{ImportColumns, ImportPlan, import};
    use coldstore::{ArchiveWriter, Column, Slot};

    use super::*;

    /// Interrupts the import between the commit of the first state and the end of its era.
    struct Interrupted<'a>(Watch<'a>);

    impl Observer for Interrupted<'_> {
        fn progress(&mut self, progress: &ImportProgress<'_>) -> ControlFlow<()> {
            let so_far = self.0.progress(progress);
            if progress.phase == Phase::BlockRoots { ControlFlow::Break(()) } else { so_far }
        }

        fn era_done(&mut self, _era: &EraReport) {
            unreachable!("the import was interrupted within its first era");
        }
    }

    /// The manifest got the length of an era only after the first era: the newest state was not
    /// recorded as unproved.
    #[test]
    fn a_first_import_that_ends_within_an_era_records_its_state_as_unproved() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("archive");
        let eras = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/chain-minimal/era");
        let era: PathBuf = eras.join("minimal-00004-a341cfbb.era");
        let mut archive = ArchiveWriter::open(&root, ImportColumns::options()).unwrap();
        let columns = ImportColumns::of(&mut archive).unwrap();
        let chain = Chain { slots_per_era: Some(64), ..Chain::default() };
        let mut interrupted = Interrupted(Watch {
            archive: &root,
            to_keep: Some((&chain, StatesPolicy::All)),
            recorded_at: Instant::now(),
            failed: None,
            stop: Arc::default(),
            bar: Bar::waiting("import"),
        });
        let plan = ImportPlan::scan(&[era]).unwrap();
        import(&plan, columns, StatesPolicy::All, &mut interrupted).unwrap_err();
        drop(archive);
        let manifest = Manifest::read(&root).unwrap().unwrap();
        assert_eq!(manifest.column(Column::StateSnapshots).highest, Some(Slot(256)));
        assert_eq!(manifest.unproved_state, Some(Slot(256)));
    }
}
