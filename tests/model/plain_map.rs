//! The model: a plain map.

use super::*;

pub(crate) type Records = BTreeMap<u64, Arc<[u8]>>;

/// What the column should be.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) backfill: bool,
    pub(crate) bound: u64,
    /// The records after each commit, the first being the empty column.
    pub(crate) states: Vec<Records>,
}

/// What a refusal was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotAscending,
    InvalidSlot,
    TooLarge,
    Conflict,
    BackfillDisabled,
    MixedBatch,
    SpansFiles,
}

pub(crate) type Item = (Slot, Vec<u8>);

impl Model {
    pub(crate) fn records(&self) -> &Records {
        self.states.last().unwrap()
    }

    pub(crate) fn highest(&self) -> Option<u64> {
        self.records().keys().next_back().copied()
    }

    pub(crate) fn is_above(&self, slot: u64) -> bool {
        self.highest().is_none_or(|highest| slot > highest)
    }

    pub(crate) fn is_gap(&self, slot: u64) -> bool {
        !self.is_above(slot) && !self.records().contains_key(&slot)
    }

    pub(crate) fn resolve(&self, pick: &Pick) -> u64 {
        let nth = |slots: &mut dyn Iterator<Item = u64>, n: usize| {
            let slots: Vec<u64> = slots.collect();
            let fallback = slot_at(n % PLACE_COUNT);
            slots.get(n % slots.len().max(1)).copied().unwrap_or(fallback)
        };
        match *pick {
            Pick::Place(place) => slot_at(place),
            Pick::Above(n) => nth(&mut all_slots().filter(|slot| self.is_above(*slot)).take(6), n),
            Pick::Gap(n) => nth(&mut all_slots().rev().filter(|slot| self.is_gap(*slot)), n),
            Pick::Present(n) => nth(&mut self.records().keys().rev().copied(), n),
            Pick::NoSlot => u64::MAX,
        }
    }

    pub(crate) fn item(&self, (pick, content): &Pair) -> Item {
        let slot = self.resolve(pick);
        let present = self.records().get(&slot);
        let value = match (content, present) {
            (Content::Same, Some(value)) => value.to_vec(),
            (Content::Same, None) => bytes_from(slot, 8),
            (Content::New(seed, length), _) => {
                let byte_len = match *length {
                    Length::Small(byte_len) => byte_len,
                    Length::Below(bytes) => usize::try_from(self.bound - bytes).unwrap(),
                    Length::Above(bytes) => usize::try_from(self.bound + bytes).unwrap(),
                };
                bytes_from(slot ^ (u64::from(*seed) << 40), byte_len)
            }
        };
        (Slot(slot), value)
    }

    pub(crate) fn items(&self, pairs: &[Pair], ordered: bool) -> Vec<Item> {
        let mut items: Vec<Item> = pairs.iter().map(|pair| self.item(pair)).collect();
        if ordered {
            items.sort();
            items.dedup_by_key(|(slot, _)| *slot);
        }
        items
    }

    /// Every reason for which a batch may be refused; none: it must be accepted.
    pub(crate) fn refusals(&self, items: &[Item]) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        if items.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            refusals.push(Refusal::NotAscending);
        }
        if items.iter().any(|(slot, _)| slot.0 == u64::MAX) {
            refusals.push(Refusal::InvalidSlot);
        }
        if items.iter().any(|(_, value)| value.len() as u64 > self.bound) {
            refusals.push(Refusal::TooLarge);
        }
        if items.iter().any(|(slot, value)| self.conflicts(*slot, value)) {
            refusals.push(Refusal::Conflict);
        }
        let gaps = || items.iter().filter(|(slot, _)| self.is_gap(slot.0));
        if gaps().next().is_some() {
            if !self.backfill {
                refusals.push(Refusal::BackfillDisabled);
            }
            if items.iter().any(|(slot, _)| self.is_above(slot.0)) {
                refusals.push(Refusal::MixedBatch);
            }
            if self.files_besides_the_current(items).len() > 1 {
                refusals.push(Refusal::SpansFiles);
            }
        }
        refusals
    }

    pub(crate) fn files_besides_the_current(&self, items: &[Item]) -> Vec<u64> {
        let current = self.highest().map(file_of);
        let mut files: Vec<u64> = items
            .iter()
            .filter(|(slot, _)| self.is_gap(slot.0))
            .map(|(slot, _)| file_of(slot.0))
            .filter(|file| Some(*file) != current)
            .collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    pub(crate) fn conflicts(&self, slot: Slot, value: &[u8]) -> bool {
        self.records().get(&slot.0).is_some_and(|present| present[..] != *value)
    }

    /// Items that would be written.
    pub(crate) fn new_items(&self, items: &[Item]) -> u64 {
        items.iter().filter(|(slot, _)| !self.records().contains_key(&slot.0)).count() as u64
    }

    pub(crate) fn commit(&mut self, items: &[Item]) {
        let mut records = self.records().clone();
        for (slot, value) in items {
            records.entry(slot.0).or_insert_with(|| value.as_slice().into());
        }
        if records.len() > self.records().len() {
            self.states.push(records);
        }
    }

    /// Checks that an error is one of those expected and says the truth.
    #[track_caller]
    pub(crate) fn check_refusal(&self, error: &Error, items: &[Item], expected: &[Refusal]) {
        let gap = |slot: Slot| self.is_gap(slot.0);
        let above = |slot: Slot| self.is_above(slot.0);
        let refusal = match error {
            Error::NotAscending { previous, slot } => {
                assert!(items.windows(2).any(|pair| pair[0].0 == *previous && pair[1].0 == *slot));
                assert!(previous >= slot);
                Refusal::NotAscending
            }
            Error::InvalidSlot => Refusal::InvalidSlot,
            Error::TooLarge { slot, byte_len, at_least, limit, .. } => {
                assert_eq!(*limit, self.bound);
                let told = |len: u64| {
                    if *at_least { len >= *byte_len } else { len == *byte_len }
                };
                assert!(*byte_len > self.bound);
                assert!(items.iter().any(|(s, value)| s == slot && told(value.len() as u64)));
                Refusal::TooLarge
            }
            Error::Conflict { slot } => {
                assert!(items.iter().any(|(s, value)| s == slot && self.conflicts(*s, value)));
                Refusal::Conflict
            }
            Error::BackfillDisabled { slot, highest } => {
                assert!(gap(*slot) && items.iter().any(|(s, _)| s == slot));
                assert_eq!(Some(highest.0), self.highest());
                Refusal::BackfillDisabled
            }
            Error::MixedBatch { backfill, sequential } => {
                let first = |wanted: &dyn Fn(Slot) -> bool| {
                    items.iter().map(|(slot, _)| *slot).find(|slot| wanted(*slot))
                };
                assert_eq!(first(&gap), Some(*backfill));
                assert_eq!(first(&above), Some(*sequential));
                Refusal::MixedBatch
            }
            Error::SpansFiles { files } => {
                let files: Vec<u64> = files.iter().map(|file| file.0).collect();
                assert_eq!(files, self.files_besides_the_current(items));
                Refusal::SpansFiles
            }
            other => panic!("refused with {other:?}, expected {expected:?}"),
        };
        assert!(expected.contains(&refusal), "refused with {error:?}, expected {expected:?}");
    }
}
