//! Builds the new content of a column from records, by ordinary puts with all their checks.

use std::io::Read;
use std::path::Path;

use crate::column::Compression;
use crate::error::{Error, Result};
use crate::format::conf::Conf;
use crate::read::View;
use crate::slot::Slot;
use crate::write::opening::{self, Locked};
use crate::write::options::WriterOptions;
use crate::write::replace::{Replacement, replace};
use crate::write::writer::Writer;

/// Maximum total length in bytes of the payloads of one batch. A longer payload of an uncompressed column
/// is streamed.
const BATCH_BYTES: usize = 16 << 20;

/// The new content of a column, while records are put into it in batches.
pub(super) struct Content {
    writer: Writer,
    batch: Vec<(Slot, Vec<u8>)>,
    batch_bytes: usize,
}

impl Content {
    pub(super) fn create(replacement: &Replacement, options: WriterOptions) -> Result<Self> {
        let column = opening::open(replacement.new.clone(), options)?;
        let writer = Writer::new(column, options.door);
        Ok(Self { writer, batch: Vec::new(), batch_bytes: 0 })
    }

    /// Adds a record with a payload in stored form.
    pub(super) fn put(&mut self, slot: Slot, byte_len: u64, stored: &mut dyn Read) -> Result<()> {
        let len = usize::try_from(byte_len).unwrap_or(usize::MAX);
        if len > BATCH_BYTES.saturating_sub(self.batch_bytes) {
            self.commit_batch()?;
        }
        if len > BATCH_BYTES && self.writer.conf().spec.compression == Compression::None {
            return self.writer.put_from(slot, byte_len, stored).map(drop);
        }
        let mut payload = Vec::with_capacity(len);
        let read = stored.read_to_end(&mut payload);
        read.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::io(self.writer.directory(), "read", error),
        })?;
        self.batch_bytes = self.batch_bytes.saturating_add(len);
        self.batch.push((slot, payload));
        Ok(())
    }

    fn commit_batch(&mut self) -> Result<()> {
        self.writer.put_stored_batch(&self.batch)?;
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }

    /// Commits the last batch. Returns the conf.
    pub(super) fn finish(mut self) -> Result<Conf> {
        self.commit_batch()?;
        Ok(*self.writer.conf())
    }
}

/// Replaces the content of the column in `directory` by the records that a view of another column shows.
/// Creates the column if there is none. The old content may be anything and is not read. `check` receives
/// the directory of the new content before it takes effect. Returns the number of records.
///
/// # Errors
/// The errors of `check`; [`Error::AlreadyOpen`]; as [`Writer::open`] and the puts of a [`Writer`] with
/// these options; as reading the copy. The column is then unchanged.
pub fn replace_by_copy(
    directory: impl AsRef<Path>,
    copy: &View,
    options: WriterOptions,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<u64> {
    let (column, lock) = Locked::of(directory.as_ref(), options)?.into_lock()?;
    replace(&column, lock, |replacement| {
        let options = options.allow_backfill(copy.conf().allows_backfill());
        let mut content = Content::create(replacement, options)?;
        let mut records = 0;
        for record in copy.range(..) {
            let record = record?;
            let mut stored = record.stored();
            content.put(record.slot(), stored.len() as u64, &mut stored)?;
            records += 1;
        }
        content.finish()?;
        check(replacement.new.path())?;
        Ok(records)
    })
}
