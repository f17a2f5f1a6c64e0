//! The engine against a plain map.
//!
//! A case is a column of some kind and a short list of operations: puts of every sort, refused ones
//! among them, views that are held and looked at again later, reopening, and crashes, which leave on
//! disk what a writer that stops midway leaves. Slots come from a few places in a few files, so that
//! boundaries, sealed files, skipped files and the current file all occur in a short list.
//!
//! The model knows nothing of files but that 8192 slots share one. What it says of a view is
//! `FORMAT.md`, section 7: see [`Held`].
//!
//! `PROPTEST_CASES` sets the number of cases per test: 2,000 by default, 300 at the quick size.
#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "what a crash leaves is made by hand")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coldstore::format::conf::{BackfillTarget, Conf};
use coldstore::stat::stat_column;
use coldstore::verify::{VerifyOptions, verify_column};
use coldstore::{
    BulkCommit, Compression, Error, FileId, Reader, ReaderOptions, SLOTS_PER_FILE, Slot, View,
    Writer, WriterOptions,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::size::quick_or_whole;
use support::{
    Progress, append, assert_same_files, bytes_from, files_of, open_reader, reader, scan, scratch,
    spec, writers_reader,
};

// ---------------------------------------------------------------- where slots and values come from

/// Files 3 and 4 are always skipped; the others when nothing chances to be put there.
const FILES: [u64; 5] = [0, 1, 2, 5, 6];
/// Their first and last slots, and some between.
const PLACES: [u64; 7] = [0, 1, 2, 4_000, 4_001, 8_190, 8_191];
const PLACE_COUNT: usize = FILES.len() * PLACES.len();

fn slot_at(place: usize) -> u64 {
    FILES[place / PLACES.len()] * SLOTS_PER_FILE + PLACES[place % PLACES.len()]
}

fn all_slots() -> impl DoubleEndedIterator<Item = u64> {
    (0..PLACE_COUNT).map(slot_at)
}

fn file_of(slot: u64) -> u64 {
    slot / SLOTS_PER_FILE
}

/// A slot, chosen with regard to what is there, so that every rule is met often.
#[derive(Clone, Debug)]
enum Pick {
    Place(usize),
    /// So many places above the highest slot.
    Above(usize),
    /// The n-th place without a record at or below the highest slot, counted from above.
    Gap(usize),
    /// The n-th record, counted from above.
    Present(usize),
    /// `u64::MAX`, which is no slot.
    NoSlot,
}

/// A value: what is there already, or another.
#[derive(Clone, Debug)]
enum Content {
    Same,
    New(u8, Length),
}

#[derive(Clone, Debug)]
enum Length {
    Small(usize),
    /// So many bytes below the bound.
    Below(u64),
    /// So many bytes above it.
    Above(u64),
}

type Pair = (Pick, Content);

#[derive(Clone, Debug)]
enum Op {
    Put(Pair),
    /// The slots are put in order first.
    Batch(Vec<Pair>),
    /// The slots come as they are.
    Unordered(Vec<Pair>),
    Stored(Vec<Pair>),
    PutFrom(Pair),
    Run(Vec<Pair>),
    Refresh,
    Hold,
    /// Look at a held view again, at everything.
    Recheck(usize),
    /// Look at a part of a held view.
    Peek(usize, Pick),
    Query(Query),
    Reopen(Reopen),
    Crash(Vec<Leftover>, Reopen),
}

#[derive(Clone, Debug)]
struct Query {
    from: (Pick, Edge),
    to: (Pick, Edge),
    /// From which end each record is taken; from the front when they are used up.
    ends: Vec<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Edge {
    Open,
    At,
    /// Excluded.
    Beside,
}

#[derive(Clone, Copy, Debug)]
struct Reopen {
    ask_for_backfill: bool,
    raise_bound: bool,
}

/// What a crash leaves.
#[derive(Clone, Debug)]
enum Leftover {
    /// Bytes behind the committed length of the current file.
    Garbage(usize),
    /// A whole record there, and where it says so, its entry.
    Record { entry_for: Option<Pick>, cut: usize },
    /// The commit before the last one, which was about to be replaced.
    ConfTmp(usize),
    /// Files above the current one.
    NextFile { ahead: u64, data_len: Option<usize>, entries: Option<usize> },
    /// A conf that names another file, and what was done to that file since.
    Intent { file: usize, garbage: usize, entry: Option<usize>, table_len: usize },
    /// An offset file of the current file that ends right behind its last entry.
    ShortTable,
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        8 => (0..4_usize).prop_map(Pick::Above),
        6 => (0..12_usize).prop_map(Pick::Gap),
        3 => (0..6_usize).prop_map(Pick::Present),
        3 => (0..PLACE_COUNT).prop_map(Pick::Place),
    ]
}

fn pick_for_put() -> impl Strategy<Value = Pick> {
    prop_oneof![60 => pick(), 1 => Just(Pick::NoSlot)]
}

fn content() -> impl Strategy<Value = Content> {
    let length = prop_oneof![
        30 => (0..24_usize).prop_map(Length::Small),
        4 => (0..3_u64).prop_map(Length::Below),
        1 => (1..3_u64).prop_map(Length::Above),
    ];
    prop_oneof![
        1 => Just(Content::Same),
        3 => (any::<u8>(), length).prop_map(|(seed, length)| Content::New(seed, length)),
    ]
}

fn pair() -> impl Strategy<Value = Pair> {
    (pick_for_put(), content())
}

/// A pair that is rarely refused for its own sake.
fn pairs() -> impl Strategy<Value = Vec<Pair>> {
    // What is there comes with its own value mostly, so that long batches are not all conflicts.
    let pair = prop_oneof![
        8 => ((0..6_usize).prop_map(Pick::Above), content()),
        4 => ((0..12_usize).prop_map(Pick::Gap), content()),
        3 => ((0..6_usize).prop_map(Pick::Present), Just(Content::Same)),
        1 => pair(),
    ];
    prop::collection::vec(pair, 0..6)
}

/// Gaps and records alone: a batch of them can be a backfill.
fn gaps() -> impl Strategy<Value = Vec<Pair>> {
    let pair = prop_oneof![
        5 => ((0..12_usize).prop_map(Pick::Gap), content()),
        1 => ((0..6_usize).prop_map(Pick::Present), Just(Content::Same)),
    ];
    prop::collection::vec(pair, 1..4)
}

fn leftover() -> impl Strategy<Value = Leftover> {
    prop_oneof![
        (1..40_usize).prop_map(Leftover::Garbage),
        (prop::option::of(pick()), 0..20_usize)
            .prop_map(|(entry_for, cut)| Leftover::Record { entry_for, cut }),
        (0..60_usize).prop_map(Leftover::ConfTmp),
        (1..3_u64, prop::option::of(0..40_usize), prop::option::of(0..4_usize))
            .prop_map(|(ahead, data_len, entries)| Leftover::NextFile { ahead, data_len, entries }),
        (0..PLACE_COUNT, 0..40_usize, prop::option::of(0..PLACES.len()), 0..4_usize).prop_map(
            |(file, garbage, entry, table_len)| Leftover::Intent {
                file,
                garbage,
                entry,
                table_len
            }
        ),
        Just(Leftover::ShortTable),
    ]
}

fn reopen() -> impl Strategy<Value = Reopen> {
    (prop::bool::weighted(0.3), prop::bool::weighted(0.2))
        .prop_map(|(ask_for_backfill, raise_bound)| Reopen { ask_for_backfill, raise_bound })
}

fn query() -> impl Strategy<Value = Query> {
    let edge = || prop_oneof![Just(Edge::Open), Just(Edge::At), Just(Edge::Beside)];
    ((pick(), edge()), (pick(), edge()), prop::collection::vec(any::<bool>(), 0..12))
        .prop_map(|(from, to, ends)| Query { from, to, ends })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => pair().prop_map(Op::Put),
        6 => pairs().prop_map(Op::Batch),
        6 => gaps().prop_map(Op::Batch),
        1 => pairs().prop_map(Op::Unordered),
        2 => pairs().prop_map(Op::Stored),
        2 => pair().prop_map(Op::PutFrom),
        4 => pairs().prop_map(Op::Run),
        2 => Just(Op::Refresh),
        4 => Just(Op::Hold),
        4 => (0..4_usize).prop_map(Op::Recheck),
        4 => ((0..4_usize), pick()).prop_map(|(held, pick)| Op::Peek(held, pick)),
        3 => query().prop_map(Op::Query),
        2 => reopen().prop_map(Op::Reopen),
        4 => (prop::collection::vec(leftover(), 1..4), reopen())
            .prop_map(|(leftovers, reopen)| Op::Crash(leftovers, reopen)),
    ]
}

