//! The write path: [`Writer`] → plan → commit → [`files::disk`](crate::files::disk).

mod aside;
mod column_dir;
mod commit;
mod compare;
mod conf_file;
pub mod copy;
mod cut;
mod door;
mod encode;
mod flusher;
mod gather;
mod heal;
mod heal_action;
mod mend;
mod opening;
mod orphan;
mod pipeline;
mod plan;
mod reclaim;
mod replace;
mod round;
mod run;
mod table_cache;
mod writer;

pub use cut::{CutReport, Keep, inspect_cut};
pub use door::Door;
pub(crate) use opening::{Locked, settle};

pub use heal::{inspect, inspect_with};
pub use heal_action::{HealAction, HealReport};
pub use mend::{Mended, replace_by_copy};
pub use pipeline::{CommitInfo, Pipeline, PipelineOptions, Queue, Ticket};
pub use reclaim::{ReclaimReport, Reclaimed, inspect_reclaim, reclaim, reclaim_on};
pub use run::{RunCommit, RunError, RunReport};
pub use writer::{Checksums, Committed, Prepared, Writer, WriterOptions};
