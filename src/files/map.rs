//! The one file that maps, and the one with `unsafe` code.
//!
//! A [`SlotMap`] is the committed part of one data file and its offset table, a [`MapTable`] those
//! of a view by file. What leaves this file is safe: a slice that ends at the bound, and entries
//! loaded one by one. Both can be made from bytes in memory as well, so that everything above runs
//! without a file.
//!
//! # Why it is sound
//! The promise at [`Reader::open`](crate::Reader::open) is that nobody but writers of this format
//! changes the files. Under it
//! * bytes of a data file below the bound never change, so a `&[u8]` of them is what it claims to
//!   be; the slice never reaches past the bound, where a writer appends;
//! * a file never becomes shorter than a bound, so no access faults;
//! * entries of an offset file do change, and are therefore only loaded as atomics: relaxed, 8 bytes
//!   wide, from memory that is mapped for reading only. The standard library guarantees such loads on
//!   64-bit targets alone ([`std::sync::atomic`], "Atomic accesses to read-only memory"); `lib.rs`
//!   refuses to compile for others.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use memmap2::{Advice, Mmap, MmapOptions};

use crate::files::directory::Inode;
use crate::files::touched::{Touched, is_sample};
use crate::format::offsets::{ENTRIES, OffsetTable, TABLE_BYTES};
use crate::format::record::{BoundedTag, FIRST_RECORD_OFFSET, RecordHeader, VERSION_RECORD};
use crate::slot::{FileId, SLOTS_PER_FILE, Slot};

type Entries = [AtomicU64; ENTRIES];
const _: () = assert!(size_of::<Entries>() == TABLE_BYTES);

static NO_ENTRIES: Entries = [const { AtomicU64::new(0) }; ENTRIES];

/// Some of the entries of an offset table; the others are 0.
#[derive(Debug)]
pub(crate) struct SomeEntries(Box<Entries>);

impl SomeEntries {
    pub(crate) fn none() -> Self {
        Self(boxed((0..ENTRIES).map(|_| 0)))
    }

    pub(crate) fn put(&self, index: usize, entry: u64) {
        self.0[index].store(entry.to_le(), Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.0.iter().for_each(|entry| entry.store(0, Ordering::Relaxed));
    }
}

/// A table in memory: as many entries as a table has.
fn boxed(entries: impl Iterator<Item = u64>) -> Box<Entries> {
    let entries: Box<[AtomicU64]> = entries.map(|entry| AtomicU64::new(entry.to_le())).collect();
    let entries: Result<Box<Entries>, _> = entries.try_into();
    entries.unwrap_or_else(|_| unreachable!("a whole table"))
}

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
    touched: OnceLock<Box<Touched>>,
}

enum Data {
    Nothing,
    /// A file is kept by its map, so that nobody else gets its inode.
    Mapped(Mmap, Inode),
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
            Data::Mapped(map, _) => (map.as_ptr(), map.len()),
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
    pub(crate) fn map(file: &File, advice: Option<Advice>) -> io::Result<Self> {
        // SAFETY: the file is only read, and its entries only as atomics; that nobody shortens it
        // is what the caller of `Reader::open` promised.
        let map = unsafe { MmapOptions::new().len(TABLE_BYTES).map(file) }?;
        advise(&map, advice);
        Ok(Self(TableSource::Mapped(map)))
    }

    /// A copy, for an offset file that is shorter than a whole one.
    pub(crate) fn copy(table: &OffsetTable) -> Self {
        Self(TableSource::Copied(boxed(table.entries())))
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
    /// so that a file that grows need not be mapped again; a [`SlotMap`]'s bound may not.
    pub(crate) fn map(
        file: &File,
        inode: Inode,
        map_len: usize,
        advice: Option<Advice>,
    ) -> io::Result<Self> {
        // SAFETY: only bytes below a bound are ever read through the map, see `SlotMap::new`, and
        // those neither change nor go away: that is what the caller of `Reader::open` promised.
        let map = unsafe { MmapOptions::new().len(map_len).map(file) }?;
        advise(&map, advice);
        Ok(Self(Data::Mapped(map, inode)))
    }

    #[cfg(test)]
    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self(Data::Bytes(bytes.into()))
    }
}

/// Pages of any map that this process had to wait for, since it began.
pub(crate) fn major_faults() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer leads to room for what is written there.
    let status = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    // SAFETY: it was zeroed, which is a valid value of these numbers, and perhaps written since.
    let usage = unsafe { usage.assume_init() };
    if status == 0 { u64::try_from(usage.ru_majflt).unwrap_or(0) } else { 0 }
}

