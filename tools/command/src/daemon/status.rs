//! The answer to `/v1/status`.

use coldstore_client::wire::{ColumnStatus, Decimal, Status};

use super::intake::Intake;
use super::shared::Daemon;

/// Collects the status. Makes system calls.
pub(super) fn status(daemon: &Daemon) -> coldstore::Result<Status> {
    let columns = daemon.intakes.iter().map(|intake| column(intake));
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: Decimal(std::process::id().into()),
        archive: daemon.root.display().to_string(),
        connections: Decimal(daemon.metrics.connection_count()),
        held_bytes: Decimal(daemon.room.memory.held_bytes()),
        columns: columns.collect::<coldstore::Result<_>>()?,
    })
}

fn column(intake: &Intake) -> coldstore::Result<ColumnStatus> {
    let view = intake.view()?;
    let (conf, queue) = (view.conf(), intake.pipeline.queue());
    Ok(ColumnStatus {
        column: intake.column.dir_name().to_owned(),
        name: intake.column.long_name().to_owned(),
        highest_slot: conf.highest.map(|slot| Decimal(slot.0)),
        backfill: conf.allows_backfill(),
        max_value_bytes: Decimal(conf.spec.max_value_bytes),
        queued_jobs: Decimal(queue.jobs),
        queued_bytes: Decimal(queue.bytes),
        poisoned: intake.pipeline.poisoned().map(|error| error.to_string()),
    })
}
