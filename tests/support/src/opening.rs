//! Opening columns and archives.

use super::*;

/// Opens for reading with the default options.
#[expect(unsafe_code, reason = "opening a reader maps files")]
pub fn try_reader(dir: &Path) -> Result<MappedReader, Error> {
    // SAFETY: the directory belongs to this test, which truncates no file below a committed length
    // while a reader is open, unless the test is about exactly that and does not touch the map.
    unsafe { Reader::open_mapped(dir, ReaderOptions::default()) }
}

/// Opens for reading with these options.
#[expect(unsafe_code, reason = "opening a reader maps files")]
pub fn open_reader(dir: &Path, options: ReaderOptions) -> Result<MappedReader, Error> {
    // SAFETY: as in `try_reader`.
    unsafe { Reader::open_mapped(dir, options) }
}

/// Opens an archive for reading.
#[expect(unsafe_code, reason = "opening an archive maps files")]
#[track_caller]
pub fn open_archive(root: &Path) -> MappedArchive {
    // SAFETY: as in `try_reader`.
    unsafe { Archive::open_mapped(root, ReaderOptions::default()) }.unwrap()
}

/// A reader of what this writer commits.
#[expect(unsafe_code, reason = "opening a reader maps files")]
#[track_caller]
pub fn reader_of(writer: &Writer) -> MappedReader {
    // SAFETY: as in `try_reader`.
    unsafe { Reader::open_mapped(writer.directory(), ReaderOptions::default()) }.unwrap()
}

#[track_caller]
pub fn reader(dir: &Path) -> MappedReader {
    try_reader(dir).unwrap()
}

/// A view of a reader that was opened just now.
#[track_caller]
pub fn view(dir: &Path) -> View {
    reader(dir).view()
}

/// Opens or makes a [`PLAIN`] column for writing.
pub fn try_writer(dir: &Path, backfill: bool) -> Result<Writer, Error> {
    Writer::open(dir, WriterOptions::create(PLAIN).allow_backfill(backfill))
}

#[track_caller]
pub fn writer(dir: &Path, backfill: bool) -> Writer {
    try_writer(dir, backfill).unwrap()
}

/// A new [`PLAIN`] column in `dir` with the values of these slots, put one by one, and closed again.
#[track_caller]
pub fn column(dir: &Path, backfill: bool, slots: impl IntoIterator<Item = u64>) {
    let mut writer = writer(dir, backfill);
    for slot in slots {
        writer.put(Slot(slot), &value(slot)).unwrap();
    }
}

pub fn spec(compression: Compression, max_value_bytes: u64) -> ColumnSpec {
    ColumnSpec { record_type: [0x77, 0x00], compression, max_value_bytes }
}
