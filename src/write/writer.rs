//! A column that is open for writing.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::files::disk::{Disk, OsDisk};
use crate::format::conf::Conf;
use crate::read::{Reader, ReaderOptions};
use crate::slot::Slot;
use crate::write::batch::{self, ArchiveHighest, Batch, Committed, Finished, Form, Prepared};
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
/// Once a put has returned `Ok`, it survives crashes and power cuts. If a put fails, or the process dies
/// during it, the column holds all of the batch or none of it when it is opened again.
///
/// # Errors of every put
/// Errors before the first write leave the writer usable: [`Error::NotAscending`],
/// [`Error::InvalidSlot`], [`Error::TooLarge`], [`Error::Conflict`], [`Error::BackfillDisabled`],
/// [`Error::MixedBatch`], [`Error::SpansFiles`], [`Error::Corrupt`]; with a [`Door`],
/// [`Error::Refused`].
///
/// [`Error::Io`] if a system call fails, or if the writer has lost its lock: `lock` or the column's
/// directory was removed or replaced. An error after the first write poisons the writer: every later
/// write is [`Error::Poisoned`] until the column is opened again.
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
    /// [`Error::AlreadyOpen`], without waiting, if there is another writer; [`Error::NoSuchColumn`];
    /// [`Error::ConfMismatch`]; [`Error::Unsupported`]; [`Error::Corrupt`] if conf and files contradict
    /// each other (nothing was changed then); [`Error::Io`].
    pub fn open(directory: impl AsRef<Path>, options: WriterOptions) -> Result<Self> {
        Self::open_on(Arc::new(OsDisk), directory, options)
    }

    /// [`Writer::open`] on a disk other than the operating system's.
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

    /// Executes what opening has [deferred](WriterOptions::deferred).
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub(crate) fn settle(&mut self) -> Result<()> {
        settle([self], || Ok(()))
    }

    /// Whether the column is still to be created.
    pub(crate) fn is_to_be_created(&self) -> bool {
        self.column.is_to_be_created()
    }

    /// The report of what opening healed.
    #[must_use]
    pub fn heal_report(&self) -> &HealReport {
        &self.column.healed
    }

    /// The conf of the last commit.
    #[must_use]
    pub fn conf(&self) -> &Conf {
        &self.column.conf
    }

    /// The highest slot with a record, `None` in an empty column.
    #[must_use]
    pub fn highest_written_slot(&self) -> Option<Slot> {
        self.column.conf.highest
    }

    /// The door that checks values before they are written.
    #[must_use]
    pub fn door(&self) -> Option<Door> {
        self.door
    }

    /// The column's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.column.directory.path()
    }

    /// Whether the writer is poisoned, so that it refuses every further write.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.column.poisoned.is_some()
    }

    /// Turns backfill on permanently, as [`WriterOptions::allow_backfill`] does when a column is opened:
    /// skipped slots below the highest may be filled from now on.
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

    /// Returns true if the slot holds this value, and false if it has no record.
    pub(crate) fn holds(&self, slot: Slot, value: &mut dyn Read) -> Result<bool> {
        self.column.holds(slot, value)
    }

    /// Opens a reader of this column. Once a put has returned, the reader's next
    /// [`refresh`](Reader::refresh) shows it. For one that maps the files, pass [`Self::directory`] to
    /// [`Reader::open_mapped`].
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn reader(&self, options: ReaderOptions) -> Result<Reader> {
        Reader::open(self.directory(), options)
    }

    /// Stores one value.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn put(&mut self, slot: Slot, value: &[u8]) -> Result<Committed> {
        self.put_batch(&[(slot, value)])
    }

    /// Stores several values in one commit: all of them, or none after an error. Slots ascend. A slot that
    /// already holds the same value is left unchanged.
    ///
    /// A batch above the highest slot may span files. A batch of gaps may fill one file besides the current
    /// one, and must not extend past the highest slot. Callers that do not need atomicity should use
    /// [`Writer::put_bulk`], which splits any run of slots into such batches.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn put_batch<V: AsRef<[u8]>>(&mut self, items: &[(Slot, V)]) -> Result<Committed> {
        self.write(items, Form::Values)?.commit()
    }

    /// The first half of [`Writer::put_batch`], with nearly all of its work and waiting. Writes and flushes
    /// the batch, which stays invisible until [`Prepared::commit`] renames the conf. Dropping the
    /// [`Prepared`] removes the batch again.
    ///
    /// A caller that must commit to one column after others (to mark them complete, say) can run this half
    /// concurrently with their commits.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn prepare_batch<V: AsRef<[u8]>>(&mut self, items: &[(Slot, V)]) -> Result<Prepared<'_>> {
        let mut prepared = self.write(items, Form::Values)?;
        prepared.flush()?;
        Ok(prepared)
    }

    /// [`Writer::put_batch`] for payloads in stored form: snappy frames for a compressed column. They are
    /// stored byte for byte.
    ///
    /// # Errors
    /// See [`Writer`]; [`Error::Undecodable`] names a payload that does not decode.
    pub fn put_stored_batch<V: AsRef<[u8]>>(&mut self, items: &[(Slot, V)]) -> Result<Committed> {
        self.write(items, Form::Stored)?.commit()
    }

    /// Stores one value of `byte_len` bytes from a stream, without holding it in memory. (In a compressed
    /// column, the compressed bytes are held in memory.)
    ///
    /// # Errors
    /// See [`Writer`]; [`Error::Io`] if the stream fails or ends too early, which does not poison the
    /// writer.
    pub fn put_from(
        &mut self,
        slot: Slot,
        byte_len: u64,
        source: &mut dyn Read,
    ) -> Result<Committed> {
        Ok(self.put_from_through(self.door, slot, byte_len, source)?.committed)
    }

    /// [`Writer::put_from`] with another door.
    pub(super) fn put_from_through(
        &mut self,
        door: Option<Door>,
        slot: Slot,
        byte_len: u64,
        source: &mut dyn Read,
    ) -> Result<Finished> {
        self.column.check_writable()?;
        rules::check_slots([slot].into_iter())?;
        rules::check_value_len(self.conf().spec, slot, byte_len)?;
        let mut head = Vec::new();
        if let Some(door) = door {
            head = batch::read_head(&self.column, slot, byte_len, source)?;
            door.check_value(slot, &head, byte_len)?;
            let highest = self.column.conf.highest;
            self.archive.check_slots(&self.column, highest, Some(door), [slot].into_iter())?;
        }
        let mut source = head.as_slice().chain(source);
        let Some(batch) = Batch::of_source(&self.column, slot, byte_len, &mut source)? else {
            let committed = Committed { written: 0, unchanged: 1 };
            return Ok(Finished { committed, ..Finished::default() });
        };
        batch.write(&mut self.column)?.finish()
    }

    /// Stores any ascending run of slots in as few commits as the rules allow: the gaps, one commit per
    /// file, then everything above the highest slot. `on_commit` is called after each step, once it is
    /// durable, even if all its records were already present.
    ///
    /// # Errors
    /// The first error of a commit, with the progress up to it. Invalid items are found before the first
    /// commit.
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

    /// Executes the commit of a batch up to, but excluding, the flush.
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
        let highest = self.column.conf.highest;
        self.archive.check_slots(&self.column, highest, self.door, batch.slots())?;
        Ok(batch)
    }
}

/// [`Writer::settle`] for several columns, in the order of their locks, with a last check before any
/// conf is replaced.
pub(crate) fn settle<'a, T, E: From<Error>>(
    writers: impl IntoIterator<Item = &'a mut Writer>,
    last_check: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    opening::settle(writers.into_iter().map(|writer| &mut writer.column), last_check)
}
