//! Reports the progress of an import to its observer, and records the observer's request to stop.

use std::path::{Path, PathBuf};

use super::error::ImportError;
use super::plan::Plan;
use super::report::{EraReport, Observer, Phase, Progress};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, PoisonError};

/// Bytes of a state between two reports; states are decoded in small pieces.
const REPORT_BYTES: u64 = 1 << 20;

/// The progress of both passes over the files, which run concurrently.
pub(super) struct ImportProgress<'a> {
    observer: Mutex<&'a mut (dyn Observer + Send)>,
    /// Bytes processed by both passes.
    bytes_done: AtomicU64,
    bytes_total: u64,
    eras_done: AtomicU64,
    eras_total: u64,
    stopped: AtomicBool,
}

impl<'a> ImportProgress<'a> {
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

    fn send(&self, phase: Phase, file: &Path, era: u64, bytes: u64) {
        // Under the lock, so that the numbers an observer sees never decrease.
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

/// The progress of one pass in one file.
#[derive(Clone)]
pub(super) struct PassProgress<'t, 'a> {
    import: &'t ImportProgress<'a>,
    file: PathBuf,
    file_len: u64,
    era: u64,
    /// The file offset up to which progress was reported.
    position: u64,
}

impl<'t, 'a> PassProgress<'t, 'a> {
    pub(super) fn new(import: &'t ImportProgress<'a>) -> Self {
        Self { import, file: PathBuf::new(), file_len: 0, era: 0, position: 0 }
    }

    pub(super) fn import(&self) -> &'t ImportProgress<'a> {
        self.import
    }

    pub(super) fn begin_file(&mut self, path: &Path, byte_len: u64) {
        *self = Self { file: path.to_path_buf(), file_len: byte_len, ..Self::new(self.import) };
    }

    /// Counts the bytes that the pass has skipped as processed.
    pub(super) fn end_file(&mut self) {
        let rest = self.file_len.saturating_sub(self.position);
        self.import.bytes_done.fetch_add(rest, Ordering::Relaxed);
        self.position = self.file_len;
    }

    pub(super) fn begin_era(&mut self, era: u64) {
        self.era = era;
    }

    /// Tracks progress in the part of the file from `position`, for another thread.
    pub(super) fn beside(&self, position: u64) -> Self {
        Self { position, ..self.clone() }
    }

    /// Skips the part that `other` has already reported.
    pub(super) fn skip(&mut self, other: &Self) {
        self.position = self.position.max(other.position);
    }

    /// Reports at a point where the import can stop.
    pub(super) fn report(&mut self, phase: Phase, position: u64) -> Result<(), ImportError> {
        self.send(phase, position);
        if self.import.stopped.load(Ordering::Relaxed) {
            return Err(ImportError::Stopped { file: self.file.clone(), era: self.era });
        }
        Ok(())
    }

    /// Reports every [`REPORT_BYTES`], at a point where the import cannot stop.
    pub(super) fn note(&mut self, phase: Phase, position: u64) {
        if position.saturating_sub(self.position) >= REPORT_BYTES {
            self.send(phase, position);
        }
    }

    fn send(&mut self, phase: Phase, position: u64) {
        let bytes = position.saturating_sub(self.position);
        self.position = self.position.max(position);
        self.import.send(phase, &self.file, self.era, bytes);
    }
}
