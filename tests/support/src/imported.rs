//! Archives imported from `.era` files, to be damaged.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use coldstore::era::{COLUMNS, ImportPlan, ImportProgress, import};
use coldstore::{
    Archive, ArchiveWriter, ArchiveWriterOptions, Checksums, Column, MappedArchive, ReaderOptions,
    Slot, StatesPolicy, Writer, WriterOptions,
};
use tempfile::TempDir;

use crate::scratch;

pub struct ImportedArchive(TempDir);

impl ImportedArchive {
    /// Imports these files, without a proof.
    pub fn of(files: &[PathBuf]) -> Self {
        let held = Self(scratch());
        let options = ArchiveWriterOptions::default().columns(COLUMNS).checksums(Checksums::On);
        let mut archive = ArchiveWriter::open(held.path(), options).unwrap();
        let plan = ImportPlan::scan(files).unwrap();
        let mut observer = |_: &ImportProgress<'_>| ControlFlow::Continue(());
        import(&plan, &mut archive, StatesPolicy::All, &mut observer).unwrap();
        held
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, column: Column, name: &str) -> PathBuf {
        self.path().join(column.dir_name()).join(name)
    }

    pub fn open(&self) -> MappedArchive {
        // SAFETY: nobody writes to the archive while it is looked at.
        #[expect(unsafe_code, reason = "readers map the files")]
        unsafe {
            Archive::open_mapped(self.path(), ReaderOptions::default()).unwrap()
        }
    }

    /// Replaces a column by the one of another archive.
    pub fn take_column(&self, column: Column, other: &Self) {
        let name = column.dir_name();
        fs::remove_dir_all(self.path().join(name)).unwrap();
        fs::rename(other.path().join(name), self.path().join(name)).unwrap();
    }

    /// Rebuilds a column from its records, changed by `change`, with checksums; `None` omits a record.
    pub fn remake(&self, column: Column, mut change: impl FnMut(u64, Vec<u8>) -> Option<Vec<u8>>) {
        let view = self.open().column(column).unwrap().view();
        let values: Vec<(Slot, Vec<u8>)> = view
            .range(..)
            .filter_map(|record| {
                let record = record.unwrap();
                let value = change(record.slot().0, record.value().unwrap().into_owned())?;
                Some((record.slot(), value))
            })
            .collect();
        let directory = self.path().join(column.dir_name());
        fs::remove_dir_all(&directory).unwrap();
        let options = WriterOptions::create(column.spec()).checksums(Checksums::On);
        let mut writer = Writer::open(&directory, options).unwrap();
        for (slot, value) in values {
            writer.put(slot, &value).unwrap();
        }
    }

    /// The offset of a slot's stored bytes in the column's first file.
    pub fn place_of(&self, column: Column, slot: u64) -> usize {
        let file = fs::read(self.file(column, "data_00000")).unwrap();
        let view = self.open().column(column).unwrap().view();
        let stored = view.get_stored(Slot(slot)).unwrap().unwrap();
        let mut places =
            file.windows(stored.len()).enumerate().filter(|(_, bytes)| *bytes == stored);
        let skipped = (0..slot)
            .rev()
            .take_while(|before| view.get_stored(Slot(*before)).unwrap() == Some(stored));
        places.nth(skipped.count()).unwrap().0
    }
}
