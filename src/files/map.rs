//! The one file that maps, and the one with `unsafe` code.
//!
//! A [`SlotMap`] is the committed part of one data file and its offset table. What leaves this
//! file is safe: a slice that ends at the bound, and entries loaded one by one. Both can be made
//! from bytes in memory as well, so that everything above runs without a file.
//!
//! # Why it is sound
//! The promise at [`Reader::open`](crate::Reader::open) is that nobody but writers of this format
//! changes the files. Under it
//! * bytes of a data file below the bound never change, so a `&[u8]` of them is what it claims to
//!   be; the slice never reaches past the bound, where a writer appends;
//! * a file never becomes shorter than a bound, so no access faults;
//! * entries of an offset file do change, and are therefore only loaded as atomics.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Mmap, MmapOptions};

use crate::format::offsets::{ENTRIES, OffsetTable, TABLE_BYTES};
use crate::format::record::VERSION_RECORD;

type Entries = [AtomicU64; ENTRIES];
const _: () = assert!(size_of::<Entries>() == TABLE_BYTES);

static NO_ENTRIES: Entries = [const { AtomicU64::new(0) }; ENTRIES];

/// One data file up to a bound, and its offset table.
#[derive(Clone)]
pub(crate) struct SlotMap {
    data: NonNull<u8>,
    bound: usize,
    /// Committed bytes behind the version record.
    record_bytes: usize,
    entries: NonNull<Entries>,
    /// What `data` and `entries` point into; held, never looked at.
    owner: Arc<Owner>,
}

// SAFETY: the pointers lead to memory that `owner` keeps in place and that nobody changes but
// through atomics; `Owner` itself is `Send` and `Sync`.
unsafe impl Send for SlotMap {}
// SAFETY: as above.
unsafe impl Sync for SlotMap {}

impl std::fmt::Debug for SlotMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotMap").field("bound", &self.bound).finish_non_exhaustive()
    }
}

struct Owner {
    data: Data,
    entries: TableSource,
}

enum Data {
    Nothing,
    Mapped(Mmap),
    #[cfg(test)]
    Bytes(Box<[u8]>),
}

/// Where the entries of a map come from.
enum TableSource {
    /// There is no offset file, and no record.
    Nothing,
    Mapped(Mmap),
    /// A copy of a file that was too short to be mapped whole.
    Copied(Box<Entries>),
}

impl Data {
    /// Where the mapped bytes lie. No reference to them is made here: some of them may lie behind
    /// the end of the file.
    fn span(&self) -> (NonNull<u8>, usize) {
        let (start, byte_len) = match self {
            Data::Nothing => (std::ptr::null(), 0),
            Data::Mapped(map) => (map.as_ptr(), map.len()),
            #[cfg(test)]
            Data::Bytes(bytes) => (bytes.as_ptr(), bytes.len()),
        };
        (NonNull::new(start.cast_mut()).unwrap_or(NonNull::dangling()), byte_len)
    }
}

/// An offset file, ready to be part of a [`SlotMap`].
pub(crate) struct MappedTable(TableSource);

impl MappedTable {
    /// The table of a file without an offset file.
    pub(crate) fn nothing() -> Self {
        Self(TableSource::Nothing)
    }

    /// Maps a whole offset file; the caller has seen that it is [`TABLE_BYTES`] long.
    pub(crate) fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the file is only read, and its entries only as atomics; that nobody shortens it
        // is what the caller of `Reader::open` promised.
        let map = unsafe { MmapOptions::new().len(TABLE_BYTES).map(file) }?;
        Ok(Self(TableSource::Mapped(map)))
    }

    /// A copy, for an offset file that is shorter than a whole one.
    pub(crate) fn copy(table: &OffsetTable) -> Self {
        let entries =
            Box::new(std::array::from_fn(|index| AtomicU64::new(table.get(index).to_le())));
        Self(TableSource::Copied(entries))
    }
}

/// A data file, mapped from its beginning.
pub(crate) struct MappedData(Data);

impl MappedData {
    /// The data of a file that holds no record.
    pub(crate) fn nothing() -> Self {
        Self(Data::Nothing)
    }

    /// Maps `map_len` bytes. The map may reach past the end of the file, so that a file that
    /// grows need not be mapped again; a [`SlotMap`]'s bound may not.
    pub(crate) fn map(file: &File, map_len: usize) -> io::Result<Self> {
        // SAFETY: only bytes below a bound are ever read through the map, see `SlotMap::new`, and
        // those neither change nor go away: that is what the caller of `Reader::open` promised.
        let map = unsafe { MmapOptions::new().len(map_len).map(file) }?;
        Ok(Self(Data::Mapped(map)))
    }

    #[cfg(test)]
    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self(Data::Bytes(bytes.into()))
    }
}

impl SlotMap {
    /// The caller has seen that the data file is at least `bound` bytes long and that these bytes
    /// are committed.
    ///
    /// # Panics
    /// When less than `bound` bytes are mapped.
    pub(crate) fn new(data: MappedData, table: MappedTable, bound: usize) -> Self {
        let owner = Arc::new(Owner { data: data.0, entries: table.0 });
        Self::with_owner(owner, bound)
    }

    /// A file without a record.
    pub(crate) fn absent() -> Self {
        Self::new(MappedData::nothing(), MappedTable::nothing(), 0)
    }

