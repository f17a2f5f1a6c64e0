//! A value that arrives in pieces: optionally decodes it, and extracts the slot that it contains.

use crate::column::{Column, Compression};
use crate::format::frames::{FrameFault, FrameStream};
use crate::format::ssz::{BLOCK_HEAD_BYTES, BlockHead, STATE_HEAD_BYTES, StateHead};
use crate::slot::Slot;

/// Upper bound on a state's first field, the genesis time in seconds. It distinguishes an SSZ state from
/// one that other software has compressed.
const LATEST_GENESIS: u64 = 1 << 40;

/// The value of a record, up to the bytes fed so far.
#[derive(Debug)]
pub(super) struct ValueStream {
    /// `None` in an uncompressed column.
    frames: Option<FrameStream>,
    /// Decode to the end, not only the head.
    decodes_all: bool,
    column: Option<Column>,
    head: Vec<u8>,
    byte_len: u64,
    fault: Option<FrameFault>,
}

impl ValueStream {
    pub(super) fn new(compression: Compression, column: Option<Column>, decodes_all: bool) -> Self {
        let frames = (compression == Compression::Snappy).then(FrameStream::default);
        Self { frames, decodes_all, column, head: Vec::new(), byte_len: 0, fault: None }
    }

    /// Feeds the next bytes of the payload.
    pub(super) fn feed(&mut self, stored: &[u8]) {
        let head_bytes = match self.column {
            Some(Column::Blocks) => BLOCK_HEAD_BYTES,
            Some(Column::StateSnapshots) => STATE_HEAD_BYTES,
            _ => 0,
        };
        if self.fault.is_some() || !self.decodes_all && self.head.len() >= head_bytes {
            return;
        }
        let Self { head, byte_len, .. } = self;
        let mut take = |bytes: &[u8]| {
            *byte_len = byte_len.saturating_add(bytes.len() as u64);
            let missing = head_bytes.saturating_sub(head.len());
            head.extend_from_slice(&bytes[..bytes.len().min(missing)]);
        };
        match &mut self.frames {
            None => take(stored),
            Some(frames) => self.fault = frames.feed(stored, &mut take).err(),
        }
    }

    /// The length of the value in bytes; `None` unless all of it was decoded.
    pub(super) fn finish(&self) -> Result<Option<u64>, FrameFault> {
        if !self.decodes_all {
            return Ok(None);
        }
        match (&self.fault, &self.frames) {
            (Some(fault), _) => Err(fault.clone()),
            (None, Some(frames)) => frames.finish().map(|()| Some(self.byte_len)),
            (None, None) => Ok(Some(self.byte_len)),
        }
    }

    /// The slot that the value contains. `None` unless the value is an SSZ block or state; other software
    /// stores other encodings.
    pub(super) fn told_slot(&self) -> Option<Slot> {
        match self.column? {
            Column::Blocks => BlockHead::parse(&self.head).ok().map(|head| head.slot),
            Column::StateSnapshots => {
                let genesis = self.head.first_chunk().copied().map(u64::from_le_bytes)?;
                let head = StateHead::parse(&self.head).ok()?;
                let is_state = genesis < LATEST_GENESIS && head.genesis_validators_root != [0; 32];
                is_state.then_some(head.slot)
            }
            _ => None,
        }
    }
}
