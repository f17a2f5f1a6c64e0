//! What is written, and what was acknowledged.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) compression: Compression,
    pub(crate) backfill: bool,
    /// Batches go through a pipeline, several at once.
    pub(crate) pipeline: bool,
}

impl Kind {
    pub(crate) fn name(self) -> String {
        let version = if self.backfill { "v3" } else { "v2" };
        let way = if self.pipeline { "pipeline" } else { "writer" };
        format!("{} {version} {way}", self.compression)
    }

    pub(crate) fn named(name: &str) -> Kind {
        let compression =
            if name.starts_with("snappy") { Compression::Snappy } else { Compression::None };
        let (backfill, pipeline) = (name.contains("v3"), name.ends_with("pipeline"));
        Kind { compression, backfill, pipeline }
    }

    /// The batches that are under way together with the n-th, at most.
    pub(crate) fn together(self, n: u64) -> Range<u64> {
        if !self.pipeline {
            return n..n + 1;
        }
        // What goes past the highest slot, then what fills gaps below it: a batch of the second kind
        // is refused for as long as one of the first waits.
        let (round, step) = (n / STEPS * STEPS, n % STEPS);
        if step < SEQUENTIAL_STEPS {
            round..round + SEQUENTIAL_STEPS
        } else {
            round + SEQUENTIAL_STEPS..round + STEPS
        }
    }

    pub(crate) fn open(self, directory: &Path) -> Writer {
        let options =
            WriterOptions::create(spec(self.compression, 1 << 20)).allow_backfill(self.backfill);
        Writer::open(directory, options).unwrap_or_else(|error| panic!("the writer opens: {error}"))
    }
}

/// Batches of one round, which covers two files and skips a third.
pub(crate) const STEPS: u64 = 10;
/// The first of them go past the highest slot; with backfill on, the others fill gaps.
pub(crate) const SEQUENTIAL_STEPS: u64 = 4;

/// The slots of the n-th batch.
///
/// Round r has the files 3r and 3r + 1, and skips 3r + 2 until a later round fills it.
pub(crate) fn batch(kind: Kind, n: u64) -> Vec<u64> {
    let (round, step) = (n / STEPS, n % STEPS);
    assert!(round < 2_000, "the tables below hold for so many rounds");
    let sealed = 3 * round * SLOTS_PER_FILE;
    let current = sealed + SLOTS_PER_FILE;
    let slots: Vec<u64> = match step {
        // Sequential, with gaps.
        0 => (0..24).map(|index| sealed + 7_000 + 10 * index).collect(),
        // Over the file boundary: one commit for two files.
        1 => (0..16).map(|index| current - 16 + 2 * index).collect(),
        2 => vec![current + 50],
        3 => (0..20).map(|index| current + 100 + 7 * index).collect(),
        _ if !kind.backfill => vec![current + 300 + step],
        // Backfill in the current file …
        4 => (0..8).map(|index| current + 1 + 2 * index).collect(),
        // … in the file before …
        5 => (0..8).map(|index| current - 15 + 2 * index).collect(),
        // … in both at once …
        6 => (0..6)
            .map(|index| sealed + 7_005 + 10 * index)
            .chain((0..6).map(|index| current + 101 + 7 * index))
            .collect(),
        // … in a file that did not exist …
        7 if round > 0 => {
            (0..5).map(|index| current - 2 * SLOTS_PER_FILE + 1_000 * index).collect()
        }
        // … somewhere in the past …
        8 if round > 0 => {
            let past = 3 * (mix(n) % round) * SLOTS_PER_FILE;
            (0..3).map(|index| past + 3 * round + index).collect()
        }
        // … and one slot of the current file again.
        _ => vec![current + 60 + step],
    };
    assert!(slots.is_sorted());
    slots
}

/// The value of a slot says which commit it belongs to. Its length is that of a root, of a small
/// block, or of several pages.
pub(crate) fn value(n: u64, slot: u64) -> Vec<u8> {
    let byte_len = match mix(slot) % 16 {
        0 => 9_000,
        1..4 => 700,
        _ => 32,
    };
    let mut value = n.to_le_bytes().to_vec();
    value.extend_from_slice(&bytes_from(slot, byte_len));
    value
}

pub(crate) fn commit_of(value: &[u8]) -> u64 {
    u64::from_le_bytes(*value.first_chunk().expect("a value begins with its commit"))
}

pub(crate) fn log_path(column: &Path) -> PathBuf {
    column.with_extension("acknowledged")
}

/// The batches that the log acknowledges. A line that a kill cut off is none, and the next one may
/// follow on it.
pub(crate) fn acknowledged(column: &Path) -> BTreeSet<u64> {
    let text = fs::read_to_string(log_path(column)).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.rsplit_once('<')?.1.strip_suffix('>'));
    lines.map(|n| n.parse().unwrap()).collect()
}

/// To be called when the batch is durable. One append for one line.
pub(crate) fn acknowledge(column: &Path, n: u64) {
    let mut log = fs::OpenOptions::new().create(true).append(true).open(log_path(column)).unwrap();
    log.write_all(format!("<{n}>\n").as_bytes()).unwrap();
}

/// The first batch that is not acknowledged.
pub(crate) fn first_open(acknowledged: &BTreeSet<u64>) -> u64 {
    (0..).find(|n| !acknowledged.contains(n)).unwrap_or_default()
}

pub(crate) fn stop_path(column: &Path) -> PathBuf {
    column.with_extension("stop")
}
