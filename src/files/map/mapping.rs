//! One file mapped up to a bound, with its offset table.

use crate::sync::{Arc, OnceLock};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, Mmap, MmapOptions};

use crate::files::directory::Inode;
use crate::files::pread::readahead_requests;
use crate::format::offsets::{ENTRIES, OffsetTable, TABLE_BYTES};
use crate::format::record::VERSION_RECORD;

pub(super) type Entries = [AtomicU64; ENTRIES];
const _: () = assert!(size_of::<Entries>() == TABLE_BYTES);

pub(super) static NO_ENTRIES: Entries = [const { AtomicU64::new(0) }; ENTRIES];

/// One data file up to a bound, and its offset table. Cloning it costs one atomic increment.
#[derive(Clone)]
pub(crate) struct SlotMap {
    /// The first byte after the version record.
    records: NonNull<u8>,
    /// Committed bytes after the version record.
    record_bytes: usize,
    entries: NonNull<Entries>,
    /// Committed bytes.
    bound: usize,
    /// Owns the memory behind the pointers.
    owner: Arc<Owner>,
}

// SAFETY: the pointers lead to memory that `owner` keeps in place. It is written only through
// atomics; `Owner` itself is `Send` and `Sync`.
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
    table: Table,
    prefetched: OnceLock<Box<Prefetched>>,
}

enum Data {
    Nothing,
    /// The map holds the file, so its inode is not used again.
    Mapped(Mmap, Inode),
    #[cfg(test)]
    Bytes(Box<[u8]>),
}

enum Table {
    /// No offset file, and so no record.
    Nothing,
    Mapped(MappedFile),
    /// A copy of a file that was too short to be mapped whole.
    Copied(Box<Entries>),
}

/// A whole offset file.
struct MappedFile {
    map: Mmap,
    inode: Inode,
    /// The kernel reads single pages of it (`MADV_RANDOM`).
    is_random: bool,
}

/// The part of a record that is about to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Header,
    Whole,
}

type Bits = [AtomicU64; ENTRIES / 64];

/// Tracks which records have been prefetched: one bit for each record, and one for its header.
struct Prefetched {
    headers: Bits,
    records: Bits,
}

impl Data {
    /// Where the mapped bytes lie. No reference to them is made here: some may lie past the end of
    /// the file.
    fn span(&self) -> (*const u8, usize) {
        match self {
            Data::Nothing => (std::ptr::null(), 0),
            Data::Mapped(map, _) => (map.as_ptr(), map.len()),
            #[cfg(test)]
            Data::Bytes(bytes) => (bytes.as_ptr(), bytes.len()),
        }
    }
}

/// An offset file, ready to be part of a [`SlotMap`].
pub(crate) struct MappedTable(Table);

impl MappedTable {
    /// The table of a file without an offset file.
    pub(crate) fn nothing() -> Self {
        Self(Table::Nothing)
    }

    /// Maps a whole offset file; the caller has checked that it has [`TABLE_BYTES`].
    pub(crate) fn map(file: &File, inode: Inode, advice: Option<Advice>) -> io::Result<Self> {
        let map = map_file(file, TABLE_BYTES, advice)?;
        Ok(Self(Table::Mapped(MappedFile { map, inode, is_random: advice.is_some() })))
    }

    /// A copy, for an offset file that is shorter than a whole one.
    pub(crate) fn copy(table: &OffsetTable) -> Self {
        let entries: Box<[AtomicU64]> =
            table.entries().map(|entry| AtomicU64::new(entry.to_le())).collect();
        let entries: Result<Box<Entries>, _> = entries.try_into();
        Self(Table::Copied(entries.unwrap_or_else(|_| unreachable!("a whole table"))))
    }
}

/// A data file, mapped from its beginning.
pub(crate) struct MappedData(Data);

impl MappedData {
    /// The data of a file that holds no record.
    pub(crate) fn nothing() -> Self {
        Self(Data::Nothing)
    }

    /// Maps `map_len` bytes of a file with this inode. The map may reach past the end of the file,
    /// so that a growing file need not be mapped again; the bound of a [`SlotMap`] may not.
    pub(crate) fn map(
        file: &File,
        inode: Inode,
        map_len: usize,
        advice: Option<Advice>,
    ) -> io::Result<Self> {
        Ok(Self(Data::Mapped(map_file(file, map_len, advice)?, inode)))
    }

    #[cfg(test)]
    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self(Data::Bytes(bytes.into()))
    }
}

fn map_file(file: &File, map_len: usize, advice: Option<Advice>) -> io::Result<Mmap> {
    // SAFETY: the map is read only below a bound, and as atomics where it may change. The caller of
    // `Reader::open_mapped` promised that nobody shortens or overwrites those bytes.
    let map = unsafe { MmapOptions::new().len(map_len).map(file) }?;
    if let Some(Err(error)) = advice.map(|advice| map.advise(advice)) {
        tracing::debug!(%error, "advice on a map was refused");
    }
    Ok(map)
}

