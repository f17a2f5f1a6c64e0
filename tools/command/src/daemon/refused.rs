//! Error answers.

use std::fmt::Display;
use std::io;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use coldstore::{Error, ObjectionKind, Slot};
use coldstore_client::slot_stream::StreamError;
use coldstore_client::wire::{Decimal, Refusal, RefusalKind, StreamCommitted};
use rustix::io::Errno;

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) refusal: Box<Refusal>,
}

impl Refused {
    pub(super) fn new(error: RefusalKind, slot: Option<Slot>, message: impl Into<String>) -> Self {
        let status = status_of(&error);
        let (slot, message) = (slot.map(|slot| Decimal(slot.0)), message.into());
        Self { status, refusal: Box::new(Refusal { error, message, slot, prefix: None }) }
    }

    pub(super) fn malformed(message: impl Display) -> Self {
        Self::new(RefusalKind::Malformed, None, message.to_string())
    }

    pub(super) fn shutting_down() -> Self {
        Self::new(RefusalKind::ShuttingDown, None, "the daemon is shutting down")
    }

    /// Adds the durable prefix of the stream. A part is the items of one file in one batch, committed
    /// as a whole; parts after a failed one may be durable too.
    pub(super) fn after(mut self, prefix: StreamCommitted) -> Self {
        let durable = match prefix.last {
            Some(Decimal(last)) => format!("the stream is durable up to slot {last}"),
            None => "the stream has no durable prefix".to_owned(),
        };
        self.refusal.message += &format!(
            " ({durable}; later parts, one per file and batch, may be durable too, in any order; sending \
             the whole stream again is safe)"
        );
        self.refusal.prefix = Some(prefix);
        self
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refusal { error, message, .. } = &*self.refusal;
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), %error, message, "refused");
        } else {
            tracing::debug!(status = self.status.as_u16(), %error, message, "refused");
        }
        let kind = error.clone();
        let mut response = (self.status, Json(self.refusal)).into_response();
        // For the metrics.
        response.extensions_mut().insert(kind);
        response
    }
}

const fn status_of(kind: &RefusalKind) -> StatusCode {
    use RefusalKind as Kind;
    match kind {
        Kind::InvalidSlot | Kind::Malformed => StatusCode::BAD_REQUEST,
        Kind::NoRecord | Kind::NoSuchColumn | Kind::NotFound | Kind::UnknownColumn => {
            StatusCode::NOT_FOUND
        }
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::Stalled | Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::BackfillDisabled
        | Kind::MixedBatch
        | Kind::NotAscending
        | Kind::Other(_)
        | Kind::RootGap
        | Kind::SpansFiles
        | Kind::TooFar
        | Kind::WrongValue => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Poisoned | Kind::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        Kind::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let (kind, slot) = match &error {
            _ if is_disk_full(&error) => (RefusalKind::DiskFull, None),
            Error::Conflict { slot } => (RefusalKind::Conflict, Some(*slot)),
            Error::TooLarge { slot, .. } => (RefusalKind::TooLarge, Some(*slot)),
            Error::Refused { kind, slot, .. } => (of_objection(*kind), Some(*slot)),
            Error::InvalidSlot => (RefusalKind::InvalidSlot, None),
            Error::BackfillDisabled { slot, .. } => (RefusalKind::BackfillDisabled, Some(*slot)),
            Error::MixedBatch { backfill, .. } => (RefusalKind::MixedBatch, Some(*backfill)),
            Error::SpansFiles { .. } => (RefusalKind::SpansFiles, None),
            Error::NotAscending { slot, .. } => (RefusalKind::NotAscending, Some(*slot)),
            Error::Poisoned { .. } => (RefusalKind::Poisoned, None),
            Error::ShuttingDown { .. } => (RefusalKind::ShuttingDown, None),
            Error::NoSuchColumn { .. } => (RefusalKind::NoSuchColumn, None),
            Error::Corrupt(_) => (RefusalKind::Corrupt, None),
            Error::Io(_) => (RefusalKind::Io, None),
            _ => (RefusalKind::Internal, None),
        };
        Self::new(kind, slot, error.to_string())
    }
}

fn of_objection(kind: ObjectionKind) -> RefusalKind {
    match kind {
        ObjectionKind::WrongValue => RefusalKind::WrongValue,
        ObjectionKind::RootGap => RefusalKind::RootGap,
        ObjectionKind::TooFar => RefusalKind::TooFar,
        other => RefusalKind::Other(other.name().to_owned()),
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
        let (kind, slot) = match &error {
            StreamError::InvalidSlot { .. } => (RefusalKind::InvalidSlot, None),
            StreamError::NotAscending { slot, .. } => (RefusalKind::NotAscending, Some(*slot)),
            StreamError::TooLarge { slot, .. } => (RefusalKind::TooLarge, Some(*slot)),
            StreamError::NoValue { slot, .. } => (RefusalKind::Malformed, Some(*slot)),
            StreamError::Record { slot, .. } | StreamError::Cut { slot, .. } => {
                (RefusalKind::Malformed, *slot)
            }
            _ => (RefusalKind::Malformed, None),
        };
        Self::new(kind, slot, error.to_string())
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
    fn a_full_disk_is_507_also_if_it_poisoned_the_writer() {
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            assert_eq!(status_of(system(errno)), 507);
            assert_eq!(status_of(poisoned_by(system(errno))), 507);
        }
        assert_eq!(status_of(system(Errno::IO)), 500);
        assert_eq!(status_of(poisoned_by(system(Errno::IO))), 503);
    }

    #[test]
    fn each_mistake_of_a_caller_has_its_status() {
        let slot = Slot(5);
        assert_eq!(status_of(Error::Conflict { slot }), 409);
        assert_eq!(status_of(Error::BackfillDisabled { slot, highest: slot }), 422);
        assert_eq!(status_of(Error::MixedBatch { backfill: slot, sequential: Slot(6) }), 422);
        assert_eq!(status_of(Error::NotAscending { previous: slot, slot }), 422);
        assert_eq!(status_of(Error::InvalidSlot), 400);
    }
}
