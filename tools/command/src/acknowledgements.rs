//! `COMMITTED first last records`: one line per durable batch.

use std::io::Write;

use anyhow::Result;
use coldstore::BulkCommit;

use crate::failure;
use crate::output::Output;
use crate::progress::Progress;

/// Prints the lines, each flushed at once, and pauses the progress bar meanwhile.
pub(crate) struct Acknowledgements {
    /// `None` once the output is closed; the writes continue without it.
    out: Option<Output>,
    failed: Option<anyhow::Error>,
    progress: Progress,
}

impl Acknowledgements {
    /// `what` is the label of the progress bar.
    pub(crate) fn of(what: &str, total_bytes: Option<u64>) -> Self {
        let progress = Progress::of_bytes(what, total_bytes);
        Self { out: Some(Output::stdout()), failed: None, progress }
    }

    pub(crate) fn set_position(&self, byte_count: u64) {
        self.progress.set_position(byte_count);
    }

    pub(crate) fn print(&mut self, commit: &BulkCommit) {
        let Some(out) = &mut self.out else { return };
        let BulkCommit { first, last, records } = commit;
        let line = format!("COMMITTED {first} {last} {records}\n");
        let write = || out.write_all(line.as_bytes()).and_then(|()| out.flush());
        if let Err(error) = self.progress.suspend(write) {
            let error = anyhow::Error::from(error);
            self.out = None;
            self.failed = (!failure::is_closed_pipe(&error)).then_some(error);
        }
    }

    /// Returns the error of the first failed write.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }
}
