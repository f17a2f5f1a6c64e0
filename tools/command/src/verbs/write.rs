//! `coldstore write`

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use coldstore::archive::held::is_there;
use coldstore::{ArchiveWriterOptions, Column};
use coldstore_history::lacking;

use crate::arguments::{DoorOptions, column_parser};
use crate::daemon::{self, Options};
use crate::failure::Answer;
use crate::notes;

/// Run the writer daemon: own the archive's writers and serve HTTP on a Unix socket
///
/// Ends on SIGINT and SIGTERM after all accepted writes are durable and acknowledged; a second signal
/// ends it at once.
#[derive(Debug, Args)]
pub(crate) struct WriterDaemon {
    /// The archive's directory, created if missing
    archive: PathBuf,
    /// The socket; a stale socket of a dead daemon is replaced
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Turn backfill on for columns (default without names: states and state diffs): missing
    /// slots may be filled from now on
    #[arg(
        long,
        value_name = "COLUMN,...",
        num_args = 0..,
        require_equals = true,
        value_delimiter = ',',
        default_missing_values = ["bss", "bsd"],
        value_parser = column_parser()
    )]
    backfill: Vec<Column>,
    /// Maximum number of concurrent connections; further ones wait
    #[arg(long, value_name = "N", default_value = "256")]
    max_connections: NonZeroU16,
    /// Drop a client after this long without sending or reading
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..))]
    stall_timeout: u64,
    /// Drop a client that sends a value of more than 64 KiB at a lower rate, in KiB per second
    #[arg(long, value_name = "KIB", default_value = "256")]
    min_rate: NonZeroU32,
    /// Memory for request bodies in flight, in MiB. An eighth is reserved for bodies of up to 64 KiB;
    /// values of more than 16 MiB are spooled to unnamed files in the archive's directory
    #[arg(long, value_name = "MIB", default_value_t = daemon::BUDGET_MIB, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    budget: u32,
    /// Serve /metrics over TCP too, for Prometheus: a port of the loopback interface, or ADDRESS:PORT
    #[arg(long, value_name = "ADDR", value_parser = parse_metrics)]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    door: DoorOptions,
}

fn parse_metrics(text: &str) -> Result<SocketAddr, String> {
    let port = text.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let address = port.or_else(|_| text.parse());
    address
        .map_err(|_| "a port, or an IP address and a port (127.0.0.1:9464, [::1]:9464)".to_owned())
}

impl WriterDaemon {
    pub(crate) fn run(self) -> Result<Answer> {
        if is_there(&self.archive)? && lacking::is_archive(&self.archive)? {
            notes::tell_lacking(&self.archive)?;
        }
        let columns = self.door.archive_options().columns(Column::ALL);
        let options = Options {
            archive: self.archive,
            columns: self.backfill.into_iter().fold(columns, ArchiveWriterOptions::backfill),
            socket: self.socket,
            max_connections: self.max_connections.get(),
            stall: Duration::from_secs(self.stall_timeout),
            min_rate: u64::from(self.min_rate.get()) << 10,
            metrics: self.metrics,
            raw: self.door.raw,
            budget_bytes: (self.budget as usize) << 20,
        };
        daemon::run(&options)?;
        Ok(Answer::Yes)
    }
}