    /// The same maps with another bound, or `None` where it reaches past what is mapped. The
    /// caller has seen the same as for [`Self::new`].
    pub(crate) fn rebound(&self, bound: usize) -> Option<Self> {
        let enough = bound <= self.owner.data.span().1;
        enough.then(|| Self::with_owner(Arc::clone(&self.owner), bound))
    }

    fn with_owner(owner: Arc<Owner>, bound: usize) -> Self {
        let (data, mapped) = owner.data.span();
        assert!(bound <= mapped, "the bound lies within the map");
        let entries = match &owner.entries {
            TableSource::Nothing => NonNull::from(&NO_ENTRIES),
            TableSource::Mapped(map) => {
                assert!(map.len() == TABLE_BYTES, "a whole offset file is mapped");
                NonNull::new(map.as_ptr().cast_mut()).unwrap_or(NonNull::dangling()).cast()
            }
            TableSource::Copied(entries) => NonNull::from(&**entries),
        };
        assert!(entries.is_aligned(), "a map begins on a page");
        let record_bytes = bound.saturating_sub(VERSION_RECORD.len());
        Self { data, bound, record_bytes, entries, owner }
    }

    /// True when the entries are those of a live offset file: a later view may go on with them.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.owner.entries, TableSource::Mapped(_))
    }

    /// False for [`Self::absent`].
    pub(crate) fn has_files(&self) -> bool {
        !matches!(self.owner.entries, TableSource::Nothing)
    }

    /// Bytes of the data file that are committed.
    #[inline]
    pub(crate) fn bound(&self) -> u64 {
        self.bound as u64
    }

    /// The committed bytes of the data file behind its version record.
    #[inline]
    pub(crate) fn records(&self) -> &[u8] {
        let skipped = VERSION_RECORD.len();
        // SAFETY: `owner` keeps at least `bound` mapped bytes in place for as long as `self`
        // lives, `record_bytes` is what lies between the version record and the bound, and nobody
        // changes bytes below the bound (see the head of this file). Where there is no such byte
        // the pointer is not looked at; it is not null, since `data` is not and is not the last
        // address.
        unsafe {
            std::slice::from_raw_parts(self.data.as_ptr().wrapping_add(skipped), self.record_bytes)
        }
    }

    /// The bytes of the version record, as far as they are committed.
    pub(crate) fn version_record(&self) -> &[u8] {
        // SAFETY: as above, for the bytes before.
        unsafe {
            std::slice::from_raw_parts(self.data.as_ptr(), self.bound.min(VERSION_RECORD.len()))
        }
    }

    /// The entry at `index`, below [`ENTRIES`].
    #[inline]
    pub(crate) fn entry(&self, index: usize) -> u64 {
        // SAFETY: `entries` leads to an aligned table that `owner` keeps in place, or to a static;
        // all access to it by this process is atomic.
        let entries = unsafe { self.entries.as_ref() };
        // What an entry below the bound leads to was on disk before the bound was established, so
        // the load orders nothing.
        u64::from_le(entries[index].load(Ordering::Relaxed))
    }

    /// All entries, by index.
    pub(crate) fn entries(&self) -> impl Iterator<Item = u64> + '_ {
        (0..ENTRIES).map(|index| self.entry(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{RecordHeader, RecordTag};

    fn file_of(values: &[&[u8]]) -> (Vec<u8>, Box<OffsetTable>) {
        let (mut bytes, mut table) = (VERSION_RECORD.to_vec(), OffsetTable::zeroed());
        for (index, value) in values.iter().enumerate() {
            table.set(index, bytes.len() as u64);
            let length = u32::try_from(value.len()).unwrap();
            bytes.extend_from_slice(&RecordHeader::new([4, 0], length).to_bytes());
            bytes.extend_from_slice(value);
        }
        (bytes, table)
    }

    #[test]
    fn nothing_behind_the_bound_can_be_reached() {
        let (bytes, table) = file_of(&[b"ab", b"", b"cde"]);
        let tag = RecordTag::new([4, 0]);
        let (data, entries) = (MappedData::bytes(&bytes), MappedTable::copy(&table));
        let whole = SlotMap::new(data, entries, bytes.len());
        for bound in 0..=bytes.len() {
            let map = whole.rebound(bound).unwrap();
            assert_eq!(map.bound(), bound as u64);
            assert_eq!(map.records(), bytes[..bound].get(8..).unwrap_or_default());
            assert_eq!(map.version_record(), &bytes[..bound.min(8)]);
            for (index, value) in [&b"ab"[..], b"", b"cde"].into_iter().enumerate() {
                let end = table.get(index) + 8 + value.len() as u64;
                let found = tag.payload(map.records(), map.entry(index));
                assert_eq!(found.ok(), (end <= bound as u64).then_some(value));
            }
        }
        assert!(whole.rebound(bytes.len() + 1).is_none());
    }

    #[test]
    fn a_map_outlives_the_one_that_it_was_made_from() {
        let (bytes, table) = file_of(&[b"ab"]);
        let map = SlotMap::new(MappedData::bytes(&bytes), MappedTable::copy(&table), bytes.len());
        let kept = map.clone();
        drop(map);
        let read = std::thread::spawn(move || kept.records().to_vec()).join().unwrap();
        assert_eq!(read, bytes[8..]);
        assert!(SlotMap::absent().records().is_empty());
        assert!(SlotMap::absent().entries().all(|entry| entry == 0));
    }
}