/// How many pages of these bytes of a file are not in memory; `None` where the system does not
/// tell: before Linux 6.5, and of a file that is somebody else's.
#[cfg(target_os = "linux")]
pub(crate) fn missing_pages(file: &File, bytes: Range<u64>) -> Option<u64> {
    use std::os::fd::AsRawFd;

    /// The same on all architectures that Rust has a standard library for.
    const SYS_CACHESTAT: libc::c_long = 451;

    #[repr(C)]
    struct CachestatRange {
        offset: u64,
        byte_len: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Cachestat {
        pages_in_cache: u64,
        /// Dirty, in writeback, evicted and recently evicted pages.
        others: [u64; 4],
    }
    if bytes.is_empty() {
        return Some(0);
    }
    let byte_len = bytes.end - bytes.start;
    let range = CachestatRange { offset: bytes.start, byte_len };
    let mut found = Cachestat::default();
    // SAFETY: cachestat(2) reads one range and writes one result; both structs are the kernel's.
    let status = unsafe {
        libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut found, 0)
    };
    let page = rustix::param::page_size() as u64;
    let pages = bytes.end.div_ceil(page) - bytes.start / page;
    (status == 0).then_some(pages.saturating_sub(found.pages_in_cache))
}

/// How many pages of these bytes of a file are not in memory; `None` where the system does not tell.
#[cfg(not(target_os = "linux"))]
pub(crate) fn missing_pages(_: &File, _: Range<u64>) -> Option<u64> {
    None
}

/// Lets the system begin to write these bytes of a file to the medium, where it knows how.
#[cfg(target_os = "linux")]
pub(crate) fn begin_flush(file: &File, bytes: Range<u64>) {
    use std::os::fd::AsRawFd;

    let (Ok(offset), Ok(byte_len)) =
        (i64::try_from(bytes.start), i64::try_from(bytes.end.saturating_sub(bytes.start)))
    else {
        return;
    };
    let flags = libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: sync_file_range(2) takes numbers only, and the descriptor is open.
    let status = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, byte_len, flags) };
    if status != 0 {
        // The flush that follows tells whether the medium took them.
        tracing::debug!(error = %io::Error::last_os_error(), "writing could not be begun");
    }
}

/// Lets the system begin to write these bytes of a file to the medium, where it knows how.
#[cfg(not(target_os = "linux"))]
pub(crate) fn begin_flush(_: &File, _: Range<u64>) {}

/// Advice is no more than that: a system that does not take it reads all the same.
fn advise(map: &Mmap, advice: Option<Advice>) {
    if let Some(Err(error)) = advice.map(|advice| map.advise(advice)) {
        tracing::debug!(%error, "advice on a map was not taken");
    }
}

/// Bytes asked for at a time: what a kernel with the usual readahead setting accepts whole.
const REQUEST_BYTES: u64 = 128 << 10;

