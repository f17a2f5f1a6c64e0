//! Progress bars on standard error, drawn only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const KNOWN: &str = "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} to go";
const UNKNOWN: &str = "{msg} {spinner} {bytes} {bytes_per_sec}";
const SLOTS: &str = "{msg} [{wide_bar}] {pos}/{len} slots {per_sec}, {eta} to go";
const WAITING: &str = "{msg} {spinner} {elapsed}";

/// Interval between redraws: cheap, and the line never looks frozen.
const TICK: Duration = Duration::from_millis(200);

/// One line of progress, erased on drop.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Counts bytes, up to a total if known.
    pub(crate) fn of_bytes(what: &str, total: Option<u64>) -> Self {
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style(KNOWN)),
            None => ProgressBar::new_spinner().with_style(style(UNKNOWN)),
        };
        Self::started(bar, what)
    }

    /// Counts slots up to a total.
    pub(crate) fn of_slots(what: &str, total: u64) -> Self {
        Self::started(ProgressBar::new(total).with_style(style(SLOTS)), what)
    }

    /// Shows activity without a count.
    pub(crate) fn waiting(what: &str) -> Self {
        Self::started(ProgressBar::new_spinner().with_style(style(WAITING)), what)
    }

    fn started(bar: ProgressBar, what: &str) -> Self {
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    pub(crate) fn set_position(&self, position: u64) {
        self.0.set_position(position);
    }

    pub(crate) fn set_message(&self, what: String) {
        self.0.set_message(what);
    }

    /// Hides the bar while `write` writes to the terminal.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // An invalid template gives a plainer bar instead of a failed verb.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
