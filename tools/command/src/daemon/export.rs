//! Sends a range of slots as a slot stream. A thread reads, and a few pieces are queued for the client:
//! a slow client costs no more memory than these.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use coldstore::{Slot, View};
use coldstore_client::slot_stream;
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::refused::{Refused, no_answer};

const PIECE_BYTES: usize = 256 << 10;
const PIECES_IN_FLIGHT: usize = 2;

/// The records of a range. An error before the first piece is an HTTP error; a later one breaks the
/// connection, so that the client does not take a part for the whole.
pub(super) async fn export(view: View, slots: RangeInclusive<Slot>) -> Result<Body, Refused> {
    let (sender, mut pieces) = mpsc::channel(PIECES_IN_FLIGHT);
    spawn_blocking(move || {
        if let Err(error) = send(&view, slots, &sender) {
            // A disconnected client needs no reason.
            drop(sender.blocking_send(Err(error)));
        }
    });
    match pieces.recv().await {
        Some(Ok(first)) => Ok(Body::new(Pieces { first: Some(first), rest: pieces })),
        Some(Err(error)) => Err(error.into()),
        None => Err(no_answer().into()),
    }
}

type Piece = coldstore::Result<Bytes>;

fn send(
    view: &View,
    slots: RangeInclusive<Slot>,
    sender: &mpsc::Sender<Piece>,
) -> coldstore::Result<()> {
    let mut out = Pieced { sender, piece: Vec::with_capacity(PIECE_BYTES) };
    let lost = |error| coldstore::Error::io("", "send to the client", error);
    slot_stream::write_start(&mut out).map_err(lost)?;
    let record_type = view.conf().spec.record_type;
    for record in view.range(slots) {
        let record = record?;
        let value = record.value()?;
        slot_stream::write_item(&mut out, record_type, record.slot(), &value).map_err(lost)?;
    }
    out.flush().map_err(lost)
}

/// Collects written bytes into pieces and sends them.
struct Pieced<'a> {
    sender: &'a mpsc::Sender<Piece>,
    piece: Vec<u8>,
}

impl Write for Pieced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
            self.piece.reserve_exact(PIECE_BYTES);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        let sent = self.sender.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

struct Pieces {
    first: Option<Bytes>,
    rest: mpsc::Receiver<Piece>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = coldstore::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<coldstore::Result<Frame<Bytes>>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => {
                self.rest.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }
}
