//! A column, open for writing.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::column::{Column, ColumnSpec, Compression};
use crate::error::{Error, Result};
use crate::files::disk::{Access, Disk, Lock, OsDisk};
use crate::format::conf::{Backfill, Conf};
use crate::format::faults::{check_spec, data_file_too_short, missing, no_record};
use crate::format::names;
use crate::format::record::HEADER_BYTES;
use crate::format::witness::Witness;
use crate::read::decode::{self, DecodeFault};
use crate::read::{Reader, ReaderOptions};
use crate::slot::{FileId, Slot};
use crate::write::aside::Asides;
use crate::write::column_dir::ColumnDir;
use crate::write::commit::{self, FileBatch, Stream};
use crate::write::compare::{StoredReader, Uncomparable, compare, same_value};
use crate::write::conf_file::{self, CommitError};
use crate::write::door::{self, Door};
use crate::write::encode;
use crate::write::flusher::Flusher;
use crate::write::heal::{self, Evidence};
use crate::write::heal_action::{HealAction, HealReport};
use crate::write::opening::{self, Deferred, Locked};
use crate::write::pipeline::{CommitInfo, JobEvent};
use crate::write::plan;
use crate::write::round::{self, Held, Order};
use crate::write::run::{RunCommit, RunError, RunReport};
use crate::write::table_cache::TableCache;

/// What a writer asks of a column.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    spec: Option<ColumnSpec>,
    max_value_bytes: u64,
    allow_backfill: bool,
    checksums: Checksums,
    door: Option<Door>,
    pub(super) is_deferred: bool,
    discard: bool,
    restore_conf: bool,
    orphans_aside: bool,
}

/// Whether checksums of the records that are written are kept beside them: `data_00000.sum` beside
/// `data_00000` (`FORMAT.md`, section 8). Whoever does not know them reads the column as before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// No. (But in a file that has one for a slot without a record they are: put beside another
    /// record it would accuse that one.)
    #[default]
    Off,
    /// Where the column has any.
    WherePresent,
    /// Yes.
    On,
}

impl WriterOptions {
    /// Opens a column with this record type and compression, and makes it where there is none. A
    /// larger bound than the one on disk replaces it.
    #[must_use]
    pub fn create(spec: ColumnSpec) -> Self {
        Self { spec: Some(spec), max_value_bytes: spec.max_value_bytes, ..Self::existing() }
    }

    /// Opens a column that must be there, as it is.
    #[must_use]
    pub fn existing() -> Self {
        Self {
            spec: None,
            max_value_bytes: 0,
            allow_backfill: false,
            checksums: Checksums::Off,
            door: None,
            is_deferred: false,
            discard: false,
            restore_conf: false,
            orphans_aside: false,
        }
    }

    /// Whether skipped slots behind the highest may be filled. Once on, it stays on: the column
    /// becomes `LHSTBLK3`, and `false` changes nothing about that.
    #[must_use]
    pub fn allow_backfill(self, allow_backfill: bool) -> Self {
        Self { allow_backfill, ..self }
    }

    /// Whether checksums are kept of what is written.
    #[must_use]
    pub fn checksums(self, checksums: Checksums) -> Self {
        Self { checksums, ..self }
    }

    /// Healing removes what the conf does not name without keeping a copy, also where a crash need not
    /// have left it, and what was put aside earlier (default: it is put aside, or opening fails).
    #[must_use]
    pub fn discard(self, discard: bool) -> Self {
        Self { discard, ..self }
    }

    /// Puts back the conf that was written last, from `column.check`, where it fits the files. Fails
    /// where none does.
    #[must_use]
    pub fn restore_conf(self, restore_conf: bool) -> Self {
        Self { restore_conf, ..self }
    }

    /// Healing puts aside sealed data files without an offset file, which block backfill into them
    /// (default: they are left alone, since the offset file may have been lost). Columns with backfill
    /// only; a file that a conf or a checksum file tells of stays.
    #[must_use]
    pub fn orphans_aside(self, orphans_aside: bool) -> Self {
        Self { orphans_aside, ..self }
    }

    pub(super) fn discards(&self) -> bool {
        self.discard
    }

    pub(super) fn puts_orphans_aside(&self) -> bool {
        self.orphans_aside
    }

    /// Checks every value that is written (default: none is checked).
    #[must_use]
    pub fn door(self, door: Door) -> Self {
        Self { door: Some(door), ..self }
    }

    /// Whether what opening changes besides healing waits for the first write or for
    /// [`Writer::settle`]: making a column that is missing (which is not locked until then), turning
    /// backfill on, raising the bound on values.
    #[must_use]
    pub(crate) fn deferred(self, is_deferred: bool) -> Self {
        Self { is_deferred, ..self }
    }

    /// What a column that is missing is made as.
    pub(super) fn makes(&self) -> Option<ColumnSpec> {
        self.spec
    }

    /// Raises the bound on one decoded value, in bytes. It never goes down.
    #[must_use]
    pub fn max_value_bytes(self, bytes: u64) -> Self {
        Self { max_value_bytes: self.max_value_bytes.max(bytes), ..self }
    }
}

/// What a put did. All of it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Records written.
    pub written: u64,
    /// Records that were there before with the same value.
    pub unchanged: u64,
}