impl SlotMap {
    /// The caller has checked that the data file has at least `bound` bytes, all of them committed.
    ///
    /// # Panics
    /// If fewer than `bound` bytes are mapped.
    pub(crate) fn new(data: MappedData, table: MappedTable, bound: usize) -> Self {
        let owner = Owner { data: data.0, table: table.0, prefetched: OnceLock::new() };
        Self::with_owner(Arc::new(owner), bound)
    }

    /// A file without a record.
    pub(crate) fn absent() -> Self {
        Self::new(MappedData::nothing(), MappedTable::nothing(), 0)
    }

    /// The same maps with another bound; `None` if it exceeds the mapped bytes. The caller has checked the
    /// same as for [`Self::new`].
    pub(crate) fn rebound(&self, bound: usize) -> Option<Self> {
        let is_mapped = bound <= self.owner.data.span().1;
        is_mapped.then(|| Self::with_owner(Arc::clone(&self.owner), bound))
    }

    fn with_owner(owner: Arc<Owner>, bound: usize) -> Self {
        let (data, mapped) = owner.data.span();
        assert!(bound <= mapped, "the bound lies within the map");
        let record_bytes = bound.saturating_sub(VERSION_RECORD.len());
        let records = match record_bytes {
            0 => NonNull::dangling(),
            _ => NonNull::new(data.wrapping_add(VERSION_RECORD.len()).cast_mut())
                .unwrap_or(NonNull::dangling()),
        };
        let entries = match &owner.table {
            Table::Nothing => NonNull::from(&NO_ENTRIES),
            Table::Mapped(file) => {
                assert!(file.map.len() == TABLE_BYTES, "a whole offset file is mapped");
                NonNull::new(file.map.as_ptr().cast_mut()).unwrap_or(NonNull::dangling()).cast()
            }
            Table::Copied(entries) => NonNull::from(&**entries),
        };
        assert!(entries.is_aligned(), "a map begins on a page");
        Self { records, record_bytes, entries, bound, owner }
    }

    /// False for [`Self::absent`].
    pub(crate) fn has_files(&self) -> bool {
        !matches!(self.owner.table, Table::Nothing)
    }

    /// The mapped data file, if any.
    pub(crate) fn data_inode(&self) -> Option<Inode> {
        match self.owner.data {
            Data::Mapped(_, inode) => Some(inode),
            _ => None,
        }
    }

    /// The mapped offset file, if any.
    pub(crate) fn table_inode(&self) -> Option<Inode> {
        match &self.owner.table {
            Table::Mapped(file) => Some(file.inode),
            _ => None,
        }
    }

    /// Marks a part of the record at `index`, below [`ENTRIES`], as prefetched. Returns true if it was not
    /// marked before. Two threads may both get true, at the cost of one extra system call.
    #[inline]
    pub(crate) fn is_first_touch(&self, index: usize, part: Part) -> bool {
        let prefetched = self.owner.prefetched.get_or_init(Prefetched::new);
        let is_new = is_clear(&prefetched.records, index);
        match part {
            Part::Whole if is_new => set(&prefetched.records, index),
            Part::Header if is_new && is_clear(&prefetched.headers, index) => {
                set(&prefetched.headers, index);
            }
            _ => return false,
        }
        true
    }

    /// Prefetches exactly these bytes of the data file in the background.
    pub(crate) fn prefetch(&self, bytes: Range<u64>) {
        if let Data::Mapped(map, _) = &self.owner.data {
            will_need(map, bytes.start..bytes.end.min(self.bound()));
        }
    }

    /// Number of committed bytes of the data file.
    #[inline]
    pub(crate) fn bound(&self) -> u64 {
        self.bound as u64
    }

    /// The committed bytes of the data file after its version record.
    #[inline]
    pub(crate) fn records(&self) -> &[u8] {
        // SAFETY: `owner` keeps at least `bound` mapped bytes in place for as long as `self`
        // lives, `record_bytes` of them lie after the version record, and nobody changes bytes
        // below the bound (see the head of this folder). The pointer is never null, and dangling
        // only when there is no such byte.
        unsafe { std::slice::from_raw_parts(self.records.as_ptr(), self.record_bytes) }
    }

    /// The entry at `index`, below [`ENTRIES`].
    #[inline]
    pub(crate) fn entry(&self, index: usize) -> u64 {
        load(&self.table()[index])
    }

