//! Scans a range of slots in either direction.

use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

use crate::error::Result;
use crate::files::map::{Part, SlotMap};
use crate::format::record::BoundedTag;
use crate::read::mapped::{MappedSnapshot, Way};
use crate::read::prefetch::PIECE_BYTES;
use crate::read::record::Record;
use crate::slot::{FileId, Slot};

/// What a scan reads from.
pub(super) trait Source {
    /// A file that may hold records.
    type File;
    type Item;

    /// Opens a file at or below the current one; `None` if it holds no records.
    fn open(&mut self, file_id: FileId) -> Result<Option<Self::File>>;

    /// The next file in a direction that may hold records.
    fn next_file(&mut self, file_id: FileId, way: Way) -> Result<Option<FileId>>;

    /// What the file has for a slot.
    fn look(&mut self, file: &mut Self::File, slot: Slot, way: Way) -> Result<Option<Self::Item>>;
}

/// The slots that a scan has yet to pass, and the files at both ends.
#[derive(Debug)]
pub(super) struct Steps<F> {
    /// The remaining slots: `front .. back`.
    front: u64,
    back: u64,
    /// The remaining slots of `front_file` are `front .. front_end`, and of `back_file` `back_start .. back`.
    /// Empty if another file comes first.
    front_end: u64,
    back_start: u64,
    front_file: Option<F>,
    back_file: Option<F>,
}

impl<F> Steps<F> {
    /// The slots of a range below `end`.
    pub(super) fn new(slots: impl RangeBounds<Slot>, end: u64) -> Self {
        let front = match slots.start_bound() {
            Bound::Included(slot) => slot.0,
            Bound::Excluded(slot) => slot.0.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let back = match slots.end_bound() {
            Bound::Included(slot) => slot.0.saturating_add(1),
            Bound::Excluded(slot) => slot.0,
            Bound::Unbounded => u64::MAX,
        };
        let back = back.min(end);
        let (front_file, back_file) = (None, None);
        Self { front, back, front_end: front, back_start: back, front_file, back_file }
    }

    /// The first slot that a forward scan has not passed; `None` past [`Slot::MAX`].
    pub(super) fn rest(&self) -> Option<Slot> {
        (self.front <= Slot::MAX.0).then_some(Slot(self.front))
    }

    /// Moves the front, or the back, into the next file with records. Returns `false` at the end.
    fn enter(&mut self, source: &mut impl Source<File = F>, way: Way) -> Result<bool> {
        while self.front < self.back {
            let file_id = match way {
                Way::Forward => Slot(self.front).file_id(),
                Way::Backward => Slot(self.back - 1).file_id(),
            };
            let (first, end) = (file_id.first_slot().0, file_id.last_slot().0 + 1);
            let opened = source.open(file_id);
            if let Ok(Some(file)) = opened {
                match way {
                    Way::Forward => {
                        self.front_end = self.back.min(end);
                        self.front_file = Some(file);
                    }
                    Way::Backward => {
                        self.back_start = self.front.max(first);
                        self.back_file = Some(file);
                    }
                }
                return Ok(true);
            }
            // Skip to the next listed file: an error that affects every file would otherwise be repeated
            // for every possible id.
            let next = source.next_file(file_id, way);
            let listed = next.as_ref().map_or(None, |next| *next);
            match (way, listed) {
                (Way::Forward, Some(next)) => self.front = self.back.min(next.first_slot().0),
                (Way::Backward, Some(next)) => self.back = self.front.max(next.last_slot().0 + 1),
                (Way::Forward, None) => self.front = self.back,
                (Way::Backward, None) => self.back = self.front,
            }
            opened.and(next)?;
        }
        Ok(false)
    }

    /// The next item from the front, or from the back.
    pub(super) fn step<S: Source<File = F>>(
        &mut self,
        source: &mut S,
        way: Way,
    ) -> Result<Option<S::Item>> {
        loop {
            while let Some((file, slot)) = self.next_slot(way) {
                if let Some(item) = source.look(file, slot, way)? {
                    return Ok(Some(item));
                }
            }
            if !self.enter(source, way)? {
                return Ok(None);
            }
        }
    }

    /// Passes one slot of the file at the front, or at the back.
    fn next_slot(&mut self, way: Way) -> Option<(&mut F, Slot)> {
        match way {
            Way::Forward => {
                let is_left = self.front < self.front_end.min(self.back);
                let file = self.front_file.as_mut().filter(|_| is_left)?;
                self.front += 1;
                Some((file, Slot(self.front - 1)))
            }
            Way::Backward => {
                let is_left = self.back > self.back_start.max(self.front);
                let file = self.back_file.as_mut().filter(|_| is_left)?;
                self.back -= 1;
                Some((file, Slot(self.back)))
            }
        }
    }
}

/// Prefetches for a scan of mapped files.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// A record was returned. The first may be a point read; from the second on it is a scan, which
    /// readahead serves.
    is_scan: bool,
    /// The offset up to which the file at the front is prefetched, if the kernel does not read ahead.
    prefetched_to: u64,
}