impl SlotMap {
    /// The caller has seen that the data file is at least `bound` bytes long and that these bytes
    /// are committed.
    ///
    /// # Panics
    /// When less than `bound` bytes are mapped.
    pub(crate) fn new(data: MappedData, table: MappedTable, bound: usize) -> Self {
        let owner = Owner { data: data.0, entries: table.0, touched: OnceLock::new() };
        let owner = Arc::new(owner);
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

    /// True when nobody else holds these maps: dropping this unmaps them.
    pub(crate) fn is_last(&self) -> bool {
        Arc::strong_count(&self.owner) == 1
    }

    /// The data file that is mapped, if any is.
    pub(crate) fn data_inode(&self) -> Option<Inode> {
        match self.owner.data {
            Data::Mapped(_, inode) => Some(inode),
            _ => None,
        }
    }

    /// Which records were asked for: of all views that share the map.
    pub(crate) fn touched(&self) -> &Touched {
        self.owner.touched.get_or_init(|| Box::new(Touched::new(self.owner.data.span().1)))
    }

    /// Has the system read these bytes of the data file, and no others, in the background.
    pub(crate) fn will_need(&self, bytes: Range<u64>) {
        let Data::Mapped(map, _) = &self.owner.data else {
            return;
        };
        let end = bytes.end.min(self.bound());
        let mut start = bytes.start;
        while start < end {
            let next = (start + REQUEST_BYTES).min(end);
            // Both are below `bound`, which is a `usize`.
            let (Ok(from), Ok(len)) = (usize::try_from(start), usize::try_from(next - start))
            else {
                return;
            };
            if let Err(error) = map.advise_range(Advice::WillNeed, from, len) {
                tracing::debug!(%error, "a record could not be asked for");
                return;
            }
            start = next;
        }
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

    /// The entry at `index`, below [`ENTRIES`].
    #[inline]
    pub(crate) fn entry(&self, index: usize) -> u64 {
        load(&self.table()[index])
    }

    /// All entries, by index.
    pub(crate) fn entries(&self) -> impl Iterator<Item = u64> + '_ {
        self.table().iter().map(load)
    }

    #[inline]
    fn table(&self) -> &Entries {
        // SAFETY: `entries` leads to an aligned table that `owner` keeps in place, or to a static;
        // all access to it by this process is atomic.
        unsafe { self.entries.as_ref() }
    }
}

const HEADER_LEN: usize = size_of::<RecordHeader>();
const CHUNK_BITS: u32 = 6;
const CHUNK: usize = 1 << CHUNK_BITS;
const SLOT_BITS: u32 = SLOTS_PER_FILE.trailing_zeros();
const _: () = assert!(1 << SLOT_BITS == SLOTS_PER_FILE);
/// Chunks that have their place in the table: 537 million slots, two centuries of mainnet.
const MAX_CHUNKS: u64 = 1024;

/// What a read needs of a file, in half a cache line.
#[repr(C, align(32))]
struct Cell {
    /// Those of the records that are to be read quickly: [`NO_ENTRIES`] until the file is there. What is
    /// below was written before.
    entries: AtomicPtr<Entries>,
    /// The first byte behind the version record.
    records: AtomicPtr<u8>,
    /// At so many of those bytes a header may begin that ends before the bound.
    header_starts: AtomicUsize,
    /// The whole of it; null until the file is there.
    map: AtomicPtr<SlotMap>,
}
const _: () = assert!(size_of::<Cell>() == 32);

impl Cell {
    const fn new() -> Self {
        Self {
            entries: AtomicPtr::new((&raw const NO_ENTRIES).cast_mut()),
            records: AtomicPtr::new(std::ptr::null_mut()),
            header_starts: AtomicUsize::new(0),
            map: AtomicPtr::new(std::ptr::null_mut()),
        }
    }
}

#[repr(align(64))]
struct Chunk([Cell; CHUNK]);

impl Chunk {
    const fn new() -> Self {
        Self([const { Cell::new() }; CHUNK])
    }
}

/// Where no file of a chunk has been touched. Nothing is ever written to it.
static UNTOUCHED: Chunk = Chunk::new();

/// The maps of a view by file. They come one by one and stay until the table goes.
///
/// A view costs little to make, however many files there are: cells come in chunks, on first
/// touch, and chunks are taken over from the view before. Finding what a read needs costs three
/// loads and a comparison.
pub(crate) struct MapTable {
    /// Slots below it have a chunk.
    near_end: u64,
    /// Each leads to [`UNTOUCHED`] or to one of `held`.
    chunks: Box<[AtomicPtr<Chunk>]>,
    /// What the cells and `chunks` lead to. Nothing is let go of.
    held: Mutex<Held>,
    len: AtomicUsize,
}

struct Held {
    /// For each chunk that has cells.
    places: Box<[Option<Place>]>,
    /// Those that were copied and replaced: somebody may be looking at them.
    copied: Vec<Place>,
    /// The files that have no place in a chunk.
    far: HashMap<FileId, Arc<SlotMap>>,
}

/// A chunk with what its cells lead to. Tables share it until one of them puts something in: that one
/// goes on with a copy.
#[derive(Clone)]
struct Place {
    chunk: Arc<Chunk>,
    maps: Arc<Maps>,
}

#[derive(Clone)]
struct Maps {
    by_cell: [Option<Arc<SlotMap>>; CHUNK],
    /// One bit for each that is there.
    there: u64,
    /// One bit for each that stays right as long as its files do not change.
    lasting: u64,
}

impl Place {
    fn new() -> Self {
        let maps = Maps { by_cell: [const { None }; CHUNK], there: 0, lasting: 0 };
        Self { chunk: Arc::new(Chunk::new()), maps: Arc::new(maps) }
    }

    /// A copy of those cells that have a bit.
    fn copy_of(&self, cells: u64) -> Self {
        let copy = Chunk::new();
        let Maps { by_cell, there, lasting } = &*self.maps;
        let by_cell = std::array::from_fn(|index| {
            let map = by_cell[index].as_ref().filter(|_| cells >> index & 1 == 1)?;
            let (from, to) = (&self.chunk.0[index], &copy.0[index]);
            to.records.store(from.records.load(Ordering::Relaxed), Ordering::Relaxed);
            to.header_starts.store(from.header_starts.load(Ordering::Relaxed), Ordering::Relaxed);
            to.map.store(from.map.load(Ordering::Relaxed), Ordering::Relaxed);
            // `Acquire`: another table that shares the chunk may have published a fresh table of
            // entries here a moment ago (`set_quick`). Readers of the copy synchronise with this
            // thread alone, so this thread must have synchronised with that one.
            to.entries.store(from.entries.load(Ordering::Acquire), Ordering::Relaxed);
            Some(Arc::clone(map))
        });
        let maps = Maps { by_cell, there: there & cells, lasting: lasting & cells };
        Self { chunk: Arc::new(copy), maps: Arc::new(maps) }
    }

