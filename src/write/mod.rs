//! The write path: [`Writer`] → plan → commit → [`files::disk`](crate::files::disk).

mod column_dir;
mod commit;
mod compare;
mod encode;
mod flusher;
mod gather;
mod heal;
mod pipeline;
mod plan;
mod reclaim;
mod round;
mod run;
mod table_cache;
mod writer;

pub use heal::{HealAction, HealReport, inspect};
pub use pipeline::{CommitInfo, Pipeline, PipelineOptions, Queue, Ticket};
pub use reclaim::{ReclaimReport, Reclaimed, inspect_reclaim, reclaim, reclaim_on};
pub use run::{RunCommit, RunError, RunReport};
pub use writer::{Checksums, Committed, Prepared, Writer, WriterOptions};
