//! The write path: [`Writer`] → plan → commit → [`files::disk`](crate::files::disk).

mod column_dir;
mod commit;
mod encode;
mod gather;
mod heal;
mod plan;
mod run;
mod table_cache;
mod writer;

pub use heal::{HealAction, HealReport, inspect};
pub use run::{RunCommit, RunError, RunReport};
pub use writer::{Committed, Writer, WriterOptions};