    /// What a later table takes over: of those cells that have a bit, the ones that last.
    fn for_later(&self, cells: u64) -> Option<Self> {
        match self.maps.lasting & cells {
            0 => None,
            all if all == self.maps.there => Some(self.clone()),
            some => Some(self.copy_of(some)),
        }
    }
}

impl MapTable {
    /// A table for the files of all slots below `end`.
    pub(crate) fn new(end: u64) -> Self {
        let chunk_slots = SLOTS_PER_FILE << CHUNK_BITS;
        let near_end = end.min(MAX_CHUNKS * chunk_slots);
        let untouched = || AtomicPtr::new(std::ptr::from_ref(&UNTOUCHED).cast_mut());
        let chunks: Box<[_]> = (0..near_end.div_ceil(chunk_slots)).map(|_| untouched()).collect();
        let places = chunks.iter().map(|_| None).collect();
        let held = Held { places, copied: Vec::new(), far: HashMap::new() };
        Self { near_end, chunks, held: Mutex::new(held), len: AtomicUsize::new(0) }
    }

    /// The table of a later view: what [lasts](Self::insert) of `before` is there already, but for
    /// the files that have changed or are not to be taken over.
    pub(crate) fn after(
        before: &Self,
        end: u64,
        without: impl IntoIterator<Item = FileId>,
    ) -> Self {
        let mut table = Self::new(end);
        let mut cells = vec![u64::MAX; table.chunks.len()];
        for file_id in without {
            if let Some(cells) = cells.get_mut(chunk_of(file_id)) {
                *cells &= !(1 << cell_index(file_id));
            }
        }
        let held = table.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        let before = before.held.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, place) in before.places.iter().enumerate().take(cells.len()) {
            let later = place.as_ref().and_then(|place| place.for_later(cells[index]));
            if let Some(later) = &later {
                *table.chunks[index].get_mut() = Arc::as_ptr(&later.chunk).cast_mut();
            }
            held.places[index] = later;
        }
        let maps = held.places.iter().flatten().map(|place| place.maps.there.count_ones());
        *table.len.get_mut() = maps.sum::<u32>() as usize;
        table
    }

    /// The map of a file, where it was put in.
    pub(crate) fn get(&self, file_id: FileId) -> Option<&SlotMap> {
        let map = match self.chunks.get(chunk_of(file_id)) {
            Some(chunk) => {
                // SAFETY: it leads to a static or to what `held` keeps in place, written before.
                let chunk = unsafe { &*chunk.load(Ordering::Acquire) };
                chunk.0[cell_index(file_id)].map.load(Ordering::Acquire).cast_const()
            }
            None => {
                let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                held.far.get(&file_id).map_or(std::ptr::null(), Arc::as_ptr)
            }
        };
        // SAFETY: null, or it leads to what `held` keeps in place for as long as `self` lives.
        unsafe { map.as_ref() }
    }

    /// Puts in the map of a file, unless there is one already, and returns the one that is there.
    /// `quick`: it shall be found by [`Quick`]. `lasts`: as long as the files do not change, it is
    /// right for later views too.
    pub(crate) fn insert(
        &self,
        file_id: FileId,
        map: Arc<SlotMap>,
        quick: bool,
        lasts: bool,
    ) -> &SlotMap {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Held { places, copied, far } = &mut *held;
        let (Some(chunk), Some(place)) =
            (self.chunks.get(chunk_of(file_id)), places.get_mut(chunk_of(file_id)))
        else {
            let map = Arc::as_ptr(far.entry(file_id).or_insert_with(|| {
                self.len.fetch_add(1, Ordering::Relaxed);
                map
            }));
            // SAFETY: `held` keeps the map in place, since nothing is taken out of it.
            return unsafe { &*map };
        };
        let (place, index) = (place.get_or_insert_with(Place::new), cell_index(file_id));
        if let Some(map) = &place.maps.by_cell[index] {
            let map = Arc::as_ptr(map);
            // SAFETY: as above.
            return unsafe { &*map };
        }
        if Arc::get_mut(&mut place.maps).is_none() {
            let copy = place.copy_of(u64::MAX);
            copied.push(std::mem::replace(place, copy));
        }
        let kept = Arc::as_ptr(&map);
        let maps = Arc::make_mut(&mut place.maps);
        maps.by_cell[index] = Some(map);
        maps.there |= 1 << index;
        maps.lasting |= u64::from(lasts) << index;
        // SAFETY: `held` keeps the map in place, since nothing is taken out of it.
        let map = unsafe { &*kept };
        let cell = &place.chunk.0[index];
        let records = map.records();
        cell.records.store(records.as_ptr().cast_mut(), Ordering::Relaxed);
        let header_starts = records.len().saturating_sub(HEADER_LEN - 1);
        cell.header_starts.store(header_starts, Ordering::Relaxed);
        cell.map.store(kept.cast_mut(), Ordering::Release);
        if quick {
            cell.entries.store(map.entries.as_ptr(), Ordering::Release);
        }
        chunk.store(Arc::as_ptr(&place.chunk).cast_mut(), Ordering::Release);
        self.len.fetch_add(1, Ordering::Relaxed);
        map
    }

