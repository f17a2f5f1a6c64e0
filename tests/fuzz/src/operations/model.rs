//! The plain map, and the rules of puts.

use std::collections::BTreeMap;

use coldstore::{
    Checksums, ColumnSpec, Compression, Error, FileId, SLOTS_PER_FILE, Slot, WriterOptions,
};

use super::{FILES, Item, PLACES, Place, Value};

pub(super) type Records = BTreeMap<u64, Vec<u8>>;

pub(super) fn file_of(slot: u64) -> u64 {
    slot / SLOTS_PER_FILE
}

pub(super) fn places() -> impl DoubleEndedIterator<Item = u64> {
    FILES.into_iter().flat_map(|file| PLACES.map(|place| file * SLOTS_PER_FILE + place))
}

pub(super) struct Model {
    pub(super) snappy: bool,
    pub(super) backfill: bool,
    pub(super) bound: u64,
    pub(super) checksums: Checksums,
    /// They were kept of every record.
    pub(super) all_summed: bool,
    /// The records after each commit.
    pub(super) states: Vec<Records>,
}

impl Model {
    pub(super) fn records(&self) -> &Records {
        self.states.last().unwrap()
    }

    pub(super) fn highest(&self) -> Option<u64> {
        self.records().keys().next_back().copied()
    }

    pub(super) fn slot(&self, place: Place) -> u64 {
        let nth = |slots: &mut dyn Iterator<Item = u64>, n: u8| {
            let slots: Vec<u64> = slots.collect();
            slots.get(usize::from(n) % slots.len().max(1)).copied().unwrap_or(u64::from(n))
        };
        let above = |slot: &u64| self.highest().is_none_or(|highest| *slot > highest);
        let gap = |slot: &u64| !above(slot) && !self.records().contains_key(slot);
        match place {
            Place::At(n) => nth(&mut places(), n),
            Place::Above(n) => nth(&mut places().filter(above).take(6), n),
            Place::Gap(n) => nth(&mut places().rev().filter(gap), n),
            Place::Present(n) => nth(&mut self.records().keys().rev().copied(), n),
            Place::Slot(slot) => u64::from(slot) % (16 * SLOTS_PER_FILE),
            Place::NoSlot => u64::MAX,
        }
    }

    pub(super) fn items(&self, items: &[Item<'_>], ordered: bool) -> Vec<(Slot, Vec<u8>)> {
        let mut items: Vec<(Slot, Vec<u8>)> = items
            .iter()
            .take(8)
            .map(|item| {
                let slot = self.slot(item.place);
                let value = match item.value {
                    Value::Same => self.records().get(&slot).cloned().unwrap_or_default(),
                    Value::Bytes(bytes) => bytes.to_vec(),
                    Value::Filled(byte, count) => {
                        vec![byte; usize::from(count) % (self.bound as usize + 2)]
                    }
                };
                (Slot(slot), value)
            })
            .collect();
        if ordered {
            items.sort();
            items.dedup_by_key(|(slot, _)| *slot);
        }
        items
    }

    /// Whether an error is a true one for this batch; `None`: whether it must be accepted.
    pub(super) fn permits(
        &self,
        items: &[(Slot, Vec<u8>)],
        error: Option<&Error>,
        run: bool,
    ) -> bool {
        let highest = self.highest();
        let above = |slot: Slot| highest.is_none_or(|highest| slot.0 > highest);
        let gap = |slot: Slot| !above(slot) && !self.records().contains_key(&slot.0);
        let gaps: Vec<Slot> = items.iter().map(|(slot, _)| *slot).filter(|s| gap(*s)).collect();
        let ascending = items.is_sorted_by(|left, right| left.0 < right.0);
        let no_slot = items.iter().any(|(slot, _)| *slot > Slot::MAX);
        let is_long = |value: &[u8]| value.len() as u64 > self.bound;
        let long = items.iter().any(|(_, value)| is_long(value));
        let conflicts = |slot: Slot, value: &[u8]| {
            self.records().get(&slot.0).is_some_and(|held| *held != value)
        };
        let conflict = items.iter().any(|(slot, value)| conflicts(*slot, value));
        let mixed = !run && !gaps.is_empty() && items.iter().any(|(slot, _)| above(*slot));
        let mut sealed: Vec<FileId> = gaps.iter().map(|slot| slot.file_id()).collect();
        sealed.retain(|file_id| Some(file_id.0) != highest.map(file_of));
        sealed.sort_unstable();
        sealed.dedup();
        let spans = !run && sealed.len() > 1;
        let disabled = !self.backfill && !gaps.is_empty();
        match error {
            None => ascending && !no_slot && !long && !conflict && !mixed && !spans && !disabled,
            Some(Error::NotAscending { previous, slot }) => !ascending && previous >= slot,
            Some(Error::InvalidSlot) => no_slot,
            Some(Error::TooLarge { slot, limit, .. }) => {
                *limit == self.bound && items.iter().any(|item| item.0 == *slot && is_long(&item.1))
            }
            Some(Error::Conflict { slot }) => {
                items.iter().any(|item| item.0 == *slot && conflicts(*slot, &item.1))
            }
            Some(Error::BackfillDisabled { slot, .. }) => disabled && gap(*slot),
            Some(Error::MixedBatch { backfill, sequential }) => {
                mixed && gap(*backfill) && above(*sequential)
            }
            Some(Error::SpansFiles { files }) => spans && files[..] == sealed[..],
            Some(_) => false,
        }
    }

    pub(super) fn commit(&mut self, items: &[(Slot, Vec<u8>)]) -> u64 {
        let mut records = self.records().clone();
        for (slot, value) in items {
            records.entry(slot.0).or_insert_with(|| value.clone());
        }
        let written = records.len() - self.records().len();
        if written > 0 {
            self.states.push(records);
        }
        written as u64
    }

    pub(super) fn options(&self, backfill: bool) -> WriterOptions {
        let compression = if self.snappy { Compression::Snappy } else { Compression::None };
        let spec = ColumnSpec { record_type: [0x77, 0], compression, max_value_bytes: self.bound };
        WriterOptions::create(spec).allow_backfill(backfill).checksums(self.checksums)
    }
}
