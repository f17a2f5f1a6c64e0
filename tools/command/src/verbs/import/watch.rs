//! What goes on beside an import.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coldstore::era::import::States;
use coldstore::era::{EraReport, Observer, Phase, Progress};
use coldstore::{Manifest, archive};

use crate::chain::Chain;
use crate::progress::Progress as Bar;

/// How often the manifest learns how far the columns are. It is made durable each time.
const RECORD_EVERY: Duration = Duration::from_secs(60);

/// Draws the progress, listens for signals, and keeps what is known once an era is there.
pub(super) struct Watch<'a> {
    pub(super) archive: &'a Path,
    /// `None` once it is kept in the archive.
    pub(super) to_keep: Option<(&'a Chain, States)>,
    /// When the manifest was written last.
    pub(super) recorded_at: Instant,
    pub(super) failed: Option<anyhow::Error>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) bar: Bar,
}

impl Observer for Watch<'_> {
    fn progress(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        let doing = match progress.phase {
            Phase::Verify => "verify",
            Phase::Blocks => "blocks",
            Phase::State => "state",
            Phase::BlockRoots => "block roots",
        };
        let Progress { era, eras_done, eras_total, .. } = progress;
        self.bar.set_message(format!("era {era} ({eras_done} of {eras_total} done): {doing}"));
        // The library counts each file twice, for it is read twice.
        self.bar.set_position(progress.bytes_done / 2);
        if self.failed.is_some() || self.stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn era_done(&mut self, _era: &EraReport) {
        if let Some((chain, states)) = self.to_keep.take() {
            let recorded = Manifest::update(self.archive, |manifest| {
                chain.record(manifest);
                manifest.states = Some(states.into());
                Ok(())
            });
            self.failed = recorded.err().map(Into::into);
            self.recorded_at = Instant::now();
        } else if self.recorded_at.elapsed() > RECORD_EVERY {
            self.failed = archive::record(self.archive).err().map(Into::into);
            self.recorded_at = Instant::now();
        }
    }
}