    /// Which records of a file that was put in shall be found by [`Quick`]: all of them, or those only
    /// that [were asked for](Touched::asked).
    pub(crate) fn set_quick(&self, file_id: FileId, all: bool) {
        let Some(chunk) = self.chunks.get(chunk_of(file_id)) else {
            return;
        };
        // SAFETY: it leads to a static or to what `held` keeps in place, written before.
        let cell = unsafe { &(&*chunk.load(Ordering::Acquire)).0[cell_index(file_id)] };
        // SAFETY: null, or it leads to what `held` keeps in place.
        let Some(map) = (unsafe { cell.map.load(Ordering::Acquire).cast_const().as_ref() }) else {
            return;
        };
        let entries = match map.touched().asked() {
            _ if all => map.entries.as_ptr(),
            Some(asked) => (&raw const *asked.0).cast_mut(),
            None => (&raw const NO_ENTRIES).cast_mut(),
        };
        // Mostly it is as it shall be, and others read what shares its cache line.
        if cell.entries.load(Ordering::Relaxed) != entries {
            // `Acquire` of it: the cell's records were written before its map was.
            cell.entries.store(entries, Ordering::Release);
        }
    }

    /// How many files were put in.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }
}

/// Quick reads: a [`MapTable`]'s owner, and beside it what they need. In a loop of reads that
/// stays in registers: how many of them overlap in the processor is decided by how many loads each
/// of them takes.
pub(crate) struct Quick<M> {
    owner: Arc<M>,
    /// Those of the owner's table.
    chunks: NonNull<AtomicPtr<Chunk>>,
    /// There is a chunk for every slot below it; 0 unless all reads are quick.
    end: u64,
    /// The same; 0 unless most reads are quick.
    end_of_most: u64,
    tag: BoundedTag,
}

/// Which reads [`Quick`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuickReads {
    None,
    /// Those that are no [sample](is_sample).
    Most,
    All,
}

// SAFETY: it is a reference to what `owner`, which it holds, owns.
unsafe impl<M: Send + Sync> Send for Quick<M> {}
// SAFETY: as above.
unsafe impl<M: Send + Sync> Sync for Quick<M> {}

impl<M> Quick<M> {
    pub(crate) fn new(
        owner: Arc<M>,
        table: impl FnOnce(&M) -> &MapTable,
        tag: BoundedTag,
        reads: QuickReads,
    ) -> Self {
        let table = table(&owner);
        let chunks = NonNull::from(&*table.chunks).cast();
        let end_of = |wanted| if reads == wanted { table.near_end } else { 0 };
        let (end, end_of_most) = (end_of(QuickReads::All), end_of(QuickReads::Most));
        Self { owner, chunks, end, end_of_most, tag }
    }

    pub(crate) fn owner(&self) -> &Arc<M> {
        &self.owner
    }

    /// The payload of a slot's record, where its file was put in to be read quickly and there is
    /// nothing special about it: what [`RecordTag::payload`](crate::format::record::RecordTag::payload)
    /// returns, if that is not too long. Only where all reads are quick.
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&[u8]> {
        // SAFETY: there is a chunk for the slot.
        if slot.0 < self.end { unsafe { self.look(slot) } } else { None }
    }

    /// The same, only where most reads are quick.
    #[inline]
    pub(crate) fn get_most(&self, slot: Slot) -> Option<&[u8]> {
        let is_quick = slot.0 < self.end_of_most && !is_sample(slot.index_in_file());
        // SAFETY: there is a chunk for the slot.
        if is_quick { unsafe { self.look(slot) } } else { None }
    }

