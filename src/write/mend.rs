//! Replaces a lost or damaged column by a copy.
//!
//! The records of the copy are put into a new column by ordinary puts, with all their checks. The new
//! column then becomes the content ([`crate::write::replace`]). The old content may be anything and is not
//! read.

use std::path::Path;

use crate::column::Compression;
use crate::error::Result;
use crate::read::View;
use crate::slot::Slot;
use crate::write::opening::{self, Locked};
use crate::write::options::WriterOptions;
use crate::write::replace::{HeldForIt, Replacement};
use crate::write::writer::Writer;

/// Maximum total length in bytes of the payloads of one batch.
const BATCH_BYTES: usize = 16 << 20;

/// The result of [`replace_by_copy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Number of records that the column holds now.
    pub records: u64,
    /// The highest slot.
    pub highest: Option<Slot>,
}

/// Replaces the content of the column in `directory` by the records that a view of another column shows.
/// Creates the column if there is none. `check` receives the directory of the new content before it takes
/// effect.
///
/// # Errors
/// The errors of `check`; [`Error::AlreadyOpen`](crate::Error::AlreadyOpen); as [`Writer::open`] and the
/// puts of a [`Writer`] with these options; as reading the copy. The column is then unchanged.
pub fn replace_by_copy(
    directory: impl AsRef<Path>,
    copy: &View,
    options: WriterOptions,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<Mended> {
    let (column, lock) = Locked::of(directory.as_ref(), options)?.into_lock()?;
    let replacement = Replacement::begin(&column, lock)?;
    let built = build(&replacement, copy, options)
        .and_then(|mended| check(replacement.new_directory().path()).map(|()| mended));
    match built {
        Ok(mended) => replacement.finish().map(|()| mended),
        Err(error) => Err(replacement.give_up(error)),
    }
}

fn build(replacement: &Replacement, copy: &View, options: WriterOptions) -> Result<Mended> {
    let new = replacement.new_directory().clone();
    let allow_backfill = copy.conf().allows_backfill();
    let options = options.allow_backfill(allow_backfill);
    let column = opening::open_locked(new, Box::new(HeldForIt), options)?;
    let mut writer = Writer::new(column, options.door);
    let mut mended = Mended { records: 0, highest: copy.highest_written_slot() };
    let mut batch: Vec<(Slot, &[u8])> = Vec::new();
    let mut batch_bytes = 0;
    let streams = copy.conf().spec.compression == Compression::None;
    for record in copy.range(..) {
        let record = record?;
        let (slot, stored) = (record.slot(), record.stored());
        mended.records += 1;
        if stored.len() > BATCH_BYTES.saturating_sub(batch_bytes) {
            writer.put_stored_batch(&std::mem::take(&mut batch))?;
            batch_bytes = 0;
        }
        if streams && stored.len() > BATCH_BYTES {
            writer.put_from(slot, stored.len() as u64, &mut &*stored)?;
            continue;
        }
        batch_bytes = batch_bytes.saturating_add(stored.len());
        batch.push((slot, stored));
    }
    writer.put_stored_batch(&batch)?;
    drop(writer);
    replacement.keep_others()?;
    Ok(mended)
}
