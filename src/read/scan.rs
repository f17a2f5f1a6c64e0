//! Ranges of slots, in both directions.

use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

use crate::error::Result;
use crate::files::map::SlotMap;
use crate::read::record::Record;
use crate::read::view::Moment;
use crate::slot::{FileId, Slot};

/// The records of a range of slots; made by [`View::range`](crate::View::range).
///
/// Yields an error for a record that is damaged and goes on with the next one. A file that cannot
/// be read at all is one error, and the iterator goes on with the next file.
pub struct Range<'v> {
    moment: &'v Moment,
    /// The slots that are left: `front .. back`.
    front: u64,
    back: u64,
    front_file: Option<(FileId, &'v SlotMap)>,
    back_file: Option<(FileId, &'v SlotMap)>,
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
        Self { moment, front, back, front_file: None, back_file: None }
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

    fn finish(&mut self) {
        self.back = self.front;
    }

    /// Moves the front into a file with records and returns its map; `None` at the end.
    fn front_map(&mut self) -> Result<Option<(FileId, &'v SlotMap)>> {
        while self.front < self.back {
            let file_id = Slot(self.front).file_id();
            if let Some((cached, map)) = self.front_file
                && cached == file_id
            {
                return Ok(Some((file_id, map)));
            }
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
                self.front_file = Some((file_id, map));
                return Ok(Some((file_id, map)));
            }
            match self.next_file(file_id).inspect_err(|_| self.finish())? {
                Some(next) => self.front = next.first_slot().0.min(self.back),
                None => self.front = self.back,
            }
        }
        Ok(None)
    }

    /// Moves the back into a file with records and returns its map; `None` at the end.
    fn back_map(&mut self) -> Result<Option<(FileId, &'v SlotMap)>> {
        while self.front < self.back {
            let file_id = Slot(self.back - 1).file_id();
            if let Some((cached, map)) = self.back_file
                && cached == file_id
            {
                return Ok(Some((file_id, map)));
            }
            let map = match self.moment.file(file_id) {
                Ok(map) => map,
                Err(error) => {
                    let previous = self.previous_file(file_id).ok().flatten();
                    self.back = previous
                        .map_or(self.front, |previous| self.front.max(previous.last_slot().0 + 1));
                    return Err(error);
                }
            };
            if map.has_files() {
                self.back_file = Some((file_id, map));
                return Ok(Some((file_id, map)));
            }
            match self.previous_file(file_id).inspect_err(|_| self.finish())? {
                Some(previous) => self.back = self.front.max(previous.last_slot().0 + 1),
                None => self.finish(),
            }
        }
        Ok(None)
    }

    fn step(&mut self) -> Result<Option<Record<'v>>> {
        while let Some((file_id, map)) = self.front_map()? {
            let end = self.back.min(file_id.last_slot().0 + 1);
            while self.front < end {
                let slot = Slot(self.front);
                self.front += 1;
                let entry = map.entry(slot.index_in_file());
                if entry != 0
                    && let Some(stored) = self.moment.payload(map, slot, entry)?
                {
                    return Ok(Some(Record::new(self.moment, slot, stored)));
                }
            }
        }
        Ok(None)
    }

    fn step_back(&mut self) -> Result<Option<Record<'v>>> {
        while let Some((file_id, map)) = self.back_map()? {
            let start = self.front.max(file_id.first_slot().0);
            while self.back > start {
                self.back -= 1;
                let slot = Slot(self.back);
                let entry = map.entry(slot.index_in_file());
                if entry != 0
                    && let Some(stored) = self.moment.payload(map, slot, entry)?
                {
                    return Ok(Some(Record::new(self.moment, slot, stored)));
                }
            }
        }
        Ok(None)
    }
}

impl<'v> Iterator for Range<'v> {
    type Item = Result<Record<'v>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step_back().transpose()
    }
}

impl FusedIterator for Range<'_> {}
