//! Any sequence of operations on a column against a plain map.
//!
//! The model knows nothing of files but that 8192 slots share one. What it says of a view is
//! `FORMAT.md`, section 7: of the files that its conf names a view shows the very state in which
//! it was taken; of every other file one committed state at least as new as the view, the same one
//! from the first look on.

mod column;
mod held;
mod model;

use arbitrary::{Arbitrary, Unstructured};
use coldstore::{Checksums, Writer};

use self::column::Column;
use self::model::{Model, Records};
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
