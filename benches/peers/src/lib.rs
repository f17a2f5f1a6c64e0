//! coldstore beside the stores that people use instead, and beside the floor: the same records in
//! the same order with the same durability, in rounds that are interleaved.
//!
//! `benches/README.md` says what is measured and how the subjects are set up.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a measurement that cannot go on ends"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "counts and times that are small"
)]

pub mod cli;
pub mod data;
pub mod groups;
pub mod report;
pub mod rounds;
pub mod scale;
pub mod store;
pub mod stores;
pub mod system;
pub mod workloads;

pub use cli::Options;
pub use scale::Scale;
pub use store::Subject;

/// Runs what the options ask for and returns the rows.
#[must_use]
pub fn run(options: &Options, scale: &Scale) -> rounds::Results {
    let mut results = rounds::Results::default();
    let bench = groups::Bench::new(options, scale);
    workloads::run(&bench, &mut results);
    results
}
