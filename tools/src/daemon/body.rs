//! Receiving the body of a request: piece by piece, never longer than its sender keeps sending.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Buf, Bytes};
use coldstore_tools::slot_stream::WORD_BYTES;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::time::timeout;

use super::limits::Held;
use super::refused::Refused;

/// What is allocated for a value before its bytes have come in.
const FIRST_ALLOCATION: usize = 4 << 20;

/// How much of a body is still read after the request was refused, so that a client that sends
/// before it reads gets to read the answer.
const DRAIN_BYTES: usize = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A body on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    body: Body,
    /// What came in and nobody has taken yet.
    piece: Bytes,
    stall: Duration,
    stop: watch::Receiver<bool>,
}

/// Why a body did not come in whole.
#[derive(Debug)]
pub(super) enum BodyError {
    /// The client sent nothing for too long.
    Stalled(Duration),
    /// The connection broke, or what it carries is no HTTP.
    Broken(String),
    /// The daemon was told to stop.
    Stopping,
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Stalled(stall) => {
                let message = format!("nothing was received for {} seconds", stall.as_secs());
                Refused::new(StatusCode::REQUEST_TIMEOUT, "Stalled", None, message)
            }
            BodyError::Broken(error) => Refused::malformed(format!("the body is cut: {error}")),
            BodyError::Stopping => Refused::shutting_down(),
        }
    }
}

impl Incoming {
    pub(super) fn new(body: Body, stall: Duration, stop: watch::Receiver<bool>) -> Self {
        Self { body, piece: Bytes::new(), stall, stop }
    }

    /// The length that the client promises, in bytes.
    pub(super) fn promised_len(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// True when there is a byte; waits for one.
    async fn fill(&mut self) -> Result<bool, BodyError> {
        while self.piece.is_empty() {
            let frame = tokio::select! {
                // What is there already is taken, also when the daemon is to stop.
                biased;
                frame = timeout(self.stall, self.body.frame()) => frame,
                _ = self.stop.wait_for(|stop| *stop) => return Err(BodyError::Stopping),
            };
            match frame {
                Err(_) => return Err(BodyError::Stalled(self.stall)),
                Ok(None) => return Ok(false),
                Ok(Some(Err(error))) => return Err(BodyError::Broken(error.to_string())),
                // Trailers are of no use here.
                Ok(Some(Ok(frame))) => self.piece = frame.into_data().unwrap_or_default(),
            }
        }
        Ok(true)
    }

    /// The next word: whole, or as many bytes of it as there are.
    pub(super) async fn word(&mut self) -> Result<([u8; WORD_BYTES], usize), BodyError> {
        let mut word = [0; WORD_BYTES];
        let mut filled = 0;
        while filled < word.len() && self.fill().await? {
            let count = self.piece.len().min(word.len() - filled);
            self.piece.copy_to_slice(&mut word[filled..filled + count]);
            filled += count;
        }
        Ok((word, filled))
    }

    /// Appends bytes to `value` until it has `byte_len` of them or the body ends. `promised` says
    /// how many there may be: memory is taken as they come in.
    pub(super) async fn receive(
        &mut self,
        value: &mut Vec<u8>,
        byte_len: usize,
        promised: usize,
        held: &mut Held,
    ) -> Result<(), BodyError> {
        while value.len() < byte_len && self.fill().await? {
            let count = self.piece.len().min(byte_len - value.len());
            held.grow(count).await;
            make_room(value, count, promised);
            value.extend_from_slice(&self.piece[..count]);
            self.piece.advance(count);
        }
        Ok(())
    }

    /// True when the body has ended; waits to know.
    pub(super) async fn has_ended(&mut self) -> Result<bool, BodyError> {
        Ok(!self.fill().await?)
    }

    /// Reads on for a while, without keeping any of it.
    pub(super) fn drain(mut self) {
        let drained = async move {
            let mut left = DRAIN_BYTES;
            while let Some(Ok(frame)) = self.body.frame().await
                && left > 0
            {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            }
        };
        tokio::spawn(timeout(DRAIN_TIME, drained));
    }
}

/// Grows by doubling, but not past what was promised. (The allocator moves the pages of a large
/// value, it does not copy them.)
fn make_room(value: &mut Vec<u8>, count: usize, promised: usize) {
    let wanted = value.len() + count;
    if wanted <= value.capacity() {
        return;
    }
    let doubled = (2 * value.capacity()).max(FIRST_ALLOCATION);
    value.reserve_exact(wanted.max(doubled.min(promised)) - value.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promised_length_allocates_no_more_than_the_first_few_mebibytes() {
        let mut value = Vec::new();
        make_room(&mut value, 10, 1 << 30);
        assert_eq!(value.capacity(), FIRST_ALLOCATION);
        let mut small = Vec::new();
        make_room(&mut small, 10, 32);
        assert_eq!(small.capacity(), 32);
    }

    #[test]
    fn a_value_never_grows_past_its_promise_while_it_keeps_to_it() {
        let mut value = vec![0; FIRST_ALLOCATION];
        make_room(&mut value, 1, FIRST_ALLOCATION + 5);
        assert_eq!(value.capacity(), FIRST_ALLOCATION + 5);
    }
}
