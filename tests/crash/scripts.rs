//! What is done to a column while the power may go at any moment.

use coldstore::{Checksums, ColumnSpec, Compression, WriterOptions};

use test_support::{SNAPPY, mix, value_of_len};

/// The column's directory. Where a script makes it, none of the directories is there before.
pub(crate) const COLUMN: &str = "/cold/archive/bss";

/// The bound of a new column.
const MAX: u64 = 1 << 20;

/// How a column is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Opening {
    pub(crate) backfill: bool,
    /// The bound on a value.
    pub(crate) max: u64,
    /// Whether checksums are kept.
    pub(crate) sums: bool,
}

pub(crate) const V2: Opening = Opening { backfill: false, max: MAX, sums: false };
pub(crate) const V3: Opening = Opening { backfill: true, max: MAX, sums: false };
const V2_SUMS: Opening = Opening { sums: true, ..V2 };
const V3_SUMS: Opening = Opening { sums: true, ..V3 };

impl Opening {
    pub(crate) fn options(self, spec: ColumnSpec) -> WriterOptions {
        let spec = ColumnSpec { max_value_bytes: self.max, ..spec };
        WriterOptions::create(spec).allow_backfill(self.backfill).checksums(self.checksums())
    }

    pub(crate) fn checksums(self) -> Checksums {
        if self.sums { Checksums::On } else { Checksums::Off }
    }

