//! A column that is open for writing.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::files::disk::{Disk, OsDisk};
use crate::format::conf::Conf;
use crate::read::{Reader, ReaderOptions};
use crate::slot::Slot;
use crate::write::batch::{self, ArchiveHighest, Batch, Committed, Form, Prepared};
use crate::write::bulk::{BulkCommit, BulkError, BulkReport};
use crate::write::column_dir::ColumnDir;
use crate::write::conf_file;
use crate::write::door::Door;
use crate::write::heal_action::HealReport;
use crate::write::open_column::OpenColumn;
use crate::write::opening::{self, Locked};
use crate::write::options::WriterOptions;
use crate::write::rules;

/// A column that is open for writing. It is the only writer of the column, in any process, until it
/// is dropped.
///
/// Once a put has returned `Ok`, no crash and no power cut loses it. After an error, or when the
/// process dies in a put, the column holds all of the batch or nothing of it when it is opened again.
///
/// # Errors of every put
/// Errors before the first write leave the writer usable: [`Error::NotAscending`],
/// [`Error::InvalidSlot`], [`Error::TooLarge`], [`Error::Conflict`], [`Error::BackfillDisabled`],
/// [`Error::MixedBatch`], [`Error::SpansFiles`], [`Error::Corrupt`]; with a [`Door`],
/// [`Error::Refused`].
///
/// [`Error::Io`] when a system call fails, and when the writer has lost its lock: `lock` or the
/// column's directory was removed or replaced. An error after the first change to a file poisons the
/// writer: every later write is [`Error::Poisoned`] until the column is opened again.
#[derive(Debug)]
pub struct Writer {
    pub(super) column: OpenColumn,
    door: Option<Door>,
    pub(super) archive: ArchiveHighest,
}

impl Writer {
    /// Opens a column for writing and heals what an earlier process left unfinished.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`] at once when there is another writer; [`Error::NoSuchColumn`];
    /// [`Error::ConfMismatch`]; [`Error::Unsupported`]; [`Error::Corrupt`] when conf and files do
    /// not belong together: nothing was changed then; [`Error::Io`].
    pub fn open(directory: impl AsRef<Path>, options: WriterOptions) -> Result<Self> {
        Self::open_on(Arc::new(OsDisk), directory, options)
    }

