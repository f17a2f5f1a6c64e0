//! Tells the observer of an import how far it is, and remembers that it wants to stop.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::ImportError;
use super::plan::Plan;
use super::report::{EraReport, Observer, Phase, Progress};

/// States are decoded in small pieces; an observer hears of each of these.
const TICK_BYTES: u64 = 1 << 20;

/// What the two passes over the files, which go on at the same time, tell one observer.
pub(super) struct Telling<'a> {
    observer: Mutex<&'a mut (dyn Observer + Send)>,
    /// Bytes that both passes have worked off.
    bytes_done: AtomicU64,
    bytes_total: u64,
    eras_done: AtomicU64,
    eras_total: u64,
    stopped: AtomicBool,
}

impl<'a> Telling<'a> {
    pub(super) fn new(plan: &Plan, observer: &'a mut (dyn Observer + Send)) -> Self {
        Self {
            observer: Mutex::new(observer),
            bytes_done: AtomicU64::new(0),
            bytes_total: plan.byte_len().saturating_mul(2),
            eras_done: AtomicU64::new(0),
            eras_total: plan.eras(),
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn end_era(&self, report: &EraReport) {
        self.eras_done.fetch_add(1, Ordering::Relaxed);
        let mut observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        observer.era_done(report);
    }

    fn tell(&self, phase: Phase, file: &Path, era: u64, bytes: u64) {
        // Under the lock, so that an observer sees the numbers rise.
        let mut observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        let progress = Progress {
            phase,
            file,
            era,
            bytes_done: before.saturating_add(bytes),
            bytes_total: self.bytes_total,
            eras_done: self.eras_done.load(Ordering::Relaxed),
            eras_total: self.eras_total,
        };
        if observer.progress(&progress).is_break() {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }
}

/// How far one pass is in one file.
#[derive(Clone)]
pub(super) struct Ticker<'t, 'a> {
    telling: &'t Telling<'a>,
    file: PathBuf,
    file_len: u64,
    era: u64,
    /// The byte of the file up to which the observer has heard.
    position: u64,
}

impl<'t, 'a> Ticker<'t, 'a> {
    pub(super) fn new(telling: &'t Telling<'a>) -> Self {
        Self { telling, file: PathBuf::new(), file_len: 0, era: 0, position: 0 }
    }

    pub(super) fn telling(&self) -> &'t Telling<'a> {
        self.telling
    }

    pub(super) fn begin_file(&mut self, path: &Path, byte_len: u64) {
        *self = Self { file: path.to_path_buf(), file_len: byte_len, ..Self::new(self.telling) };
    }

    /// What the pass had no need to look at counts as worked off.
    pub(super) fn end_file(&mut self) {
        let rest = self.file_len.saturating_sub(self.position);
        self.telling.bytes_done.fetch_add(rest, Ordering::Relaxed);
        self.position = self.file_len;
    }

    pub(super) fn begin_era(&mut self, era: u64) {
        self.era = era;
    }

    /// Another ticker of this pass, for the part of the file that starts at `position`.
    pub(super) fn beside(&self, position: u64) -> Self {
        Self { position, ..self.clone() }
    }

    /// The part that `other` told of is not told of again.
    pub(super) fn pass(&mut self, other: &Self) {
        self.position = self.position.max(other.position);
    }

    /// Tells the observer, at a place where the import can stop.
    pub(super) fn tick(&mut self, phase: Phase, position: u64) -> Result<(), ImportError> {
        self.tell(phase, position);
        if self.telling.stopped.load(Ordering::Relaxed) {
            return Err(ImportError::Stopped { file: self.file.clone(), era: self.era });
        }
        Ok(())
    }

    /// Tells the observer now and then, at a place where the import cannot stop.
    pub(super) fn note(&mut self, phase: Phase, position: u64) {
        if position.saturating_sub(self.position) >= TICK_BYTES {
            self.tell(phase, position);
        }
    }

    fn tell(&mut self, phase: Phase, position: u64) {
        let bytes = position.saturating_sub(self.position);
        self.position = self.position.max(position);
        self.telling.tell(phase, &self.file, self.era, bytes);
    }
}
