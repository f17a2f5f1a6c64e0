//! Values for `bsd`: diffs are checked, and whole states made diffs.

use std::io::{Cursor, Seek};
use std::sync::Arc;

use coldstore::{MappedArchive, Slot};
use coldstore_client::wire::RefusalKind;
use coldstore_history::states::kind::{START_BYTES, ValueKind};
use coldstore_history::states::{Sent, SentFault, SentStates};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::body::Value;
use super::refused::{Refused, no_answer};

/// Takes values for `bsd`. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct States {
    sent: Arc<SentStates>,
    /// States are made diffs one after another: each takes 100 MB for that.
    turn: Arc<Semaphore>,
}

impl States {
    pub(super) fn new(archive: MappedArchive) -> coldstore::Result<Self> {
        let sent = Arc::new(SentStates::new(archive)?);
        Ok(Self { sent, turn: Arc::new(Semaphore::new(1)) })
    }

    /// What is stored for a value: itself or, of a state, its diff. `None` if the same state is there.
    pub(super) async fn take(&self, slot: Slot, value: Value) -> Result<Option<Value>, Refused> {
        let turn = match &value {
            Value::Held(bytes) if kind_of(slot, bytes) != ValueKind::State => None,
            // The semaphore is never closed.
            _ => Arc::clone(&self.turn).acquire_owned().await.ok(),
        };
        let sent = Arc::clone(&self.sent);
        let taken = spawn_blocking(move || {
            let _turn = turn;
            match value {
                Value::Held(bytes) => {
                    let (byte_len, mut value) = (bytes.len() as u64, Cursor::new(bytes));
                    Ok(match sent.take(slot, byte_len, &mut value)? {
                        Sent::AsItIs => Some(Value::Held(value.into_inner())),
                        Sent::Diff(diff) => Some(Value::Held(diff)),
                        Sent::Stored => None,
                    })
                }
                Value::Spooled(mut spool) => {
                    Ok(match sent.take(slot, spool.byte_len(), &mut spool)? {
                        Sent::AsItIs => {
                            spool.rewind().map_err(SentFault::Value)?;
                            Some(Value::Spooled(spool))
                        }
                        Sent::Diff(diff) => Some(Value::Held(diff)),
                        Sent::Stored => None,
                    })
                }
            }
        });
        let taken = taken.await.map_err(|_| Refused::from(no_answer()))?;
        taken.map_err(|fault: SentFault| refused(slot, fault))
    }

    /// Checks a value of a stream, which is stored as it is.
    pub(super) fn check(&self, slot: Slot, value: &Value) -> Result<(), Refused> {
        let checked = match value {
            Value::Held(value) => self.sent.check(slot, value),
            // No diff is that long.
            Value::Spooled(_) => self.sent.check(slot, &[]),
        };
        checked.map_err(|fault| refused(slot, fault))
    }
}

fn kind_of(slot: Slot, bytes: &[u8]) -> ValueKind {
    ValueKind::of(slot, bytes.get(..START_BYTES).unwrap_or(bytes))
}

fn refused(slot: Slot, fault: SentFault) -> Refused {
    match fault {
        SentFault::Storage(error) => error.into(),
        SentFault::Value(error) => {
            let message = format!("the value cannot be read: {error}");
            Refused::new(RefusalKind::Io, Some(slot), message)
        }
        fault => Refused::new(RefusalKind::WrongValue, Some(slot), fault.to_string()),
    }
}
