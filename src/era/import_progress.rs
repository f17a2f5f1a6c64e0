//! Reports the progress of an import to its observer, and records the observer's request to stop.

use std::path::{Path, PathBuf};

use super::import_error::ImportError;
use super::import_plan::ImportPlan;
use super::import_report::{ImportProgress, Observer, Phase};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a state between two reports; states are decoded in small pieces.
const REPORT_BYTES: u64 = 1 << 20;

/// The progress of both passes over the files, which run concurrently.
pub(super) struct SharedProgress<'a> {
    bytes_total: u64,
    eras_total: u64,
    state: Mutex<State<'a>>,
}

struct State<'a> {
    observer: &'a mut Observer<'a>,
    /// Bytes processed by both passes.
    bytes_done: u64,
    eras_done: u64,
    is_stopped: bool,
}

impl<'a> SharedProgress<'a> {
    pub(super) fn new(plan: &ImportPlan, observer: &'a mut Observer<'a>) -> Self {
        Self {
            bytes_total: plan.byte_len().saturating_mul(2),
            eras_total: plan.eras(),
            state: Mutex::new(State { observer, bytes_done: 0, eras_done: 0, is_stopped: false }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The progress of one pass in one file.
#[derive(Clone)]
pub(super) struct PassProgress<'t, 'a> {
    import: &'t SharedProgress<'a>,
    file: PathBuf,
    file_len: u64,
    era: u64,
    /// The file offset up to which progress was reported.
    position: u64,
}

impl<'t, 'a> PassProgress<'t, 'a> {
    pub(super) fn new(import: &'t SharedProgress<'a>) -> Self {
        Self { import, file: PathBuf::new(), file_len: 0, era: 0, position: 0 }
    }

    pub(super) fn begin_file(&mut self, path: &Path, byte_len: u64) {
        *self = Self { file: path.to_path_buf(), file_len: byte_len, ..Self::new(self.import) };
    }

    /// Counts the bytes that the pass has skipped as processed.
    pub(super) fn end_file(&mut self) {
        let bytes = self.advance(self.file_len);
        let mut state = self.import.state();
        state.bytes_done = state.bytes_done.saturating_add(bytes);
    }

    pub(super) fn begin_era(&mut self, era: u64) {
        self.era = era;
    }

    /// Reports that an era of a file is completed.
    pub(super) fn end_era(&mut self, path: &Path, era: u64, phase: Phase) {
        (self.file, self.era) = (path.to_path_buf(), era);
        self.send(phase, self.position, 1);
    }

    /// Tracks progress in the part of the file from `position`, for another thread.
    pub(super) fn beside(&self, position: u64) -> Self {
        Self { position, ..self.clone() }
    }

    /// Skips the part that `other` has already reported.
    pub(super) fn skip(&mut self, other: &Self) {
        self.advance(other.position);
    }

    /// Reports at a point where the import can stop.
    pub(super) fn report(&mut self, phase: Phase, position: u64) -> Result<(), ImportError> {
        if self.send(phase, position, 0) {
            return Err(ImportError::Stopped { file: self.file.clone(), era: self.era });
        }
        Ok(())
    }

    /// Reports every [`REPORT_BYTES`], at a point where the import cannot stop.
    pub(super) fn note(&mut self, phase: Phase, position: u64) {
        if position.saturating_sub(self.position) >= REPORT_BYTES {
            self.send(phase, position, 0);
        }
    }

    /// Moves to `position`, and returns the distance.
    fn advance(&mut self, position: u64) -> u64 {
        let bytes = position.saturating_sub(self.position);
        self.position = self.position.max(position);
        bytes
    }

    /// Reports with `eras` more eras completed. Returns whether the import is to stop.
    fn send(&mut self, phase: Phase, position: u64, eras: u64) -> bool {
        let bytes = self.advance(position);
        let mut state = self.import.state();
        state.bytes_done = state.bytes_done.saturating_add(bytes);
        state.eras_done = state.eras_done.saturating_add(eras);
        let progress = ImportProgress {
            phase,
            file: &self.file,
            era: self.era,
            bytes_done: state.bytes_done,
            bytes_total: self.import.bytes_total,
            eras_done: state.eras_done,
            eras_total: self.import.eras_total,
        };
        state.is_stopped |= (state.observer)(&progress).is_break();
        state.is_stopped
    }
}
