//! A client of the daemon, for programs that embed one.
//!
//! ```no_run
//! use coldstore::{Column, Slot};
//! use coldstore_client::client::Client;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut client = Client::new("/run/coldstore/socket")?;
//! // Durable on return. Repeating it is safe.
//! client.put(Column::StateDiffs, Slot(7), b"a difference".to_vec())?;
//! assert_eq!(client.get(Column::StateDiffs, Slot(7))?.as_deref(), Some(&b"a difference"[..]));
//! # Ok(())
//! # }
//! ```

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use coldstore::format::record::VERSION_RECORD;
use coldstore::{Column, Slot};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::slot_stream::item_head;
use crate::wire::{Refusal, Status, StreamCommitted};

/// Bytes read from a stream at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes allocated for an answer before any of it has arrived.
const FIRST_ALLOCATION: u64 = 4 << 20;

/// Errors of a client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The daemon is unreachable, or the connection broke before the answer. The write may or may not
    /// have happened; repeating it is safe.
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
    #[error("{}: cannot make sense of an answer with status {status}: {message}", socket.display())]
    Answer {
        /// The socket.
        socket: PathBuf,
        /// The HTTP status.
        status: u16,
        /// The problem with the answer.
        message: String,
    },
}

/// A result with [`ClientError`].
pub type Result<T, E = ClientError> = std::result::Result<T, E>;

type Outgoing = UnsyncBoxBody<Bytes, io::Error>;

/// A connection to the daemon, opened on first use and reopened after a loss. Calls block; use one
/// client per thread.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
    connection: Option<SendRequest<Outgoing>>,
    /// The query of every write.
    query: &'static str,
}

impl Client {
    /// Creates a client for the daemon that listens on `socket`, without connecting.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    pub fn new(socket: impl AsRef<Path>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        Ok(Self { socket: socket.as_ref().to_owned(), runtime, connection: None, query: "" })
    }

    /// Makes every write of this client accept values in any encoding and roots with gaps (`raw`), and
    /// slots more than one era above the archive's highest (`far`).
    #[must_use]
    pub fn admit(self, raw: bool, far: bool) -> Self {
        let query = match (raw, far) {
            (false, false) => "",
            (true, false) => "?raw=true",
            (false, true) => "?far=true",
            (true, true) => "?raw=true&far=true",
        };
        Self { query, ..self }
    }

    /// Stores one value, durably. Returns `false` if the same value was already stored.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn put(&mut self, column: Column, slot: Slot, value: impl Into<Bytes>) -> Result<bool> {
        let value = value.into();
        let path = format!("/v1/{column}/{slot}{}", self.query);
        let body = || Pieces::body([value.clone()]);
        let answer = self.ask(&Method::PUT, &path, body)?;
        let status = answer.status();
        self.runtime.block_on(received(&self.socket, answer))?;
        Ok(status == StatusCode::CREATED)
    }

    /// Stores values with ascending slots, durably. Values already stored count as committed.
    ///
    /// # Errors
    /// See [`ClientError`]; a [`Refusal`] has the durable prefix.
    pub fn put_batch(
        &mut self,
        column: Column,
        items: &[(Slot, Bytes)],
    ) -> Result<StreamCommitted> {
        let mut pieces = vec![Bytes::from_static(&VERSION_RECORD)];
        for (slot, value) in items {
            let head = item_head(column.spec().record_type, *slot, value.len());
            let head = head.map_err(|error| self.failed("cannot send", error))?;
            pieces.extend([Bytes::copy_from_slice(&head), value.clone()]);
        }
        let path = format!("/v1/{column}{}", self.query);
        let answer = self.ask(&Method::POST, &path, || Pieces::body(pieces.iter().cloned()))?;
        self.json(answer)
    }

    /// Stores the items of a slot stream, durably. The stream is read while it is sent; the daemon
    /// drops a stream that stalls for too long.
    ///
    /// # Errors
    /// As [`Client::put_batch`].
    pub fn post_stream(
        &mut self,
        column: Column,
        stream: impl Read + Send + Unpin + 'static,
    ) -> Result<StreamCommitted> {
        // A stream cannot be sent twice, so a connection that may be stale is not used.
        self.connection = None;
        let path = format!("/v1/{column}{}", self.query);
        let answer = self.ask_once(&Method::POST, &path, Streamed(stream).boxed_unsync())?;
        self.json(answer)
    }

    /// The value of a slot, or `None` if it has no record.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get(&mut self, column: Column, slot: Slot) -> Result<Option<Vec<u8>>> {
        let path = format!("/v1/{column}/{slot}");
        let answer = self.ask(&Method::GET, &path, || Pieces::body([]))?;
        match self.runtime.block_on(received(&self.socket, answer)) {
            Ok(value) => Ok(Some(value)),
            Err(ClientError::Refused { refusal, .. }) if refusal.error == "NoRecord" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The daemon's status.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn status(&mut self) -> Result<Status> {
        let answer = self.ask(&Method::GET, "/v1/status", || Pieces::body([]))?;
        self.json(answer)
    }

    fn failed(
        &self,
        what: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> ClientError {
        ClientError::Connection { socket: self.socket.clone(), what, source: source.into() }
    }

    /// Sends a request on the existing connection. The daemon drops idle connections, so after a
    /// failure the request is repeated once on a new one; every request is idempotent.
    fn ask(
        &mut self,
        method: &Method,
        path: &str,
        body: impl Fn() -> Outgoing,
    ) -> Result<Response<Incoming>> {
        let was_used = self.connection.is_some();
        match self.ask_once(method, path, body()) {
            Err(ClientError::Connection { .. }) if was_used => self.ask_once(method, path, body()),
            answer => answer,
        }
    }

    fn ask_once(
        &mut self,
        method: &Method,
        path: &str,
        body: Outgoing,
    ) -> Result<Response<Incoming>> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "coldstore");
        let request = request.body(body).map_err(|error| self.failed("cannot send", error))?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let answer = self.runtime.block_on(async {
            connection.ready().await?;
            connection.send_request(request).await
        });
        let answer = answer.map_err(|error| self.failed("the connection broke", error))?;
        self.connection = Some(connection);
        Ok(answer)
    }

    fn connect(&self) -> Result<SendRequest<Outgoing>> {
        let connected = self.runtime.block_on(async {
            let stream = UnixStream::connect(&self.socket).await?;
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)
        });
        let (sender, connection) =
            connected.map_err(|error| self.failed("cannot connect", error))?;
        // The request gets the connection's error.
        self.runtime.spawn(async { drop(connection.await) });
        Ok(sender)
    }

    fn json<T: DeserializeOwned>(&self, answer: Response<Incoming>) -> Result<T> {
        let status = answer.status().as_u16();
        let body = self.runtime.block_on(received(&self.socket, answer))?;
        serde_json::from_slice(&body).map_err(|error| {
            let (socket, message) = (self.socket.clone(), error.to_string());
            ClientError::Answer { socket, status, message }
        })
    }
}

