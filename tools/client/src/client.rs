//! The asynchronous client.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coldstore::format::record::VERSION_RECORD;
use coldstore::{Column, Slot};
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;
use tokio::time::sleep;

use crate::body::{of_pieces, of_stream};
use crate::client_error::{ClientError, Result};
use crate::connection::Connection;
use crate::scan::Scan;
use crate::slot_stream::item_head;
use crate::wire::{Admission, RefusalKind, Status, StreamCommitted};

/// Bound on a value in an answer: no record holds more.
const MAX_VALUE_BYTES: u64 = u32::MAX as u64;
/// Bound on any other answer.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// The pause between attempts doubles from `FIRST_PAUSE` up to `LAST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// A client with one connection, opened on first use and reopened after a loss.
///
/// Use one client per task. Calls need a Tokio runtime with I/O and time, and may be cancelled: a write
/// that was cancelled may or may not have happened, and repeating it is safe.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    connection: Option<Connection>,
    admission: Admission,
    retry: Duration,
}

impl Client {
    /// Creates a client for the daemon that listens on `socket`, without connecting.
    pub fn new(socket: impl AsRef<Path>) -> Self {
        let socket = socket.as_ref().to_owned();
        Self { socket, connection: None, admission: Admission::default(), retry: Duration::ZERO }
    }

    /// Makes writes accept values in any encoding, and roots with gaps.
    #[must_use]
    pub fn raw(mut self, raw: bool) -> Self {
        self.admission.raw = raw;
        self
    }

    /// Makes writes accept slots more than one era above the archive's highest.
    #[must_use]
    pub fn far(mut self, far: bool) -> Self {
        self.admission.far = far;
        self
    }

