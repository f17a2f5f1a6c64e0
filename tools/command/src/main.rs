//! The `coldstore` command: archives of finalized Ethereum consensus history from a terminal.

mod absence;
mod acknowledgements;
mod arguments;
mod chain;
mod cli;
mod daemon;
mod dates;
mod disk;
mod failure;
mod input;
mod layers;
mod logging;
mod map;
mod networks;
mod notes;
mod open;
mod out_file;
mod output;
mod progress;
mod signals;
mod usage;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return failure::answer(&answer),
    };
    logging::start(cli.verbose.saturating_add(cli.verb.is_daemon().into()));
    match cli.verb.run() {
        Ok(answer) => answer.into(),
        Err(error) => failure::report(&error),
    }
}
