//! What the tests of `.era` files share: the two chains, archives to import into, and files taken
//! apart and put together again.

#![allow(dead_code, unused_imports, reason = "every test binary uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "the tests make and damage files by hand")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]
#![allow(unsafe_code, reason = "opening a reader maps files")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use coldstore::era::{
    ImportColumns, ImportFailure, ImportOptions, ImportReport, Observer, Plan, Progress, import,
};
use coldstore::{Column, Reader, ReaderOptions, Slot, StatesPolicy, View, Writer, WriterOptions};
use sha2::Digest as _;
use tempfile::TempDir;

mod parts;
#[path = "../support/scratch.rs"]
mod scratch;

pub(crate) use parts::*;
pub(crate) use scratch::scratch;

pub(crate) const MINIMAL: &str = "chain-minimal";
pub(crate) const MAINNET: &str = "chain-mainnet-preset";
/// The columns that an import writes to.
pub(crate) const COLUMNS: [Column; 4] =
    [Column::Blocks, Column::BlockRoots, Column::StateRoots, Column::StateSnapshots];

pub(crate) fn data(chain: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(chain)
}

/// The files of a chain, by era.
pub(crate) fn era_files(chain: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(data(chain).join("era")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

// ------------------------------------------------------------------------------- archives

pub(crate) struct Archive {
    pub(crate) root: TempDir,
}

pub(crate) struct Writers {
    pub(crate) blk: Writer,
    pub(crate) bbr: Writer,
    pub(crate) bsr: Writer,
    pub(crate) bss: Writer,
}

impl Writers {
    pub(crate) fn columns(&mut self) -> ImportColumns<'_> {
        ImportColumns {
            blocks: &mut self.blk,
            block_roots: &mut self.bbr,
            state_roots: &mut self.bsr,
            state_snapshots: Some(&mut self.bss),
        }
    }
}

pub(crate) type Outcome = Result<ImportReport, Box<ImportFailure>>;

impl Archive {
    pub(crate) fn new() -> Self {
        Self { root: scratch() }
    }

    /// An archive that these files were imported into.
    pub(crate) fn of<P: AsRef<Path>>(paths: &[P]) -> Self {
        let archive = Self::new();
        archive.import(paths).unwrap();
        archive
    }

    pub(crate) fn writer(&self, column: Column, backfill: bool) -> Writer {
        let options = WriterOptions::create(column.spec()).allow_backfill(backfill);
        Writer::open(self.root.path().join(column.dir_name()), options).unwrap()
    }

    pub(crate) fn writers(&self) -> Writers {
        Writers {
            blk: self.writer(Column::Blocks, false),
            bbr: self.writer(Column::BlockRoots, false),
            bsr: self.writer(Column::StateRoots, false),
            bss: self.writer(Column::StateSnapshots, false),
        }
    }

    pub(crate) fn import<P: AsRef<Path>>(&self, paths: &[P]) -> Outcome {
        self.import_with(paths, StatesPolicy::All, &mut go_on)
    }

    pub(crate) fn import_with<'p, P: AsRef<Path>>(
        &self,
        paths: &[P],
        options: impl Into<ImportOptions<'p>>,
        observer: &mut (dyn Observer + Send),
    ) -> Outcome {
        let plan = Plan::scan(paths)?;
        import(&plan, self.writers().columns(), options, observer)
    }

    pub(crate) fn view(&self, column: Column) -> View {
        let directory = self.root.path().join(column.dir_name());
        // SAFETY: the directory is this test's own, and only writers change what is in it.
        unsafe { Reader::open_mapped(directory, ReaderOptions::default()) }.unwrap().view()
    }

    /// `slot length sha256` of every value of a column.
    pub(crate) fn lines(&self, column: Column) -> Vec<String> {
        let view = self.view(column);
        view.range(..)
            .map(|record| {
                let record = record.unwrap();
                let value = record.value().unwrap();
                format!("{}\t{}\t{}", record.slot(), value.len(), sha256(&value))
            })
            .collect()
    }

    /// Puts another archive's column into this one, which has none yet.
    pub(crate) fn copy_column(&self, from: &Archive, column: Column) {
        let [from, to] = [from, self].map(|archive| archive.root.path().join(column.dir_name()));
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    /// A column of this archive with the records of these slots alone, in place of its own.
    pub(crate) fn cut_column(&self, whole: &Archive, column: Column, keeps: impl Fn(u64) -> bool) {
        let directory = self.root.path().join(column.dir_name());
        fs::remove_dir_all(&directory).unwrap();
        let mut writer = self.writer(column, false);
        for record in whole.view(column).range(..) {
            let record = record.unwrap();
            if keeps(record.slot().0) {
                writer.put_stored_batch(&[(record.slot(), record.stored())]).unwrap();
            }
        }
    }

    /// Every file of every column with its bytes, but for the locks.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for column in COLUMNS {
            let directory = self.root.path().join(column.dir_name());
            let Ok(entries) = fs::read_dir(directory) else {
                continue;
            };
            for path in entries.map(|entry| entry.unwrap().path()) {
                // The witness counts the confs that were written.
                if path.file_name().is_some_and(|name| name != "lock" && name != "column.check") {
                    let bytes = fs::read(&path).unwrap();
                    let name = path.strip_prefix(self.root.path()).unwrap().to_path_buf();
                    files.insert(name, bytes);
                }
            }
        }
        files
    }

    /// The eras of the chain up to this one are here, with every value, and nothing else.
    #[track_caller]
    pub(crate) fn assert_holds(&self, chain: &str, eras: std::ops::RangeInclusive<u64>) {
        let slots_per_era = if chain == MINIMAL { ERA_SLOTS } else { 8192 };
        let slots = eras.start().saturating_sub(1) * slots_per_era..eras.end() * slots_per_era;
        for column in COLUMNS {
            let expected: Vec<String> = expected(chain, column)
                .into_iter()
                .filter(|(slot, _)| match column {
                    Column::StateSnapshots => eras.contains(&(slot / slots_per_era)),
                    _ => slots.contains(slot),
                })
                .map(|(_, line)| line)
                .collect();
            let held = self.lines(column);
            assert_eq!(held.len(), expected.len(), "records of {column}");
            assert!(held == expected, "{column} differs from the expected values");
        }
    }
}

/// An observer that watches nothing.
pub(crate) fn go_on(_: &Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(crate) fn expected(chain: &str, column: Column) -> Vec<(u64, String)> {
    let path = data(chain).join("expect").join(format!("{column}.tsv"));
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| (line.split('\t').next().unwrap().parse().unwrap(), line.to_owned()))
        .collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn slot_value(archive: &Archive, column: Column, slot: u64) -> Option<Vec<u8>> {
    archive.view(column).get(Slot(slot)).unwrap().map(std::borrow::Cow::into_owned)
}

/// Writes a file into a directory and returns its path.
pub(crate) fn write(directory: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}
