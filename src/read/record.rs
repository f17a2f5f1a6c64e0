//! One record of a snapshot.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::ops::{Deref, Range};

use crate::column::Compression;
use crate::error::{CorruptItem, Error, Result};
use crate::files::map::SlotMap;
use crate::read::decode::{self, DecodeFault};
use crate::read::snapshot::Snapshot;
use crate::slot::Slot;

/// One record of a view, borrowed from its map.
#[derive(Clone, Copy)]
pub struct Record<'v> {
    snapshot: &'v Snapshot,
    slot: Slot,
    stored: &'v [u8],
    /// Whether only its header was prefetched.
    is_partly_prefetched: bool,
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("slot", &self.slot)
            .field("stored_len", &self.stored.len())
            .finish_non_exhaustive()
    }
}

impl<'v> Record<'v> {
    #[inline]
    pub(super) fn new(snapshot: &'v Snapshot, slot: Slot, stored: &'v [u8]) -> Self {
        Self { snapshot, slot, stored, is_partly_prefetched: false }
    }

    /// A record with only its header prefetched, if its column prefetches.
    #[inline]
    pub(super) fn with_header(snapshot: &'v Snapshot, slot: Slot, stored: &'v [u8]) -> Self {
        Self { snapshot, slot, stored, is_partly_prefetched: snapshot.prefetches }
    }

    /// The record's slot.
    #[must_use]
    #[inline]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Length in bytes of the stored payload. Reads only the record's header.
    #[must_use]
    #[inline]
    pub fn stored_len(&self) -> usize {
        self.stored.len()
    }