    /// Repeats calls for this long after a transient failure ([`ClientError::is_transient`]), for
    /// example while the daemon restarts. Default: zero. Scans and [`Client::post_stream`] are not
    /// repeated.
    #[must_use]
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry = time;
        self
    }

    /// Stores one value, durably. Returns `false` if the same value was already stored.
    ///
    /// In [`Column::StateDiffs`] the value may be the SSZ of the slot's whole state: the daemon stores a diff
    /// to another state of the archive.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put(
        &mut self,
        column: Column,
        slot: Slot,
        value: impl Into<Bytes>,
    ) -> Result<bool> {
        let path = format!("/v1/{column}/{slot}{}", self.query());
        let body = [value.into()];
        let (status, _) = self.call(&Method::PUT, &path, &body, MAX_ANSWER_BYTES).await?;
        Ok(status == StatusCode::CREATED)
    }

    /// Stores values with ascending slots, durably. Values already stored count as committed.
    ///
    /// # Errors
    /// See [`ClientError`]; a [`Refusal`](crate::wire::Refusal) has the durable prefix.
    pub async fn put_batch(
        &mut self,
        column: Column,
        items: &[(Slot, Bytes)],
    ) -> Result<StreamCommitted> {
        let mut pieces = vec![Bytes::from_static(&VERSION_RECORD)];
        for (slot, value) in items {
            let head = item_head(column.spec().record_type, *slot, value.len());
            let head = head.map_err(ClientError::Value)?;
            pieces.extend([Bytes::copy_from_slice(&head), value.clone()]);
        }
        let path = format!("/v1/{column}{}", self.query());
        self.call_for_json(&Method::POST, &path, &pieces).await
    }

    /// Stores the items of a slot stream, durably. The stream is read while it is sent; the daemon
    /// drops a stream that stalls for too long.
    ///
    /// # Errors
    /// As [`Client::put_batch`].
    pub async fn post_stream(
        &mut self,
        column: Column,
        stream: impl AsyncRead + Send + 'static,
    ) -> Result<StreamCommitted> {
        let path = format!("/v1/{column}{}", self.query());
        // A stream cannot be sent twice, so a connection that may be stale is not used.
        let mut connection = Connection::open(&self.socket).await?;
        let answer = connection.send(&Method::POST, &path, of_stream(stream)).await?;
        let answer = connection.receive(answer, MAX_ANSWER_BYTES).await?;
        self.connection = Some(connection);
        self.parse(&answer)
    }

    /// The value of a slot, or `None` if it has no record.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&mut self, column: Column, slot: Slot) -> Result<Option<Vec<u8>>> {
        let path = format!("/v1/{column}/{slot}");
        match self.call(&Method::GET, &path, &[], MAX_VALUE_BYTES).await {
            Ok((_, value)) => Ok(Some(value)),
            Err(error) if error.refusal_kind() == Some(&RefusalKind::NoRecord) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The records of a range of slots, as of one commit. The scan has a connection of its own, so other
    /// calls may be made meanwhile.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn scan(&self, column: Column, slots: RangeInclusive<Slot>) -> Result<Scan> {
        let path = format!("/v1/{column}?from={}&to={}", slots.start(), slots.end());
        let mut connection = Connection::open(&self.socket).await?;
        let answer = connection.send(&Method::GET, &path, of_pieces(&[])).await?;
        if answer.status().is_success() {
            let record_type = column.spec().record_type;
            return Ok(Scan::new(connection, answer.into_body(), record_type, MAX_VALUE_BYTES));
        }
        let (status, _) = connection.receive(answer, MAX_ANSWER_BYTES).await?;
        Err(ClientError::answer(&self.socket, status, &"it is not a slot stream"))
    }

    /// The daemon's status.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&mut self) -> Result<Status> {
        self.call_for_json(&Method::GET, "/v1/status", &[]).await
    }

    fn query(&self) -> &'static str {
        match self.admission {
            Admission { raw: false, far: false } => "",
            Admission { raw: true, far: false } => "?raw=true",
            Admission { raw: false, far: true } => "?far=true",
            Admission { raw: true, far: true } => "?raw=true&far=true",
        }
    }

    /// Calls, repeatedly while [`Client::retry_for`] allows it. Every request is idempotent.
    async fn call(
        &mut self,
        method: &Method,
        path: &str,
        body: &[Bytes],
        limit: u64,
    ) -> Result<(StatusCode, Vec<u8>)> {
        let (started, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            match self.call_once(method, path, body, limit).await {
                Err(error) if error.is_transient() && started.elapsed() < self.retry => {
                    tracing::info!(%error, "trying again");
                }
                answer => return answer,
            }
            sleep(pause).await;
            pause = (2 * pause).min(LAST_PAUSE);
        }
    }

    /// Sends a request on the open connection. The daemon drops idle connections, so after a failure the
    /// request is sent on a new one.
    async fn call_once(
        &mut self,
        method: &Method,
        path: &str,
        body: &[Bytes],
        limit: u64,
    ) -> Result<(StatusCode, Vec<u8>)> {
        // A call that fails or is cancelled leaves no connection behind.
        let mut sent = None;
        if let Some(mut connection) = self.connection.take()
            && let Ok(answer) = connection.send(method, path, of_pieces(body)).await
        {
            sent = Some((connection, answer));
        }
        let (connection, answer) = match sent {
            Some(sent) => sent,
            None => {
                let mut connection = Connection::open(&self.socket).await?;
                let answer = connection.send(method, path, of_pieces(body)).await?;
                (connection, answer)
            }
        };
        let answer = connection.receive(answer, limit).await;
        let is_reusable =
            !matches!(answer, Err(ClientError::Connection { .. } | ClientError::Answer { .. }));
        self.connection = is_reusable.then_some(connection);
        answer
    }

    async fn call_for_json<T: DeserializeOwned>(
        &mut self,
        method: &Method,
        path: &str,
        body: &[Bytes],
    ) -> Result<T> {
        let answer = self.call(method, path, body, MAX_ANSWER_BYTES).await?;
        self.parse(&answer)
    }

    fn parse<T: DeserializeOwned>(&self, (status, body): &(StatusCode, Vec<u8>)) -> Result<T> {
        serde_json::from_slice(body)
            .map_err(|error| ClientError::answer(&self.socket, *status, &error))
    }
}
