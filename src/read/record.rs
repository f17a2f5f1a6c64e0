//! One record of a snapshot.

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::{Deref, Range};

use crate::column::Compression;
use crate::error::Result;
use crate::files::map::SlotMap;
use crate::read::mapped::MappedSnapshot;
use crate::slot::Slot;

/// One record of a view, borrowed from its map.
#[derive(Clone, Copy)]
pub struct Record<'v> {
    snapshot: &'v MappedSnapshot,
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
    pub(super) fn new(snapshot: &'v MappedSnapshot, slot: Slot, stored: &'v [u8]) -> Self {
        Self { snapshot, slot, stored, is_partly_prefetched: false }
    }

    /// A record with only its header prefetched, if its column prefetches.
    #[inline]
    pub(super) fn with_header(snapshot: &'v MappedSnapshot, slot: Slot, stored: &'v [u8]) -> Self {
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
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the stored bytes do not decode, or decode to more than
    /// the column's bound; [`Error::TooLarge`](crate::Error::TooLarge) if the value exceeds the reader's
    /// ceiling.
    pub fn value(&self) -> Result<Cow<'v, [u8]>> {
        if self.compression() == Compression::None {
            return Ok(Cow::Borrowed(self.stored()));
        }
        let mut value = Vec::new();
        self.value_into(&mut value)?;
        Ok(Cow::Owned(value))
    }

    /// Replaces the content of `buffer` with the value.
    ///
    /// # Errors
    /// As [`Record::value`].
    pub fn value_into(&self, buffer: &mut Vec<u8>) -> Result<()> {
        self.snapshot.commit.value_into(self.slot, self.stored(), buffer)
    }

    /// Writes the value to `sink` piece by piece and returns its length in bytes. The reader's ceiling does
    /// not apply, since nothing is held in memory.
    ///
    /// # Errors
    /// As [`Record::value`], and [`Error::Io`](crate::Error::Io) if the sink fails. Bytes written before an
    /// error stay written.
    pub fn copy_value_to(&self, sink: &mut dyn Write) -> Result<u64> {
        self.snapshot.commit.copy_value(self.slot, self.stored(), sink)
    }

    /// The length of the value in bytes. In a compressed column, decodes the value to count them.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the stored bytes do not decode, or decode to more than
    /// the column's bound.
    pub fn value_len(&self) -> Result<u64> {
        match self.compression() {
            Compression::None => Ok(self.stored.len() as u64),
            Compression::Snappy => self.copy_value_to(&mut io::sink()),
        }
    }

    fn compression(&self) -> Compression {
        self.snapshot.commit.compression()
    }
}

/// An owned value: `Send`, `'static`, and valid after view and reader are dropped.
///
/// A [`View`](crate::View) of an uncompressed column returns it with the map and copies nothing.
#[derive(Clone, Debug)]
pub struct OwnedRecord {
    slot: Slot,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Mapped { map: SlotMap, span: Range<usize> },
    Copied(Vec<u8>),
}

impl OwnedRecord {
    pub(super) fn mapped(slot: Slot, map: SlotMap, span: Range<usize>) -> Self {
        Self { slot, value: Value::Mapped { map, span } }
    }

    pub(super) fn copied(slot: Slot, value: Vec<u8>) -> Self {
        Self { slot, value: Value::Copied(value) }
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
            Value::Copied(value) => value,
        }
    }
}

impl AsRef<[u8]> for OwnedRecord {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
