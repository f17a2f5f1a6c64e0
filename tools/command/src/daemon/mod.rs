//! The writer daemon: HTTP over a Unix socket in front of one archive.
//!
//! `server` accepts connections and shuts down, `routes` answers, `body` receives, `intake` submits to
//! the library's pipelines. Nothing here depends on how a column is written.

mod body;
mod export;
mod ingest;
mod intake;
mod limits;
mod metrics;
mod refused;
mod routes;
mod server;
mod shared;
mod socket;
mod spool;
mod states;
mod status;

pub(crate) use limits::BUDGET_MIB;
pub(crate) use server::{Options, run};