impl Ahead {
    /// Prefetches for the record at `entry`. Returns whether only its header was prefetched.
    fn prefetch(
        &mut self,
        snapshot: &MappedSnapshot,
        map: &SlotMap,
        (slot, entry): (Slot, u64),
        way: Way,
    ) -> bool {
        if !std::mem::replace(&mut self.is_scan, true) {
            if snapshot.prefetches {
                snapshot.touch(map, slot, entry, Part::Header);
            }
            return snapshot.prefetches;
        }
        match way {
            Way::Forward if snapshot.reads_ahead() => self.read_ahead(map, entry),
            Way::Backward if snapshot.reads_ahead() && snapshot.prefetches => {
                snapshot.touch(map, slot, entry, Part::Whole);
            }
            _ => {}
        }
        false
    }

    /// Prefetches by at least half a piece before each record that is read.
    fn read_ahead(&mut self, map: &SlotMap, entry: u64) {
        if entry.saturating_add(PIECE_BYTES / 2) > self.prefetched_to {
            let end = entry.saturating_add(PIECE_BYTES);
            map.prefetch(entry.max(self.prefetched_to)..end);
            self.prefetched_to = end;
        }
    }

    /// The payload of a slot, and whether only its header was prefetched.
    pub(super) fn look<'m>(
        &mut self,
        snapshot: &MappedSnapshot,
        map: &'m SlotMap,
        slot: Slot,
        way: Way,
    ) -> Result<Option<(&'m [u8], bool)>> {
        let entry = map.entry(slot.index_in_file());
        if entry == 0 {
            return Ok(None);
        }
        let is_header = self.prefetch(snapshot, map, (slot, entry), way);
        Ok(snapshot.payload(map, slot, entry)?.map(|stored| (stored, is_header)))
    }
}

/// An iterator over the records of a range of slots, in either direction; created by
/// [`View::range`](crate::View::range).
///
/// Yields an error for a damaged record and resumes with the next record. An unreadable file is one error,
/// and the iterator resumes with the next file.
pub(super) struct Range<'v> {
    source: Mapped<'v>,
    steps: Steps<&'v SlotMap>,
    /// The header that the quick step accepts; `None` if every record needs more work.
    tag: Option<BoundedTag>,
}

struct Mapped<'v> {
    snapshot: &'v MappedSnapshot,
    ahead: Ahead,
}

impl<'v> Source for Mapped<'v> {
    type File = &'v SlotMap;
    type Item = Record<'v>;

    fn open(&mut self, file_id: FileId) -> Result<Option<&'v SlotMap>> {
        self.ahead.prefetched_to = 0;
        Ok(Some(self.snapshot.file(file_id)?).filter(|map| map.has_files()))
    }

    fn next_file(&mut self, file_id: FileId, way: Way) -> Result<Option<FileId>> {
        self.snapshot.next_file(file_id, way)
    }

    fn look(&mut self, map: &mut &'v SlotMap, slot: Slot, way: Way) -> Result<Option<Record<'v>>> {
        let found = self.ahead.look(self.snapshot, map, slot, way)?;
        Ok(found.map(|(stored, is_header)| match is_header {
            true => Record::with_header(self.snapshot, slot, stored),
            false => Record::new(self.snapshot, slot, stored),
        }))
    }
}

impl std::fmt::Debug for Range<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl<'v> Range<'v> {
    pub(super) fn new(snapshot: &'v MappedSnapshot, slots: impl RangeBounds<Slot>) -> Self {
        let is_plain = !snapshot.commit.options.checks_sums && !snapshot.reads_ahead();
        Self {
            source: Mapped { snapshot, ahead: Ahead::default() },
            steps: Steps::new(slots, snapshot.commit.end),
            tag: is_plain.then(|| snapshot.bounded_tag()),
        }
    }

    /// The next record in the file at the front, if it needs no special handling.
    #[inline]
    fn quick_step(&mut self) -> Option<Record<'v>> {
        let steps = &mut self.steps;
        let map = steps.front_file?;
        // The back may have entered this file.
        let end = steps.front_end.min(steps.back);
        while steps.front < end {
            let slot = Slot(steps.front);
            let entry = map.entry(slot.index_in_file());
            if entry != 0 {
                let stored = self.tag?.payload(map.records(), entry)?;
                steps.front += 1;
                return Some(Record::new(self.source.snapshot, slot, stored));
            }
            steps.front += 1;
        }
        None
    }

    /// Handles what the quick step does not: the first record, the first of a file, and damaged records.
    #[inline(never)]
    fn step(&mut self) -> Result<Option<Record<'v>>> {
        self.steps.step(&mut self.source, Way::Forward)
    }
}

impl<'v> Iterator for Range<'v> {
    type Item = Result<Record<'v>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.quick_step() {
            Some(record) => Some(Ok(record)),
            None => self.step().transpose(),
        }
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.steps.step(&mut self.source, Way::Backward).transpose()
    }
}

impl FusedIterator for Range<'_> {}
