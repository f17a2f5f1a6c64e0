//! Progress and result of a write that takes several commits.

use crate::error::Error;
use crate::slot::Slot;

/// One durable step of a bulk put: a commit, or a part whose records were all present already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkCommit {
    /// The first slot of this step.
    pub first: Slot,
    /// The last slot of this step.
    pub last: Slot,
    /// Records in it, including those that were already present.
    pub records: u64,
}

/// The durable part of a bulk put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkReport {
    /// Commits made.
    pub commits: u64,
    /// Records written.
    pub written: u64,
    /// Records that were already present with the same value.
    pub unchanged: u64,
    /// The last slot up to which everything is durable.
    pub last: Option<Slot>,
}

impl BulkReport {
    pub(super) fn add(&mut self, last: Slot, written: u64, unchanged: u64) {
        self.commits += u64::from(written > 0);
        self.written += written;
        self.unchanged += unchanged;
        self.last = Some(last);
    }
}

/// A bulk put that failed part-way. Everything in `done` is durable.
#[derive(Debug, thiserror::Error)]
#[error("{error} ({})", progress(done))]
pub struct BulkError {
    /// The part before the failure.
    pub done: BulkReport,
    /// The failure.
    #[source]
    pub error: Error,
}

fn progress(done: &BulkReport) -> String {
    match done.last {
        Some(last) => format!("everything up to slot {last} is durable"),
        None => "nothing was committed".to_owned(),
    }
}
