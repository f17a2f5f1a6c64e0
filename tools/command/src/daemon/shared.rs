//! What all requests share.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use coldstore::Column;
use coldstore_client::wire::RefusalKind;
use tokio::sync::watch;

use super::body::{Incoming, Patience};
use super::ingest::Room;
use super::intake::Intake;
use super::metrics::Metrics;
use super::refused::Refused;

/// The archive, its pipelines, the limits and the metrics.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) root: PathBuf,
    pub(super) intakes: [Arc<Intake>; Column::ALL.len()],
    pub(super) room: Room,
    pub(super) metrics: Metrics,
    pub(super) patience: Patience,
    pub(super) stop: watch::Receiver<bool>,
}

impl Daemon {
    pub(super) fn intake(&self, name: &str) -> Result<&Arc<Intake>, Refused> {
        let column: Column = name
            .parse()
            .map_err(|error| Refused::new(RefusalKind::UnknownColumn, None, format!("{error}")))?;
        Ok(&self.intakes[column.index()])
    }

    pub(super) fn incoming(&self, body: Body) -> Incoming {
        Incoming::new(body, self.patience, self.stop.clone())
    }
}
