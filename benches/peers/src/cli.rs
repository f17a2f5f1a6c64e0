//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::store::Subject;

/// The workloads; `benches/README.md` describes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Workload {
    /// Warm gets of roots.
    W1,
    /// Warm gets of blocks.
    W2,
    /// Warm states.
    W3,
    /// Full scans.
    W4,
    /// Durable appends.
    W5,
    /// Cold random blocks.
    W6,
    /// Open and first touch.
    W7,
    /// Import of `.era` files.
    W8,
    /// Reads beside a writer.
    W9,
}

/// Measures coldstore beside other stores and beside the floor, and writes a table and a chart.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Options {
    /// Small data and few rounds: under three minutes
    #[arg(long)]
    pub quick: bool,

    /// Only these workloads
    #[arg(long, value_delimiter = ',', value_enum, ignore_case = true)]
    pub workload: Vec<Workload>,

    /// Only these subjects, and the floors of what they do
    #[arg(long, value_delimiter = ',', value_enum)]
    pub subject: Vec<Subject>,

    /// Rounds of what takes long, in place of the mode's own number; four times as many of the rest
    #[arg(long)]
    pub rounds: Option<usize>,

    /// Where the stores are made and deleted again; the disk of this directory is measured
    #[arg(long, default_value = "target/peers", value_name = "DIR")]
    pub data: PathBuf,

    /// Where results.json, table.md and chart.svg go
    #[arg(long, default_value = "target/peers-results", value_name = "DIR")]
    pub out: PathBuf,
}

impl Options {
    /// Whether a workload is asked for.
    #[must_use]
    pub fn wants(&self, workload: Workload) -> bool {
        self.workload.is_empty() || self.workload.contains(&workload)
    }

    /// Whether a subject is asked for.
    #[must_use]
    pub fn has(&self, subject: Subject) -> bool {
        self.subject.is_empty() || self.subject.contains(&subject)
    }
}
