//! How far a run of several commits came.

use crate::error::Error;
use crate::slot::Slot;

/// One step of a run: a commit, or nothing but records that were there before. It is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunCommit {
    /// The first slot of the run in this step.
    pub first: Slot,
    /// The last slot of the run in this step.
    pub last: Slot,
    /// Records in it, those included that were there before.
    pub records: u64,
}

/// What of a run is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Commits made.
    pub commits: u64,
    /// Records written.
    pub written: u64,
    /// Records that were there before with the same value.
    pub unchanged: u64,
    /// The last slot of the run up to which everything is durable.
    pub last: Option<Slot>,
}

/// A run that stopped on the way. What `done` tells stays.
#[derive(Debug, thiserror::Error)]
#[error("{error} ({})", progress(done))]
pub struct RunError {
    /// How far it came.
    pub done: RunReport,
    /// What stopped it.
    #[source]
    pub error: Error,
}

fn progress(done: &RunReport) -> String {
    match done.last {
        Some(last) => format!("everything up to slot {last} is durable"),
        None => "nothing of the run was committed".to_owned(),
    }
}
