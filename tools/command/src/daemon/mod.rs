//! The writer daemon: HTTP over a Unix socket in front of one archive.
//!
//! `server` accepts and ends, `routes` answers, `body` receives, `intake` hands on to the
//! library's pipelines. Nothing here knows how a column is written.

mod body;
mod export;
mod ingest;
mod intake;
mod limits;
mod metrics;
mod refused;
mod routes;
mod server;
mod socket;
mod spool;
mod status;

pub(crate) use limits::BUDGET_MIB;
pub(crate) use server::{Options, run};
