//! Reads the bytes of a state from a stream.

use std::io::{self, Read};

use crate::hash::Malformed;

/// Why a state cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] io::Error),
    /// The bytes are not a state.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The fixed part has the length of no known fork: the state is damaged, or of an unknown preset.
    #[error("{0}")]
    UnknownLayout(Malformed),
}

/// Reads until `bytes` has `byte_len` bytes, or the source ends.
pub(super) fn read_up_to(
    source: &mut dyn Read,
    bytes: &mut Vec<u8>,
    byte_len: usize,
) -> io::Result<()> {
    let missing = byte_len.saturating_sub(bytes.len()) as u64;
    source.take(missing).read_to_end(bytes).map(drop)
}
