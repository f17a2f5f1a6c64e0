//! The routes of the daemon.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{MatchedPath, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use coldstore::{Compression, OwnedRecord, Slot};
use coldstore_client::wire::{Admission, RefusalKind, Status, StreamCommitted};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::export::export;
use super::ingest;
use super::limits::Held;
use super::metrics::{self, Answered};
use super::refused::{Refused, no_answer};
use super::shared::Daemon;
use super::status;
use crate::arguments::slot_range;

const OCTETS: [(header::HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "application/octet-stream")];

pub(super) fn router(daemon: Arc<Daemon>) -> Router {
    Router::new()
        .route("/v1/{column}/{slot}", get(get_value).put(put_value))
        .route("/v1/{column}", get(get_range).post(post_stream))
        .route("/v1/status", get(get_status))
        .route("/metrics", get(get_metrics))
        .fallback(|| async { Refused::new(RefusalKind::NotFound, None, "no such path") })
        .method_not_allowed_fallback(|| async {
            let message = "this path does not support the method";
            Refused::new(RefusalKind::MethodNotAllowed, None, message)
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&daemon), count))
        .with_state(daemon)
}

/// A router for the metrics only.
pub(super) fn metrics_router(daemon: Arc<Daemon>) -> Router {
    Router::new()
        .route("/metrics", get(get_metrics))
        .fallback(|| async {
            let message = "only /metrics is served here";
            Refused::new(RefusalKind::NotFound, None, message)
        })
        .with_state(daemon)
}

async fn count(State(daemon): State<Arc<Daemon>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let known = [Method::GET, Method::HEAD, Method::PUT, Method::POST];
    let method = known.into_iter().find(|known| known == request.method());
    let response = next.run(request).await;
    daemon.metrics.count_request(&Answered {
        method: method.as_ref().map_or("other", Method::as_str),
        route: route.as_ref().map_or("other", MatchedPath::as_str),
        status: response.status().as_str(),
        refusal: response.extensions().get(),
        elapsed: started.elapsed(),
    });
    response
}

type ColumnAndSlot = Result<Path<(String, String)>, PathRejection>;

fn parse_slot(text: &str) -> Result<Slot, Refused> {
    let refused = |message| Refused::new(RefusalKind::InvalidSlot, None, message);
    crate::arguments::parse_slot(text).map_err(refused)
}

type Asked = Result<Query<Admission>, QueryRejection>;

fn parse_admission(asked: Asked) -> Result<Admission, Refused> {
    asked.map(|Query(admission)| admission).map_err(Refused::malformed)
}

/// Refuses an encoded body: its bytes are stored as they are.
fn check_headers(headers: &HeaderMap) -> Result<(), Refused> {
    let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    for encoding in values(header::CONTENT_ENCODING) {
        if !encoding.eq_ignore_ascii_case(b"identity") {
            let encoding = encoding.escape_ascii();
            let message = format!("the body is encoded ({encoding}): send it unencoded");
            return Err(Refused::new(RefusalKind::UnsupportedMediaType, None, message));
        }
    }
    for media_type in values(header::CONTENT_TYPE) {
        let name = media_type.split(|byte| *byte == b';').next().unwrap_or_default();
        let name = name.trim_ascii().to_ascii_lowercase();
        if name.starts_with(b"multipart/") || name == b"application/x-www-form-urlencoded" {
            let name = name.escape_ascii();
            let message = format!(
                "the body is a form ({name}): send the bytes alone, with curl -T FILE \
                 (and -X POST for a stream), or with Content-Type: application/octet-stream"
            );
            return Err(Refused::new(RefusalKind::UnsupportedMediaType, None, message));
        }
    }
    Ok(())
}

/// In HTTP/1.1, either header announces a body, possibly empty.
fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING)
}

