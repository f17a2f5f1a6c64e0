//! The client for programs without an asynchronous runtime: the calls of [`crate::Client`], each
//! returning when it is done.
//!
//! ```no_run
//! use coldstore::{Column, Slot};
//! use coldstore_client::blocking::Client;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut client = Client::new("/run/coldstore/socket")?;
//! // Durable on return. Repeating it is safe.
//! client.put(Column::StateDiffs, Slot(7), b"a diff".to_vec())?;
//! assert_eq!(client.get(Column::StateDiffs, Slot(7))?.as_deref(), Some(&b"a diff"[..]));
//! # Ok(())
//! # }
//! ```

use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use coldstore::{Column, Slot};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::Runtime;

use crate::client_error::Result;
use crate::wire::{Status, StreamCommitted};

/// A blocking client. Use one per thread, and none on a thread of an asynchronous runtime, where calls
/// panic.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    client: crate::Client,
}

impl Client {
    /// Creates a client for the daemon that listens on `socket`, without connecting.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    pub fn new(socket: impl AsRef<Path>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, client: crate::Client::new(socket) })
    }

    /// See [`crate::Client::raw`].
    #[must_use]
    pub fn raw(self, raw: bool) -> Self {
        Self { client: self.client.raw(raw), ..self }
    }

    /// See [`crate::Client::far`].
    #[must_use]
    pub fn far(self, far: bool) -> Self {
        Self { client: self.client.far(far), ..self }
    }

    /// See [`crate::Client::retry_for`].
    #[must_use]
    pub fn retry_for(self, time: Duration) -> Self {
        Self { client: self.client.retry_for(time), ..self }
    }

    /// See [`crate::Client::put`].
    ///
    /// # Errors
    /// See there.
    pub fn put(&mut self, column: Column, slot: Slot, value: impl Into<Bytes>) -> Result<bool> {
        self.runtime.block_on(self.client.put(column, slot, value))
    }

    /// See [`crate::Client::put_batch`].
    ///
    /// # Errors
    /// See there.
    pub fn put_batch(
        &mut self,
        column: Column,
        items: &[(Slot, Bytes)],
    ) -> Result<StreamCommitted> {
        self.runtime.block_on(self.client.put_batch(column, items))
    }

    /// See [`crate::Client::post_stream`].
    ///
    /// # Errors
    /// See there.
    pub fn post_stream(
        &mut self,
        column: Column,
        stream: impl Read + Send + Unpin + 'static,
    ) -> Result<StreamCommitted> {
        self.runtime.block_on(self.client.post_stream(column, BlockingRead(stream)))
    }

    /// See [`crate::Client::get`].
    ///
    /// # Errors
    /// See there.
    pub fn get(&mut self, column: Column, slot: Slot) -> Result<Option<Vec<u8>>> {
        self.runtime.block_on(self.client.get(column, slot))
    }

    /// See [`crate::Client::scan`].
    ///
    /// # Errors
    /// See there.
    pub fn scan(&self, column: Column, slots: RangeInclusive<Slot>) -> Result<Scan<'_>> {
        let scan = self.runtime.block_on(self.client.scan(column, slots))?;
        Ok(Scan { runtime: &self.runtime, scan: Some(scan) })
    }

    /// See [`crate::Client::status`].
    ///
    /// # Errors
    /// See there.
    pub fn status(&mut self) -> Result<Status> {
        self.runtime.block_on(self.client.status())
    }
}

/// A running scan: an iterator over slots and values, which ends after an error. See [`crate::Scan`].
#[derive(Debug)]
pub struct Scan<'c> {
    runtime: &'c Runtime,
    scan: Option<crate::Scan>,
}

impl Iterator for Scan<'_> {
    type Item = Result<(Slot, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.runtime.block_on(self.scan.as_mut()?.next()).transpose();
        if !matches!(next, Some(Ok(_))) {
            self.scan = None;
        }
        next
    }
}

/// Reads a stream while it is sent. The thread has nothing else to do, so it may block.
struct BlockingRead<R>(R);

impl<R: Read + Unpin> AsyncRead for BlockingRead<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(loop {
            match self.0.read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map(|count| buffer.advance(count)),
            }
        })
    }
}