/// A column, open for writing: the only writer there is, in any process, until it is dropped.
///
/// When a put returns `Ok`, no crash and no power cut loses it. When it returns an error, or the
/// process dies in it, the column holds all of the batch or nothing of it once it is opened again.
///
/// # Errors of every put
/// Refused before anything is written, and the writer goes on: [`Error::NotAscending`],
/// [`Error::InvalidSlot`], [`Error::TooLarge`], [`Error::Conflict`], [`Error::BackfillDisabled`],
/// [`Error::MixedBatch`], [`Error::SpansFiles`], [`Error::Corrupt`]; with a [`Door`],
/// [`Error::Refused`].
///
/// [`Error::Io`] when the system fails a call, or when the lock file at its path is another one than
/// this writer holds: somebody removed it, or put another directory in the place of the column's.
/// After the first change to a file an error poisons the writer: every later write is
/// [`Error::Poisoned`] until the column is opened again.
#[derive(Debug)]
pub struct Writer {
    directory: ColumnDir,
    conf: Conf,
    witness: Witness,
    asides: Asides,
    tables: TableCache,
    flusher: Flusher,
    door: Option<Door>,
    /// The highest slot of the archive, as far as it was looked up.
    archive_highest: Option<Slot>,
    /// How long the last commit waited for its flushes.
    flush_elapsed: Duration,
    /// What poisoned it.
    poisoned: Option<Error>,
    healed: HealReport,
    /// What [`Self::settle`] has still to do.
    pub(super) deferred: Option<Deferred>,
    /// Given back last; `None` as long as there is no column.
    lock: Option<Box<dyn Lock>>,
}

