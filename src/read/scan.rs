//! Scans a range of slots in either direction.

use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

use crate::error::Result;
use crate::files::map::{Part, SlotMap};
use crate::format::record::BoundedTag;
use crate::read::prefetch::PIECE_BYTES;
use crate::read::record::Record;
use crate::read::snapshot::Snapshot;
use crate::slot::{FileId, Slot};

/// An iterator over the records of a range of slots, in either direction; created by
/// [`View::range`](crate::View::range).
///
/// Yields an error for a damaged record and resumes with the next record. An unreadable file is one error,
/// and the iterator resumes with the next file.
pub struct Range<'v> {
    snapshot: &'v Snapshot,
    /// The remaining slots: `front .. back`.
    front: u64,
    back: u64,
    /// The remaining slots of `front_map` are `front .. front_end`, and of `back_map` `back_start .. back`.
    /// Empty if another file comes first.
    front_end: u64,
    back_start: u64,
    /// The header that the quick step accepts; `None` if every record needs more work.
    tag: Option<BoundedTag>,
    front_map: Option<&'v SlotMap>,
    back_map: Option<&'v SlotMap>,
    /// No record was returned yet. The first may be a point read; from the second on it is a scan, which
    /// readahead serves.
    is_first: bool,
    /// The offset up to which the file at the front is prefetched, if the kernel does not read ahead.
    prefetched_to: u64,
}

impl std::fmt::Debug for Range<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range")
            .field("front", &self.front)
            .field("back", &self.back)
            .finish_non_exhaustive()
    }
}

impl<'v> Range<'v> {
    pub(super) fn new(snapshot: &'v Snapshot, slots: impl RangeBounds<Slot>) -> Self {
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
        let back = back.min(snapshot.end);
        let is_plain = !snapshot.options.checks_sums && !snapshot.reads_ahead();
        Self {
            snapshot,
            front,
            back,
            front_end: front,
            back_start: back,
            tag: is_plain.then(|| snapshot.bounded_tag()),
            front_map: None,
            back_map: None,
            is_first: true,
            prefetched_to: 0,
        }
    }

    /// The first slot that the forward scan has not passed; `None` past [`Slot::MAX`].
    pub(super) fn rest(&self) -> Option<Slot> {
        (self.front <= Slot::MAX.0).then_some(Slot(self.front))
    }