/// The body of an answer, or its refusal.
async fn received(socket: &Path, answer: Response<Incoming>) -> Result<Vec<u8>> {
    let (status, mut body) = (answer.status(), answer.into_body());
    let promised = body.size_hint().lower().min(FIRST_ALLOCATION);
    let mut bytes = Vec::with_capacity(usize::try_from(promised).unwrap_or_default());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ClientError::Connection {
            socket: socket.to_owned(),
            what: "the connection broke",
            source: error.into(),
        })?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    if status.is_success() {
        return Ok(bytes);
    }
    let status = status.as_u16();
    match serde_json::from_slice(&bytes) {
        Ok(refusal) => Err(ClientError::Refused { status, refusal: Box::new(refusal) }),
        Err(error) => {
            let (socket, message) = (socket.to_owned(), error.to_string());
            Err(ClientError::Answer { socket, status, message })
        }
    }
}

/// A body held in memory.
struct Pieces(VecDeque<Bytes>);

impl Pieces {
    fn body(pieces: impl IntoIterator<Item = Bytes>) -> Outgoing {
        let some = pieces.into_iter().filter(|piece| !piece.is_empty());
        Self(some.collect()).map_err(|never| match never {}).boxed_unsync()
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// A body read while it is sent. Its thread has nothing else to do, so it may block.
struct Streamed<R>(R);

impl<R: Read + Unpin> Body for Streamed<R> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut piece = vec![0; PIECE_BYTES];
        Poll::Ready(loop {
            match self.0.read(&mut piece) {
                Ok(0) => break None,
                Ok(count) => {
                    piece.truncate(count);
                    break Some(Ok(Frame::data(piece.into())));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(Err(error)),
            }
        })
    }
}
