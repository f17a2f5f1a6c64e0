//! Receiving the body of a request: piece by piece, for as long as its sender keeps up a minimum rate.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Buf, Bytes};
use coldstore_client::slot_stream::WORD_BYTES;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::time::timeout;

use super::limits::{Held, SMALL_BYTES, SPOOL_FROM};
use super::refused::Refused;
use super::spool::{Spool, Spools};

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
    patience: Patience,
    /// How long the value that is being received was waited for.
    waited: Duration,
    stop: watch::Receiver<bool>,
}

/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The longest silence.
    pub(super) stall: Duration,
    /// Bytes a second that a value longer than `SMALL_BYTES` has to come in with, on average and once
    /// `stall` has passed: until it is there it holds memory, or a spool file, that others wait for.
    pub(super) min_rate: u64,
}

impl Patience {
    fn is_exhausted(self, waited: Duration, received: u64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let earned = Duration::try_from_secs_f64(received as f64 / self.min_rate as f64);
        earned.is_ok_and(|earned| waited > earned.saturating_add(self.stall))
    }
}

/// A value that came in.
#[derive(Debug)]
pub(super) enum Value {
    Held(Vec<u8>),
    Spooled(Spool),
}

impl Value {
    pub(super) fn byte_len(&self) -> u64 {
        match self {
            Value::Held(value) => value.len() as u64,
            Value::Spooled(spool) => spool.byte_len(),
        }
    }
}

/// Why a body did not come in whole.
#[derive(Debug)]
pub(super) enum BodyError {
    /// The client sent nothing for too long.
    Stalled(Duration),
    /// It sends less than this many bytes a second.
    TooSlow(u64),
    /// What it sends cannot be spooled.
    Spool(coldstore::Error),
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
            BodyError::TooSlow(rate) => {
                let message = format!("fewer than {rate} bytes a second were received");
                Refused::new(StatusCode::REQUEST_TIMEOUT, "TooSlow", None, message)
            }
            BodyError::Spool(error) => error.into(),
            BodyError::Broken(error) => Refused::malformed(format!("the body is cut: {error}")),
            BodyError::Stopping => Refused::shutting_down(),
        }
    }
}

impl Incoming {
    pub(super) fn new(body: Body, patience: Patience, stop: watch::Receiver<bool>) -> Self {
        Self { body, piece: Bytes::new(), patience, waited: Duration::ZERO, stop }
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
            let (stall, started) = (self.patience.stall, Instant::now());
            let frame = tokio::select! {
                // What is there already is taken, also when the daemon is to stop.
                biased;
                frame = timeout(stall, self.body.frame()) => frame,
                _ = self.stop.wait_for(|stop| *stop) => return Err(BodyError::Stopping),
            };
            self.waited += started.elapsed();
            match frame {
                Err(_) => return Err(BodyError::Stalled(stall)),
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

    /// Whether there is something to read, or the body's end, within this time.
    pub(super) async fn is_ready_within(&mut self, time: Duration) -> Result<bool, BodyError> {
        match timeout(time, self.fill()).await {
            Ok(filled) => filled.map(|_| true),
            Err(_) => Ok(false),
        }
    }

    /// The next value: `byte_len` bytes, or fewer when the body ends. `promised` says how many there
    /// will be, where that is known: memory is taken as they come in. What is too large to be held is
    /// spooled, and `held` given back.
    pub(super) async fn receive(
        &mut self,
        byte_len: u64,
        promised: Option<u64>,
        held: &mut Held,
        spools: &Spools,
    ) -> Result<Value, BodyError> {
        self.waited = Duration::ZERO;
        let is_large = |byte_len: u64| byte_len > SPOOL_FROM as u64;
        // Of what will be spooled in the end nothing but its beginning is held.
        let most = if promised.is_some_and(is_large) { SMALL_BYTES } else { SPOOL_FROM };
        let mut value = Value::Held(Vec::new());
        while value.byte_len() < byte_len && self.fill().await? {
            let left = usize::try_from(byte_len - value.byte_len()).unwrap_or(usize::MAX);
            let piece = self.piece.split_to(self.piece.len().min(left));
            let received = value.byte_len() + piece.len() as u64;
            let expected = received.max(promised.unwrap_or_default());
            if expected > SMALL_BYTES as u64 && self.patience.is_exhausted(self.waited, received) {
                return Err(BodyError::TooSlow(self.patience.min_rate));
            }
            match &mut value {
                Value::Held(bytes) if bytes.len() + piece.len() <= most => {
                    held.grow(piece.len()).await;
                    make_room(bytes, piece.len(), promised.unwrap_or(byte_len));
                    bytes.extend_from_slice(&piece);
                }
                Value::Held(bytes) => {
                    let mut spool = spools.open(bytes).await.map_err(BodyError::Spool)?;
                    held.release();
                    spool.write(&piece).map_err(BodyError::Spool)?;
                    value = Value::Spooled(spool);
                }
                Value::Spooled(spool) => spool.write(&piece).map_err(BodyError::Spool)?,
            }
        }
        if let Value::Spooled(spool) = &mut value {
            spool.rewind().map_err(BodyError::Spool)?;
        }
        Ok(value)
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
fn make_room(value: &mut Vec<u8>, count: usize, promised: u64) {
    let promised = usize::try_from(promised).unwrap_or(usize::MAX);
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
    fn patience_ends_with_the_stall_time_and_what_the_minimum_rate_earns() {
        let patience = Patience { stall: Duration::from_secs(30), min_rate: 1000 };
        let seconds = Duration::from_secs;
        assert!(!patience.is_exhausted(seconds(30), 0));
        assert!(patience.is_exhausted(seconds(31), 0));
        assert!(!patience.is_exhausted(seconds(40), 10_000));
        assert!(patience.is_exhausted(seconds(41), 10_000));
        assert!(!Patience { min_rate: 1, ..patience }.is_exhausted(Duration::MAX, u64::MAX));
    }

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
        make_room(&mut value, 1, FIRST_ALLOCATION as u64 + 5);
        assert_eq!(value.capacity(), FIRST_ALLOCATION + 5);
    }
}