    /// # Safety
    /// There is a chunk for the slot.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "below the number of cells, bytes")]
    unsafe fn look(&self, slot: Slot) -> Option<&[u8]> {
        // SAFETY: there is one for the slot. The table is there for as long as a reference to the
        // owner is, and `owner` can give one for as long as `self` lives; nobody else than
        // `MapTable::new` makes its chunks or takes them away.
        let place = unsafe { self.chunks.add(chunk_index(slot)) };
        // SAFETY: as above.
        let chunk = unsafe { place.as_ref() };
        // SAFETY: it leads to a static or to what `held` keeps in place, written before.
        let chunk = unsafe { &*chunk.load(Ordering::Acquire) };
        let cell = &chunk.0[(slot.0 >> SLOT_BITS) as usize % CHUNK];
        // SAFETY: it leads to a static or to an aligned table that a map in `held` keeps in place, its
        // own or that of its `Touched`; all access to it by this process is atomic.
        let entries = unsafe { &*cell.entries.load(Ordering::Acquire) };
        let entry = load(&entries[slot.index_in_file()]);
        // An offset inside the version record becomes an enormous one, and 0 is one of those.
        let start = entry.wrapping_sub(FIRST_RECORD_OFFSET);
        let header_starts = cell.header_starts.load(Ordering::Relaxed) as u64;
        if start >= header_starts {
            return None;
        }
        let records = cell.records.load(Ordering::Relaxed);
        // SAFETY: the entry is not 0, so `entries` is not the static, and what was written before it
        // is here: `records` and `header_starts`, which are never written again. They are of what
        // `SlotMap::records` gives for a map in `held`, bytes that stay mapped and unchanged for as
        // long as `self` lives.
        let records = unsafe { NonNull::new_unchecked(records) };
        // SAFETY: `start` is below `header_starts`, so a header's bytes from there on are among them.
        let place = unsafe { records.add(start as usize) };
        // SAFETY: as above.
        let header = unsafe { place.cast::<[u8; HEADER_LEN]>().read() };
        let byte_len = self.tag.payload_bytes(header)?;
        // As many bytes are left behind the header as headers could begin at or behind `place`, less
        // one.
        if byte_len as u64 >= header_starts - start {
            return None;
        }
        // SAFETY: as above, for the bytes that are left.
        let payload = unsafe { place.add(HEADER_LEN) };
        let payload = NonNull::slice_from_raw_parts(payload, byte_len);
        // SAFETY: as above.
        Some(unsafe { payload.as_ref() })
    }
}

impl<M> Clone for Quick<M> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), ..*self }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the tables end long before")]
fn chunk_index(slot: Slot) -> usize {
    (slot.0 >> (SLOT_BITS + CHUNK_BITS)) as usize
}

fn chunk_of(file_id: FileId) -> usize {
    usize::try_from(file_id.0 >> CHUNK_BITS).unwrap_or(usize::MAX)
}

#[allow(clippy::cast_possible_truncation, reason = "the remainder is below the chunk's size")]
fn cell_index(file_id: FileId) -> usize {
    file_id.0 as usize % CHUNK
}

