//! Tells the observer of an import how far it is, and remembers that it wants to stop.

use std::path::{Path, PathBuf};

use super::error::ImportError;
use super::plan::Plan;
use super::report::{EraReport, Observer, Phase, Progress};

/// States are decoded in small pieces; an observer hears of each of these.
const TICK_BYTES: u64 = 1 << 20;

pub(super) struct Ticker<'a> {
    observer: &'a mut dyn Observer,
    file: PathBuf,
    file_len: u64,
    era: u64,
    bytes_before: u64,
    bytes_total: u64,
    eras_done: u64,
    eras_total: u64,
    last_position: u64,
    stopped: bool,
}

impl<'a> Ticker<'a> {
    pub(super) fn new(plan: &Plan, observer: &'a mut dyn Observer) -> Self {
        Self {
            observer,
            file: PathBuf::new(),
            file_len: 0,
            era: 0,
            bytes_before: 0,
            bytes_total: plan.byte_len().saturating_mul(2),
            eras_done: 0,
            eras_total: plan.eras(),
            last_position: 0,
            stopped: false,
        }
    }

    pub(super) fn begin_file(&mut self, path: &Path, byte_len: u64) {
        self.file = path.to_path_buf();
        self.file_len = byte_len;
    }

    pub(super) fn end_file(&mut self) {
        self.bytes_before = self.bytes_before.saturating_add(self.file_len.saturating_mul(2));
        self.file_len = 0;
    }

    pub(super) fn begin_era(&mut self, era: u64) {
        self.era = era;
        self.last_position = 0;
    }

    pub(super) fn end_era(&mut self, report: &EraReport) {
        self.eras_done = self.eras_done.saturating_add(1);
        self.observer.era_done(report);
    }

    /// Tells the observer, at a place where the import can stop.
    pub(super) fn tick(&mut self, phase: Phase, position: u64) -> Result<(), ImportError> {
        self.tell(phase, position);
        if self.stopped {
            return Err(ImportError::Stopped { file: self.file.clone(), era: self.era });
        }
        Ok(())
    }

    /// Tells the observer now and then, at a place where the import cannot stop.
    pub(super) fn note(&mut self, phase: Phase, position: u64) {
        if position.abs_diff(self.last_position) >= TICK_BYTES {
            self.tell(phase, position);
        }
    }

    fn tell(&mut self, phase: Phase, position: u64) {
        self.last_position = position;
        let pass = if phase == Phase::Verify { 0 } else { self.file_len };
        let progress = Progress {
            phase,
            file: &self.file,
            era: self.era,
            bytes_done: self.bytes_before.saturating_add(pass).saturating_add(position),
            bytes_total: self.bytes_total,
            eras_done: self.eras_done,
            eras_total: self.eras_total,
        };
        self.stopped |= self.observer.progress(&progress).is_break();
    }
}