    /// Moves the front into the next file with records; `None` at the end.
    fn enter_front(&mut self) -> Result<Option<&'v SlotMap>> {
        while self.front < self.back {
            let file_id = Slot(self.front).file_id();
            let map = match self.snapshot.file(file_id) {
                Ok(map) => map,
                Err(error) => {
                    // Skip to the next listed file: an error that affects every file would otherwise be
                    // repeated for every possible id.
                    let next = self.snapshot.file_after(file_id).ok().flatten();
                    self.front = next.map_or(self.back, |next| next.first_slot().0.min(self.back));
                    return Err(error);
                }
            };
            if map.has_files() {
                self.front_end = self.back.min(file_id.last_slot().0 + 1);
                self.front_map = Some(map);
                self.prefetched_to = 0;
                return Ok(Some(map));
            }
            let next = self.snapshot.file_after(file_id).inspect_err(|_| self.front = self.back)?;
            self.front = next.map_or(self.back, |next| next.first_slot().0.min(self.back));
        }
        Ok(None)
    }

    /// Moves the back into the next file with records; `None` at the end.
    fn enter_back(&mut self) -> Result<Option<&'v SlotMap>> {
        while self.front < self.back {
            let file_id = Slot(self.back - 1).file_id();
            let behind = |previous: FileId| self.front.max(previous.last_slot().0 + 1);
            let map = match self.snapshot.file(file_id) {
                Ok(map) => map,
                Err(error) => {
                    let previous = self.snapshot.file_before(file_id).ok().flatten();
                    self.back = previous.map_or(self.front, behind);
                    return Err(error);
                }
            };
            if map.has_files() {
                self.back_start = self.front.max(file_id.first_slot().0);
                self.back_map = Some(map);
                return Ok(Some(map));
            }
            let previous = match self.snapshot.file_before(file_id) {
                Ok(previous) => previous,
                Err(error) => {
                    self.back = self.front;
                    return Err(error);
                }
            };
            self.back = previous.map_or(self.front, behind);
        }
        Ok(None)
    }

    /// The next record in the file at the front, if it needs no special handling.
    #[inline]
    fn quick_step(&mut self) -> Option<Record<'v>> {
        let map = self.front_map?;
        // The back may have entered this file.
        let end = self.front_end.min(self.back);
        while self.front < end {
            let slot = Slot(self.front);
            let entry = map.entry(slot.index_in_file());
            if entry != 0 {
                let stored = self.tag?.payload(map.records(), entry)?;
                self.front += 1;
                return Some(Record::new(self.snapshot, slot, stored));
            }
            self.front += 1;
        }
        None
    }

    /// Handles what the quick step does not: the first record, the first of a file, and damaged records.
    #[inline(never)]
    fn step(&mut self) -> Result<Option<Record<'v>>> {
        loop {
            let map = match self.front_map {
                Some(map) if self.front < self.front_end.min(self.back) => map,
                _ => match self.enter_front()? {
                    Some(map) => map,
                    None => return Ok(None),
                },
            };
            while self.front < self.front_end.min(self.back) {
                let slot = Slot(self.front);
                self.front += 1;
                if let Some(record) = self.look(map, slot, Way::Forward)? {
                    return Ok(Some(record));
                }
            }
        }
    }

    fn step_back(&mut self) -> Result<Option<Record<'v>>> {
        loop {
            let map = match self.back_map {
                Some(map) if self.back > self.back_start.max(self.front) => map,
                _ => match self.enter_back()? {
                    Some(map) => map,
                    None => return Ok(None),
                },
            };
            while self.back > self.back_start.max(self.front) {
                self.back -= 1;
                if let Some(record) = self.look(map, Slot(self.back), Way::Backward)? {
                    return Ok(Some(record));
                }
            }
        }
    }

    fn look(&mut self, map: &'v SlotMap, slot: Slot, way: Way) -> Result<Option<Record<'v>>> {
        let entry = map.entry(slot.index_in_file());
        if entry == 0 {
            return Ok(None);
        }
        let snapshot = self.snapshot;
        if std::mem::take(&mut self.is_first) {
            if snapshot.prefetches {
                snapshot.touch(map, slot, entry, Part::Header);
            }
            let stored = snapshot.payload(map, slot, entry)?;
            return Ok(stored.map(|stored| Record::with_header(snapshot, slot, stored)));
        }
        match way {
            Way::Forward if snapshot.reads_ahead() => self.read_ahead(map, entry),
            Way::Backward if snapshot.reads_ahead() && snapshot.prefetches => {
                snapshot.touch(map, slot, entry, Part::Whole);
            }
            _ => {}
        }
        let stored = snapshot.payload(map, slot, entry)?;
        Ok(stored.map(|stored| Record::new(snapshot, slot, stored)))
    }

    /// Prefetches ahead of a scan, by at least half a piece before each record that is read.
    fn read_ahead(&mut self, map: &SlotMap, entry: u64) {
        let wanted = entry.saturating_add(PIECE_BYTES / 2);
        if wanted > self.prefetched_to {
            let end = entry.saturating_add(PIECE_BYTES);
            map.prefetch(entry.max(self.prefetched_to)..end);
            self.prefetched_to = end;
        }
    }
}

/// The direction of a scan.
#[derive(Clone, Copy)]
enum Way {
    Forward,
    Backward,
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
        self.step_back().transpose()
    }
}

impl FusedIterator for Range<'_> {}
