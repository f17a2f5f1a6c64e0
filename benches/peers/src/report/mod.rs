//! The results as JSON, as a table and as a chart.

mod chart;
mod table;

use std::fs;
use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::cli::Options;
use crate::rounds::Results;
use crate::scale::Scale;
use crate::system::Machine;

#[derive(Serialize)]
struct Report<'a> {
    machine: &'a Machine,
    scale: &'a Scale,
    seconds: f64,
    rows: &'a Results,
}

/// Writes `results.json`, `table.md` and `chart.svg` and returns the table.
///
/// # Errors
/// When a file cannot be written.
pub fn write(
    options: &Options,
    scale: &Scale,
    machine: &Machine,
    results: &Results,
    elapsed: Duration,
) -> io::Result<String> {
    fs::create_dir_all(&options.out)?;
    let report = Report { machine, scale, seconds: elapsed.as_secs_f64(), rows: results };
    fs::write(options.out.join("results.json"), serde_json::to_string_pretty(&report)?)?;
    let table = table::render(results, scale, machine, elapsed);
    fs::write(options.out.join("table.md"), &table)?;
    fs::write(options.out.join("chart.svg"), chart::render(results).map_err(io::Error::other)?)?;
    Ok(table)
}