async fn put_value(
    State(daemon): State<Arc<Daemon>>,
    path: ColumnAndSlot,
    admission: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refused> {
    let body = daemon.incoming(body);
    let parsed = path.map_err(Refused::malformed).and_then(|Path((column, slot))| {
        check_headers(&headers)?;
        if !has_body(&headers) {
            let message = "no body: send the value with a Content-Length (curl -T FILE)";
            return Err(Refused::malformed(message));
        }
        Ok((Arc::clone(daemon.intake(&column)?), parse_slot(&slot)?, parse_admission(admission)?))
    });
    match parsed {
        Ok((intake, slot, admission)) => {
            ingest::put(&intake, slot, body, admission, &daemon.room).await.map(ingest::put_status)
        }
        Err(refused) => {
            body.drain();
            Err(refused)
        }
    }
}

async fn post_stream(
    State(daemon): State<Arc<Daemon>>,
    path: Result<Path<String>, PathRejection>,
    admission: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<StreamCommitted>, Refused> {
    let body = daemon.incoming(body);
    let parsed = path.map_err(Refused::malformed).and_then(|Path(column)| {
        check_headers(&headers)?;
        Ok((Arc::clone(daemon.intake(&column)?), parse_admission(admission)?))
    });
    match parsed {
        Ok((intake, admission)) => {
            ingest::post(&intake, body, admission, &daemon.room).await.map(Json)
        }
        Err(refused) => {
            body.drain();
            Err(refused)
        }
    }
}

async fn get_value(
    State(daemon): State<Arc<Daemon>>,
    path: ColumnAndSlot,
) -> Result<Response, Refused> {
    let Path((column, slot)) = path.map_err(Refused::malformed)?;
    let (intake, slot) = (Arc::clone(daemon.intake(&column)?), parse_slot(&slot)?);
    let column = intake.column;
    let mut held = daemon.room.memory.hold(None);
    let spec = column.spec();
    if spec.compression != Compression::None {
        // The decoded length is only known after decoding.
        held.grow(usize::try_from(spec.max_value_bytes).unwrap_or(usize::MAX)).await;
    }
    let found = blocking(move || Ok(intake.view()?.owned(slot)?)).await?;
    let Some(record) = found else {
        let message = format!("{column} has no record of slot {slot}");
        return Err(Refused::new(RefusalKind::NoRecord, Some(slot), message));
    };
    held.shrink_to(record.len());
    let value = Bytes::from_owner(Value { record, _held: held });
    Ok((OCTETS, value).into_response())
}

/// A value to send. In an uncompressed column it is the mapping itself.
struct Value {
    record: OwnedRecord,
    _held: Held,
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.record
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FromTo {
    from: Option<String>,
    to: Option<String>,
}

async fn get_range(
    State(daemon): State<Arc<Daemon>>,
    path: Result<Path<String>, PathRejection>,
    range: Result<Query<FromTo>, QueryRejection>,
) -> Result<Response, Refused> {
    let Path(column) = path.map_err(Refused::malformed)?;
    let intake = Arc::clone(daemon.intake(&column)?);
    let Query(FromTo { from, to }) = range.map_err(Refused::malformed)?;
    let slot = |text: Option<String>| text.map(|text| parse_slot(&text)).transpose();
    let slots = slot_range(slot(from)?, slot(to)?).map_err(Refused::malformed)?;
    let view = blocking(move || Ok(intake.view()?)).await?;
    Ok((OCTETS, export(view, slots).await?).into_response())
}

async fn get_status(State(daemon): State<Arc<Daemon>>) -> Result<Json<Status>, Refused> {
    blocking(move || Ok(status::status(&daemon)?)).await.map(Json)
}

async fn get_metrics(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refused> {
    let text = blocking(move || {
        let intakes = daemon.intakes.iter().map(|intake| &**intake);
        daemon
            .metrics
            .text(intakes, &daemon.room)
            .map_err(|error| Refused::new(RefusalKind::Internal, None, error.to_string()))
    });
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text.await?).into_response())
}

/// Runs blocking system calls on a thread of the blocking pool.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    spawn_blocking(work).await.unwrap_or_else(|_| Err(no_answer().into()))
}
