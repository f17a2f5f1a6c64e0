//! A connection to the daemon.

use std::io;
use std::path::{Path, PathBuf};

use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::body::Outgoing;
use crate::client_error::{ClientError, Result};

/// Bytes allocated for an answer before any of it has arrived.
const FIRST_ALLOCATION: u64 = 4 << 20;

#[derive(Debug)]
pub(crate) struct Connection {
    socket: PathBuf,
    sender: SendRequest<Outgoing>,
}

impl Connection {
    pub(crate) async fn open(socket: &Path) -> Result<Self> {
        let connected = async {
            let stream = UnixStream::connect(socket).await?;
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)
        };
        let connected = connected.await;
        let (sender, connection) =
            connected.map_err(|error| ClientError::connection(socket, "cannot connect", error))?;
        // The request gets the connection's error.
        tokio::spawn(async { drop(connection.await) });
        Ok(Self { socket: socket.to_owned(), sender })
    }

    /// Sends a request, and receives the head of its answer.
    pub(crate) async fn send(
        &mut self,
        method: &Method,
        path: &str,
        body: Outgoing,
    ) -> Result<Response<Incoming>> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "coldstore");
        let request = request
            .body(body)
            .map_err(|error| ClientError::connection(&self.socket, "cannot send", error))?;
        let sent = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        sent.await.map_err(|error| self.broken(error))
    }

    /// Receives the rest of an answer of at most `limit` bytes; a refusal is an error.
    pub(crate) async fn receive(
        &self,
        answer: Response<Incoming>,
        limit: u64,
    ) -> Result<(StatusCode, Vec<u8>)> {
        let (status, mut body) = (answer.status(), answer.into_body());
        let promised = body.size_hint().lower().min(FIRST_ALLOCATION);
        let mut bytes = Vec::with_capacity(usize::try_from(promised).unwrap_or_default());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.broken(error))?;
            let piece = frame.data_ref().map_or(&[][..], |data| data);
            if (bytes.len() + piece.len()) as u64 > limit {
                let message = format!("it has more than {limit} bytes");
                return Err(ClientError::answer(&self.socket, status, &message));
            }
            bytes.extend_from_slice(piece);
        }
        if status.is_success() {
            return Ok((status, bytes));
        }
        match serde_json::from_slice(&bytes) {
            Ok(refusal) => {
                Err(ClientError::Refused { status: status.as_u16(), refusal: Box::new(refusal) })
            }
            Err(error) => Err(ClientError::answer(&self.socket, status, &error)),
        }
    }

    /// The error of a connection that broke during a request.
    pub(crate) fn broken(&self, error: hyper::Error) -> ClientError {
        ClientError::connection(&self.socket, "the connection broke", error)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}
