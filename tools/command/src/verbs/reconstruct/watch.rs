//! Progress, signals and failures during a reconstruction.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use coldstore::Slot;
use coldstore_history::reconstruct::{FailedEras, Plan, ReconstructObserver, Stretch};

use crate::output;
use crate::progress::Progress;
use crate::signals;

/// Draws the progress, checks for signals, and reports eras that fail.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    slots: AtomicU64,
    eras: Mutex<Eras>,
    bar: Progress,
}

/// The first eras of stretches.
#[derive(Default)]
struct Eras {
    running: BTreeSet<u64>,
    ended: usize,
    total: usize,
}

impl Watch {
    pub(super) fn start(plan: &Plan) -> Result<Self> {
        let eras = Eras { total: plan.stretches.len(), ..Eras::default() };
        Ok(Self {
            stop: signals::stop_flag()?,
            slots: AtomicU64::new(0),
            eras: Mutex::new(eras),
            bar: Progress::of_slots("reconstruct", plan.slots()),
        })
    }

    fn update(&self, change: impl FnOnce(&mut Eras)) {
        let mut eras = self.eras.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut eras);
        let running: Vec<String> = eras.running.iter().map(u64::to_string).collect();
        let Eras { ended, total, .. } = *eras;
        self.bar.set_message(format!("era {} ({ended} of {total} done)", running.join(", ")));
    }
}

impl ReconstructObserver for Watch {
    fn replayed(&self, _slot: Slot) -> ControlFlow<()> {
        self.bar.set_position(self.slots.fetch_add(1, Ordering::Relaxed) + 1);
        match self.stop.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn begun(&self, stretch: &Stretch) {
        self.update(|eras| {
            eras.running.insert(*stretch.eras.start());
        });
    }

    fn ended(&self, stretch: &Stretch, failed: Option<&FailedEras>) {
        self.update(|eras| {
            eras.running.remove(stretch.eras.start());
            eras.ended += 1;
        });
        if let Some(failed) = failed {
            self.bar.suspend(|| output::tell(&failed.to_string()));
        }
    }
}