    /// What a conf has after an opening like this.
    pub(crate) fn raised(self, by: Opening) -> Opening {
        let (backfill, max) = (self.backfill || by.backfill, self.max.max(by.max));
        Opening { backfill, max, sums: self.sums || by.sums }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Open(Opening),
    /// One batch.
    Put(Vec<u64>),
    /// A run: one batch for each file of gaps, then one for the rest.
    Run(Vec<u64>),
    /// One value from a stream.
    Stream(u64),
    /// A stream that ends too early.
    FailingStream(u64),
    /// A batch that is prepared and not committed.
    GivenUp(Vec<u64>),
    /// The column is replaced by what it holds up to a slot, and opened again.
    Rewind(u64),
    /// The column is replaced by its files from this id on, and opened again.
    Prune(u64),
    /// Another kind of writer puts a record into a file, flushes none of it and dies: a process that
    /// knows no intent, in a sealed file, or one that has just replaced the conf.
    Foreign {
        slot: u64,
        commits: bool,
    },
}

impl Step {
    /// Whether what follows has checksums, where this opens the column or another writer does.
    fn keeps_sums(&self) -> Option<bool> {
        match self {
            Step::Open(opening) => Some(opening.sums),
            Step::Foreign { .. } => Some(false),
            _ => None,
        }
    }
}

impl Script {
    /// Whether every record has a checksum.
    pub(crate) fn keeps_sums(&self) -> bool {
        let mut steps = self.setup.iter().chain(&self.steps).chain(&self.elsewhere);
        steps.all(|step| step.keeps_sums() != Some(false))
    }
}

impl Script {
    /// Whether no other kind of writer replaces the conf.
    pub(crate) fn is_ours(&self) -> bool {
        let mut steps = self.setup.iter().chain(&self.steps).chain(&self.elsewhere);
        !steps.any(|step| matches!(step, Step::Foreign { .. }))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) spec: ColumnSpec,
    /// Done and durable before.
    pub(crate) setup: Vec<Step>,
    pub(crate) steps: Vec<Step>,
    /// What is done instead of the rest after a process was killed.
    pub(crate) elsewhere: Vec<Step>,
    /// How many times in a row a process is killed.
    pub(crate) kills: usize,
    /// Whether the disk can exchange two names.
    pub(crate) exchanges: bool,
}

/// The value of a slot: 3 to 14 bytes, so that they may be cut anywhere.
pub(crate) fn value(slot: u64) -> Vec<u8> {
    value_of_len(slot, 3 + usize::try_from(mix(slot) % 12).expect("small"))
}

fn put<const N: usize>(slots: [u64; N]) -> Step {
    Step::Put(slots.to_vec())
}

/// A script of an uncompressed column that does nothing yet.
pub(crate) fn plain(name: &str) -> Script {
    let spec =
        ColumnSpec { record_type: [4, 0], compression: Compression::None, max_value_bytes: MAX };
    let (setup, steps, elsewhere) = (Vec::new(), Vec::new(), Vec::new());
    Script { name: name.to_owned(), spec, setup, steps, elsewhere, kills: 1, exchanges: true }
}

fn script<const A: usize, const B: usize, const C: usize>(
    name: &str,
    setup: [Step; A],
    steps: [Step; B],
    elsewhere: [Step; C],
) -> Script {
    let (setup, steps, elsewhere) = (setup.into(), steps.into(), elsewhere.into());
    Script { setup, steps, elsewhere, ..plain(name) }
}

/// The short scripts, one for every way that a commit or an opening can go.
pub(crate) fn scripts() -> Vec<Script> {
    use Step::{FailingStream, Foreign, GivenUp, Open, Run, Stream};
    let far = || [put([6000, 6001]), put([9003, 9004]), put([60_000])];
    let mut all = vec![
        script("first creation", [], [Open(V2), put([5])], [put([9000])]),
        script(
            "first creation with backfill, batch over two files",
            [],
            [Open(V3), put([8191, 8192])],
            [put([7]), put([20_000])],
        ),
        script("sequential", [Open(V2), put([1])], [put([3]), put([4, 7, 8])], [put([9000])]),
        script(
            "file roll-over",
            [Open(V2), put([1, 8190])],
            [put([8191]), put([8192]), put([20_000])],
            [put([30_000])],
        ),
        script(
            "batch over files",
            [Open(V2), put([1])],
            [put([8191, 8192, 40_000]), put([40_001])],
            [put([8192]), put([50_000])],
        ),
        script(
            "batch over files beside a tracked one",
            [Open(V3), put([1, 9000]), put([5])],
            [put([9001, 17_000, 17_001])],
            far(),
        ),
        script(
            "backfill in the current file",
            [Open(V3), put([1, 20])],
            [put([0, 5, 9]), put([21]), put([12])],
            far(),
        ),
        script(
            "backfill in an untracked sealed file",
            [Open(V3), put([1, 9000, 17_000])],
            [put([5, 7]), put([9001, 9009])],
            far(),
        ),
        script(
            "backfill in a tracked sealed file",
            [Open(V3), put([1, 9000, 17_000]), put([5])],
            [put([3, 8]), put([2])],
            [put([9003]), put([60_000])],
        ),
        script(
            "backfill in a file that never existed",
            [Open(V3), put([1, 17_000])],
            [put([8192, 9000, 9001])],
            far(),
        ),
        script(
            "backfill in a sealed file and the current one",
            [Open(V3), put([1, 9000, 17_000])],
            [put([9001, 16_384, 16_999]), put([17_001])],
            far(),
        ),
        script(
            "file switch, the next file named by the same conf",
            [Open(V3), put([1, 9000, 25_000])],
            [Run(vec![2, 3, 9001, 17_001, 24_999, 25_001])],
            far(),
        ),
        script(
            "upgrade",
            [Open(V2), put([1, 9000])],
            [Open(V3), put([2])],
            [Open(V3), put([6000, 6001]), put([60_000])],
        ),
        script(
            "raised bound",
            [Open(V2), put([1])],
            [Open(Opening { max: MAX + 5, ..V2 }), put([2])],
            [put([9000])],
        ),
        script(
            "raised bound and upgrade",
            [Open(V2), put([1, 9000])],
            [Open(Opening { max: MAX + 5, ..V3 }), put([2])],
            [Open(V3), put([6000, 6001]), put([60_000])],
        ),
        script(
            "streams, some that fail",
            [Open(V3), put([1, 9000, 25_000])],
            [
                Stream(5),
                FailingStream(6),
                put([9001]),
                FailingStream(17_000),
                put([9002]),
                put([25_001]),
                FailingStream(25_002),
                put([40_000]),
            ],
            far(),
        ),
        script(
            "batches that are given up",
            [Open(V3), put([1, 9000, 25_000])],
            [
                GivenUp(vec![25_001, 25_003]),
                put([25_002]),
                GivenUp(vec![5, 25_001]),
                put([6]),
                GivenUp(vec![17_000]),
                GivenUp(vec![30_000, 40_000]),
                put([40_001]),
            ],
            far(),
        ),
        script(
            "another writer died behind its commit",
            [Open(V3), put([1, 9000])],
            [Foreign { slot: 9001, commits: true }, Open(V3), put([9001]), put([9002])],
            far(),
        ),
        script(
            "another writer died behind its commit of a backfill",
            [Open(V3), put([1, 9000]), put([5])],
            [Foreign { slot: 6, commits: true }, Open(V3), put([6]), put([9001])],
            far(),
        ),
        script(
            "a record of another writer is acknowledged",
            [Open(V3), put([1, 9000])],
            [Foreign { slot: 6, commits: false }, Open(V3), put([6]), put([9001])],
            far(),
        ),
        script(
            "a record of another writer is built on",
            [Open(V3), put([1, 9000])],
            [Foreign { slot: 6, commits: false }, Open(V3), put([7]), put([9001])],
            far(),
        ),
        script(
            "a record of another writer is in the file that a run goes on to",
            [Open(V3), put([1, 9000, 25_000])],
            [Foreign { slot: 9006, commits: false }, Open(V3), Run(vec![2, 9001]), put([17_000])],
            far(),
        ),
        script(
            "first creation with checksums",
            [],
            [Open(V2_SUMS), put([5]), put([6])],
            [put([9000])],
        ),
        script(
            "checksums, the next file",
            [Open(V2_SUMS), put([1])],
            [put([8192])],
            [put([60_000])],
        ),
        script("checksums, backfill", [Open(V3_SUMS), put([1, 9000])], [put([5])], [put([9003])]),
        script(
            "checksums of streams, some that fail",
            [Open(V3_SUMS), put([1, 9000, 25_000])],
            [Stream(5), FailingStream(25_002), GivenUp(vec![25_003, 33_000])],
            [put([9003])],
        ),
        script(
            "checksums from some day on",
            [Open(V3), put([1, 9000])],
            [Open(V3_SUMS), put([2]), put([9001])],
            [Open(V3_SUMS), put([6000, 6001]), put([60_000])],
        ),
        Script {
            spec: ColumnSpec { max_value_bytes: MAX, ..SNAPPY },
            ..script(
                "compressed",
                [Open(V3), put([1, 9000])],
                [put([9001, 17_000]), put([2])],
                far(),
            )
        },
    ];
    all[0].kills = 2;
    all.extend(cuts());
    all
}

/// Columns that are replaced by a part of them.
fn cuts() -> Vec<Script> {
    use Step::{Open, Prune, Rewind};
    let far = || [put([8000, 8001]), put([60_000])];
    let three_files = || [Open(V3), put([1, 7, 9000, 9005, 17_000])];
    let all = vec![
        script(
            "rewind within the current file",
            [Open(V2), put([1, 5, 9])],
            [Rewind(6), put([9, 10])],
            [put([9000])],
        ),
        script(
            "rewind to a sealed file that is cut through",
            [Open(V2), put([1, 7, 9000, 9005, 17_000])],
            [Rewind(9004), put([9005, 9006]), put([17_000])],
            [put([60_000])],
        ),
        script(
            "rewind to a sealed file that stays whole",
            [Open(V2), put([1, 7, 9000, 17_000])],
            [Rewind(8500), put([8501])],
            [put([60_000])],
        ),
        script(
            "rewind, the backfilled file lies below",
            [Open(V3), put([1, 7, 9000, 9005, 17_000]), put([3])],
            [Rewind(9004), put([4]), put([9005])],
            far(),
        ),
        script(
            "rewind, the backfilled file is cut through",
            [Open(V3), put([1, 7, 9000, 9005, 17_000]), put([9002, 9007])],
            [Rewind(9004), put([9003]), put([9005])],
            far(),
        ),
        script(
            "rewind, the backfilled file lies above",
            [Open(V3), put([1, 7, 9000, 9005, 17_000]), put([9002])],
            [Rewind(7), put([5]), put([8])],
            far(),
        ),
        script("rewind to an empty column", three_files(), [Rewind(0), put([2])], far()),
        script(
            "rewind with checksums",
            [Open(V2_SUMS), put([1, 7, 9000])],
            [Rewind(6), put([7, 8])],
            [put([60_000])],
        ),
        script(
            "rewind with checksums to a file that stays whole",
            [Open(V3_SUMS), put([1, 7, 9000]), put([5])],
            [Rewind(8000), put([6])],
            [put([60_000])],
        ),
        script(
            "rewind, checksums from some day on",
            [Open(V3), put([1, 9]), Open(V3_SUMS), put([10, 11])],
            [Rewind(10), put([11])],
            [put([60_000])],
        ),
        script(
            "prune",
            [Open(V2), put([1, 9000, 17_000])],
            [Prune(1), put([17_001])],
            [put([60_000])],
        ),
        script(
            "prune with checksums, the backfilled file goes",
            [Open(V3_SUMS), put([1, 9000, 17_000]), put([5])],
            [Prune(2), put([16_999])],
            [put([60_000])],
        ),
        script(
            "prune, the backfilled file stays",
            [Open(V3), put([1, 9000, 17_000]), put([9003])],
            [Prune(1), put([9004])],
            far(),
        ),
        Script {
            spec: ColumnSpec { max_value_bytes: MAX, ..SNAPPY },
            ..script("rewind, compressed", three_files(), [Rewind(9000), put([9001])], far())
        },
    ];
    let renames = |script: &Script| Script {
        name: format!("{}, by two renames", script.name),
        exchanges: false,
        ..script.clone()
    };
    let by_renames: Vec<Script> = all[..2].iter().chain(&all[10..11]).map(renames).collect();
    all.into_iter().chain(by_renames).collect()
}
