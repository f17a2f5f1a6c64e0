//! Receives the body of a request piece by piece, and enforces a minimum rate.

use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::{Buf, Bytes};
use coldstore_client::slot_stream::WORD_BYTES;
use coldstore_client::wire::RefusalKind;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::time::timeout;

use super::limits::{Held, SMALL_BYTES, SPOOL_FROM};
use super::refused::Refused;
use super::spool::{Spool, Spools};

/// Bytes allocated for a value before any of it has arrived.
const FIRST_ALLOCATION: usize = 4 << 20;

/// Bytes of a body still read after a refusal, so that a client that sends before it reads gets the
/// answer.
const DRAIN_BYTES: usize = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A body being received.
#[derive(Debug)]
pub(super) struct Incoming {
    body: Body,
    /// Received bytes not yet taken.
    piece: Bytes,
    patience: Patience,
    /// Time spent waiting for the current value.
    waited: Duration,
    stop: watch::Receiver<bool>,
}

/// Time limits for a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Maximum time without a byte.
    pub(super) stall: Duration,
    /// Minimum average rate in bytes per second for values longer than `SMALL_BYTES`, enforced after
    /// `stall`: an incomplete value holds memory or a spool file that others wait for.
    pub(super) min_rate: u64,
}

impl Patience {
    fn is_exhausted(self, waited: Duration, received: u64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let earned = Duration::try_from_secs_f64(received as f64 / self.min_rate as f64);
        earned.is_ok_and(|earned| waited > earned.saturating_add(self.stall))
    }
}

/// A received value.
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

/// Why a body was not received whole.
#[derive(Debug)]
pub(super) enum BodyError {
    /// The client sent nothing for this long.
    Stalled(Duration),
    /// The client sends fewer bytes per second than this.
    TooSlow(u64),
    /// The value cannot be spooled.
    Spool(coldstore::Error),
    /// The connection broke, or the client sent invalid HTTP.
    Broken(String),
    /// The daemon is shutting down.
    Stopping,
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Stalled(stall) => {
                let message = format!("nothing was received for {} seconds", stall.as_secs());
                Refused::new(RefusalKind::Stalled, None, message)
            }
            BodyError::TooSlow(rate) => {
                let message = format!("fewer than {rate} bytes a second were received");
                Refused::new(RefusalKind::TooSlow, None, message)
            }
            BodyError::Spool(error) => error.into(),
            BodyError::Broken(error) => Refused::malformed(format!("the body ends early: {error}")),
            BodyError::Stopping => Refused::shutting_down(),
        }
    }
}

impl Incoming {
    pub(super) fn new(body: Body, patience: Patience, stop: watch::Receiver<bool>) -> Self {
        Self { body, piece: Bytes::new(), patience, waited: Duration::ZERO, stop }
    }

    /// The declared length in bytes.
    pub(super) fn promised_len(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits for the next byte; false at the end of the body.
    async fn fill(&mut self) -> Result<bool, BodyError> {
        while self.piece.is_empty() {
            let (stall, started) = (self.patience.stall, Instant::now());
            let frame = tokio::select! {
                // Bytes already received are taken even during shutdown.
                biased;
                frame = timeout(stall, self.body.frame()) => frame,
                _ = self.stop.wait_for(|stop| *stop) => return Err(BodyError::Stopping),
            };
            self.waited += started.elapsed();
            match frame {
                Err(_) => return Err(BodyError::Stalled(stall)),
                Ok(None) => return Ok(false),
                Ok(Some(Err(error))) => return Err(BodyError::Broken(error.to_string())),
                // Trailers are ignored.
                Ok(Some(Ok(frame))) => self.piece = frame.into_data().unwrap_or_default(),
            }
        }
        Ok(true)
    }

    /// The next word, and how many of its bytes were received.
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

    /// Whether a byte, or the end of the body, arrives within this time.
    pub(super) async fn is_ready_within(&mut self, time: Duration) -> Result<bool, BodyError> {
        match timeout(time, self.fill()).await {
            Ok(filled) => filled.map(|_| true),
            Err(_) => Ok(false),
        }
    }

    /// Receives the next value: `byte_len` bytes, or fewer if the body ends. `promised` is the declared
    /// length, if known; memory is taken as bytes arrive. A value too large for memory is spooled, and
    /// `held` is released.
    pub(super) async fn receive(
        &mut self,
        byte_len: u64,
        promised: Option<u64>,
        held: &mut Held,
        spools: &Spools,
    ) -> Result<Value, BodyError> {
        self.waited = Duration::ZERO;
        let is_large = |byte_len: u64| byte_len > SPOOL_FROM as u64;
        // Of a value that will be spooled, only the beginning is held.
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
            spool.start_reading().map_err(BodyError::Spool)?;
        }
        Ok(value)
    }

    /// Waits until it is known whether the body has ended.
    pub(super) async fn has_ended(&mut self) -> Result<bool, BodyError> {
        Ok(!self.fill().await?)
    }

    /// Reads and discards the rest, up to a bound.
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

/// Grows by doubling, up to the declared length. (For a large value the allocator remaps pages and does
/// not copy.)
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
    fn a_client_may_wait_for_the_stall_time_and_what_the_minimum_rate_earns() {
        let patience = Patience { stall: Duration::from_secs(30), min_rate: 1000 };
        let seconds = Duration::from_secs;
        assert!(!patience.is_exhausted(seconds(30), 0));
        assert!(patience.is_exhausted(seconds(31), 0));
        assert!(!patience.is_exhausted(seconds(40), 10_000));
        assert!(patience.is_exhausted(seconds(41), 10_000));
        assert!(!Patience { min_rate: 1, ..patience }.is_exhausted(Duration::MAX, u64::MAX));
    }

    #[test]
    fn a_declared_length_allocates_no_more_than_the_first_allocation() {
        let mut value = Vec::new();
        make_room(&mut value, 10, 1 << 30);
        assert_eq!(value.capacity(), FIRST_ALLOCATION);
        let mut small = Vec::new();
        make_room(&mut small, 10, 32);
        assert_eq!(small.capacity(), 32);
    }

    #[test]
    fn a_value_of_its_declared_length_never_grows_past_it() {
        let mut value = vec![0; FIRST_ALLOCATION];
        make_room(&mut value, 1, FIRST_ALLOCATION as u64 + 5);
        assert_eq!(value.capacity(), FIRST_ALLOCATION + 5);
    }
}
