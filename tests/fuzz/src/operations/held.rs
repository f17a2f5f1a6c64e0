//! A view that is held while the column changes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, RangeBounds};

use coldstore::{FileId, SLOTS_PER_FILE, Slot, View};

use super::Edge;
use super::model::{Model, Records, file_of, places};

/// A view that is held, and what it has shown so far, by file.
pub(super) struct Held {
    pub(super) view: View,
    pub(super) taken: usize,
    pub(super) shown: BTreeMap<u64, Records>,
}

impl Held {
    pub(super) fn new(view: View, model: &Model) -> Self {
        Self { view, taken: model.states.len() - 1, shown: BTreeMap::new() }
    }

    pub(super) fn highest(&self, model: &Model) -> Option<u64> {
        model.states[self.taken].keys().next_back().copied()
    }

    /// Looks at every place in a file where there is or ever was a record, and some others.
    pub(super) fn look_at(&mut self, model: &Model, file: u64) {
        let mut slots: Vec<u64> = model.records().keys().copied().chain(places()).collect();
        slots.extend([file * SLOTS_PER_FILE + 77, u64::MAX]);
        slots.retain(|slot| file_of(*slot) == file);
        let mut shown = Records::new();
        for slot in slots {
            let found = self.view.get(Slot(slot)).unwrap();
            assert_eq!(self.view.contains(Slot(slot)).unwrap(), found.is_some());
            let mut read = vec![7];
            assert_eq!(self.view.pread_into(Slot(slot), &mut read).unwrap(), found.is_some());
            if let Some(value) = found {
                assert!(read == *value);
                assert_eq!(*self.view.owned(Slot(slot)).unwrap().unwrap(), *value);
                shown.insert(slot, value.into_owned());
            }
        }
        let highest = self.highest(model);
        let part = |records: &Records| -> Records {
            let visible = records.iter().filter(|(slot, _)| highest.is_some_and(|h| **slot <= h));
            visible
                .filter(|(slot, _)| file_of(**slot) == file)
                .map(|(slot, value)| (*slot, value.clone()))
                .collect()
        };
        let mut later = model.states[self.taken..].iter().map(part);
        let named = self.view.conf().named_len(FileId(file)).is_some();
        let right =
            if named { later.next() == Some(shown.clone()) } else { later.any(|s| s == shown) };
        assert!(right, "file {file} of a view of commit {}: {:?}", self.taken, shown.keys());
        if let Some(before) = self.shown.insert(file, shown.clone()) {
            assert!(before == shown, "file {file} of a held view changed");
        }
    }

    /// A scan shows what looking slot by slot shows, from whichever ends.
    pub(super) fn scan(&mut self, model: &Model, from: Edge, to: Edge, mut ends: u64) {
        let edge = |edge| match edge {
            Edge::Open => Bound::Unbounded,
            Edge::At(place) => Bound::Included(Slot(model.slot(place))),
            Edge::Beside(place) => Bound::Excluded(Slot(model.slot(place))),
        };
        let range = (edge(from), edge(to));
        let files: Vec<u64> = (0..16).collect();
        files.into_iter().for_each(|file| self.look_at(model, file));
        let mut expected: VecDeque<(u64, &Vec<u8>)> = self
            .shown
            .values()
            .flatten()
            .filter(|(slot, _)| RangeBounds::contains(&range, &Slot(**slot)))
            .map(|(slot, value)| (*slot, value))
            .collect();
        let mut scan = self.view.range(range);
        loop {
            let (found, wanted) = if ends & 1 == 0 {
                (scan.next(), expected.pop_front())
            } else {
                (scan.next_back(), expected.pop_back())
            };
            ends = ends.rotate_right(1);
            let found = found.map(|record| record.unwrap());
            assert_eq!(found.map(|record| record.slot().0), wanted.map(|(slot, _)| slot));
            let Some((record, (_, value))) = found.zip(wanted) else {
                break;
            };
            assert_eq!(*record.value().unwrap(), **value);
        }
    }

    pub(super) fn check(&mut self, model: &Model) {
        assert_eq!(self.view.highest_written_slot().map(|slot| slot.0), self.highest(model));
        self.scan(model, Edge::Open, Edge::Open, 0);
    }
}