impl Writer {
    /// Opens a column for writing and heals what an earlier process left unfinished.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`] at once when there is another writer; [`Error::NoSuchColumn`];
    /// [`Error::ConfMismatch`]; [`Error::Unsupported`]; [`Error::Corrupt`] when conf and files do
    /// not belong together: nothing was touched then; [`Error::Io`].
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
        Locked::take(ColumnDir::new(disk, directory.as_ref()), options)?.open()
    }

    /// Opens a column whose lock is held.
    pub(super) fn open_locked(
        directory: ColumnDir,
        lock: Box<dyn Lock>,
        options: WriterOptions,
    ) -> Result<Self> {
        let Opened { conf, witness, healed, in_force } = open_conf(&directory, options)?;
        let deferred = in_force.map(Deferred::Conf);
        let keeps_sums = match options.checksums {
            Checksums::Off => false,
            Checksums::WherePresent => directory.has_sums()?,
            Checksums::On => true,
        };
        let (tables, flusher) = (TableCache::new(keeps_sums), Flusher::default());
        let asides = Asides::list(&directory)?;
        Ok(Self {
            directory,
            conf,
            witness,
            asides,
            tables,
            flusher,
            door: options.door,
            archive_highest: None,
            flush_elapsed: Duration::ZERO,
            poisoned: None,
            healed,
            deferred,
            lock: Some(lock),
        })
    }

    /// The writer of a column that is still to be made.
    pub(super) fn of_missing(
        directory: ColumnDir,
        options: WriterOptions,
        spec: ColumnSpec,
    ) -> Self {
        let conf = Conf::empty(spec, options.allow_backfill);
        let tables = TableCache::new(options.checksums == Checksums::On);
        let (witness, flusher, healed) =
            (Witness::default(), Flusher::default(), HealReport::default());
        let deferred = Some(Deferred::Column(options.deferred(false)));
        Self {
            directory,
            conf,
            witness,
            asides: Asides::default(),
            tables,
            flusher,
            door: options.door,
            archive_highest: None,
            flush_elapsed: Duration::ZERO,
            poisoned: None,
            healed,
            deferred,
            lock: None,
        }
    }

    /// Does what opening has [put off](WriterOptions::deferred).
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub(crate) fn settle(&mut self) -> Result<()> {
        opening::settle(&mut [self], || Ok(()))
    }

    /// The column was made.
    pub(super) fn begin(&mut self, opened: Opened, lock: Box<dyn Lock>) {
        (self.conf, self.witness, self.healed) = (opened.conf, opened.witness, opened.healed);
        (self.lock, self.deferred) = (Some(lock), None);
    }

    /// There is no such column yet.
    pub(crate) fn is_to_be_made(&self) -> bool {
        matches!(self.deferred, Some(Deferred::Column(_)))
    }

    pub(super) fn column_dir(&self) -> &ColumnDir {
        &self.directory
    }

    /// Turns backfill on, or raises the bound on values, where that was put off.
    pub(super) fn settle_conf(&mut self) -> Result<()> {
        if let Some(Deferred::Conf(in_force)) = self.deferred {
            let Self { directory, conf, witness, .. } = self;
            conf_file::replace_alone(directory, witness, Some(&in_force), *conf)?;
            self.deferred = None;
        }
        Ok(())
    }

    /// Directories that opening has removed before it healed the column.
    pub(super) fn tell_removed(&mut self, leftovers: Vec<PathBuf>) {
        let removed =
            leftovers.into_iter().map(|directory| HealAction::RemovedLeftover { directory });
        self.healed.actions.splice(..0, removed);
    }

    /// What opening healed.
    #[must_use]
    pub fn heal_report(&self) -> &HealReport {
        &self.healed
    }

    /// The last commit.
    #[must_use]
    pub fn conf(&self) -> &Conf {
        &self.conf
    }

    /// The highest slot with a record, `None` in an empty column.
    #[must_use]
    pub fn highest_written_slot(&self) -> Option<Slot> {
        self.conf.highest
    }

    /// What checks the values that are written.
    #[must_use]
    pub fn door(&self) -> Option<Door> {
        self.door
    }

    /// The column's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// True when every further write is refused.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    /// Turns backfill on, as [`WriterOptions::allow_backfill`] does when a column is opened: skipped
    /// slots behind the highest may be filled from now on. It stays on.
    ///
    /// # Errors
    /// [`Error::Io`], and the writer is poisoned.
    pub fn allow_backfill(&mut self) -> Result<()> {
        self.settle()?;
        if self.conf.allows_backfill() {
            return Ok(());
        }
        self.check_writable()?;
        let target = self.conf.backfill_target();
        let asked = Conf { backfill: Some(Backfill { allowed: true, target }), ..self.conf };
        self.change(|Self { directory, conf, witness, .. }| {
            let replaced = conf_file::replace_alone(directory, witness, Some(conf), asked);
            replaced.map_err(|error| CommitError { error, poisons: true })?;
            *conf = asked;
            Ok(())
        })
    }

    /// Whether a slot has a record.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
    pub fn contains(&mut self, slot: Slot) -> Result<bool> {
        Ok(self.entry(slot)? != 0)
    }

    /// A reader of this column; after a put has returned, its next
    /// [`refresh`](Reader::refresh) shows that put.
    ///
    /// # Errors
    /// As [`Reader::open`].
    ///
    /// # Safety
    /// As [`Reader::open`].
    #[expect(unsafe_code, reason = "passes the contract of Reader::open on")]
    pub unsafe fn reader(&self, options: ReaderOptions) -> Result<Reader> {
        Reader::open_mapped(self.directory.path(), options)
    }

    /// Stores one value.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn put(&mut self, slot: Slot, value: &[u8]) -> Result<Committed> {
        self.put_batch(&[(slot, value)])
    }

    /// Stores several values in one commit: all of them, or after an error none. Slots ascend.
    /// Those that hold the same value already are left as they are.
    ///
    /// Above the highest slot a batch may span files; below it, it fills gaps in one file besides
    /// the current one. [`Writer::put_run`] takes what is longer.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn put_batch<V: AsRef<[u8]>>(&mut self, items: &[(Slot, V)]) -> Result<Committed> {
        self.write_batch(items)?.commit()
    }

    /// The first half of [`Writer::put_batch`], which is nearly all of its work and waiting: the batch
    /// is written and flushed, and nobody sees anything of it. [`Prepared::commit`] makes it visible
    /// with the rename of the conf; dropped instead, it is taken away again.
    ///
    /// Whoever has to commit to one column after others (to say that they are complete, say) can
    /// let this half of it go on beside them.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn prepare_batch<V: AsRef<[u8]>>(&mut self, items: &[(Slot, V)]) -> Result<Prepared<'_>> {
        let mut prepared = self.write_batch(items)?;
        prepared.flush()?;
        Ok(prepared)
    }

    /// [`Writer::prepare_batch`] without waiting for the disk.
    pub(crate) fn write_batch<V: AsRef<[u8]>>(
        &mut self,
        items: &[(Slot, V)],
    ) -> Result<Prepared<'_>> {
        let items = borrowed(items);
        self.check_values(&items)?;
        let (written, committed) = self.write_values(items, None)?;
        Ok(Prepared { writer: self, written, committed })
    }

    /// [`Writer::put_batch`] of payloads in their stored form: snappy frames for a compressed
    /// column. They are stored byte for byte.
    ///
    /// # Errors
    /// See [`Writer`]; [`Error::Undecodable`] names a payload that does not decode.
    pub fn put_stored_batch<V: AsRef<[u8]>>(&mut self, items: &[(Slot, V)]) -> Result<Committed> {
        if self.conf.spec.compression == Compression::None {
            return self.put_batch(items);
        }
        let items = borrowed(items);
        self.check_writable()?;
        plan::check_slots(items.iter().map(|(slot, _)| *slot))?;
        for (slot, stored) in &items {
            self.check_stored(*slot, stored)?;
        }
        self.check_door_slots(self.door, items.iter().map(|(slot, _)| *slot))?;
        self.write_stored(items)?.commit()
    }

    /// [`Writer::put_stored_batch`] of payloads that the caller has decoded, within the column's
    /// bound, and whose slots it has compared with those in the values: no work is done twice. It
    /// does not wait for the disk.
    pub(crate) fn write_checked_batch(
        &mut self,
        items: &[(Slot, impl AsRef<[u8]>)],
    ) -> Result<Prepared<'_>> {
        if self.conf.spec.compression == Compression::None {
            return self.write_batch(items);
        }
        self.check_writable()?;
        plan::check_slots(items.iter().map(|(slot, _)| *slot))?;
        self.check_door_slots(self.door, items.iter().map(|(slot, _)| *slot))?;
        self.write_stored(borrowed(items))
    }

    fn write_stored(&mut self, items: Items<'_>) -> Result<Prepared<'_>> {
        let (new, unchanged) = self.new_of(items, Compression::Snappy)?;
        let committed = Committed { written: new.len() as u64, unchanged };
        let written = self.write_new(&new, None)?;
        Ok(Prepared { writer: self, written, committed })
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
        let (committed, _) = self.put_from_through(self.door, slot, byte_len, source)?;
        Ok(committed)
    }

    /// [`Writer::put_from`] through this door, and how many bytes of payload were written.
    fn put_from_through(
        &mut self,
        door: Option<Door>,
        slot: Slot,
        byte_len: u64,
        source: &mut dyn Read,
    ) -> Result<(Committed, u64)> {
        self.check_writable()?;
        plan::check_slots([slot].into_iter())?;
        plan::check_value_len(self.conf.spec, slot, byte_len)?;
        let head = self.check_door_from(door, slot, byte_len, source)?;
        let source: &mut dyn Read = &mut head.as_slice().chain(source);
        if self.contains(slot)? {
            let mut value = source.take(byte_len);
            self.holds(slot, &mut value)?;
            return match value.limit() {
                0 => Ok((Committed { written: 0, unchanged: 1 }, 0)),
                _ => Err(self.source_failed(slot, io::ErrorKind::UnexpectedEof.into())),
            };
        }
        if self.conf.spec.compression == Compression::None {
            plan::check_stored_len(slot, byte_len)?;
            return Ok((self.put_stream(slot, byte_len, source)?, byte_len));
        }
        let mut limited = source.take(byte_len);
        let stored =
            encode::encode_stream(&mut limited).map_err(|error| self.source_failed(slot, error))?;
        if limited.limit() != 0 {
            return Err(self.source_failed(slot, io::ErrorKind::UnexpectedEof.into()));
        }
        self.put_new(&[(slot, &stored)], None)?;
        Ok((Committed { written: 1, unchanged: 0 }, stored.len() as u64))
    }

    /// Stores any ascending run in as few commits as the rules allow: what fills gaps, one commit
    /// per file, then what lies above the highest slot. `on_commit` is told of each of these steps
    /// when it is durable, also of those that find everything there already.
    ///
    /// # Errors
    /// The first error of a commit, and how far the run came.
    pub fn put_run<V: AsRef<[u8]>>(
        &mut self,
        items: &[(Slot, V)],
        mut on_commit: impl FnMut(&RunCommit),
    ) -> Result<RunReport, RunError> {
        let items = borrowed(items);
        let mut done = RunReport::default();
        let mut run = || -> Result<()> {
            self.check_values(&items)?;
            let gaps = items.partition_point(|(slot, _)| Some(*slot) <= self.conf.highest);
            let groups = plan::by_file(&items[..gaps]);
            let mut parts: Vec<_> = groups.into_iter().map(|group| group.items).collect();
            if gaps < items.len() {
                parts.push(gaps..items.len());
            }
            for (index, part) in parts.iter().enumerate() {
                let next = parts.get(index + 1).map(|part| items[part.start].0.file_id());
                let part = &items[part.clone()];
                self.check_writable()?;
                let committed = self.put_values(part.to_vec(), next)?;
                let (Some(first), Some(last)) = (part.first(), part.last()) else {
                    continue;
                };
                done.commits += u64::from(committed.written > 0);
                done.written += committed.written;
                done.unchanged += committed.unchanged;
                done.last = Some(last.0);
                let records = committed.written + committed.unchanged;
                on_commit(&RunCommit { first: first.0, last: last.0, records });
            }
            Ok(())
        };
        match run() {
            Ok(()) => Ok(done),
            Err(error) => Err(RunError { done, error }),
        }
    }

    fn source_failed(&self, slot: Slot, error: io::Error) -> Error {
        Error::io(self.directory.data_path(slot.file_id()), commit::READ_SOURCE, error)
    }

    pub(super) fn parts(&mut self) -> (&ColumnDir, &Conf, &mut TableCache) {
        (&self.directory, &self.conf, &mut self.tables)
    }

    /// What is left when the column is to be replaced.
    pub(super) fn into_parts(mut self) -> Result<(ColumnDir, Conf, TableCache, Box<dyn Lock>)> {
        self.settle()?;
        let Self { directory, conf, tables, lock, .. } = self;
        let lock = lock.ok_or_else(|| heal::no_conf(&directory))?;
        Ok((directory, conf, tables, lock))
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        if let Some(cause) = &self.poisoned {
            let (directory, cause) = (self.directory.path().into(), Box::new(cause.clone()));
            return Err(Error::Poisoned { directory, cause });
        }
        // Files are found by their paths. Where the lock is not at its path any more, those lead into
        // another directory, or there may be another writer.
        let path = self.directory.file_path(names::LOCK);
        // What is not there yet can be made at any time.
        let Some(lock) = &self.lock else { return Ok(()) };
        let source = match lock.is_at(&path) {
            Ok(true) => return Ok(()),
            Ok(false) => io::Error::other("it, or its directory, was removed or replaced"),
            Err(error) => error,
        };
        Err(Error::io(path, "go on under the lock", source))
    }

    fn check_values(&mut self, items: &[(Slot, &[u8])]) -> Result<()> {
        self.check_writable()?;
        let lens = items.iter().map(|(slot, value)| (*slot, value.len()));
        plan::check_values(self.conf.spec, lens)?;
        if let Some(door) = self.door {
            items
                .iter()
                .try_for_each(|(slot, value)| door.check_value(*slot, value, value.len() as u64))?;
        }
        self.check_door_slots(self.door, items.iter().map(|(slot, _)| *slot))
    }

    /// Whether these ascending slots may be written.
    fn check_door_slots(
        &mut self,
        door: Option<Door>,
        slots: impl DoubleEndedIterator<Item = Slot> + Clone,
    ) -> Result<()> {
        let Some((door, last)) = door.zip(slots.clone().next_back()) else { return Ok(()) };
        self.look_up_archive_highest(door, last)?;
        door.check_slots(self.conf.highest, self.archive_highest, slots)
    }

    /// Looks the archive's highest slot up again where what is known of it would refuse this slot.
    fn look_up_archive_highest(&mut self, door: Door, slot: Slot) -> Result<()> {
        let known = self.conf.highest.max(self.archive_highest);
        // (The other columns may be damaged: one that is being mended asks for none of them.)
        if !door.allows_far() && known.is_none_or(|known| door.is_far(known, slot)) {
            for column in Column::ALL {
                let conf = self.directory.beside(column).read_conf()?;
                self.archive_highest = self.archive_highest.max(conf.and_then(|conf| conf.highest));
            }
        }
        Ok(())
    }

    /// [`Self::look_up_archive_highest`] for each of the jobs.
    fn look_up_for(&mut self, jobs: &[JobRecords<'_>]) -> Vec<Result<()>> {
        let look_up = |(records, door): &JobRecords<'_>| {
            let last = records.last().map(|(slot, _)| *slot);
            door.zip(last).map_or(Ok(()), |(door, last)| self.look_up_archive_highest(door, last))
        };
        jobs.iter().map(look_up).collect()
    }

    /// Checks the beginning of a stream and gives back what was read of it.
    fn check_door_from(
        &mut self,
        door: Option<Door>,
        slot: Slot,
        byte_len: u64,
        source: &mut dyn Read,
    ) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        if let Some(door) = door {
            let wanted = byte_len.min(door::HEAD_BYTES as u64);
            let read = source.take(wanted).read_to_end(&mut head);
            read.map_err(|error| self.source_failed(slot, error))?;
            if (head.len() as u64) < wanted {
                return Err(self.source_failed(slot, io::ErrorKind::UnexpectedEof.into()));
            }
            door.check_value(slot, &head, byte_len)?;
            self.check_door_slots(Some(door), [slot].into_iter())?;
        }
        Ok(head)
    }

    /// A payload in its stored form must be what a reader accepts.
    fn check_stored(&self, slot: Slot, stored: &[u8]) -> Result<()> {
        plan::check_stored_len(slot, stored.len() as u64)?;
        let limit = self.conf.spec.max_value_bytes;
        match decode::decoded_len(stored, Compression::Snappy, limit) {
            Ok(byte_len) => match self.door {
                Some(door) => door.check_value(slot, &decoded_head(stored), byte_len),
                None => Ok(()),
            },
            Err(DecodeFault::TooLarge) => Err(Error::TooLarge {
                slot,
                byte_len: limit.saturating_add(1),
                at_least: true,
                limit,
                bound: "the column's bound",
            }),
            Err(DecodeFault::Frames(error)) => {
                Err(Error::Undecodable { slot, cause: error.to_string().into() })
            }
        }
    }

    /// Stores jobs, each a batch of checked payloads in their stored form with the door that its slots
    /// still have to pass, in as few commits as the rules allow. Each job gets its own answer, when its own commit is durable. Before the
    /// last commit `next_file` is asked which sealed file will be filled next, below the current
    /// one that it is told.
    pub(super) fn put_jobs(
        &mut self,
        jobs: &[JobRecords<'_>],
        next_file: &mut dyn FnMut(FileId) -> Option<FileId>,
        tell: &mut dyn FnMut(JobEvent),
    ) {
        if let Err(poisoned) = self.check_writable() {
            (0..jobs.len()).for_each(|job| tell(JobEvent::Answer(job, Err(poisoned.clone()))));
            return;
        }
        let (conf, compression) = (self.conf, self.conf.spec.compression);
        let (records, doors): (Vec<_>, Vec<_>) = jobs.iter().copied().unzip();
        let looked_up = self.look_up_for(jobs);
        let archive_highest = self.archive_highest;
        let admits = |job: usize, highest: Option<Slot>| match doors[job] {
            Some(door) => {
                looked_up[job].clone()?;
                let slots = records[job].iter().map(|(slot, _)| *slot);
                door.check_slots(highest, archive_highest, slots)
            }
            None => Ok(()),
        };
        let has_door = doors.iter().any(Option::is_some);
        let order = if has_door { Order::LowerSlotsFirst } else { Order::AsTheyCame };
        let held = |slot, stored: &[u8]| {
            let mut value = decode::decoder(stored, compression);
            Ok(if self.holds(slot, &mut *value)? { Held::Same } else { Held::Nothing })
        };
        let same = |left: &[u8], right: &[u8]| same_value(left, right, compression);
        let mut round = round::plan_round(&conf, &records, order, held, same, admits);
        let answered_after = round.answered_after();
        let sealed: Vec<_> = round.units.iter().map(|unit| unit.fills.sealed()).collect();
        let mut failed: Vec<Option<Error>> = vec![None; round.units.len()];
        for (job, plan) in round.jobs.iter_mut().enumerate() {
            if plan.units.is_empty() {
                let outcome = std::mem::replace(&mut plan.outcome, Ok(Committed::default()));
                tell(JobEvent::Answer(job, outcome));
            }
        }
        for (index, unit) in std::mem::take(&mut round.units).into_iter().enumerate() {
            let current = unit.records.keys().next_back().map(|slot| slot.file_id());
            let next = match sealed.get(index + 1) {
                Some(next) => *next,
                None => current.max(self.conf.current_file()).and_then(&mut *next_file),
            };
            let before = self.conf.backfill_target().map(|target| target.file_id);
            let records: Vec<(Slot, &[u8])> = unit.records.into_iter().collect();
            let (count, bytes) =
                (records.len() as u64, records.iter().map(|(_, stored)| stored.len() as u64).sum());
            let started = Instant::now();
            match self.check_writable().and_then(|()| self.put_new(&records, next)) {
                Ok(()) => {
                    let target = self.conf.backfill_target().map(|target| target.file_id);
                    tell(JobEvent::Committed(CommitInfo {
                        records: count,
                        jobs: answered_after[index].len() as u64,
                        bytes,
                        elapsed: started.elapsed(),
                        flush: self.flush_elapsed,
                        switched_file: target != before,
                    }));
                }
                Err(error) => failed[index] = Some(error),
            }
            for job in &answered_after[index] {
                let plan = &mut round.jobs[*job];
                let error = plan.units.iter().find_map(|unit| failed[*unit].clone());
                let outcome = std::mem::replace(&mut plan.outcome, Ok(Committed::default()));
                tell(JobEvent::Answer(*job, error.map_or(outcome, Err)));
            }
        }
    }

    /// Stores a job that is one value from a stream, in a commit of its own.
    pub(super) fn put_stream_job(&mut self, job: StreamJob, tell: &mut dyn FnMut(JobEvent)) {
        let before = self.conf.backfill_target().map(|target| target.file_id);
        let StreamJob { slot, byte_len, mut source, door } = job;
        let started = Instant::now();
        let outcome = self.put_from_through(door, slot, byte_len, &mut *source);
        if let Ok((committed, bytes)) = &outcome
            && committed.written > 0
        {
            let target = self.conf.backfill_target().map(|target| target.file_id);
            tell(JobEvent::Committed(CommitInfo {
                records: committed.written,
                jobs: 1,
                bytes: *bytes,
                elapsed: started.elapsed(),
                flush: self.flush_elapsed,
                switched_file: target != before,
            }));
        }
        tell(JobEvent::Answer(0, outcome.map(|(committed, _)| committed)));
    }

    /// Stores checked values in one commit. `next` is the file that the commit after this fills.
    fn put_values(&mut self, items: Items<'_>, next: Option<FileId>) -> Result<Committed> {
        let (written, committed) = self.write_values(items, next)?;
        written.map_or(Ok(()), |written| self.finish(written))?;
        Ok(committed)
    }

    /// What [`Self::put_values`] does before it flushes; `None` where everything is there already.
    fn write_values(
        &mut self,
        items: Items<'_>,
        next: Option<FileId>,
    ) -> Result<(Option<commit::Prepared>, Committed)> {
        let (new, unchanged) = self.new_of(items, Compression::None)?;
        let committed = Committed { written: new.len() as u64, unchanged };
        if self.conf.spec.compression == Compression::None {
            return Ok((self.write_new(&new, next)?, committed));
        }
        // Refused before any work goes into compression.
        plan::group(&self.conf, &new)?;
        let values: Vec<&[u8]> = new.iter().map(|(_, value)| *value).collect();
        let stored = encode::compress_all(&values)
            .map_err(|error| Error::io(self.directory.path(), "compress a value for", error))?;
        let slots = new.iter().map(|(slot, _)| *slot);
        let new: Items<'_> = slots.zip(stored.iter().map(Vec::as_slice)).collect();
        Ok((self.write_new(&new, next)?, committed))
    }

    /// The items whose slots have no record yet, and how many others hold the same value. The
    /// items are in the form that `compression` gives them.
    fn new_of<'a>(
        &mut self,
        items: Items<'a>,
        compression: Compression,
    ) -> Result<(Items<'a>, u64)> {
        let mut unchanged = 0;
        let mut is_new = |slot, bytes| -> Result<bool> {
            let has_record = self.entry(slot)? != 0;
            let is_held =
                has_record && self.holds(slot, &mut *decode::decoder(bytes, compression))?;
            unchanged += u64::from(is_held);
            Ok(!is_held)
        };
        let new = items.into_iter().filter_map(|(slot, bytes)| match is_new(slot, bytes) {
            Ok(is_new) => is_new.then_some(Ok((slot, bytes))),
            Err(error) => Some(Err(error)),
        });
        let new = new.collect::<Result<_>>()?;
        Ok((new, unchanged))
    }

    /// Commits payloads of slots that have no record yet.
    fn put_new(&mut self, items: &[(Slot, &[u8])], next: Option<FileId>) -> Result<()> {
        let written = self.write_new(items, next)?;
        written.map_or(Ok(()), |written| self.finish(written))
    }

    /// What [`Self::put_new`] does before it flushes; `None` where there is nothing to commit.
    fn write_new(
        &mut self,
        items: &[(Slot, &[u8])],
        next: Option<FileId>,
    ) -> Result<Option<commit::Prepared>> {
        let groups = plan::group(&self.conf, items)?;
        let of_group = |group: plan::Group| FileBatch {
            file_id: group.file_id,
            records: &items[group.items],
            stream: None,
        };
        let batch: Vec<_> = groups.into_iter().map(of_group).collect();
        if batch.is_empty() { Ok(None) } else { self.write(batch, next).map(Some) }
    }

    fn put_stream(
        &mut self,
        slot: Slot,
        byte_len: u64,
        source: &mut dyn Read,
    ) -> Result<Committed> {
        plan::group(&self.conf, &[(slot, ())])?;
        let stream = Some(Stream { slot, byte_len, source });
        let batch = vec![FileBatch { file_id: slot.file_id(), records: &[], stream }];
        let written = self.write(batch, None)?;
        self.finish(written)?;
        Ok(Committed { written: 1, unchanged: 0 })
    }

    fn write(
        &mut self,
        batch: Vec<FileBatch<'_>>,
        next: Option<FileId>,
    ) -> Result<commit::Prepared> {
        if self.deferred.is_some() {
            self.settle()?;
        }
        let sealed = next.filter(|file_id| Some(*file_id) < self.conf.current_file());
        self.change(|Self { directory, conf, witness, tables, flusher, .. }| {
            let column = commit::Column { directory, conf, witness, tables, flusher };
            commit::write(column, batch, sealed)
        })
    }

    fn finish(&mut self, mut written: commit::Prepared) -> Result<()> {
        self.change(|Self { directory, conf, tables, flusher, flush_elapsed, .. }| {
            let started = Instant::now();
            written.flush(directory, flusher)?;
            *flush_elapsed = started.elapsed();
            written.commit(directory, conf, tables, flusher)
        })?;
        tracing::debug!(column = %self.directory.path().display(), conf = ?self.conf, "committed");
        if !self.asides.is_empty() {
            self.remove_asides();
        }
        Ok(())
    }

    /// Removes what was put aside and is committed again. A commit does not depend on that: where it
    /// fails, the next opening does it.
    fn remove_asides(&mut self) {
        let Self { directory, conf, asides, healed, .. } = self;
        let removed = asides.done_with(directory, conf, false).and_then(|actions| {
            for action in &actions {
                directory.remove(action.file())?;
                healed.asides.retain(|aside| aside != action.file());
            }
            if actions.is_empty() { Ok(()) } else { directory.sync() }
        });
        if let Err(error) = removed {
            tracing::warn!(column = %directory.path().display(), %error, "what was put aside stays");
        }
    }

    /// Removes what is on disk of a commit that is given up, as the next opening would, and forgets
    /// what it knew of the files: healing may have removed, extended or completed any of them.
    fn take_back(&mut self) -> Result<()> {
        self.change(|Self { directory, conf, witness, tables, .. }| {
            let healed = heal::take_back(directory, conf);
            tables.forget_files();
            let settled = healed.and_then(|()| conf_file::settle(directory, witness, conf));
            settled.map(drop).map_err(conf_file::poisoning)
        })
    }

    /// Does something to the files; when it fails, or panics, in the middle, the writer is poisoned.
    fn change<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T, CommitError>) -> Result<T> {
        // A panic on the way (in a caller's stream, say) leaves the files as they are.
        let interrupted = io::Error::other("a panic interrupted it");
        let error = Error::io(self.directory.path(), "finish a commit to", interrupted);
        self.poisoned = Some(error);
        match change(self) {
            Ok(done) => {
                self.poisoned = None;
                Ok(done)
            }
            Err(CommitError { error, poisons }) => {
                self.poisoned = poisons.then(|| error.clone());
                if poisons {
                    tracing::error!(column = %self.directory.path().display(), %error, "poisoned");
                }
                Err(error)
            }
        }
    }

    /// The entry of a slot; 0 where it has no record.
    fn entry(&mut self, slot: Slot) -> Result<u64> {
        if Some(slot) > self.conf.highest {
            return Ok(0);
        }
        let state = self.tables.get(&self.directory, &self.conf, slot.file_id())?;
        Ok(state.table.get(slot.index_in_file()))
    }

    /// True when the slot holds this value, false when it has no record.
    pub(crate) fn holds(&mut self, slot: Slot, value: &mut dyn Read) -> Result<bool> {
        let entry = self.entry(slot)?;
        if entry == 0 {
            return Ok(false);
        }
        let path = self.directory.data_path(slot.file_id());
        let state = self.tables.get_flushed(&self.directory, &self.conf, slot.file_id())?;
        let bound = state.data_len;
        let Some(data) = self.directory.open(path.clone(), Access::Read)? else {
            return Err(missing(path, "data file", bound));
        };
        let byte_len = data.byte_len()?;
        if byte_len < bound {
            return Err(data_file_too_short(path, byte_len, bound));
        }
        let end = data.record_end(self.conf.spec.record_type, entry, bound)?;
        let Some(end) = end.filter(|end| *end <= bound) else {
            return Err(no_record(path, slot, entry, end, bound));
        };
        let stored = StoredReader { data: &data, offset: entry + HEADER_BYTES, end };
        let mut held: Box<dyn Read> = match self.conf.spec.compression {
            Compression::None => Box::new(stored),
            Compression::Snappy => Box::new(snap::read::FrameDecoder::new(stored)),
        };
        match compare(&mut *held, value) {
            Ok(true) => Ok(true),
            Ok(false) => Err(Error::Conflict { slot }),
            Err(Uncomparable::Given(error)) => Err(Error::io(path, "compare a value with", error)),
            Err(Uncomparable::Held(error)) => Err(match error.downcast::<Error>() {
                Ok(error) => error,
                Err(error) => {
                    let wanted = format!("snappy frames of the value of slot {slot}");
                    let at = entry + HEADER_BYTES;
                    Error::corrupt(path, at, "payload", wanted, error.to_string())
                }
            }),
        }
    }
}

