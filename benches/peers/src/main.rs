//! `cargo run --release -p coldstore-peers -- --quick` makes a table and a chart.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use coldstore_peers::{Options, Scale, report, run, system};

fn main() -> ExitCode {
    let options = Options::parse();
    let scale = if options.quick { Scale::quick() } else { Scale::full() };
    let started = Instant::now();
    let machine = system::Machine::here(&options.data);
    eprintln!("{machine}");
    let results = run(&options, &scale);
    match report::write(&options, &scale, &machine, &results, started.elapsed()) {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot write the results to {}: {error}", options.out.display());
            ExitCode::FAILURE
        }
    }
}