    /// The stored payload: the value itself in an uncompressed column, snappy frames in a compressed one.
    #[must_use]
    #[inline]
    pub fn stored(&self) -> &'v [u8] {
        if self.is_partly_prefetched {
            self.snapshot.touch_payload(self.slot, self.stored.len());
        }
        self.stored
    }

    /// A range of the stored payload, clipped to its end as in `pread(2)`. Reads only the pages of the
    /// range.
    ///
    /// In a column whose values may be larger than a page ([`Access`](crate::Access)) this costs a
    /// system call.
    #[must_use]
    pub fn range(&self, bytes: Range<usize>) -> &'v [u8] {
        let end = bytes.end.min(self.stored.len());
        let start = bytes.start.min(end);
        if self.is_partly_prefetched
            && let Some(map) = self.snapshot.index.get(self.slot.file_id())
        {
            self.snapshot.prefetch_range(map, self.slot, start as u64..end as u64);
        }
        &self.stored[start..end]
    }

    /// The value: borrowed in an uncompressed column, decoded in a compressed one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the stored bytes do not decode, or decode to more than the column's bound;
    /// [`Error::TooLarge`] if the value exceeds the reader's ceiling.
    pub fn value(&self) -> Result<Cow<'v, [u8]>> {
        if self.compression() == Compression::None {
            return Ok(Cow::Borrowed(self.stored()));
        }
        let mut value = Vec::new();
        self.read_into(&mut value)?;
        Ok(Cow::Owned(value))
    }

    /// Replaces the content of `buffer` with the value.
    ///
    /// # Errors
    /// As [`Record::value`].
    pub fn read_into(&self, buffer: &mut Vec<u8>) -> Result<()> {
        let bound = self.bound();
        let ceiling = self.snapshot.options.ceiling;
        let decode = |limit, buffer: &mut Vec<u8>| {
            decode::decode_into(self.stored(), self.compression(), limit, buffer)
        };
        match decode(bound.min(ceiling), buffer) {
            Ok(()) => Ok(()),
            Err(DecodeFault::Frames(error)) => Err(self.no_frames(&error)),
            Err(DecodeFault::TooLarge) if ceiling < bound => Err(self.over_the_ceiling(ceiling)),
            Err(DecodeFault::TooLarge) => {
                let raised = self.raised_bound(bound)?;
                decode(raised.min(ceiling), buffer).map_err(|fault| match fault {
                    DecodeFault::Frames(error) => self.no_frames(&error),
                    DecodeFault::TooLarge if ceiling < raised => self.over_the_ceiling(ceiling),
                    DecodeFault::TooLarge => self.over_the_bound(raised),
                })
            }
        }
    }

    /// Writes the value to `sink` piece by piece and returns its length in bytes. The reader's ceiling does
    /// not apply, since nothing is held in memory.
    ///
    /// # Errors
    /// As [`Record::value`], and [`Error::Io`] if the sink fails. Bytes written before an error stay
    /// written.
    pub fn copy_value_to(&self, sink: &mut dyn Write) -> Result<u64> {
        let mut bound = self.bound();
        let mut value = decode::decoder(self.stored(), self.compression());
        let mut piece = vec![0; 64 << 10];
        let mut byte_len = 0;
        loop {
            let count = match value.read(&mut piece) {
                Ok(0) => return Ok(byte_len),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.no_frames(&error)),
            };
            byte_len += count as u64;
            if byte_len > bound {
                bound = self.raised_bound(byte_len - 1)?;
            }
            sink.write_all(&piece[..count])
                .map_err(|error| Error::io(self.path(), "write out a value of", error))?;
        }
    }

    /// The length of the value in bytes. In a compressed column, decodes the value to count them.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the stored bytes do not decode, or decode to more than the column's bound.
    pub fn value_len(&self) -> Result<u64> {
        if self.compression() == Compression::None {
            return Ok(self.stored.len() as u64);
        }
        self.copy_value_to(&mut io::sink())
    }

    fn compression(&self) -> Compression {
        self.snapshot.seen.conf.spec.compression
    }

    /// The maximum length of a value in bytes, by this snapshot's conf.
    fn bound(&self) -> u64 {
        self.snapshot.seen.conf.spec.max_value_bytes
    }

    /// The column's latest bound; an error unless it is above `bound`. It may have been raised after this
    /// snapshot, and a sealed file filled with longer values since.
    fn raised_bound(&self, bound: u64) -> Result<u64> {
        let raised = self.snapshot.files.latest_conf()?.conf.spec.max_value_bytes;
        if raised > bound { Ok(raised) } else { Err(self.over_the_bound(raised)) }
    }

    fn path(&self) -> std::path::PathBuf {
        self.snapshot.files.data_path(self.slot.file_id())
    }

    fn over_the_bound(&self, bound: u64) -> Error {
        let wanted = format!("at most the column's {bound} bytes for slot {}", self.slot);
        let place = self.snapshot.place_of(self.slot);
        Error::corrupt(self.path(), place, CorruptItem::ValueLength, wanted, "more")
    }

    pub(super) fn over_the_ceiling(&self, ceiling: u64) -> Error {
        Error::TooLarge {
            slot: self.slot,
            byte_len: ceiling.saturating_add(1),
            at_least: true,
            limit: ceiling,
            bound: "the reader's ceiling",
        }
    }

    fn no_frames(&self, error: &dyn std::fmt::Display) -> Error {
        let wanted = format!("snappy frames of the value of slot {}", self.slot);
        let place = self.snapshot.place_of(self.slot);
        Error::corrupt(self.path(), place, CorruptItem::Payload, wanted, error.to_string())
    }
}

/// An owned value: `Send`, `'static`, and valid after view and reader are dropped.
///
/// In an uncompressed column it holds the map and copies nothing.
#[derive(Clone, Debug)]
pub struct OwnedRecord {
    slot: Slot,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Mapped { map: SlotMap, span: Range<usize> },
    Decoded(Vec<u8>),
}

impl OwnedRecord {
    pub(super) fn mapped(slot: Slot, map: SlotMap, span: Range<usize>) -> Self {
        Self { slot, value: Value::Mapped { map, span } }
    }

    pub(super) fn decoded(slot: Slot, value: Vec<u8>) -> Self {
        Self { slot, value: Value::Decoded(value) }
    }

    /// The record's slot.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }
}

impl Deref for OwnedRecord {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.value {
            Value::Mapped { map, span } => &map.records()[span.clone()],
            Value::Decoded(value) => value,
        }
    }
}

impl AsRef<[u8]> for OwnedRecord {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
