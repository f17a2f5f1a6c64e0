//! Errors of the clients.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use hyper::StatusCode;

use crate::slot_stream::StreamError;
use crate::wire::{Refusal, RefusalKind};

/// Errors of a client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The daemon is unreachable, or the connection broke before the end of the answer. A write may or
    /// may not have happened; repeating it is safe.
    #[error("{}: {what}: {source}", socket.display())]
    Connection {
        /// The daemon's socket.
        socket: PathBuf,
        /// The operation that failed.
        what: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The daemon refused the request.
    #[error("{}", refusal.message)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The daemon's refusal.
        refusal: Box<Refusal>,
    },
    /// The daemon's answer is unknown to this client.
    #[error("{}: invalid answer with status {status}: {message}", socket.display())]
    Answer {
        /// The daemon's socket.
        socket: PathBuf,
        /// The HTTP status.
        status: u16,
        /// The problem with the answer.
        message: String,
    },
    /// The stream of a scan is damaged.
    #[error("{}: {source}", socket.display())]
    Stream {
        /// The daemon's socket.
        socket: PathBuf,
        /// The damage, with its offset in the stream.
        #[source]
        source: StreamError,
    },
    /// A value cannot be sent. Nothing was.
    #[error("cannot send: {0}")]
    Value(#[source] io::Error),
}

/// A result with [`ClientError`].
pub type Result<T, E = ClientError> = std::result::Result<T, E>;

impl ClientError {
    pub(crate) fn connection(
        socket: &Path,
        what: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Connection { socket: socket.to_owned(), what, source: source.into() }
    }

    pub(crate) fn answer(socket: &Path, status: StatusCode, message: &dyn fmt::Display) -> Self {
        let (socket, status, message) = (socket.to_owned(), status.as_u16(), message.to_string());
        Self::Answer { socket, status, message }
    }

    /// The kind of refusal, if the daemon refused the request.
    #[must_use]
    pub fn refusal_kind(&self) -> Option<&RefusalKind> {
        match self {
            Self::Refused { refusal, .. } => Some(&refusal.error),
            _ => None,
        }
    }

    /// Whether a later attempt may succeed: the daemon is restarting, or it dropped a slow connection.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        use RefusalKind::{ShuttingDown, Stalled, TooSlow};
        match self {
            Self::Connection { .. } => true,
            _ => matches!(self.refusal_kind(), Some(ShuttingDown | Stalled | TooSlow)),
        }
    }
}