/// A batch that is written and that nobody sees yet: [`Writer::prepare_batch`]. After a crash there is
/// nothing of it.
#[derive(Debug)]
#[must_use = "it is taken away again unless it is committed"]
pub struct Prepared<'w> {
    writer: &'w mut Writer,
    /// `None` where there is nothing to commit, or not any more.
    written: Option<commit::Prepared>,
    committed: Committed,
}

impl Prepared<'_> {
    /// Commits the batch: it is durable, and readers see it.
    ///
    /// # Errors
    /// [`Error::Io`], and the writer is poisoned.
    pub fn commit(mut self) -> Result<Committed> {
        self.written.take().map_or(Ok(()), |written| self.writer.finish(written))?;
        Ok(self.committed)
    }

    /// What is flushed here need not be by [`Self::commit`].
    pub(crate) fn flush(&mut self) -> Result<()> {
        // An error has poisoned the writer: there is nothing to take away any more.
        let Some(mut written) = self.written.take() else { return Ok(()) };
        self.writer
            .change(|Writer { directory, flusher, .. }| written.flush(directory, flusher))?;
        self.written = Some(written);
        Ok(())
    }
}

impl Drop for Prepared<'_> {
    /// Takes away what was not committed. What fails then poisons the writer: the next opening does
    /// the rest.
    fn drop(&mut self) {
        if self.written.take().is_some() {
            // The writer has it, and says it when it is asked to write again.
            drop(self.writer.take_back());
        }
    }
}

