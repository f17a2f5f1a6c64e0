//! What the tests of `.era` files share: the two chains, archives to import into, and files taken
//! apart and put together again.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

pub(crate) use coldstore::era::COLUMNS;
use coldstore::era::{
    ImportColumns, ImportFailure, ImportOptions, ImportPlan, ImportProgress, ImportReport,
    import_columns,
};
use coldstore::{Column, Slot, StatesPolicy, View, Writer, WriterOptions};
use tempfile::TempDir;

pub(crate) use test_support::e2store::*;
pub(crate) use test_support::*;

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
            state_diffs: None,
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
        observer: &mut (dyn FnMut(&ImportProgress<'_>) -> ControlFlow<()> + Send),
    ) -> Outcome {
        let plan = ImportPlan::scan(paths)?;
        import_columns(&plan, self.writers().columns(), options, observer)
    }

    pub(crate) fn view(&self, column: Column) -> View {
        view(&self.root.path().join(column.dir_name()))
    }

    /// A line for every value of a column: slot, length and sha256.
    pub(crate) fn lines(&self, column: Column) -> String {
        let view = self.view(column);
        let line = |record: coldstore::Record<'_>| {
            let value = record.value().unwrap();
            format!("{}\t{}\t{}\n", record.slot(), value.len(), sha256(&value))
        };
        view.range(..).map(|record| line(record.unwrap())).collect()
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
        for column in COLUMNS {
            assert_imported(chain, column.dir_name(), eras.clone(), &self.lines(column));
        }
    }
}

/// An observer that watches nothing.
pub(crate) fn go_on(_: &ImportProgress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
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

/// Snappy frames of uncompressed chunks: their length is that of the value alone.
pub(crate) fn plain_frames(value: &[u8]) -> Vec<u8> {
    let mut frames = b"\xff\x06\x00\x00sNaPpY".to_vec();
    for piece in value.chunks(1000) {
        let len = u32::try_from(piece.len() + 4).unwrap().to_le_bytes();
        frames.extend([1, len[0], len[1], len[2]]);
        // Any framing of the piece has the same checksum.
        frames.extend(&e2store::frames(piece)[14..18]);
        frames.extend(piece);
    }
    frames
}
