//! Short lists of commits of every kind.

use super::*;

/// A [`PLAIN`] column and a batch that is about to be put into it: one for every way that section
/// 5.2 of FORMAT.md can go.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub backfill: bool,
    /// Put one by one when the column is made.
    pub sequential: &'static [u64],
    /// Put one by one after that.
    pub backfilled: &'static [u64],
    /// Put in one batch.
    pub batch: &'static [u64],
    /// The file that the conf has to name, by a commit of its own, before anything else happens.
    pub intent: Option<u64>,
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "the first put of a column",
        backfill: false,
        sequential: &[],
        backfilled: &[],
        batch: &[5],
        intent: None,
    },
    Scenario {
        name: "the first put of a column with backfill, two files",
        backfill: true,
        sequential: &[],
        backfilled: &[],
        batch: &[8191, 8192],
        intent: None,
    },
    Scenario {
        name: "sequential, in the current file",
        backfill: false,
        sequential: &[1, 3, 5],
        backfilled: &[],
        batch: &[6, 9, 8191],
        intent: None,
    },
    Scenario {
        name: "sequential, a replayed prefix before it",
        backfill: false,
        sequential: &[1, 3, 9000],
        backfilled: &[],
        batch: &[1, 3, 9000, 9001],
        intent: None,
    },
    Scenario {
        name: "sequential, into the next file",
        backfill: false,
        sequential: &[1],
        backfilled: &[],
        batch: &[8195],
        intent: None,
    },
    Scenario {
        name: "sequential, over four files, one of them left out",
        backfill: false,
        sequential: &[1, 8190],
        backfilled: &[],
        batch: &[8191, 8192, 16_384, 16_385, 40_000],
        intent: None,
    },
    Scenario {
        name: "sequential, past a file that backfill has filled",
        backfill: true,
        sequential: &[1, 9000],
        backfilled: &[2],
        batch: &[9001, 17_000],
        intent: None,
    },
    Scenario {
        name: "sequential, past the current file that backfill has filled",
        backfill: true,
        sequential: &[1, 9000],
        backfilled: &[2, 8999],
        batch: &[17_000],
        intent: None,
    },
    Scenario {
        name: "backfill into the current file",
        backfill: true,
        sequential: &[1, 20],
        backfilled: &[],
        batch: &[0, 5, 9],
        intent: None,
    },
    Scenario {
        name: "backfill into a sealed file",
        backfill: true,
        sequential: &[1, 9000, 17_000],
        backfilled: &[],
        batch: &[5, 7],
        intent: Some(0),
    },
    Scenario {
        name: "backfill into a file that never existed",
        backfill: true,
        sequential: &[1, 17_000],
        backfilled: &[],
        batch: &[8192, 9000, 9001],
        intent: Some(1),
    },
    Scenario {
        name: "backfill into a sealed file and the current one",
        backfill: true,
        sequential: &[1, 9000, 17_000],
        backfilled: &[],
        batch: &[9001, 16_384, 16_999],
        intent: Some(1),
    },
    Scenario {
        name: "backfill into the sealed file that the conf names",
        backfill: true,
        sequential: &[1, 9000, 17_000],
        backfilled: &[5],
        batch: &[3, 8],
        intent: None,
    },
    Scenario {
        name: "backfill into another sealed file than the conf names",
        backfill: true,
        sequential: &[1, 9000, 17_000],
        backfilled: &[9001],
        batch: &[5, 6],
        intent: Some(0),
    },
    Scenario {
        name: "backfill into a file that never existed, another is named",
        backfill: true,
        sequential: &[1, 9000, 40_000],
        backfilled: &[5],
        batch: &[20_000],
        intent: Some(2),
    },
];

impl Scenario {
    /// Makes the column as it is before the batch.
    #[track_caller]
    pub fn build(&self, dir: &Path) {
        let slots = self.sequential.iter().chain(self.backfilled).copied();
        column(dir, self.backfill, slots);
    }

    pub fn before(&self) -> Content {
        content(self.sequential.iter().chain(self.backfilled).copied())
    }

    pub fn after(&self) -> Content {
        content(self.sequential.iter().chain(self.backfilled).chain(self.batch).copied())
    }

    pub fn items(&self) -> Vec<(Slot, Vec<u8>)> {
        batch(self.batch.iter().copied())
    }

    /// The files of the column before the batch and after it, without a crash.
    pub fn files(&self) -> (Files, Files) {
        let dir = scratch();
        self.build(dir.path());
        let before = files_of(dir.path());
        writer(dir.path(), self.backfill).put_batch(&self.items()).unwrap();
        (before, files_of(dir.path()))
    }
}