    /// [`Writer::open`] on another disk than the operating system's.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        directory: impl AsRef<Path>,
        options: WriterOptions,
    ) -> Result<Self> {
        Self::open_locked(Locked::take(ColumnDir::new(disk, directory.as_ref()), options)?)
    }

    /// Opens a column whose lock is held.
    pub(crate) fn open_locked(locked: Locked) -> Result<Self> {
        let door = locked.options().door;
        Ok(Self::new(locked.open()?, door))
    }

    pub(super) fn new(column: OpenColumn, door: Option<Door>) -> Self {
        Self { column, door, archive: ArchiveHighest::default() }
    }

    /// Does what opening has [deferred](WriterOptions::deferred).
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub(crate) fn settle(&mut self) -> Result<()> {
        settle(&mut [self], || Ok(()))
    }

    /// True while the column is still to be created.
    pub(crate) fn is_to_be_created(&self) -> bool {
        self.column.is_to_be_created()
    }

    /// What opening healed.
    #[must_use]
    pub fn heal_report(&self) -> &HealReport {
        &self.column.healed
    }

    /// The last commit.
    #[must_use]
    pub fn conf(&self) -> &Conf {
        &self.column.conf
    }

    /// The highest slot with a record, `None` in an empty column.
    #[must_use]
    pub fn highest_written_slot(&self) -> Option<Slot> {
        self.column.conf.highest
    }

    /// What checks the values that are written.
    #[must_use]
    pub fn door(&self) -> Option<Door> {
        self.door
    }

    /// The column's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.column.directory.path()
    }

    /// True when every further write is refused.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.column.poisoned.is_some()
    }

    /// Turns backfill on, as [`WriterOptions::allow_backfill`] does when a column is opened: skipped
    /// slots below the highest may be filled from now on. It stays on.
    ///
    /// # Errors
    /// [`Error::Io`], and the writer is poisoned.
    pub fn allow_backfill(&mut self) -> Result<()> {
        self.settle()?;
        if self.column.conf.allows_backfill() {
            return Ok(());
        }
        self.column.check_writable()?;
        self.column.change(|column| column.allow_backfill().map_err(conf_file::poisoning))
    }

    /// Whether a slot has a record.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
    pub fn contains(&self, slot: Slot) -> Result<bool> {
        Ok(self.column.entry(slot)? != 0)
    }

    /// True when the slot holds this value, false when it has no record.
    pub(crate) fn holds(&self, slot: Slot, value: &mut dyn Read) -> Result<bool> {
        self.column.holds(slot, value)
    }

    /// A reader of this column. Its next [`refresh`](Reader::refresh) after a put has returned shows
    /// that put.
    ///
    /// # Errors
    /// As [`Reader::open`].
    ///
    /// # Safety
    /// As [`Reader::open`].
    #[expect(unsafe_code, reason = "passes the contract of Reader::open on")]
    pub unsafe fn reader(&self, options: ReaderOptions) -> Result<Reader> {
        Reader::open_mapped(self.directory(), options)
    }

    /// Stores one value.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn put(&mut self, slot: Slot, value: &[u8]) -> Result<Committed> {
        self.put_batch(&[(slot, value)])
    }

    /// Stores several values in one commit: all of them, or none after an error. Slots ascend.
    /// Slots that hold the same value already are left as they are.
    ///
    /// A batch above the highest slot may span files. A batch of gaps may fill one file besides the
    /// current one, and must not go past the highest slot: [`Writer::put_bulk`] splits any run of slots
    /// into such batches, and is what callers want that do not need all or nothing.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn put_batch<V: AsRef<[u8]>>(&mut self, items: &[(Slot, V)]) -> Result<Committed> {
        self.write(items, Form::Values)?.commit()
    }

    /// The first half of [`Writer::put_batch`], with nearly all of its work and waiting: the batch is
    /// written and flushed, and stays invisible. [`Prepared::commit`] makes it visible with the rename
    /// of the conf; dropping it instead removes it again.
    ///
    /// A caller that has to commit to one column after others (to mark them complete, say) can run
    /// this half beside them.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn prepare_batch<V: AsRef<[u8]>>(&mut self, items: &[(Slot, V)]) -> Result<Prepared<'_>> {
        let mut prepared = self.write(items, Form::Values)?;
        prepared.flush()?;
        Ok(prepared)
    }

    /// [`Writer::put_batch`] of payloads in their stored form: snappy frames for a compressed
    /// column. They are stored byte for byte.
    ///
    /// # Errors
    /// See [`Writer`]; [`Error::Undecodable`] names a payload that does not decode.
    pub fn put_stored_batch<V: AsRef<[u8]>>(&mut self, items: &[(Slot, V)]) -> Result<Committed> {
        self.write(items, Form::Stored)?.commit()
    }

    /// Stores one value from a stream, `byte_len` bytes of it, without holding it in memory. (In
    /// a compressed column the compressed bytes are held.)
    ///
    /// # Errors
    /// See [`Writer`]; [`Error::Io`] when the stream fails or ends too early, which does not
    /// poison the writer.
    pub fn put_from(
        &mut self,
        slot: Slot,
        byte_len: u64,
        source: &mut dyn Read,
    ) -> Result<Committed> {
        Ok(self.put_from_through(self.door, slot, byte_len, source)?.committed)
    }

    /// [`Writer::put_from`] through this door.
    pub(super) fn put_from_through(
        &mut self,
        door: Option<Door>,
        slot: Slot,
        byte_len: u64,
        source: &mut dyn Read,
    ) -> Result<Streamed> {
        self.column.check_writable()?;
        rules::check_slots([slot].into_iter())?;
        rules::check_value_len(self.conf().spec, slot, byte_len)?;
        let mut head = Vec::new();
        if let Some(door) = door {
            head = batch::read_head(&self.column, slot, byte_len, source)?;
            door.check_value(slot, &head, byte_len)?;
            self.archive.check_slots(&self.column, Some(door), [slot].into_iter())?;
        }
        let mut source = head.as_slice().chain(source);
        let Some(batch) = Batch::of_source(&self.column, slot, byte_len, &mut source)? else {
            let committed = Committed { written: 0, unchanged: 1 };
            return Ok(Streamed { committed, bytes: 0, flush: Duration::ZERO });
        };
        let bytes = batch.byte_len();
        let (committed, flush) = batch.write(&mut self.column)?.commit_timed()?;
        Ok(Streamed { committed, bytes, flush })
    }

    /// Stores any ascending run of slots in as few commits as the rules allow: the gaps, one commit
    /// per file, then everything above the highest slot. `on_commit` is called after each of these
    /// steps, also for one that finds everything there already. It is durable then.
    ///
    /// # Errors
    /// The first error of a commit, and how far the run came. Mistakes in the items themselves are
    /// found before the first commit.
    pub fn put_bulk<V: AsRef<[u8]>>(
        &mut self,
        items: &[(Slot, V)],
        mut on_commit: impl FnMut(&BulkCommit),
    ) -> Result<BulkReport, BulkError> {
        let mut done = BulkReport::default();
        let mut run = || -> Result<()> {
            let batch = self.check(items, Form::Values)?;
            for part in batch.split(self.column.conf.highest) {
                let slots = part.slots().next().zip(part.slots().next_back());
                let Some((first, last)) = slots else { continue };
                self.column.check_writable()?;
                let committed = part.write(&mut self.column)?.commit()?;
                done.add(last, committed.written, committed.unchanged);
                let records = committed.written + committed.unchanged;
                on_commit(&BulkCommit { first, last, records });
            }
            Ok(())
        };
        match run() {
            Ok(()) => Ok(done),
            Err(error) => Err(BulkError { done, error }),
        }
    }

    /// Writes a batch without waiting for the disk: everything before the flush of a commit.
    pub(crate) fn write<V: AsRef<[u8]>>(
        &mut self,
        items: &[(Slot, V)],
        form: Form,
    ) -> Result<Prepared<'_>> {
        self.check(items, form)?.write(&mut self.column)
    }

    fn check<'a, V: AsRef<[u8]>>(
        &mut self,
        items: &'a [(Slot, V)],
        form: Form,
    ) -> Result<Batch<'a>> {
        self.column.check_writable()?;
        let records = items.iter().map(|(slot, value)| (*slot, value.as_ref().into()));
        let batch = Batch::check(records.collect(), form, self.conf().spec, self.door)?;
        self.archive.check_slots(&self.column, self.door, batch.slots())?;
        Ok(batch)
    }
}

/// A commit of one value that was read from a stream.
pub(super) struct Streamed {
    pub(super) committed: Committed,
    /// Bytes of payload written.
    pub(super) bytes: u64,
    /// How long the commit waited for its flushes.
    pub(super) flush: Duration,
}

/// [`Writer::settle`] for several columns, in the order of their locks, with a last check before any
/// conf is replaced.
pub(crate) fn settle<T, E: From<Error>>(
    writers: &mut [&mut Writer],
    last_check: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let mut columns: Vec<_> = writers.iter_mut().map(|writer| &mut writer.column).collect();
    opening::settle(&mut columns, last_check)
}