/// The records of a job in their stored form, and the door that its slots have to pass.
pub(super) type JobRecords<'a> = (&'a [(Slot, Vec<u8>)], Option<Door>);

/// A job of one value that is read while it is written.
pub(super) struct StreamJob {
    pub(super) slot: Slot,
    pub(super) byte_len: u64,
    pub(super) source: Box<dyn Read + Send>,
    pub(super) door: Option<Door>,
}

/// Slots with their values or payloads.
type Items<'a> = Vec<(Slot, &'a [u8])>;

fn borrowed<V: AsRef<[u8]>>(items: &[(Slot, V)]) -> Items<'_> {
    items.iter().map(|(slot, value)| (*slot, value.as_ref())).collect()
}

/// The beginning of a payload's value; of one that does not decode, as much as there is.
fn decoded_head(stored: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    let decoder = decode::decoder(stored, Compression::Snappy);
    let read = decoder.take(door::HEAD_BYTES as u64).read_to_end(&mut head);
    debug_assert!(read.is_ok(), "it was decoded before");
    head
}

/// A column as it was opened.
pub(super) struct Opened {
    conf: Conf,
    witness: Witness,
    healed: HealReport,
    /// The conf on disk, where replacing it was deferred.
    in_force: Option<Conf>,
}

/// Heals a column whose lock is held; one that is missing is made.
pub(super) fn open_conf(directory: &ColumnDir, options: WriterOptions) -> Result<Opened> {
    let mut witness = directory.read_witness()?;
    if options.restore_conf {
        restore_conf(directory, &mut witness)?;
    }
    match directory.read_conf()? {
        Some(conf) => open_existing(directory, conf, witness, options),
        None => create(directory, witness, options),
    }
}

