//! Which states an archive holds: whole in `bss`, or as diffs in `bsd`.

use coldstore::{Result, Slot, Snapshot};

/// The states of an archive, by slot. This is the one place that decides whether a state is there.
///
/// A diff counts even if its base is missing: it is there, and reading it says what it lacks.
#[derive(Debug)]
pub struct Stored<'a, S> {
    snapshots: Option<&'a S>,
    diffs: Option<&'a S>,
}

impl<S> Clone for Stored<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Stored<'_, S> {}

impl<'a, S: Snapshot> Stored<'a, S> {
    /// The states in these snapshots of `bss` and `bsd`, as far as the archive has the columns.
    #[must_use]
    pub fn new(snapshots: Option<&'a S>, diffs: Option<&'a S>) -> Self {
        Self { snapshots, diffs }
    }

    fn columns(&self) -> impl Iterator<Item = &'a S> + use<'a, S> {
        self.snapshots.into_iter().chain(self.diffs)
    }

    /// Whether the state of a slot is stored.
    ///
    /// # Errors
    /// Those of the snapshots.
    pub fn contains(&self, slot: Slot) -> Result<bool> {
        for column in self.columns() {
            if column.contains(slot)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the state of a slot is stored whole.
    ///
    /// # Errors
    /// Those of the snapshot.
    pub fn is_whole(&self, slot: Slot) -> Result<bool> {
        self.snapshots.map_or(Ok(false), |snapshots| snapshots.contains(slot))
    }

    /// The last slot up to this one whose state is stored.
    ///
    /// # Errors
    /// Those of the snapshots.
    pub fn last_to(&self, slot: Slot) -> Result<Option<Slot>> {
        let mut last = None;
        for column in self.columns() {
            last = last.max(column.last_to(slot)?);
        }
        Ok(last)
    }

    /// The first slot from this one on whose state is stored.
    ///
    /// # Errors
    /// Those of the snapshots.
    pub fn first_from(&self, slot: Slot) -> Result<Option<Slot>> {
        let mut first: Option<Slot> = None;
        for column in self.columns() {
            first = first.into_iter().chain(column.first_from(slot)?).min();
        }
        Ok(first)
    }

    /// The highest slot whose state is stored.
    #[must_use]
    pub fn highest(&self) -> Option<Slot> {
        self.columns().filter_map(Snapshot::highest_written_slot).max()
    }

    /// The slots of a range whose states are stored, ascending.
    ///
    /// # Errors
    /// Those of the snapshots; nothing follows one.
    pub fn slots(
        &self,
        first: Slot,
        last: Slot,
    ) -> impl Iterator<Item = Result<Slot>> + use<'a, S> {
        let stored = *self;
        let mut next = Some(first);
        std::iter::from_fn(move || {
            let found = stored.first_from(next.take()?);
            if let Ok(found) = found {
                next = found.and_then(Slot::next);
            }
            found.map(|found| found.filter(|slot| *slot <= last)).transpose()
        })
    }
}

#[cfg(test)]
mod tests {
    use coldstore::{Column, Reader, ReaderOptions, Writer, WriterOptions};

    use super::*;

    #[test]
    fn a_state_is_stored_if_either_column_has_it() {
        let scratch = tempfile::tempdir().unwrap();
        let [snapshots, diffs] = [(Column::StateSnapshots, [4, 20]), (Column::StateDiffs, [8, 30])]
            .map(|(column, slots)| {
                let path = scratch.path().join(column.dir_name());
                let mut writer = Writer::open(&path, WriterOptions::create(column.spec())).unwrap();
                writer.put_batch(&slots.map(|slot| (Slot(slot), "state"))).unwrap();
                drop(writer);
                Reader::open(&path, ReaderOptions::default()).unwrap().view()
            });
        let stored = Stored::new(Some(&snapshots), Some(&diffs));
        let is_there = |slot| stored.contains(Slot(slot)).unwrap();
        assert_eq!([4, 8, 9, 20, 30].map(is_there), [true, true, false, true, true]);
        assert!(stored.is_whole(Slot(4)).unwrap() && !stored.is_whole(Slot(8)).unwrap());
        let last_to = |slot| stored.last_to(Slot(slot)).unwrap().map(|slot| slot.0);
        assert_eq!([3, 7, 8, 25, 99].map(last_to), [None, Some(4), Some(8), Some(20), Some(30)]);
        let first_from = |slot| stored.first_from(Slot(slot)).unwrap().map(|slot| slot.0);
        assert_eq!(
            [0, 5, 21, 30, 31].map(first_from),
            [Some(4), Some(8), Some(30), Some(30), None]
        );
        assert_eq!(stored.highest(), Some(Slot(30)));
        let slots = |first, last| {
            stored.slots(Slot(first), Slot(last)).map(|slot| slot.unwrap().0).collect::<Vec<_>>()
        };
        assert_eq!(slots(0, 99), [4, 8, 20, 30]);
        assert_eq!(slots(5, 20), [8, 20]);
        let whole = Stored::new(Some(&snapshots), None);
        assert_eq!((whole.highest(), whole.contains(Slot(8)).unwrap()), (Some(Slot(20)), false));
        let none = Stored::new(None, None::<&coldstore::PreadView>);
        assert_eq!((none.highest(), none.last_to(Slot(9)).unwrap()), (None, None));
    }
}