/// What an entry below the bound leads to was on disk before the bound was established, so the
/// load orders nothing.
#[inline]
fn load(entry: &AtomicU64) -> u64 {
    u64::from_le(entry.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::RecordTag;

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

    fn quick(table: &Arc<MapTable>, slot: Slot, tag: RecordTag) -> Option<Vec<u8>> {
        let get = |reads| {
            let quick = Quick::new(Arc::clone(table), |table| table, tag.up_to(u32::MAX), reads);
            quick.get(slot).or_else(|| quick.get_most(slot)).map(<[u8]>::to_vec)
        };
        let found = get(QuickReads::All);
        let is_most = !is_sample(slot.index_in_file());
        assert_eq!(get(QuickReads::Most), found.clone().filter(|_| is_most));
        assert_eq!(get(QuickReads::None), None);
        found
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
            for (index, value) in [&b"ab"[..], b"", b"cde"].into_iter().enumerate() {
                let end = table.get(index) + 8 + value.len() as u64;
                let found = tag.payload(map.records(), map.entry(index));
                assert_eq!(found.ok(), (end <= bound as u64).then_some(value));
            }
        }
        assert!(whole.rebound(bytes.len() + 1).is_none());
    }

    #[test]
    fn a_quick_look_returns_what_the_checked_one_does() {
        let (bytes, mut table) = file_of(&[b"ab", b"", b"cde"]);
        let last = bytes.len() as u64;
        // What leads nowhere, or to something that is no header.
        for (index, entry) in (3..).zip([0, 1, 7, 9, last - 1, last, last + 8, u64::MAX]) {
            table.set(index, entry);
        }
        // One table for all of them: making one takes long where every step is interpreted.
        let (data, entries) = (MappedData::bytes(&bytes), MappedTable::copy(&table));
        let whole = SlotMap::new(data, entries, bytes.len());
        for (tag, bound) in [[4, 0], [5, 0]]
            .iter()
            .flat_map(|tag| (0..=bytes.len()).map(|bound| (RecordTag::new(*tag), bound)))
        {
            let table_of_maps = Arc::new(MapTable::new(SLOTS_PER_FILE));
            let map = whole.rebound(bound).unwrap();
            let map = table_of_maps.insert(FileId(0), Arc::new(map), true, true);
            for index in 0..12 {
                let wanted = tag.payload(map.records(), map.entry(index)).ok();
                let found = quick(&table_of_maps, Slot(index as u64), tag);
                assert_eq!(found.as_deref(), wanted, "slot {index}, bound {bound}");
            }
        }
    }

    #[test]
    fn of_a_file_that_is_not_all_in_memory_those_records_are_read_quickly_that_are() {
        let (bytes, entries) = file_of(&[b"ab", b"cde"]);
        let tag = RecordTag::new([4, 0]);
        let (data, copy) = (MappedData::bytes(&bytes), MappedTable::copy(&entries));
        let table = Arc::new(MapTable::new(SLOTS_PER_FILE));
        let map = SlotMap::new(data, copy, bytes.len());
        let touched = table.insert(FileId(0), Arc::new(map), false, true).touched();
        let found = || {
            table.set_quick(FileId(0), false);
            [0, 1].map(|slot| quick(&table, Slot(slot), tag))
        };
        while touched.asked().is_none() {
            assert_eq!(found(), [None, None]);
            touched.is_there(1, entries.get(1), 1);
        }
        assert_eq!(found(), [None, Some(b"cde".to_vec())]);
        touched.lost();
        touched.is_there(0, entries.get(0), 1);
        assert_eq!(found(), [None, None], "not before they are asked for again");
        table.set_quick(FileId(0), true);
        assert_eq!(quick(&table, Slot(0), tag), Some(b"ab".to_vec()));
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

    #[test]
    fn every_file_has_a_place_of_its_own_however_large_its_id() {
        let (bytes, table) = file_of(&[b"ab", b"c"]);
        let tag = RecordTag::new([4, 0]);
        let map = SlotMap::new(MappedData::bytes(&bytes), MappedTable::copy(&table), bytes.len());
        for last in [0, 63, 64, 65_535, 65_536, 1 << 30, FileId::MAX.0] {
            let table_of_maps = Arc::new(MapTable::new(FileId(last).first_slot().0 + 1));
            let mut ids = vec![0, last / 2, last.saturating_sub(1), last];
            ids.dedup();
            for (count, id) in ids.iter().map(|id| FileId(*id)).enumerate() {
                assert!(table_of_maps.get(id).is_none() && table_of_maps.len() == count);
                assert!(quick(&table_of_maps, id.first_slot(), tag).is_none());
                let put = table_of_maps.insert(id, Arc::new(map.clone()), true, true);
                assert!(std::ptr::eq(table_of_maps.get(id).unwrap(), put));
                let again = table_of_maps.insert(id, Arc::new(SlotMap::absent()), true, true);
                assert!(std::ptr::eq(again, put), "the first one stays");
            }
            let places: Vec<_> = ids.iter().map(|id| table_of_maps.get(FileId(*id))).collect();
            for (index, place) in places.iter().enumerate() {
                let others = places[..index].iter();
                assert!(others.flatten().all(|other| !std::ptr::eq(*other, place.unwrap())));
            }
            // What has no place near is found the slow way only.
            let is_near = |id: u64| id < MAX_CHUNKS << CHUNK_BITS;
            for id in ids {
                let first = FileId(id).first_slot();
                let found = quick(&table_of_maps, first, tag);
                assert_eq!(found.as_deref(), is_near(id).then_some(&b"ab"[..]));
                // The table ends behind the first slot of the last file.
                let next = quick(&table_of_maps, Slot(first.0 + 1), tag);
                assert_eq!(next.as_deref(), (is_near(id) && id != last).then_some(&b"c"[..]));
            }
        }
    }

    #[test]
    fn a_file_that_is_not_to_be_read_quickly_is_found_slowly() {
        let (bytes, entries) = file_of(&[b"ab"]);
        let (tag, table) = (RecordTag::new([4, 0]), Arc::new(MapTable::new(1)));
        let map = SlotMap::new(MappedData::bytes(&bytes), MappedTable::copy(&entries), bytes.len());
        let map = table.insert(FileId(0), Arc::new(map), false, true);
        assert!(quick(&table, Slot(0), tag).is_none());
        assert!(std::ptr::eq(table.get(FileId(0)).unwrap(), map));
        table.set_quick(FileId(0), true);
        assert_eq!(quick(&table, Slot(0), tag).unwrap(), b"ab");
        table.set_quick(FileId(0), false);
        assert!(quick(&table, Slot(0), tag).is_none());
        assert!(quick(&Arc::new(MapTable::new(0)), Slot(0), tag).is_none());
    }

    #[test]
    fn a_later_table_takes_over_what_lasts_and_no_more() {
        let (bytes, entries) = file_of(&[b"ab"]);
        let tag = RecordTag::new([4, 0]);
        let map = SlotMap::new(MappedData::bytes(&bytes), MappedTable::copy(&entries), bytes.len());
        let put = |table: &MapTable, file_id, lasts| {
            table.insert(FileId(file_id), Arc::new(map.clone()), true, lasts);
        };
        let found = |table: &Arc<MapTable>| {
            let quick = |id: &u64| quick(table, FileId(*id).first_slot(), tag).is_some();
            let ids = [0, 1, 2, 3, 62, 63, 64, 70, 130, 131];
            let found: Vec<u64> = ids.into_iter().filter(quick).collect();
            let there = ids.into_iter().filter(|id| table.get(FileId(*id)).is_some());
            assert!(there.eq(found.iter().copied()) && table.len() == found.len());
            found
        };
        let end = FileId(199).first_slot().0 + 1;
        let after = |before: &MapTable, without: &[u64]| {
            Arc::new(MapTable::after(before, end, without.iter().copied().map(FileId)))
        };
        let first = Arc::new(MapTable::new(end));
        for file_id in [0, 1, 63, 64, 70, 130] {
            put(&first, file_id, file_id != 70);
        }
        let second = after(&first, &[1, 2, 130, 131, 1 << 40]);
        assert_eq!(found(&second), [0, 63, 64]);
        // Each goes on by itself, and what is put in twice stays as it was.
        let third = after(&second, &[]);
        assert_eq!(found(&third), [0, 63, 64]);
        let shared = std::ptr::from_ref(third.get(FileId(0)).unwrap());
        put(&second, 2, true);
        put(&third, 3, false);
        put(&third, 0, false);
        assert!(std::ptr::eq(third.get(FileId(0)).unwrap(), shared));
        assert_eq!(found(&first), [0, 1, 63, 64, 70, 130]);
        assert_eq!(found(&second), [0, 2, 63, 64]);
        assert_eq!(found(&third), [0, 3, 63, 64]);
        drop((first, second));
        let fourth = after(&third, &[64]);
        drop(third);
        assert_eq!(found(&fourth), [0, 63], "lasting for as long as it did, no longer");
        // A shorter one has no place for what is behind its end.
        let short = Arc::new(MapTable::after(&fourth, 1, []));
        assert!(quick(&short, FileId(63).first_slot(), tag).is_none());
    }

    /// Miri lets the readers see the stores in any order that the memory model allows.
    #[test]
    fn a_file_is_found_whole_or_not_at_all_while_it_is_put_in() {
        let (bytes, entries) = file_of(&[b"ab"]);
        let tag = RecordTag::new([4, 0]);
        let files = [0, 1, 64].map(FileId);
        let end = files[2].first_slot().0 + 1;
        let table = Arc::new(MapTable::new(end));
        let look = |table: &Arc<MapTable>| {
            for file_id in files {
                if let Some(payload) = quick(table, file_id.first_slot(), tag) {
                    assert_eq!(payload, b"ab");
                }
                if let Some(map) = table.get(file_id) {
                    assert_eq!(tag.payload(map.records(), map.entry(0)), Ok(&b"ab"[..]));
                }
            }
        };
        // Copies of one: making a table takes long where every step is interpreted.
        let map = SlotMap::new(MappedData::bytes(&bytes), MappedTable::copy(&entries), bytes.len());
        let put_in = |file_id: &FileId| {
            table.insert(*file_id, Arc::new(map.clone()), true, true);
            look(&table);
        };
        let take_over = || {
            let later = Arc::new(MapTable::after(&table, end, []));
            later.insert(files[0], Arc::new(map.clone()), true, true);
            look(&later);
        };
        // A table of entries that one thread makes and publishes, and another copies the place of.
        let publish = || {
            let (touched, bound) = (map.touched(), bytes.len() as u64);
            while touched.asked().is_none() {
                touched.is_there(0, FIRST_RECORD_OFFSET, bound);
            }
            table.set_quick(files[0], false);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..3).for_each(|_| look(&table)));
            scope.spawn(|| (0..2).for_each(|_| take_over()));
            scope.spawn(publish);
            scope.spawn(|| files[..2].iter().for_each(put_in));
            files[1..].iter().for_each(put_in);
        });
        assert_eq!(table.len(), files.len());
        look(&table);
    }
}
