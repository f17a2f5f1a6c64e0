//! Any sequence of operations on a column against a plain map.
//!
//! The model knows nothing of files but that 8192 slots share one. What it says of a view is
//! `FORMAT.md`, section 7: of the files that its conf names a view shows the very state in which
//! it was taken; of every other file one committed state at least as new as the view, the same one
//! from the first look on.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use coldstore::format::conf::Conf;
use coldstore::verify::{VerifyOptions, verify_column};
use coldstore::{
    Checksums, ColumnSpec, Committed, Compression, Error, FileId, HealAction, HealChange,
    MappedReader, SLOTS_PER_FILE, Slot, View, Writer, WriterOptions, inspect,
};

use super::scratch;

/// Operations of one input: enough for every pair of them, few enough for many inputs a second.
const MAX_OPERATIONS: usize = 48;
/// Files 3 and 4 are skipped unless a slot is named that lies there.
const FILES: [u64; 5] = [0, 1, 2, 5, 6];
const PLACES: [u64; 7] = [0, 1, 2, 4_000, 4_001, 8_190, 8_191];

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    snappy: bool,
    backfill: bool,
    bound: u16,
    /// The lower bits: see `open_reader_with`; then whether checksums are kept, and compared.
    access: u8,
    operations: Vec<Operation<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Operation<'a> {
    Put(Item<'a>),
    /// In the order of their slots.
    Batch(Vec<Item<'a>>),
    /// As they come.
    Unordered(Vec<Item<'a>>),
    Stored(Vec<Item<'a>>),
    Run(Vec<Item<'a>>),
    /// From a stream that promises so many bytes more or less than it has.
    Stream(Item<'a>, i8),
    Contains(Place),
    Refresh,
    Hold,
    LetGo(u8),
    Look(u8, Place),
    Scan {
        held: u8,
        from: Edge,
        to: Edge,
        ends: u64,
    },
    Reopen(Reopen),
    /// The process dies, and leaves this behind the committed bytes.
    Crash {
        garbage: &'a [u8],
        tmp: bool,
        next_file: bool,
        reopen: Reopen,
    },
    Verify,
}

#[derive(Arbitrary, Debug)]
struct Reopen {
    backfill: bool,
    /// By how much the bound grows, and whether checksums are kept from now on.
    raise: u8,
}

#[derive(Arbitrary, Debug)]
struct Item<'a> {
    place: Place,
    value: Value<'a>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Place {
    At(u8),
    /// So many places above the highest slot.
    Above(u8),
    /// The n-th place without a record below the highest slot, from above.
    Gap(u8),
    /// The n-th record, from above.
    Present(u8),
    /// Any slot of the first 16 files.
    Slot(u32),
    NoSlot,
}

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    /// What is there already.
    Same,
    Bytes(&'a [u8]),
    Filled(u8, u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Edge {
    Open,
    At(Place),
    Beside(Place),
}

type Records = BTreeMap<u64, Vec<u8>>;

fn file_of(slot: u64) -> u64 {
    slot / SLOTS_PER_FILE
}

fn places() -> impl DoubleEndedIterator<Item = u64> {
    FILES.into_iter().flat_map(|file| PLACES.map(|place| file * SLOTS_PER_FILE + place))
}

struct Model {
    snappy: bool,
    backfill: bool,
    bound: u64,
    checksums: Checksums,
    /// They were kept of every record.
    all_summed: bool,
    /// The records after each commit.
    states: Vec<Records>,
}

impl Model {
    fn records(&self) -> &Records {
        self.states.last().unwrap()
    }

    fn highest(&self) -> Option<u64> {
        self.records().keys().next_back().copied()
    }

    fn slot(&self, place: Place) -> u64 {
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

    fn items(&self, items: &[Item<'_>], ordered: bool) -> Vec<(Slot, Vec<u8>)> {
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
    fn permits(&self, items: &[(Slot, Vec<u8>)], error: Option<&Error>, run: bool) -> bool {
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

    fn commit(&mut self, items: &[(Slot, Vec<u8>)]) -> u64 {
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

    fn options(&self, backfill: bool) -> WriterOptions {
        let compression = if self.snappy { Compression::Snappy } else { Compression::None };
        let spec = ColumnSpec { record_type: [0x77, 0], compression, max_value_bytes: self.bound };
        WriterOptions::create(spec).allow_backfill(backfill).checksums(self.checksums)
    }
}

/// A view that is held, and what it has shown so far, by file.
struct Held {
    view: View,
    taken: usize,
    shown: BTreeMap<u64, Records>,
}

impl Held {
    fn new(view: View, model: &Model) -> Self {
        Self { view, taken: model.states.len() - 1, shown: BTreeMap::new() }
    }

    fn highest(&self, model: &Model) -> Option<u64> {
        model.states[self.taken].keys().next_back().copied()
    }

    /// Looks at every place in a file where there is or ever was a record, and some others.
    fn look_at(&mut self, model: &Model, file: u64) {
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
    fn scan(&mut self, model: &Model, from: Edge, to: Edge, mut ends: u64) {
        let edge = |edge| match edge {
            Edge::Open => Bound::Unbounded,
            Edge::At(place) => Bound::Included(Slot(model.slot(place))),
            Edge::Beside(place) => Bound::Excluded(Slot(model.slot(place))),
        };
        let range = (edge(from), edge(to));
        let files: Vec<u64> = (0..16).collect();
        files.into_iter().for_each(|file| self.look_at(model, file));
        let mut expected: std::collections::VecDeque<(u64, &Vec<u8>)> = self
            .shown
            .values()
            .flatten()
            .filter(|(slot, _)| std::ops::RangeBounds::contains(&range, &Slot(**slot)))
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

    fn check(&mut self, model: &Model) {
        assert_eq!(self.view.highest_written_slot().map(|slot| slot.0), self.highest(model));
        self.scan(model, Edge::Open, Edge::Open, 0);
    }
}

struct Column<'a> {
    directory: &'a Path,
    model: Model,
    writer: Option<Writer>,
    /// A reader like one in another process: it stays while writers come and go.
    reader: MappedReader,
    held: Vec<Held>,
}

pub fn run(data: &[u8]) {
    let Ok(case) = Case::arbitrary(&mut Unstructured::new(data)) else {
        return;
    };
    let scratch = scratch::scratch();
    let directory = scratch.path().join("column");
    let bound = u64::from(case.bound % 512) + 1;
    let states = vec![Records::new()];
    let keeps = case.access & 32 != 0;
    let model = Model {
        snappy: case.snappy,
        backfill: case.backfill,
        bound,
        checksums: if keeps { Checksums::On } else { Checksums::Off },
        all_summed: keeps,
        states,
    };
    let writer = Writer::open(&directory, model.options(case.backfill)).unwrap();
    let reader = if case.access & 64 == 0 {
        scratch::open_reader_with(&directory, case.access & 31)
    } else {
        scratch::open_checking_reader(&directory, case.access & 31)
    };
    let reader = reader.unwrap();
    let writer = Some(writer);
    let mut column = Column { directory: &directory, model, writer, reader, held: Vec::new() };
    for operation in case.operations.iter().take(MAX_OPERATIONS) {
        column.step(operation);
    }
    column.refresh();
    for held in &mut column.held {
        held.check(&column.model);
    }
    column.verify();
}

impl Column<'_> {
    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().unwrap()
    }

    fn step(&mut self, operation: &Operation<'_>) {
        match operation {
            Operation::Put(item) => {
                let items = self.model.items(std::slice::from_ref(item), true);
                self.put(&items, |writer| writer.put(items[0].0, &items[0].1));
            }
            Operation::Batch(items) => {
                let items = self.model.items(items, true);
                self.put(&items, |writer| writer.put_batch(&items));
            }
            Operation::Unordered(items) => {
                let items = self.model.items(items, false);
                self.put(&items, |writer| writer.put_batch(&items));
            }
            Operation::Stored(items) => {
                let items = self.model.items(items, true);
                let stored: Vec<_> =
                    items.iter().map(|(slot, value)| (*slot, self.stored(value))).collect();
                self.put(&items, |writer| writer.put_stored_batch(&stored));
            }
            Operation::Run(items) => self.run(&self.model.items(items, true)),
            Operation::Stream(item, more) => self.stream(item, *more),
            Operation::Contains(place) => {
                let slot = self.model.slot(*place);
                let there = self.model.records().contains_key(&slot);
                assert_eq!(self.writer().contains(Slot(slot)).unwrap(), there);
            }
            Operation::Refresh => self.refresh(),
            Operation::Hold => {
                let view = self.reader.refresh().unwrap();
                self.held.push(Held::new(view, &self.model));
            }
            Operation::LetGo(index) if !self.held.is_empty() => {
                self.held.remove(usize::from(*index) % self.held.len());
            }
            Operation::Look(index, place) => {
                let file = file_of(self.model.slot(*place));
                if let Some(held) = nth(&mut self.held, *index) {
                    held.look_at(&self.model, file);
                }
            }
            Operation::Scan { held, from, to, ends } => {
                if let Some(held) = nth(&mut self.held, *held) {
                    held.scan(&self.model, *from, *to, *ends);
                }
            }
            Operation::LetGo(_) => {}
            Operation::Reopen(reopen) => {
                self.writer = None;
                // A run that was refused may have named a file that it was about to make.
                let is_unmade =
                    |action: &HealAction| matches!(action.change, HealChange::DroppedBackfillFile);
                let found = inspect(self.directory).unwrap();
                assert!(found.actions.iter().all(is_unmade), "{found:?}");
                self.open(reopen);
                assert_eq!(*self.writer().heal_report(), found);
            }
            Operation::Crash { garbage, tmp, next_file, reopen } => {
                self.crash(garbage, *tmp, *next_file);
                self.refresh();
                self.open(reopen);
                self.refresh();
            }
            Operation::Verify => self.verify(),
        }
    }

    fn stored(&self, value: &[u8]) -> Vec<u8> {
        if !self.model.snappy || value.is_empty() {
            return value.to_vec();
        }
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(value).unwrap();
        encoder.into_inner().unwrap()
    }

    fn put(
        &mut self,
        items: &[(Slot, Vec<u8>)],
        put: impl FnOnce(&mut Writer) -> coldstore::Result<Committed>,
    ) {
        match put(self.writer()) {
            Ok(committed) => {
                assert!(self.model.permits(items, None, false), "accepted: {items:?}");
                assert_eq!(committed.written, self.model.commit(items));
                assert_eq!(committed.written + committed.unchanged, items.len() as u64);
            }
            Err(error) => {
                assert!(self.model.permits(items, Some(&error), false), "{error}: {items:?}");
            }
        }
        self.check_writer();
    }

    fn run(&mut self, items: &[(Slot, Vec<u8>)]) {
        let (reader, mut told) = (self.reader.clone(), 0);
        let outcome = self.writer().put_bulk(items, |commit| {
            let view = reader.refresh().unwrap();
            assert!(view.contains(commit.first).unwrap() && view.contains(commit.last).unwrap());
            told += commit.records;
        });
        let (done, error) = match outcome {
            Ok(done) => (done, None),
            Err(error) => (error.done, Some(error.error)),
        };
        let count = (done.written + done.unchanged) as usize;
        assert_eq!(told as usize, count);
        assert_eq!(done.last, items[..count].last().map(|(slot, _)| *slot));
        assert!(self.model.permits(items, error.as_ref(), true), "{error:?}: {items:?}");
        assert!(error.is_some() || count == items.len());
        // A run is several commits: one of a view's states may be any of them.
        let mut written = 0;
        for part in items[..count].chunk_by(|l, r| file_of(l.0.0) == file_of(r.0.0)) {
            let highest = self.model.highest();
            let gaps = part.partition_point(|(slot, _)| Some(slot.0) <= highest);
            written += self.model.commit(&part[..gaps]);
        }
        written += self.model.commit(&items[..count]);
        assert_eq!(written, done.written);
        self.check_writer();
    }

    fn stream(&mut self, item: &Item<'_>, more: i8) {
        let items = self.model.items(std::slice::from_ref(item), true);
        let (slot, value) = &items[0];
        let byte_len = (value.len() as u64).saturating_add_signed(i64::from(more));
        if byte_len <= value.len() as u64 {
            let cut = vec![(*slot, value[..byte_len as usize].to_vec())];
            self.put(&cut, |writer| writer.put_from(*slot, byte_len, &mut &value[..]));
            return;
        }
        // The stream ends too early: nothing is put, and the writer goes on.
        let error = self.writer().put_from(*slot, byte_len, &mut &value[..]).unwrap_err();
        let promised = vec![(*slot, vec![0; byte_len as usize])];
        let refused = self.model.permits(&promised, Some(&error), false)
            || self.model.permits(&items, Some(&error), false);
        assert!(refused || matches!(error, Error::Io(_)), "{error}");
        self.check_writer();
    }

    fn check_writer(&mut self) {
        let highest = self.model.highest().map(Slot);
        assert!(!self.writer().is_poisoned());
        assert_eq!(self.writer().highest_written_slot(), highest);
    }

    fn refresh(&mut self) {
        let view = self.reader.refresh().unwrap();
        Held::new(view, &self.model).check(&self.model);
    }

    fn open(&mut self, reopen: &Reopen) {
        self.model.bound += u64::from(reopen.raise % 8);
        self.model.backfill |= reopen.backfill;
        match reopen.raise >> 3 & 3 {
            0 => {}
            1 => self.model.checksums = Checksums::Off,
            2 => self.model.checksums = Checksums::On,
            _ => self.model.checksums = Checksums::WherePresent,
        }
        self.model.all_summed &= self.model.checksums == Checksums::On;
        let writer = Writer::open(self.directory, self.model.options(reopen.backfill)).unwrap();
        assert_eq!(writer.conf().allows_backfill(), self.model.backfill);
        assert_eq!(writer.conf().spec.max_value_bytes, self.model.bound);
        self.writer = Some(writer);
        self.check_writer();
    }

    /// What a process leaves that dies before the commit: bytes behind the committed ones, a conf
    /// that was not renamed, the beginning of the next file, checksums of what was not committed.
    fn crash(&mut self, garbage: &[u8], tmp: bool, next_file: bool) {
        let conf = *self.writer().conf();
        self.writer = None;
        let append = |name: String| {
            let path = self.directory.join(name);
            let mut file =
                std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            file.write_all(garbage).unwrap();
        };
        let target = conf.backfill_target().filter(|target| target.data_len > 0);
        for file_id in conf.current_file().into_iter().chain(target.map(|t| t.file_id)) {
            append(format!("data_{file_id}"));
            if garbage.first().is_some_and(|first| first & 128 != 0) {
                self.leave_checksums(&conf, file_id, garbage);
            }
        }
        if next_file {
            let next = conf.current_file().map_or(0, |file_id| file_id.0 + 1);
            append(format!("data_{next:05}"));
            append(format!("data_{next:05}.sum"));
        }
        if tmp {
            append("column.conf.tmp".to_owned());
        }
    }

    /// Checksums of records that are not there; of a file without any, the beginning of them.
    fn leave_checksums(&self, conf: &Conf, file_id: FileId, garbage: &[u8]) {
        let path = self.directory.join(format!("data_{file_id}.sum"));
        let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) else {
            std::fs::write(path, garbage).unwrap();
            return;
        };
        let can_be = |slot: &Slot| {
            let is_new = self.model.highest().is_none_or(|highest| slot.0 > highest);
            let is_gap = !self.model.records().contains_key(&slot.0);
            is_new || (is_gap && conf.allows_backfill())
        };
        let slots = PLACES.map(|place| file_id.slot_at(place as usize));
        for (slot, entry) in slots.into_iter().filter(can_be).zip(garbage.chunks(8)) {
            file.write_all_at(entry, 32 + 8 * slot.index_in_file() as u64).unwrap();
        }
    }

    fn verify(&self) {
        let mut findings = Vec::new();
        let summary = verify_column(
            self.directory,
            None,
            &VerifyOptions::default().deep(true),
            &mut |finding| {
                findings.push(finding);
            },
        )
        .unwrap();
        assert_eq!(summary.damages, 0, "{findings:?}");
        assert_eq!(summary.records, self.model.records().len() as u64);
        let with_none = summary.records - summary.with_checksum;
        assert!(!self.model.all_summed || with_none == 0, "{with_none} records without a checksum");
    }
}

fn nth<T>(items: &mut [T], index: u8) -> Option<&mut T> {
    let count = items.len().max(1);
    items.get_mut(usize::from(index) % count)
}