#[derive(Clone, Debug)]
struct Case {
    bound: u64,
    backfill: bool,
    /// A first run of sequential puts, so that short cases too have several files.
    prefix: Vec<usize>,
    ops: Vec<Op>,
}

fn case() -> impl Strategy<Value = Case> {
    (
        // The larger bound has room for values of several snappy chunks and several pages.
        prop_oneof![15 => Just(48_u64), 1 => Just(140_000)],
        prop::bool::weighted(0.7),
        prop::collection::btree_set(0..PLACE_COUNT, 0..5),
        prop::collection::vec(op(), 1..14),
    )
        .prop_map(|(bound, backfill, prefix, ops)| Case {
            bound,
            backfill,
            prefix: prefix.into_iter().collect(),
            ops,
        })
}

// ---------------------------------------------------------------- the model

type Records = BTreeMap<u64, Arc<[u8]>>;

/// What the column should be.
#[derive(Debug)]
struct Model {
    backfill: bool,
    bound: u64,
    /// The records after each commit, the first being the empty column.
    states: Vec<Records>,
}

/// What a refusal was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NotAscending,
    InvalidSlot,
    TooLarge,
    Conflict,
    BackfillDisabled,
    MixedBatch,
    SpansFiles,
}

type Item = (Slot, Vec<u8>);

impl Model {
    fn records(&self) -> &Records {
        self.states.last().unwrap()
    }

    fn highest(&self) -> Option<u64> {
        self.records().keys().next_back().copied()
    }

    fn is_above(&self, slot: u64) -> bool {
        self.highest().is_none_or(|highest| slot > highest)
    }

    fn is_gap(&self, slot: u64) -> bool {
        !self.is_above(slot) && !self.records().contains_key(&slot)
    }

