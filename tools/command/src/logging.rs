//! Writes the library's traces to standard error.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::output;

const VARIABLE: &str = "COLDSTORE_LOG";

/// `COLDSTORE_LOG` (such as `info` or `coldstore::write=debug,warn`) overrides `-v`.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let by_count = Targets::new().with_default(level);
    let filter = match env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text.parse().unwrap_or_else(|error| {
            output::tell(&format!("{VARIABLE} is invalid and ignored: {error}"));
            by_count
        }),
        _ => by_count,
    };
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let layer = fmt::layer()
        .without_time()
        .with_target(verbose > 0)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !no_color);
    tracing_subscriber::registry().with(filter).with(layer).init();
}
