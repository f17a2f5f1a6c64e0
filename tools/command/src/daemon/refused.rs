//! Error answers.

use std::fmt::Display;
use std::io;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use coldstore::{Error, Slot};
use coldstore_client::slot_stream::StreamError;
use coldstore_client::wire::{Decimal, Refusal, StreamCommitted};
use rustix::io::Errno;

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) refusal: Box<Refusal>,
}

impl Refused {
    pub(super) fn new(
        status: StatusCode,
        kind: &str,
        slot: Option<Slot>,
        message: impl Into<String>,
    ) -> Self {
        let (error, message) = (kind.to_owned(), message.into());
        let slot = slot.map(|slot| Decimal(slot.0));
        Self { status, refusal: Box::new(Refusal { error, message, slot, prefix: None }) }
    }

    pub(super) fn malformed(message: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Malformed", None, message.to_string())
    }

    pub(super) fn unsupported_media(message: impl Display) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "UnsupportedMediaType", None, message.to_string())
    }

    pub(super) fn shutting_down() -> Self {
        let message = "the daemon is shutting down";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ShuttingDown", None, message)
    }

    /// Adds the durable prefix of the stream. A part is the items of one file in one batch, committed
    /// as a whole; parts after a failed one may be durable too.
    pub(super) fn behind(mut self, prefix: StreamCommitted) -> Self {
        let durable = match prefix.last {
            Some(Decimal(last)) => format!("everything up to slot {last} is durable"),
            None => "nothing is durable from its beginning on".to_owned(),
        };
        self.refusal.message += &format!(
            " (of the stream {durable}; behind that, parts for single files may be too, each whole, in \
             any order; sending all of it again is safe)"
        );
        self.refusal.prefix = Some(prefix);
        self
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refusal { error, message, .. } = &*self.refusal;
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), error, message, "refused");
        } else {
            tracing::debug!(status = self.status.as_u16(), error, message, "refused");
        }
        let kind = RefusalKind(error.clone());
        let mut response = (self.status, Json(self.refusal)).into_response();
        response.extensions_mut().insert(kind);
        response
    }
}

/// The kind of error of a response, for the metrics.
#[derive(Clone, Debug)]
pub(super) struct RefusalKind(pub(super) String);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        const UNPROCESSABLE: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
        let (status, kind, slot) = match &error {
            _ if is_disk_full(&error) => (StatusCode::INSUFFICIENT_STORAGE, "DiskFull", None),
            Error::Conflict { slot } => (StatusCode::CONFLICT, "Conflict", Some(*slot)),
            Error::TooLarge { slot, .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", Some(*slot))
            }
            Error::Refused(objection) => {
                (UNPROCESSABLE, objection.kind.name(), Some(objection.slot))
            }
            Error::InvalidSlot => (StatusCode::BAD_REQUEST, "InvalidSlot", None),
            Error::BackfillDisabled { slot, .. } => {
                (UNPROCESSABLE, "BackfillDisabled", Some(*slot))
            }
            Error::MixedBatch { backfill, .. } => (UNPROCESSABLE, "MixedBatch", Some(*backfill)),
            Error::SpansFiles { .. } => (UNPROCESSABLE, "SpansFiles", None),
            Error::NotAscending { slot, .. } => (UNPROCESSABLE, "NotAscending", Some(*slot)),
            Error::Poisoned { .. } => (StatusCode::SERVICE_UNAVAILABLE, "Poisoned", None),
            Error::ShuttingDown { .. } => (StatusCode::SERVICE_UNAVAILABLE, "ShuttingDown", None),
            Error::NoSuchColumn { .. } => (StatusCode::NOT_FOUND, "NoSuchColumn", None),
            Error::Corrupt(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Corrupt", None),
            Error::Io(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Io", None),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "Internal", None),
        };
        Self::new(status, kind, slot, error.to_string())
    }
}

/// Whether the disk is full, or a full disk poisoned the writer.
fn is_disk_full(error: &Error) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
    match error {
        Error::Io(io) => io.source.raw_os_error().is_some_and(|code| full.contains(&code)),
        Error::Poisoned { cause, .. } => is_disk_full(cause),
        _ => false,
    }
}

impl From<StreamError> for Refused {
    fn from(error: StreamError) -> Self {
        let (status, kind, slot) = match &error {
            StreamError::InvalidSlot { .. } => (StatusCode::BAD_REQUEST, "InvalidSlot", None),
            StreamError::NotAscending { slot, .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "NotAscending", Some(*slot))
            }
            StreamError::TooLarge { slot, .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", Some(*slot))
            }
            StreamError::Record { slot, .. } | StreamError::Cut { slot, .. } => {
                (StatusCode::BAD_REQUEST, "Malformed", *slot)
            }
            StreamError::NoValue { slot, .. } => {
                (StatusCode::BAD_REQUEST, "Malformed", Some(*slot))
            }
            _ => (StatusCode::BAD_REQUEST, "Malformed", None),
        };
        Self::new(status, kind, slot, error.to_string())
    }
}

/// The writer's thread ended without an answer: a defect. It is unknown what is durable.
pub(super) fn no_answer() -> Error {
    Error::io("", "get an answer from the writer", io::ErrorKind::BrokenPipe.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(error: Error) -> u16 {
        Refused::from(error).status.as_u16()
    }

    fn system(errno: Errno) -> Error {
        Error::io("/a/data_00000", "write to", errno.into())
    }

    fn poisoned_by(cause: Error) -> Error {
        let directory = std::path::Path::new("/a").into();
        Error::Poisoned { directory, cause: Box::new(cause) }
    }

    #[test]
    fn a_full_disk_is_told_apart_also_where_it_poisoned_the_writer() {
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            assert_eq!(status_of(system(errno)), 507);
            assert_eq!(status_of(poisoned_by(system(errno))), 507);
        }
        assert_eq!(status_of(system(Errno::IO)), 500);
        assert_eq!(status_of(poisoned_by(system(Errno::IO))), 503);
    }

    #[test]
    fn a_callers_mistake_has_a_status_of_its_own() {
        let slot = Slot(5);
        assert_eq!(status_of(Error::Conflict { slot }), 409);
        assert_eq!(status_of(Error::BackfillDisabled { slot, highest: slot }), 422);
        assert_eq!(status_of(Error::MixedBatch { backfill: slot, sequential: Slot(6) }), 422);
        assert_eq!(status_of(Error::NotAscending { previous: slot, slot }), 422);
        assert_eq!(status_of(Error::InvalidSlot), 400);
    }
}