    fn resolve(&self, pick: &Pick) -> u64 {
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

    fn item(&self, (pick, content): &Pair) -> Item {
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

    fn items(&self, pairs: &[Pair], ordered: bool) -> Vec<Item> {
        let mut items: Vec<Item> = pairs.iter().map(|pair| self.item(pair)).collect();
        if ordered {
            items.sort();
            items.dedup_by_key(|(slot, _)| *slot);
        }
        items
    }

    /// Every reason for which a batch may be refused; none: it must be accepted.
    fn refusals(&self, items: &[Item]) -> Vec<Refusal> {
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

    fn files_besides_the_current(&self, items: &[Item]) -> Vec<u64> {
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

    fn conflicts(&self, slot: Slot, value: &[u8]) -> bool {
        self.records().get(&slot.0).is_some_and(|present| present[..] != *value)
    }

    /// Items that would be written.
    fn new_items(&self, items: &[Item]) -> u64 {
        items.iter().filter(|(slot, _)| !self.records().contains_key(&slot.0)).count() as u64
    }

    fn commit(&mut self, items: &[Item]) {
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
    fn check_refusal(&self, error: &Error, items: &[Item], expected: &[Refusal]) {
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

// ---------------------------------------------------------------- views

/// A view that is held, and what the model says of it.
///
/// Of the current file and of the file that its conf names it shows the very state in which it was
/// taken. Of every other file it shows one committed state, the same from the first look on, at
/// least as new as the view: which one is settled by the first look at that file.
struct Held {
    view: View,
    /// The number of the commit that it was taken after.
    taken: usize,
    /// What was seen of each file that was looked at completely.
    seen: BTreeMap<u64, Records>,
}

impl Held {
    fn new(view: View, model: &Model) -> Self {
        Self { view, taken: model.states.len() - 1, seen: BTreeMap::new() }
    }

    #[track_caller]
    fn check_file(&mut self, model: &Model, file: u64) {
        let taken = &model.states[self.taken];
        let highest = taken.keys().next_back().copied();
        let of_file = |records: &Records| -> Records {
            let visible = records.iter().filter(|(slot, _)| highest.is_some_and(|h| **slot <= h));
            visible
                .filter(|(slot, _)| file_of(**slot) == file)
                .map(|(slot, value)| (*slot, value.clone()))
                .collect()
        };
        let shown = show_file(&self.view, file);
        let named = self.view.conf().named_len(FileId(file)).is_some();
        let mut states = model.states[self.taken..].iter().map(of_file);
        let permitted = if named {
            states.next() == Some(shown.clone())
        } else {
            states.any(|state| state == shown)
        };
        assert!(
            permitted,
            "file {file} in a view of commit {} of {}: shows {:?}, then it was {:?}, now it is {:?}",
            self.taken,
            model.states.len() - 1,
            shown.keys().collect::<Vec<_>>(),
            of_file(taken).keys().collect::<Vec<_>>(),
            of_file(model.records()).keys().collect::<Vec<_>>(),
        );
        if let Some(before) = self.seen.insert(file, shown.clone()) {
            assert!(
                before == shown,
                "file {file} of a held view changed: {:?} became {:?}",
                before.keys().collect::<Vec<_>>(),
                shown.keys().collect::<Vec<_>>(),
            );
        }
    }

    /// Every file, every slot, both directions.
    #[track_caller]
    fn check(&mut self, model: &Model) {
        let taken = &model.states[self.taken];
        let highest = taken.keys().next_back().copied();
        assert_eq!(self.view.highest_written_slot().map(|slot| slot.0), highest);
        for file in FILES {
            self.check_file(model, file);
        }
        let expected: Vec<(u64, Vec<u8>)> =
            self.seen.values().flatten().map(|(slot, value)| (*slot, value.to_vec())).collect();
        let forward = scan(&self.view, ..);
        let mut backward: Vec<(u64, Vec<u8>)> = self
            .view
            .range(..)
            .rev()
            .map(|record| record.unwrap())
            .map(|record| (record.slot().0, record.value().unwrap().into_owned()))
            .collect();
        backward.reverse();
        assert_eq!(forward, expected, "scanned, and got one by one");
        assert_eq!(forward, backward, "the two directions");
    }
}

/// What a view shows of a file, through every way of asking for one slot.
#[track_caller]
fn show_file(view: &View, file: u64) -> Records {
    let mut shown = Records::new();
    let mut buffer = b"what was there before".to_vec();
    for slot in all_slots().chain([file * SLOTS_PER_FILE + 77]).filter(|s| file_of(*s) == file) {
        let told = |error: Error| -> ! { panic!("slot {slot}: {error}") };
        let at = Slot(slot);
        let value = view.get(at).unwrap_or_else(|error| told(error));
        assert_eq!(view.contains(at).unwrap_or_else(|error| told(error)), value.is_some());
        assert_eq!(view.get_into(at, &mut buffer).unwrap(), value.is_some());
        let stored = view.get_stored(at).unwrap();
        assert_eq!(stored.is_some(), value.is_some());
        let owned = view.owned(at).unwrap();
        assert_eq!(owned.as_deref(), value.as_deref(), "owned, slot {slot}");
        let record = view.record(at).unwrap();
        assert_eq!(record.map(|record| record.stored()), stored);
        let Some(value) = value else {
            assert!(buffer.is_empty());
            continue;
        };
        assert_eq!(buffer, *value);
        assert_eq!(decoded(stored.unwrap(), view.conf().spec.compression), *value);
        let mut copied = Vec::new();
        assert_eq!(
            view.record(at).unwrap().unwrap().copy_value_to(&mut copied).unwrap(),
            value.len() as u64
        );
        assert_eq!(copied, *value);
        shown.insert(slot, value.into_owned().into());
    }
    shown
}

fn decoded(stored: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => stored.to_vec(),
        Compression::Snappy => {
            let mut value = Vec::new();
            snap::read::FrameDecoder::new(stored).read_to_end(&mut value).unwrap();
            value
        }
    }
}

fn encoded(value: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => value.to_vec(),
        // An empty value has two stored forms: nothing, and a stream identifier.
        Compression::Snappy if value.is_empty() => Vec::new(),
        Compression::Snappy => {
            // Two chunks, where the writer makes one: the same value in another form.
            let mut encoder = snap::write::FrameEncoder::new(Vec::new());
            encoder.write_all(&value[..value.len() / 2]).unwrap();
            encoder.flush().unwrap();
            encoder.write_all(&value[value.len() / 2..]).unwrap();
            encoder.into_inner().unwrap()
        }
    }
}

// ---------------------------------------------------------------- one case

struct Run {
    column: PathBuf,
    compression: Compression,
    model: Model,
    writer: Option<Writer>,
    /// A reader like one in another process: it stays while writers come and go.
    apart: Reader,
    /// The writer's own.
    own: Reader,
    held: Vec<Held>,
}

fn options(compression: Compression, model: &Model, ask: bool) -> WriterOptions {
    WriterOptions::create(spec(compression, model.bound)).allow_backfill(ask)
}

impl Run {
    fn start(column: &Path, compression: Compression, case: &Case) -> Self {
        let mut model =
            Model { backfill: case.backfill, bound: case.bound, states: vec![Records::new()] };
        let mut writer = Writer::open(column, options(compression, &model, case.backfill)).unwrap();
        assert!(writer.heal_report().is_clean());
        let items: Vec<Item> = case
            .prefix
            .iter()
            .map(|&place| (Slot(slot_at(place)), bytes_from(slot_at(place), 6)))
            .collect();
        writer.put_batch(&items).unwrap();
        model.commit(&items);
        let (apart, own) = (reader(column), writers_reader(&writer));
        let column = column.to_owned();
        Run { column, compression, model, writer: Some(writer), apart, own, held: Vec::new() }
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().unwrap()
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Put(pair) => {
                let (slot, value) = self.model.item(pair);
                let items = [(slot, value)];
                self.put(&items, |writer| writer.put(slot, &items[0].1));
            }
            Op::PutFrom(pair) => {
                let (slot, value) = self.model.item(pair);
                let items = [(slot, value)];
                let byte_len = items[0].1.len() as u64;
                self.put(&items, |writer| writer.put_from(slot, byte_len, &mut &items[0].1[..]));
            }
            Op::Batch(pairs) => {
                let items = self.model.items(pairs, true);
                self.put(&items, |writer| writer.put_batch(&items));
            }
            Op::Unordered(pairs) => {
                let items = self.model.items(pairs, false);
                self.put(&items, |writer| writer.put_batch(&items));
            }
            Op::Stored(pairs) => {
                let items = self.model.items(pairs, true);
                let stored: Vec<Item> = items
                    .iter()
                    .map(|(slot, value)| (*slot, encoded(value, self.compression)))
                    .collect();
                let new: Vec<Slot> = items
                    .iter()
                    .map(|(slot, _)| *slot)
                    .filter(|slot| !self.model.records().contains_key(&slot.0))
                    .collect();
                let accepted = self.put(&items, |writer| writer.put_stored_batch(&stored));
                let view = self.own.refresh().unwrap();
                for (slot, stored) in stored.iter().filter(|(slot, _)| new.contains(slot)) {
                    if accepted {
                        assert_eq!(view.get_stored(*slot).unwrap(), Some(&stored[..]));
                    }
                }
            }
            Op::Run(pairs) => {
                let items = self.model.items(pairs, true);
                self.run(&items);
            }
            Op::Refresh => self.refresh(),
            Op::Hold => {
                let view = self.apart.refresh().unwrap();
                self.held.push(Held::new(view, &self.model));
            }
            Op::Recheck(index) => {
                let count = self.held.len().max(1);
                if let Some(held) = self.held.get_mut(index % count) {
                    held.check(&self.model);
                }
            }
            Op::Peek(index, pick) => {
                let slot = self.model.resolve(pick);
                let count = self.held.len().max(1);
                if let Some(held) = self.held.get_mut(index % count) {
                    // Which files a search passes is its own affair; it must find records.
                    for found in [
                        held.view.at_or_before(Slot(slot)).unwrap(),
                        held.view.at_or_after(Slot(slot)).unwrap(),
                    ]
                    .into_iter()
                    .flatten()
                    {
                        let expected = &self.model.records()[&found.slot().0];
                        assert_eq!(*found.value().unwrap(), **expected);
                    }
                    held.check_file(&self.model, file_of(slot));
                }
            }
            Op::Query(query) => self.query(query),
            Op::Reopen(how) => {
                let before = self.close();
                self.open(*how, &before, false);
            }
            Op::Crash(leftovers, how) => self.crash(leftovers, *how),
        }
    }

    /// A put of one commit, refused or not; says which.
    fn put(
        &mut self,
        items: &[Item],
        put: impl FnOnce(&mut Writer) -> coldstore::Result<coldstore::Committed>,
    ) -> bool {
        let expected = self.model.refusals(items);
        let new = self.model.new_items(items);
        let unchanged = !expected.is_empty() || new == 0;
        let before = unchanged.then(|| files_of(&self.column));
        let outcome = put(self.writer());
        match &outcome {
            Ok(committed) => {
                assert!(expected.is_empty(), "{items:?} must be refused: {expected:?}");
                assert_eq!(committed.written, new);
                assert_eq!(committed.unchanged, items.len() as u64 - new);
                self.model.commit(items);
            }
            Err(error) => {
                assert!(!expected.is_empty(), "{items:?}: {error}");
                self.model.check_refusal(error, items, &expected);
            }
        }
        if let Some(before) = before {
            assert_same_files(&before, &files_of(&self.column), "a put that writes nothing");
        }
        self.check_writer(items);
        outcome.is_ok()
    }

    /// A run of any length and any files.
    fn run(&mut self, items: &[Item]) {
        let mut expected = self.model.refusals(items);
        expected.retain(|refusal| !matches!(refusal, Refusal::MixedBatch | Refusal::SpansFiles));
        let mut told: Vec<BulkCommit> = Vec::new();
        let (writer, own) = (self.writer.as_mut().unwrap(), &self.own);
        let outcome = writer.put_bulk(items, |commit| {
            let view = own.refresh().unwrap();
            assert!(view.contains(commit.first).unwrap() && view.contains(commit.last).unwrap());
            told.push(*commit);
        });
        let (done, error) = match outcome {
            Ok(done) => (done, None),
            Err(error) => (error.done, Some(error.error)),
        };
        let count = usize::try_from(done.written + done.unchanged).unwrap();
        let prefix = &items[..count];
        assert_eq!(done.written, self.model.new_items(prefix));
        assert_eq!(done.last, prefix.last().map(|(slot, _)| *slot));
        // A step that finds everything there already is told, and is no commit.
        assert!(done.commits <= told.len() as u64);
        assert!(done.commits > 0 || done.written == 0);
        assert_eq!(told.iter().map(|commit| commit.records).sum::<u64>(), count as u64);
        assert_eq!(told.last().map(|commit| commit.last), done.last);
        match error {
            None => {
                assert!(expected.is_empty(), "{items:?} must be refused: {expected:?}");
                assert_eq!(count, items.len());
            }
            Some(error) => {
                assert!(!expected.is_empty(), "{items:?}: {error}");
                self.model.check_refusal(&error, items, &expected);
                let mut refusals = self.model.refusals(prefix);
                refusals.retain(|r| !matches!(r, Refusal::MixedBatch | Refusal::SpansFiles));
                assert!(refusals.is_empty(), "{prefix:?} must not be done: {refusals:?}");
            }
        }
        self.model.commit(prefix);
        self.check_writer(items);
    }

    /// What the writer says of itself after an operation on `items`.
    fn check_writer(&mut self, items: &[Item]) {
        let highest = self.model.highest().map(Slot);
        let present: Vec<(Slot, bool)> = items
            .iter()
            .map(|(slot, _)| (*slot, self.model.records().contains_key(&slot.0)))
            .filter(|(slot, _)| slot.0 != u64::MAX)
            .collect();
        let writer = self.writer();
        assert!(!writer.is_poisoned());
        assert_eq!(writer.highest_written_slot(), highest);
        for (slot, is_there) in present {
            assert_eq!(writer.contains(slot).unwrap(), is_there, "slot {slot}");
        }
        self.check_conf();
    }

    /// The conf is that of the last commit, and the named files end where it says.
    fn check_conf(&mut self) {
        let path = self.column.join("column.conf");
        let bytes = fs::read(&path).unwrap();
        let conf = Conf::decode(&path, &bytes).unwrap();
        assert_eq!(bytes.len(), if self.model.backfill { 52 } else { 36 });
        assert_eq!(conf.highest.map(|slot| slot.0), self.model.highest());
        assert_eq!(conf.spec.max_value_bytes, self.model.bound);
        assert_eq!(*self.writer().conf(), conf);
        for file in FILES {
            if let Some(len) = conf.named_len(FileId(file)) {
                let found = fs::metadata(self.column.join(format!("data_{file:05}")));
                assert_eq!(found.map_or(0, |found| found.len()), len, "file {file}");
            }
        }
    }

    /// Both readers show what the model has.
    fn refresh(&mut self) {
        for reader in [&self.apart, &self.own] {
            let view = reader.refresh().unwrap();
            self.check_latest(view);
        }
        assert_eq!(
            self.apart.view().highest_written_slot(),
            self.model.highest().map(Slot),
            "the latest view is kept"
        );
    }

    fn check_latest(&self, view: View) {
        let mut held = Held::new(view, &self.model);
        held.check(&self.model);
    }

    fn query(&self, query: &Query) {
        let view = self.apart.refresh().unwrap();
        let records = self.model.records();
        let edge = |(pick, edge): &(Pick, Edge)| {
            let slot = Slot(self.model.resolve(pick));
            match edge {
                Edge::Open => Bound::Unbounded,
                Edge::At => Bound::Included(slot),
                Edge::Beside => Bound::Excluded(slot),
            }
        };
        let range = (edge(&query.from), edge(&query.to));
        let within = |slot: u64| std::ops::RangeBounds::contains(&range, &Slot(slot));
        let mut expected: std::collections::VecDeque<u64> =
            records.keys().copied().filter(|slot| within(*slot)).collect();
        let mut found = view.range(range);
        for from_back in query.ends.iter().copied().chain(std::iter::repeat_n(false, 40)) {
            let (record, slot) = if from_back {
                (found.next_back(), expected.pop_back())
            } else {
                (found.next(), expected.pop_front())
            };
            let record = record.map(Result::unwrap);
            assert_eq!(record.map(|record| record.slot().0), slot, "in {range:?}");
            if let Some(record) = record {
                assert_eq!(*record.value().unwrap(), *records[&record.slot().0]);
            }
        }
        for slot in [self.model.resolve(&query.from.0), self.model.resolve(&query.to.0)] {
            for slot in [slot.saturating_sub(1), slot, slot + 1, u64::MAX] {
                let before = view.at_or_before(Slot(slot)).unwrap();
                let after = view.at_or_after(Slot(slot)).unwrap();
                assert_eq!(
                    before.map(|record| record.slot().0),
                    records.range(..=slot).next_back().map(|(slot, _)| *slot),
                    "at or before {slot}"
                );
                assert_eq!(
                    after.map(|record| record.slot().0),
                    records.range(slot..).next().map(|(slot, _)| *slot),
                    "at or after {slot}"
                );
                let first = view.iter_from(Slot(slot)).next().map(|record| record.unwrap().slot());
                assert_eq!(first, after.map(|record| record.slot()));
            }
        }
    }

    fn close(&mut self) -> BTreeMap<String, Vec<u8>> {
        self.writer = None;
        files_of(&self.column)
    }

    /// Opens the writer again. Afterwards every file is what it was before the crash, `clean`, but
    /// for the conf where that was changed on purpose.
    fn open(&mut self, how: Reopen, clean: &BTreeMap<String, Vec<u8>>, dirty: bool) {
        if how.raise_bound {
            self.model.bound += 7;
        }
        let upgraded = how.ask_for_backfill && !self.model.backfill;
        self.model.backfill |= how.ask_for_backfill;
        let found = files_of(&self.column);
        let dry = coldstore::inspect(&self.column).unwrap();
        assert_same_files(&found, &files_of(&self.column), "an inspection");
        let options = options(self.compression, &self.model, how.ask_for_backfill);
        let writer = Writer::open(&self.column, options).unwrap();
        let report = writer.heal_report();
        // A file that was named before it was made is no longer named.
        let is_drop = |action: &&coldstore::HealAction| {
            matches!(action, coldstore::HealAction::DroppedBackfillFile { .. })
        };
        let dropped = report.actions.iter().filter(is_drop).count();
        let is_past = |action: &&coldstore::HealAction| {
            matches!(action, coldstore::HealAction::RemovedAside { .. })
        };
        let past = report.actions.iter().filter(is_past).count();
        assert_eq!(report.actions.len() == dropped + past, !dirty, "{report:?}");
        let told = |report: &coldstore::HealReport| -> Vec<String> {
            report.actions.iter().map(ToString::to_string).collect()
        };
        assert_eq!(told(&dry), told(report), "what the dry run said, and what was done");
        assert_eq!(writer.conf().spec.max_value_bytes, self.model.bound);
        let mut after = files_of(&self.column);
        // Entries behind garbage lead to nothing that lies there, and are copied before they go.
        after.retain(|name, _| !name.starts_with("aside-"));
        let mut clean = clean.clone();
        clean.retain(|name, _| !name.starts_with("aside-"));
        if how.raise_bound || upgraded || dropped > 0 {
            after.remove("column.conf");
            clean.remove("column.conf");
        }
        assert_same_files(&clean, &after, "after healing");
        self.own = writers_reader(&writer);
        self.writer = Some(writer);
        self.check_conf();
    }

    /// Leaves on disk what a writer leaves that stops in the middle of something, looks at it as a
    /// reader, and heals it.
    fn crash(&mut self, leftovers: &[Leftover], how: Reopen) {
        let mut clean = self.close();
        let mut dirty = false;
        for leftover in leftovers {
            dirty |= self.leave(leftover, &mut clean);
        }
        self.check_latest(reader(&self.column).view());
        self.check_latest(self.apart.refresh().unwrap());
        for held in &mut self.held {
            held.check(&self.model);
        }
        self.open(how, &clean, dirty);
        self.check_latest(reader(&self.column).view());
        // What healing did once it need not do again.
        let mut before = self.close();
        before.retain(|name, _| !name.starts_with("aside-"));
        let nothing = Reopen { ask_for_backfill: false, raise_bound: false };
        self.open(nothing, &before, false);
    }

    /// One leftover. `clean` is what the files should be after healing; says whether there is
    /// something to heal.
    fn leave(&self, leftover: &Leftover, clean: &mut BTreeMap<String, Vec<u8>>) -> bool {
        let current = self.model.highest().map(file_of);
        let conf_path = self.column.join("column.conf");
        let conf = Conf::decode(&conf_path, &fs::read(&conf_path).unwrap()).unwrap();
        match leftover {
            Leftover::Garbage(byte_len) => {
                let Some(current) = current else { return false };
                append(&self.data_path(current), &bytes_from(1, *byte_len));
                true
            }
            Leftover::Record { entry_for, cut } => {
                let Some(current) = current else { return false };
                let offset = fs::metadata(self.data_path(current)).unwrap().len();
                let mut record = vec![0x77, 0, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4];
                record.truncate(12 - cut % 12);
                append(&self.data_path(current), &record);
                // Without backfill no entry is written at or below the highest slot.
                let slot = entry_for.as_ref().map(|pick| self.model.resolve(pick));
                if let Some(slot) = slot
                    && file_of(slot) == current
                    && !self.model.records().contains_key(&slot)
                    && (self.model.backfill || self.model.is_above(slot))
                {
                    self.write_entry(slot, offset);
                }
                true
            }
            Leftover::ConfTmp(byte_len) => {
                let mut bytes = conf.encode();
                bytes.truncate(*byte_len);
                fs::write(self.column.join("column.conf.tmp"), bytes).unwrap();
                true
            }
            Leftover::NextFile { ahead, data_len, entries } => {
                let file = current.map_or(ahead - 1, |current| current + ahead);
                if let Some(data_len) = data_len {
                    let mut bytes = vec![0x65, 0x32, 0, 0, 0, 0, 0, 0];
                    bytes.extend_from_slice(&[0x77, 0, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
                    bytes.truncate(*data_len);
                    fs::write(self.data_path(file), bytes).unwrap();
                }
                if let Some(entries) = entries {
                    let mut bytes = vec![0_u8; 65_536];
                    bytes[..8].copy_from_slice(&8_u64.to_le_bytes());
                    bytes.truncate([65_536, 8, 100, 0][entries % 4]);
                    fs::write(self.offset_path(file), bytes).unwrap();
                }
                data_len.is_some() || entries.is_some()
            }
            Leftover::Intent { file, garbage, entry, table_len } => self.leave_intent(
                conf,
                FILES[file % FILES.len()],
                *garbage,
                *entry,
                *table_len,
                clean,
            ),
            Leftover::ShortTable => {
                let Some(highest) = self.model.highest() else {
                    return false;
                };
                // In a crash that follows another one there may be entries behind the highest.
                let path = self.offset_path(file_of(highest));
                let table = fs::read(&path).unwrap();
                let used = table.iter().rposition(|byte| *byte != 0).unwrap() / 8 * 8 + 8;
                self.replace(&path, &table[..used]);
                used < 65_536
            }
        }
    }

    /// The intent step of a backfill, and what came after it.
    fn leave_intent(
        &self,
        mut conf: Conf,
        file: u64,
        garbage: usize,
        entry: Option<usize>,
        table_len: usize,
        clean: &mut BTreeMap<String, Vec<u8>>,
    ) -> bool {
        let sealed = self.model.highest().is_some_and(|highest| file < file_of(highest));
        let named = conf.backfill_target();
        let Some(backfill) = conf.backfill.as_mut().filter(|_| sealed) else {
            return false;
        };
        let data_path = self.data_path(file);
        // A file that an earlier leftover of this crash was about to make is not there yet.
        let known = named.filter(|target| target.file_id.0 == file).map(|target| target.data_len);
        let data_len =
            known.unwrap_or_else(|| fs::metadata(&data_path).map_or(0, |found| found.len()));
        // A writer that names a file has sealed the one before as it stood. This one crashed there.
        if named.is_some_and(|target| target.file_id.0 != file && self.is_dirty(target)) {
            return false;
        }
        backfill.target = Some(BackfillTarget { file_id: FileId(file), data_len });
        let bytes = conf.encode();
        clean.insert("column.conf".to_owned(), bytes.clone());
        self.replace(&self.column.join("column.conf"), &bytes);

        let mut dirty = false;
        if garbage > 0 {
            let mut bytes = Vec::new();
            if !data_path.exists() {
                bytes.extend_from_slice(&[0x65, 0x32, 0, 0, 0, 0, 0, 0]);
            }
            bytes.extend_from_slice(&bytes_from(2, garbage));
            append(&data_path, &bytes);
            dirty = true;
        }
        if data_len == 0 && table_len > 0 {
            let byte_len = [0, 65_536, 80, 0][table_len % 4];
            fs::write(self.offset_path(file), vec![0_u8; byte_len]).unwrap();
            dirty = true;
        }
        let slot = entry.map(|place| file * SLOTS_PER_FILE + PLACES[place]);
        let table = fs::metadata(self.offset_path(file)).map_or(0, |found| found.len());
        if let Some(slot) = slot
            && garbage > 0
            && table == 65_536
            && !self.model.records().contains_key(&slot)
        {
            self.write_entry(slot, data_len.max(8));
        }
        dirty
    }

    /// Puts another file in the place of one that may be mapped.
    fn replace(&self, path: &Path, bytes: &[u8]) {
        let other = self.column.join("a file in the making");
        fs::write(&other, bytes).unwrap();
        fs::rename(other, path).unwrap();
    }

    /// Whether there is something to heal in the file that the conf names.
    fn is_dirty(&self, target: BackfillTarget) -> bool {
        let found = fs::metadata(self.data_path(target.file_id.0)).map_or(0, |found| found.len());
        let table = self.offset_path(target.file_id.0).exists();
        found != target.data_len || (target.data_len == 0 && table)
    }

    fn data_path(&self, file: u64) -> PathBuf {
        self.column.join(format!("data_{file:05}"))
    }

    fn offset_path(&self, file: u64) -> PathBuf {
        self.column.join(format!("data_{file:05}.off"))
    }

    fn write_entry(&self, slot: u64, entry: u64) {
        use std::os::unix::fs::FileExt as _;
        let path = self.offset_path(file_of(slot));
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&entry.to_le_bytes(), slot % SLOTS_PER_FILE * 8).unwrap();
    }

    fn check_stat(&self, files: &BTreeMap<String, Vec<u8>>) {
        let stat = stat_column(&reader(&self.column).view()).unwrap();
        let records = self.model.records();
        let span =
            self.model.highest().zip(records.keys().next()).map(|(h, lowest)| h - lowest + 1);
        assert_eq!(stat.records, records.len() as u64);
        assert_eq!(stat.gaps, span.unwrap_or(0) - records.len() as u64);
        assert_eq!(stat.lowest.map(|slot| slot.0), records.keys().next().copied());
        let data = || {
            files.iter().filter(|(name, _)| name.starts_with("data_") && !name.ends_with(".off"))
        };
        assert_eq!(stat.files, data().count() as u64);
        assert_eq!(stat.data_bytes, data().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
        assert_eq!(stat.offset_bytes, stat.files * 65_536);
    }

    fn finish(mut self) {
        self.refresh();
        for held in &mut self.held {
            held.check(&self.model);
        }
        let before = self.close();
        for held in &mut self.held {
            held.check(&self.model);
        }
        let fresh = open_reader(
            &self.column,
            ReaderOptions::default().expect(spec(self.compression, self.model.bound)),
        );
        self.check_latest(fresh.unwrap().view());
        self.check_stat(&before);
        let mut findings = Vec::new();
        let summary = verify_column(
            &self.column,
            None,
            &VerifyOptions { deep: true, ..VerifyOptions::default() },
            &mut |finding| {
                findings.push(format!("{finding:?}"));
            },
        )
        .unwrap();
        assert_eq!(summary.damages, 0, "{findings:?}");
        assert_eq!(summary.records, self.model.records().len() as u64);
        assert_same_files(&before, &files_of(&self.column), "reading and verifying");
    }
}

fn run(compression: Compression, case: &Case) {
    let scratch = scratch();
    let mut run = Run::start(&scratch.path().join("column"), compression, case);
    for op in &case.ops {
        run.step(op);
    }
    run.finish();
}

fn config() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = quick_or_whole(300, 2_000);
    }
    config
}

fn run_cases(compression: Compression) {
    let progress = Progress::watched("model");
    let outcome = TestRunner::new(config()).run(&case(), |case| {
        progress.step();
        run(compression, &case);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn an_uncompressed_column_is_as_a_plain_map_would_be() {
    run_cases(Compression::None);
}

#[test]
fn a_compressed_column_is_as_a_plain_map_would_be() {
    run_cases(Compression::Snappy);
}

/// The bound may be raised after a view was taken, and a larger value come into a sealed file that
/// the view looks at only then.
#[test]
fn a_view_older_than_a_raised_bound_reads_what_came_later() {
    for compression in [Compression::None, Compression::Snappy] {
        let scratch = scratch();
        let options = |bound| WriterOptions::create(spec(compression, bound)).allow_backfill(true);
        let mut writer = Writer::open(scratch.path(), options(10)).unwrap();
        writer.put_batch(&[(Slot(1), [1; 10]), (Slot(20_000), [2; 10])]).unwrap();
        let view = reader(scratch.path()).view();
        drop(writer);
        let mut writer = Writer::open(scratch.path(), options(100)).unwrap();
        writer.put(Slot(2), &[3; 100]).unwrap();
        let shown = scan(&view, ..);
        let old = [(1, vec![1; 10]), (20_000, vec![2; 10])];
        let new = [(1, vec![1; 10]), (2, vec![3; 100]), (20_000, vec![2; 10])];
        assert!(shown == old || shown == new, "{shown:?}");
    }
}

/// A scan and a look at one slot agree, also when a file appears between them that was skipped.
#[test]
fn a_view_that_has_scanned_agrees_with_itself_later() {
    let scratch = scratch();
    let options = WriterOptions::create(spec(Compression::None, 10)).allow_backfill(true);
    let mut writer = Writer::open(scratch.path(), options).unwrap();
    writer.put_batch(&[(Slot(1), [1; 10]), (Slot(90_000), [2; 10])]).unwrap();
    let view = reader(scratch.path()).view();
    assert_eq!(view.at_or_after(Slot(80_000)).unwrap().unwrap().slot(), Slot(90_000));
    writer.put(Slot(20_000), &[3; 10]).unwrap();
    let is_there = view.contains(Slot(20_000)).unwrap();
    let is_scanned = scan(&view, ..).iter().any(|(slot, _)| *slot == 20_000);
    assert_eq!(is_there, is_scanned);
    assert_eq!(view.at_or_after(Slot(2)).unwrap().unwrap().slot().0 == 20_000, is_there);
    assert_eq!(view.at_or_before(Slot(80_000)).unwrap().unwrap().slot().0 == 20_000, is_there);
}

/// The last possible slot: between it and the others lie more files than one could ever look for.
#[test]
fn a_gap_of_any_number_of_files_is_crossed_at_once() {
    let scratch = scratch();
    let column = scratch.path().to_owned();
    support::without_hanging("reading across the gap", move || {
        let options = WriterOptions::create(spec(Compression::None, 10)).allow_backfill(true);
        let mut writer = Writer::open(&column, options).unwrap();
        writer.put(Slot(3), b"three").unwrap();
        writer.put(Slot::MAX, b"last").unwrap();
        let view = reader(&column).view();
        assert_eq!(view.highest_written_slot(), Some(Slot::MAX));
        let slots: Vec<u64> = scan(&view, ..).into_iter().map(|(slot, _)| slot).collect();
        assert_eq!(slots, [3, Slot::MAX.0]);
        assert_eq!(view.range(..).next_back().unwrap().unwrap().slot(), Slot::MAX);
        let before = view.at_or_before(Slot(Slot::MAX.0 - 1)).unwrap();
        assert_eq!(before.unwrap().slot(), Slot(3));
        assert_eq!(view.at_or_after(Slot(4)).unwrap().unwrap().slot(), Slot::MAX);
        assert_eq!(view.get(Slot::MAX).unwrap().as_deref(), Some(&b"last"[..]));
        writer.put(Slot(1 << 60), b"between").unwrap();
        let stat = stat_column(&reader(&column).view()).unwrap();
        assert_eq!(stat.records, 3);
        drop(writer);
        let writer = Writer::open(&column, WriterOptions::existing()).unwrap();
        assert!(writer.heal_report().is_clean());
    });
}