/// Makes the conf of an empty column. A directory with slots in it and no conf is no new column:
/// the conf was lost, and starting empty would wipe the rest.
fn create(directory: &ColumnDir, mut witness: Witness, options: WriterOptions) -> Result<Opened> {
    let spec = match options.spec {
        Some(spec) if directory.slot_files()?.is_empty() => spec,
        _ => return Err(heal::no_conf(directory)),
    };
    // There were records, and all of them are gone.
    if let Some(conf) = witness.confs().find(|conf| conf.highest.is_some()) {
        let wanted = format!("what column.check has ({conf})");
        let path = directory.file_path(names::CONF);
        return Err(Error::corrupt(path, None, "column", wanted, "no conf, and no data file"));
    }
    let conf = Conf::empty(spec, options.allow_backfill);
    let actions = heal::examine(directory, &conf, &Evidence::Own)?;
    heal::apply(directory, &conf, &actions)?;
    // Before there is a conf: whoever finds one relies on the names above.
    directory.sync_parent()?;
    directory.sync_ancestors()?;
    conf_file::replace_alone(directory, &mut witness, None, conf)?;
    let healed = HealReport::new(actions, Vec::new());
    Ok(Opened { conf, witness, healed, in_force: None })
}

fn open_existing(
    directory: &ColumnDir,
    conf: Conf,
    mut witness: Witness,
    options: WriterOptions,
) -> Result<Opened> {
    if let Some(wanted) = options.spec {
        check_spec(directory.file_path(names::CONF), wanted, conf.spec)?;
    }
    heal::flush_trusted(directory, &conf)?;
    let asides = Asides::list(directory)?.paths(directory);
    let actions = heal::examine_witnessed(directory, &conf, &witness, &options)?;
    heal::apply(directory, &conf, &actions)?;
    if actions.iter().any(|action| matches!(action, HealAction::ClearedWitness { .. }))
        && let Some(mut check) = conf_file::settle(directory, &mut witness, &conf)?
    {
        check.sync()?;
    }

    let mut asked = conf;
    if asked.backfill_target().is_some_and(|target| target.data_len == 0) {
        // Healing has removed what was there: a file that is put back is not a leftover.
        asked.backfill = conf.backfill.map(|backfill| Backfill { target: None, ..backfill });
    }
    asked.spec.max_value_bytes = conf.spec.max_value_bytes.max(options.max_value_bytes);
    if options.allow_backfill {
        let target = asked.backfill_target();
        asked.backfill = Some(Backfill { allowed: true, target });
    }
    let is_as_asked = (asked.spec, asked.allows_backfill(), asked.backfill_target())
        == (conf.spec, conf.allows_backfill(), conf.backfill_target());
    let healed = HealReport::new(actions, asides);
    if is_as_asked {
        return Ok(Opened { conf, witness, healed, in_force: None });
    }
    if options.is_deferred {
        return Ok(Opened { conf: asked, witness, healed, in_force: Some(conf) });
    }
    conf_file::replace_alone(directory, &mut witness, Some(&conf), asked)?;
    Ok(Opened { conf: asked, witness, healed, in_force: None })
}

/// Replaces the conf by the newest in the witness that fits the files.
fn restore_conf(directory: &ColumnDir, witness: &mut Witness) -> Result<()> {
    let fits = |conf: &Conf| heal::examine(directory, conf, &Evidence::Own).is_ok();
    let Some(conf) = witness.confs().find(fits) else {
        let wanted = "a conf that fits the files, to put it back";
        let path = directory.file_path(names::CHECK);
        return Err(Error::corrupt(path, None, "witness of the conf", wanted, "none"));
    };
    if directory.has(names::CONF_TMP)? {
        directory.remove(&directory.file_path(names::CONF_TMP))?;
    }
    conf_file::replace_alone(directory, witness, Some(&conf), conf)
}
