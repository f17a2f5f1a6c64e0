//! Progress, signals and manifest updates during an import.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coldstore::era::{ImportProgress, Phase};
use coldstore::{Column, Manifest, StatesPolicy, archive};

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
    pub(super) eras_done: u64,
}

impl Watch<'_> {
    pub(super) fn progress(&mut self, progress: &ImportProgress<'_>) -> ControlFlow<()> {
        let doing = match progress.phase {
            Phase::Verify => "verify",
            Phase::Blocks => "blocks",
            Phase::State => "state",
            Phase::BlockRoots => "block roots",
        };
        let ImportProgress { era, eras_done, eras_total, .. } = *progress;
        self.bar.set_message(format!("era {era} ({eras_done} of {eras_total} done): {doing}"));
        // Each file is read twice, and the library counts both.
        self.bar.set_position(progress.bytes_done / 2);
        let is_era_done = eras_done > std::mem::replace(&mut self.eras_done, eras_done);
        if progress.phase != Phase::Verify || is_era_done {
            self.keep();
        }
        if is_era_done && self.recorded_at.elapsed() > RECORD_EVERY {
            self.failed = archive::record(self.archive, &Column::ALL).err().map(Into::into);
            self.recorded_at = Instant::now();
        }
        if self.failed.is_some() || self.stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

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

    use coldstore::era::{COLUMNS, ImportPlan, import};
    use coldstore::{ArchiveWriter, ArchiveWriterOptions, Column, Slot};

    use super::*;

    /// The manifest got the length of an era only after the first era: the newest state was not
    /// recorded as unproved.
    #[test]
    fn a_first_import_that_ends_within_an_era_records_its_state_as_unproved() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("archive");
        let eras = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/chain-minimal/era");
        let era: PathBuf = eras.join("minimal-00004-a341cfbb.era");
        let options = ArchiveWriterOptions::default().columns(COLUMNS);
        let mut archive = ArchiveWriter::open(&root, options).unwrap();
        let chain = Chain { slots_per_era: Some(64), ..Chain::default() };
        let mut watch = Watch {
            archive: &root,
            to_keep: Some((&chain, StatesPolicy::All)),
            recorded_at: Instant::now(),
            failed: None,
            stop: Arc::default(),
            bar: Bar::waiting("import"),
            eras_done: 0,
        };
        // Between the commit of the first state and the end of its era.
        let mut interrupt = |progress: &ImportProgress<'_>| {
            assert_eq!(progress.eras_done, 0);
            let so_far = watch.progress(progress);
            if progress.phase == Phase::BlockRoots { ControlFlow::Break(()) } else { so_far }
        };
        let plan = ImportPlan::scan(&[era]).unwrap();
        import(&plan, &mut archive, StatesPolicy::All, &mut interrupt).unwrap_err();
        drop(archive);
        let manifest = Manifest::read(&root).unwrap().unwrap();
        assert_eq!(manifest.column(Column::StateSnapshots).highest, Some(Slot(256)));
        assert_eq!(manifest.unproved_state, Some(Slot(256)));
    }
}