    /// All entries, by index.
    pub(crate) fn entries(&self) -> impl Iterator<Item = u64> + '_ {
        if let Table::Mapped(MappedFile { map, is_random: true, .. }) = &self.owner.table {
            will_need(map, 0..TABLE_BYTES as u64);
        }
        self.table().iter().map(load)
    }

    #[inline]
    pub(super) fn table(&self) -> &Entries {
        // SAFETY: `entries` leads to an aligned table that `owner` keeps in place, or to a static;
        // all access to it by this process is atomic.
        unsafe { self.entries.as_ref() }
    }
}

impl Prefetched {
    fn new() -> Box<Self> {
        let bits = || [const { AtomicU64::new(0) }; ENTRIES / 64];
        Box::new(Self { headers: bits(), records: bits() })
    }
}

#[inline]
fn is_clear(bits: &Bits, index: usize) -> bool {
    bits[index / 64].load(Ordering::Relaxed) >> (index % 64) & 1 == 0
}

fn set(bits: &Bits, index: usize) {
    bits[index / 64].fetch_or(1 << (index % 64), Ordering::Relaxed);
}

/// Starts readahead of these bytes. Errors are only logged, since reads do not depend on advice.
fn will_need(map: &Mmap, bytes: Range<u64>) {
    for Range { start, end } in readahead_requests(bytes) {
        let (Ok(from), Ok(len)) = (usize::try_from(start), usize::try_from(end - start)) else {
            return;
        };
        if let Err(error) = map.advise_range(Advice::WillNeed, from, len) {
            tracing::debug!(%error, "prefetching was refused");
            return;
        }
    }
}

/// A relaxed load suffices: the record of an entry below the bound was on disk before the bound was
/// established.
#[inline]
pub(super) fn load(entry: &AtomicU64) -> u64 {
    u64::from_le(entry.load(Ordering::Relaxed))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format::record::{RecordHeader, RecordTag};

    pub(crate) const TAG: RecordTag = RecordTag::new([4, 0]);

    /// The bytes of a data file with these values in its first slots, and its offset table.
    pub(crate) fn file_of(values: &[&[u8]]) -> (Vec<u8>, Box<OffsetTable>) {
        let (mut bytes, mut table) = (VERSION_RECORD.to_vec(), OffsetTable::zeroed());
        for (index, value) in values.iter().enumerate() {
            table.set(index, bytes.len() as u64);
            let length = u32::try_from(value.len()).unwrap();
            bytes.extend_from_slice(&RecordHeader::new([4, 0], length).to_bytes());
            bytes.extend_from_slice(value);
        }
        (bytes, table)
    }

    pub(crate) fn map_of(bytes: &[u8], table: &OffsetTable) -> SlotMap {
        SlotMap::new(MappedData::bytes(bytes), MappedTable::copy(table), bytes.len())
    }

    #[test]
    fn nothing_past_the_bound_can_be_reached() {
        let (bytes, table) = file_of(&[b"ab", b"", b"cde"]);
        let whole = map_of(&bytes, &table);
        for bound in 0..=bytes.len() {
            let map = whole.rebound(bound).unwrap();
            assert_eq!(map.bound(), bound as u64);
            assert_eq!(map.records(), bytes[..bound].get(8..).unwrap_or_default());
            for (index, value) in [&b"ab"[..], b"", b"cde"].into_iter().enumerate() {
                let end = table.get(index) + 8 + value.len() as u64;
                let found = TAG.payload(map.records(), map.entry(index));
                assert_eq!(found.ok(), (end <= bound as u64).then_some(value));
            }
        }
        assert!(whole.rebound(bytes.len() + 1).is_none());
    }

    #[test]
    fn a_map_outlives_the_one_that_it_was_made_from() {
        let (bytes, table) = file_of(&[b"ab"]);
        let map = map_of(&bytes, &table);
        let kept = map.clone();
        drop(map);
        let read = std::thread::spawn(move || kept.records().to_vec()).join().unwrap();
        assert_eq!(read, bytes[8..]);
        assert!(SlotMap::absent().records().is_empty());
        assert!(SlotMap::absent().entries().all(|entry| entry == 0));
    }

    #[test]
    fn the_header_and_the_whole_of_a_record_are_each_touched_first_once() {
        let (bytes, table) = file_of(&[b"ab"]);
        let map = map_of(&bytes, &table);
        let clone = map.clone();
        for index in [0, 63, 64, ENTRIES - 1] {
            let parts = [Part::Header, Part::Header, Part::Whole, Part::Whole, Part::Header];
            let first = parts.map(|part| map.is_first_touch(index, part));
            assert_eq!(first, [true, false, true, false, false], "{index}");
            assert!(!clone.is_first_touch(index, Part::Whole), "the same map");
        }
        assert!(map.is_first_touch(1, Part::Whole) && !map.is_first_touch(1, Part::Header));
    }
}
