//! Exit status, and the error on standard error.

use std::fmt;
use std::io;
use std::process::ExitCode;

use anyhow::{Error, Result, bail};

use crate::output;
pub(crate) use crate::usage::Usage;

/// Exit status for wrong usage.
const USAGE: u8 = 2;
/// Exit status for a failed operation.
pub(crate) const FAILED: u8 = 3;

/// The result of a verb that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done.
    Yes,
    /// No record, or damage found.
    No,
}

impl From<Answer> for ExitCode {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => ExitCode::SUCCESS,
            Answer::No => ExitCode::from(1),
        }
    }
}

/// Prints the error and returns the exit status. A standard output without a reader is not a failure and
/// prints nothing.
pub(crate) fn report(error: &Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    output::tell(&sentence(error));
    ExitCode::from(if error.is::<Usage>() { USAGE } else { FAILED })
}

/// Prints clap's own output: help, version, usage errors.
pub(crate) fn answer(answer: &clap::Error) -> ExitCode {
    match answer.print() {
        // Standard error may be closed; then the error is lost.
        Err(error) if !answer.use_stderr() => report(&output::named(&error).into()),
        _ => ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(USAGE)),
    }
}

/// Prints the error of one of several things.
pub(crate) fn tell(thing: impl fmt::Display + Send + Sync + 'static, error: coldstore::Error) {
    output::tell(&sentence(&Error::from(error).context(thing)));
}

/// An error such as "3 columns could not be healed" if any of the things failed; each was already
/// reported.
pub(crate) fn none_failed(failed: u64, thing: &str, done: &str) -> Result<Answer> {
    match failed {
        0 => Ok(Answer::Yes),
        1 => bail!("1 {thing} could not be {done}"),
        more => bail!("{more} {thing}s could not be {done}"),
    }
}

pub(crate) fn is_closed_pipe(error: &Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(output::is_closed_pipe)
}

/// The error and its causes in one line, without causes already included in the error's own text.
pub(crate) fn sentence(error: &Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text = text + colon + &cause;
        }
    }
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_cause_is_printed_once() {
        let io = io::Error::other("no space");
        let error = coldstore::Error::io("/a/lock", "open", io);
        let error = Err::<(), _>(error).context("slot 5").unwrap_err();
        assert_eq!(sentence(&error), "slot 5: /a/lock: cannot open: no space");
    }

    #[test]
    fn a_closed_pipe_is_found_under_any_context() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed_pipe(&Error::from(output::named(&pipe())).context("slot 5")));
        assert!(!is_closed_pipe(&anyhow::anyhow!("other")));
        // The daemon's connection.
        assert!(!is_closed_pipe(&Error::from(pipe()).context("slot 5")));
    }
}
