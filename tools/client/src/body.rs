//! Bodies of requests.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes read from a stream at a time.
const PIECE_BYTES: usize = 256 << 10;

/// The body of any request.
pub(crate) type Outgoing = UnsyncBoxBody<Bytes, io::Error>;

/// A body held in memory.
struct Pieces(VecDeque<Bytes>);

pub(crate) fn of_pieces(pieces: &[Bytes]) -> Outgoing {
    let some = pieces.iter().filter(|piece| !piece.is_empty()).cloned();
    Pieces(some.collect()).map_err(|never| match never {}).boxed_unsync()
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

/// A body read while it is sent.
struct Streamed<R>(Pin<Box<R>>);

pub(crate) fn of_stream(stream: impl AsyncRead + Send + 'static) -> Outgoing {
    Streamed(Box::pin(stream)).boxed_unsync()
}

impl<R: AsyncRead> Body for Streamed<R> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut buffer = ReadBuf::new(&mut piece);
        let read = ready!(self.0.as_mut().poll_read(context, &mut buffer));
        let count = buffer.filled().len();
        piece.truncate(count);
        Poll::Ready(match read {
            Ok(()) if count == 0 => None,
            read => Some(read.map(|()| Frame::data(piece.into()))),
        })
    }
}
