//! Where slots and values come from.

use super::*;

/// Files 3 and 4 are always skipped; the others when nothing chances to be put there.
pub(crate) const FILES: [u64; 5] = [0, 1, 2, 5, 6];
/// Their first and last slots, and some between.
pub(crate) const PLACES: [u64; 7] = [0, 1, 2, 4_000, 4_001, 8_190, 8_191];
pub(crate) const PLACE_COUNT: usize = FILES.len() * PLACES.len();

pub(crate) fn slot_at(place: usize) -> u64 {
    FILES[place / PLACES.len()] * SLOTS_PER_FILE + PLACES[place % PLACES.len()]
}

pub(crate) fn all_slots() -> impl DoubleEndedIterator<Item = u64> {
    (0..PLACE_COUNT).map(slot_at)
}

pub(crate) fn file_of(slot: u64) -> u64 {
    slot / SLOTS_PER_FILE
}

/// A slot, chosen with regard to what is there, so that every rule is met often.
#[derive(Clone, Debug)]
pub(crate) enum Pick {
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
pub(crate) enum Content {
    Same,
    New(u8, Length),
}

#[derive(Clone, Debug)]
pub(crate) enum Length {
    Small(usize),
    /// So many bytes below the bound.
    Below(u64),
    /// So many bytes above it.
    Above(u64),
}

pub(crate) type Pair = (Pick, Content);

#[derive(Clone, Debug)]
pub(crate) enum Op {
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
pub(crate) struct Query {
    pub(crate) from: (Pick, Edge),
    pub(crate) to: (Pick, Edge),
    /// From which end each record is taken; from the front when they are used up.
    pub(crate) ends: Vec<bool>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Edge {
    Open,
    At,
    /// Excluded.
    Beside,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reopen {
    pub(crate) ask_for_backfill: bool,
    pub(crate) raise_bound: bool,
}

/// What a crash leaves.
#[derive(Clone, Debug)]
pub(crate) enum Leftover {
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

pub(crate) fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        8 => (0..4_usize).prop_map(Pick::Above),
        6 => (0..12_usize).prop_map(Pick::Gap),
        3 => (0..6_usize).prop_map(Pick::Present),
        3 => (0..PLACE_COUNT).prop_map(Pick::Place),
    ]
}

pub(crate) fn pick_for_put() -> impl Strategy<Value = Pick> {
    prop_oneof![60 => pick(), 1 => Just(Pick::NoSlot)]
}

pub(crate) fn content() -> impl Strategy<Value = Content> {
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

pub(crate) fn pair() -> impl Strategy<Value = Pair> {
    (pick_for_put(), content())
}

/// A pair that is rarely refused for its own sake.
pub(crate) fn pairs() -> impl Strategy<Value = Vec<Pair>> {
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
pub(crate) fn gaps() -> impl Strategy<Value = Vec<Pair>> {
    let pair = prop_oneof![
        5 => ((0..12_usize).prop_map(Pick::Gap), content()),
        1 => ((0..6_usize).prop_map(Pick::Present), Just(Content::Same)),
    ];
    prop::collection::vec(pair, 1..4)
}

pub(crate) fn leftover() -> impl Strategy<Value = Leftover> {
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

pub(crate) fn reopen() -> impl Strategy<Value = Reopen> {
    (prop::bool::weighted(0.3), prop::bool::weighted(0.2))
        .prop_map(|(ask_for_backfill, raise_bound)| Reopen { ask_for_backfill, raise_bound })
}

pub(crate) fn query() -> impl Strategy<Value = Query> {
    let edge = || prop_oneof![Just(Edge::Open), Just(Edge::At), Just(Edge::Beside)];
    ((pick(), edge()), (pick(), edge()), prop::collection::vec(any::<bool>(), 0..12))
        .prop_map(|(from, to, ends)| Query { from, to, ends })
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
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
pub(crate) struct Case {
    pub(crate) bound: u64,
    pub(crate) backfill: bool,
    /// A first run of sequential puts, so that short cases too have several files.
    pub(crate) prefix: Vec<usize>,
    pub(crate) ops: Vec<Op>,
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
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
