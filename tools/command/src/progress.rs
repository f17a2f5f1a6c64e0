//! Progress bars, drawn on standard error and only where that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const KNOWN: &str = "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} to go";
const UNKNOWN: &str = "{msg} {spinner} {bytes} {bytes_per_sec}";
const WAITING: &str = "{msg} {spinner} {elapsed}";

/// Redraws per second cost nothing that matters, and a line that stands still looks dead.
const TICK: Duration = Duration::from_millis(200);

/// One line that shows how far a verb has come. It is gone from the terminal when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Counts bytes, towards a total where that is known.
    pub(crate) fn of_bytes(what: &str, total: Option<u64>) -> Self {
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style(KNOWN)),
            None => ProgressBar::new_spinner().with_style(style(UNKNOWN)),
        };
        Self::started(bar, what)
    }

    /// Only shows that something goes on.
    pub(crate) fn waiting(what: &str) -> Self {
        Self::started(ProgressBar::new_spinner().with_style(style(WAITING)), what)
    }

    fn started(bar: ProgressBar, what: &str) -> Self {
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    pub(crate) fn set_position(&self, byte_count: u64) {
        self.0.set_position(byte_count);
    }

    pub(crate) fn set_message(&self, what: String) {
        self.0.set_message(what);
    }

    /// Takes the bar away while something else is written to the terminal.
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
    // A template that indicatif does not take is worth a plainer bar, not a failed verb.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
