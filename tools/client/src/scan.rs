//! The records of a range, received as a slot stream.

use bytes::{Buf, Bytes};
use coldstore::Slot;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::client_error::{ClientError, Result};
use crate::connection::Connection;
use crate::slot_stream::{ItemHead, Parser, StreamError, WORD_BYTES};

/// A running scan. It holds one value, and as much of the next as has been received. Dropping it ends
/// the request.
#[derive(Debug)]
pub struct Scan {
    /// Open for as long as the body is received.
    connection: Connection,
    body: Incoming,
    /// Received bytes not yet taken.
    piece: Bytes,
    items: Items,
}

impl Scan {
    pub(crate) fn new(
        connection: Connection,
        body: Incoming,
        record_type: [u8; 2],
        max_value_bytes: u64,
    ) -> Self {
        let items = Items::new(record_type, max_value_bytes);
        Self { connection, body, piece: Bytes::new(), items }
    }

    /// The next slot and its value, or `None` at the end. Slots ascend. May be cancelled without losing
    /// an item.
    ///
    /// # Errors
    /// [`ClientError::Connection`] if the stream breaks off, [`ClientError::Stream`] if it is damaged.
    /// The scan is over then.
    pub async fn next(&mut self) -> Result<Option<(Slot, Vec<u8>)>> {
        loop {
            if let Some(item) = self.items.take(&mut self.piece).map_err(|e| self.damaged(e))? {
                return Ok(Some(item));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.piece = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(self.connection.broken(error)),
                None => return self.items.end().map(|()| None).map_err(|e| self.damaged(e)),
            }
        }
    }

    fn damaged(&self, source: StreamError) -> ClientError {
        ClientError::Stream { socket: self.connection.socket().to_owned(), source }
    }
}

/// Puts items together from pieces of a stream.
#[derive(Debug)]
struct Items {
    parser: Parser,
    /// The first `word_len` bytes of the next word.
    word: [u8; WORD_BYTES],
    word_len: usize,
    /// The head of an item whose value is incomplete.
    head: Option<ItemHead>,
    value: Vec<u8>,
}

impl Items {
    fn new(record_type: [u8; 2], max_value_bytes: u64) -> Self {
        let parser = Parser::new(record_type, max_value_bytes);
        Self { parser, word: [0; WORD_BYTES], word_len: 0, head: None, value: Vec::new() }
    }

    /// Takes bytes from `piece` up to the end of an item. `None`: all were taken, and more are needed.
    fn take(&mut self, piece: &mut Bytes) -> Result<Option<(Slot, Vec<u8>)>, StreamError> {
        loop {
            if let Some(ItemHead { slot, byte_len }) = self.head {
                let missing = byte_len.saturating_sub(self.value.len() as u64);
                let count = usize::try_from(missing).unwrap_or(usize::MAX).min(piece.len());
                // Memory grows as bytes arrive, regardless of the head's length.
                self.value.extend_from_slice(&piece.split_to(count));
                self.parser.skip(count);
                if (count as u64) < missing {
                    return Ok(None);
                }
                self.head = None;
                return Ok(Some((slot, std::mem::take(&mut self.value))));
            }
            let count = piece.len().min(WORD_BYTES - self.word_len);
            piece.copy_to_slice(&mut self.word[self.word_len..self.word_len + count]);
            self.word_len += count;
            if self.word_len < WORD_BYTES {
                return Ok(None);
            }
            self.word_len = 0;
            self.head = self.parser.word(self.word)?;
        }
    }

    /// Reports the end of the stream.
    fn end(&self) -> Result<(), StreamError> {
        let at = self.parser.offset().saturating_add(self.word_len as u64);
        match (self.head, self.word_len) {
            (Some(head), _) => Err(StreamError::Cut { at, slot: Some(head.slot) }),
            (None, 0) => self.parser.end(),
            (None, _) => Err(StreamError::Cut { at, slot: None }),
        }
    }
}
