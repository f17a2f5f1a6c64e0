//! Ranges of slots, in both directions.

use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

use crate::error::Result;
use crate::files::map::SlotMap;
use crate::read::record::Record;
use crate::read::view::Moment;
use crate::slot::{FileId, Slot};

/// The records of a range of slots, in either direction; made by
/// [`View::range`](crate::View::range).
///
/// Yields an error for a record that is damaged and goes on with the next one. A file that cannot
/// be read at all is one error, and the iterator goes on with the next file.
pub struct Range<'v> {
    moment: &'v Moment,
    /// The slots that are left: `front .. back`.
    front: u64,
    back: u64,
    /// The slots of `front_map` that are left, `front .. front_end`, and of `back_map`,
    /// `back_start .. back`. Empty where another file comes first.
    front_end: u64,
    back_start: u64,
    front_map: Option<&'v SlotMap>,
    back_map: Option<&'v SlotMap>,
    /// No record was looked at. The first may be all that is wanted; with the next one it is a
    /// scan, which the system's readahead serves.
    is_first: bool,
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
    pub(super) fn new(moment: &'v Moment, slots: impl RangeBounds<Slot>) -> Self {
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
        let back = back.min(moment.end());
        Self {
            moment,
            front,
            back,
            front_end: front,
            back_start: back,
            front_map: None,
            back_map: None,
            is_first: true,
        }
    }

    /// The first slot that was not passed on the way up, `None` behind the last possible one.
    pub(super) fn rest(&self) -> Option<Slot> {
        (self.front <= Slot::MAX.0).then_some(Slot(self.front))
    }

    /// The first id after `file_id` with files, or `None`.
    fn next_file(&self, file_id: FileId) -> Result<Option<FileId>> {
        let ids = self.moment.file_ids()?;
        Ok(ids.get(ids.partition_point(|id| *id <= file_id)).copied())
    }

    /// The last id before `file_id` with files, or `None`.
    fn previous_file(&self, file_id: FileId) -> Result<Option<FileId>> {
        let ids = self.moment.file_ids()?;
        let below = ids.partition_point(|id| *id < file_id);
        Ok(below.checked_sub(1).map(|index| ids[index]))
    }

    /// Moves the front into the next file with records; `None` at the end.
    fn enter_front(&mut self) -> Result<Option<&'v SlotMap>> {
        while self.front < self.back {
            let file_id = Slot(self.front).file_id();
            let map = match self.moment.file(file_id) {
                Ok(map) => map,
                Err(error) => {
                    // Not simply the next file: what fails for one may fail for all there could be.
                    let next = self.next_file(file_id).ok().flatten();
                    self.front = next.map_or(self.back, |next| next.first_slot().0.min(self.back));
                    return Err(error);
                }
            };
            if map.has_files() {
                self.front_end = self.back.min(file_id.last_slot().0 + 1);
                self.front_map = Some(map);
                return Ok(Some(map));
            }
            let next = self.next_file(file_id).inspect_err(|_| self.front = self.back)?;
            self.front = next.map_or(self.back, |next| next.first_slot().0.min(self.back));
        }
        Ok(None)
    }

    /// Moves the back into the next file with records; `None` at the end.
    fn enter_back(&mut self) -> Result<Option<&'v SlotMap>> {
        while self.front < self.back {
            let file_id = Slot(self.back - 1).file_id();
            let behind = |previous: FileId| self.front.max(previous.last_slot().0 + 1);
            let map = match self.moment.file(file_id) {
                Ok(map) => map,
                Err(error) => {
                    let previous = self.previous_file(file_id).ok().flatten();
                    self.back = previous.map_or(self.front, behind);
                    return Err(error);
                }
            };
            if map.has_files() {
                self.back_start = self.front.max(file_id.first_slot().0);
                self.back_map = Some(map);
                return Ok(Some(map));
            }
            let previous = match self.previous_file(file_id) {
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

    /// The next record in the file at the front, as long as there is nothing special about it.
    #[inline]
    fn quick_step(&mut self) -> Option<Record<'v>> {
        let map = self.front_map?;
        // The back may have come into this file.
        let end = self.front_end.min(self.back);
        while self.front < end {
            let slot = Slot(self.front);
            let entry = map.entry(slot.index_in_file());
            if entry != 0 {
                let stored = self.moment.quick_payload(map, entry)?;
                self.front += 1;
                return Some(Record::new(self.moment, slot, stored));
            }
            self.front += 1;
        }
        None
    }

    /// What the quick step leaves over: the first record, the first of a file, a damaged one.
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
                if let Some(record) = self.look(map, slot)? {
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
                if let Some(record) = self.look(map, Slot(self.back))? {
                    return Ok(Some(record));
                }
            }
        }
    }

    fn look(&mut self, map: &'v SlotMap, slot: Slot) -> Result<Option<Record<'v>>> {
        let entry = map.entry(slot.index_in_file());
        if entry == 0 {
            return Ok(None);
        }
        if std::mem::take(&mut self.is_first) {
            self.moment.touch(map, slot, entry);
        }
        let stored = self.moment.payload(map, slot, entry)?;
        Ok(stored.map(|stored| Record::new(self.moment, slot, stored)))
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
        self.step_back().transpose()
    }
}

impl FusedIterator for Range<'_> {}
