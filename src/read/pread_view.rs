//! A snapshot whose records are read with `pread`, and not mapped.

use std::collections::HashMap;
use std::io;
use std::ops::{Range, RangeBounds};
use std::path::Path;

use crate::error::{Error, Result};
use crate::files::directory::Inode;
use crate::files::pread::{Pread, PreadFile, Unreadable, read_exact};
use crate::format::conf::Conf;
use crate::format::conf_check::header_fits;
use crate::format::names::SlotFile;
use crate::format::offsets::{ENTRIES, entry_offset};
use crate::format::record::FIRST_RECORD_OFFSET;
use crate::read::commit::Commit;
use crate::read::fd_cache::OpenFile;
use crate::read::file_pair::FilePair;
use crate::read::files::{Files, Opened};
use crate::read::options::ReaderOptions;
use crate::read::owned_range::{Held as Source, OwnedRange};
use crate::read::pread_record::{Place, WHOLE, to_usize};
use crate::read::prefetch::{MAX_SKIPPED, end_by_table};
use crate::read::reader::first_snapshot;
use crate::read::record::OwnedRecord;
use crate::read::snapshot::{SlotTable, Snapshot, Taken};
use crate::slot::{FileId, Slot};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

const ENTRY_LEN: usize = size_of::<u64>();

/// Entries that are read in one call: those of a slot and of the slots after it, which tell where its
/// record ends.
const ENTRIES_READ: usize = MAX_SKIPPED + 2;

/// Maximum number of attempts to read from files that other files replace meanwhile.
const MAX_ATTEMPTS: usize = 3;

/// A snapshot of a column, read with `pread`: everything that was committed when it was taken. Taken by a
/// [`Reader`](crate::Reader) that [`Reader::open`](crate::Reader::open) has opened.
///
/// Nothing that it has shown changes while it is held. As in a [`View`](crate::View), a sealed file that is
/// first read later may also show slots backfilled in the meantime.
///
/// It shows the same records as a [`View`](crate::View) of the same commit, as owned values. A read costs
/// two system calls (its entry, then header and payload together) and a copy; the first read of a file in a
/// snapshot costs a few more. The 64 data and offset files of a column that were read last stay open, whatever
/// the number of snapshots. A bad sector is an error of the read that meets it, where a mapping raises a signal that ends
/// the process. Cloning a snapshot costs one atomic increment.
///
/// All reads fail with [`Error::Corrupt`] if the bytes on disk contradict the format, with [`Error::Io`] if
/// a file cannot be opened or read, and with [`Error::Replaced`] after the column was replaced as a whole.
#[derive(Clone, Debug)]
pub struct PreadView(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    commit: Commit,
    touched: Mutex<Touched>,
}

/// What a snapshot has read of the directory so far.
#[derive(Debug, Default)]
struct Touched {
    held: HashMap<FileId, Held>,
    /// The result of [`Commit::list`], ascending.
    listed: Option<Vec<FileId>>,
}

/// Which files of an id a snapshot reads, and up to which bound.
#[derive(Clone, Copy, Debug)]
struct Held {
    data: Option<Inode>,
    offsets: Option<Inode>,
    bound: u64,
    /// A conf names the file, so entries without a data file may belong to a commit in flight.
    is_named: bool,
}

impl Held {
    const ABSENT: Self = Self { data: None, offsets: None, bound: 0, is_named: false };
}

impl PreadView {
    /// Opens a column as of its last commit, on the given medium. Does not check that the conf fits the
    /// files.
    ///
    /// # Errors
    /// As [`Reader::open`](crate::Reader::open).
    #[doc(hidden)]
    #[expect(clippy::needless_pass_by_value, reason = "callers make it for this call")]
    pub fn open_on(
        pread: Arc<dyn Pread>,
        directory: &Path,
        options: ReaderOptions,
    ) -> Result<Self> {
        first_snapshot(&pread, directory, options, |_| Ok(()))
    }

    /// The commit marker of this snapshot.
    #[doc(hidden)]
    #[must_use]
    pub fn conf(&self) -> &Conf {
        self.commit().conf()
    }

    /// The highest slot with a record, `None` in an empty column.
    #[must_use]
    pub fn highest_written_slot(&self) -> Option<Slot> {
        self.conf().highest
    }

    /// The value of a slot; `None` if it has no record.
    ///
    /// # Errors
    /// See [`PreadView`]; [`Error::TooLarge`] when the value exceeds the reader's ceiling.
    pub fn get(&self, slot: Slot) -> Result<Option<Vec<u8>>> {
        let mut value = Vec::new();
        Ok(self.get_into(slot, &mut value)?.then_some(value))
    }

    /// Replaces the content of `buffer` with the value of a slot. Returns `false` if the slot has no
    /// record.
    ///
    /// # Errors
    /// See [`PreadView`]; [`Error::TooLarge`] when the value exceeds the reader's ceiling.
    pub fn get_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        let commit = self.commit();
        commit.value_by(slot, buffer, |ceiling, buffer| self.read(slot, &WHOLE, ceiling, buffer))
    }

    /// Replaces the content of `buffer` with the payload stored for a slot: the value itself in an
    /// uncompressed column, snappy frames in a compressed one. Returns `false` if the slot has no record.
    ///
    /// # Errors
    /// See [`PreadView`].
    pub fn get_stored_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        self.read(slot, &WHOLE, u64::MAX, buffer)
    }

    /// Replaces the content of `buffer` with a range of the payload stored for a slot, clipped to its end as
    /// in `pread(2)`. Reads only the record's header and the range. Returns `false` if the slot has no
    /// record.
    ///
    /// # Errors
    /// See [`PreadView`].
    pub fn get_range_into(
        &self,
        slot: Slot,
        bytes: Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        self.read(slot, &bytes, u64::MAX, buffer)
    }

    /// Length in bytes of the payload stored for a slot; `None` if it has no record. Reads only the record's
    /// header.
    ///
    /// # Errors
    /// See [`PreadView`].
    pub fn stored_len(&self, slot: Slot) -> Result<Option<u64>> {
        let place = self.place(slot)?;
        place.map_or(Ok(None), |place| self.commit().pread_len(&place))
    }

    /// Whether a slot has a record. Reads only its entry in the offset table, not the record.
    ///
    /// # Errors
    /// See [`PreadView`].
    pub fn contains(&self, slot: Slot) -> Result<bool> {
        match self.place(slot)? {
            Some(place) if (FIRST_RECORD_OFFSET..place.bound).contains(&place.entry) => Ok(true),
            Some(place) => Ok(self.commit().pread_len(&place)?.is_some()),
            None => Ok(false),
        }
    }

    /// The records of a range of slots, in either direction. The iterator holds the snapshot and may be
    /// stored. Slots without a record are skipped; after an error it resumes after the damage.
    #[must_use]
    pub fn range(&self, slots: impl RangeBounds<Slot>) -> OwnedRange {
        OwnedRange::new(Source::Pread(self.clone()), slots)
    }

    /// The last record at or before a slot.
    ///
    /// # Errors
    /// See [`PreadView`].
    pub fn at_or_before(&self, slot: Slot) -> Result<Option<OwnedRecord>> {
        self.range(..=slot).next_back().transpose()
    }

    /// The first record at or after a slot.
    ///
    /// # Errors
    /// See [`PreadView`].
    pub fn at_or_after(&self, slot: Slot) -> Result<Option<OwnedRecord>> {
        self.range(slot..).next().transpose()
    }

    pub(crate) fn files(&self) -> &Files {
        &self.commit().files
    }

    /// Reads a range of the payload stored for a slot, clipped to its end.
    fn read(
        &self,
        slot: Slot,
        bytes: &Range<u64>,
        ceiling: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        let commit = self.commit();
        let checks_sums = commit.options.checks_sums;
        let of_medium = if checks_sums { &WHOLE } else { bytes };
        let Some(place) = self.place(slot)? else {
            buffer.clear();
            return Ok(false);
        };
        if !commit.pread(&place, of_medium, ceiling, buffer)? {
            return Ok(false);
        }
        if checks_sums {
            commit.check_payload(slot, place.entry, buffer)?;
            buffer.truncate(to_usize(bytes.end));
            buffer.drain(..to_usize(bytes.start).min(buffer.len()));
        }
        Ok(true)
    }

    /// Looks a slot up in the offset file; `None` if it has no entry.
    fn place(&self, slot: Slot) -> Result<Option<Place>> {
        if slot.0 >= self.commit().end {
            return Ok(None);
        }
        let file_id = slot.file_id();
        self.with_held(file_id, |Held { data, offsets, bound, .. }| {
            let Some(offsets) = offsets else { return Ok(Some(None)) };
            let Some(offsets) = self.files().cached(SlotFile::Offsets(file_id), offsets)? else {
                return Ok(None);
            };
            let (entry, end) = self.entry(&offsets, slot, bound)?;
            match data {
                _ if entry == 0 => Ok(Some(None)),
                None => self.commit().span(slot, (entry, bound), [0; 8]).map(|_| Some(None)),
                Some(data) => {
                    let data = self.files().cached(SlotFile::Data(file_id), data)?;
                    Ok(data.map(|data| Some(Place { data, slot, entry, end, bound })))
                }
            }
        })
    }

    /// The entry of a slot, and an upper bound on the end of its record.
    fn entry(&self, offsets: &OpenFile, slot: Slot, bound: u64) -> Result<(u64, Option<u64>)> {
        let index = slot.index_in_file();
        let mut bytes = [0; ENTRIES_READ * ENTRY_LEN];
        let count = ENTRIES_READ.min(ENTRIES - index) * ENTRY_LEN;
        let (pread, file) = (&*self.files().pread, (&*offsets.path, &offsets.file));
        let buffers = (&mut bytes[..count], &mut [][..]);
        match read_exact(pread, file, entry_offset(index), buffers, ENTRY_LEN) {
            // Past the end of a short file, entries are 0.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            read => drop(read.map_err(|error| Error::io(&offsets.path, "read", error))?),
        }
        let (entries, _) = bytes.as_chunks();
        let mut entries = entries.iter().map(|entry| u64::from_le_bytes(*entry));
        let entry = entries.next().unwrap_or(0);
        Ok((entry, end_by_table(entry, entries, bound)))
    }

    fn touched(&self) -> MutexGuard<'_, Touched> {
        self.0.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, file_id: FileId) -> Result<Held> {
        if let Some(held) = self.known(&self.touched(), file_id) {
            return Ok(held);
        }
        let held = self.establish(file_id)?;
        let mut touched = self.touched();
        // Another thread may have established the file or listed the directory meanwhile.
        let held = self.known(&touched, file_id).unwrap_or(held);
        touched.held.insert(file_id, held);
        Ok(held)
    }

    /// What this snapshot shows of a file; `None` if it has not been established. A file that was not
    /// listed has no record in this snapshot, even if it exists by now.
    fn known(&self, touched: &Touched, file_id: FileId) -> Option<Held> {
        let is_unlisted = || {
            let listed = touched.listed.as_ref();
            listed.is_some_and(|listed| listed.binary_search(&file_id).is_err())
                && self.conf().named_len(file_id).is_none()
        };
        touched.held.get(&file_id).copied().or_else(|| is_unlisted().then_some(Held::ABSENT))
    }

    /// Calls a function with the files of an id until it finds them; it returns `None` if another file has
    /// taken the place of one.
    fn with_held<T>(
        &self,
        file_id: FileId,
        mut find: impl FnMut(Held) -> Result<Option<T>>,
    ) -> Result<T> {
        for _ in 0..MAX_ATTEMPTS {
            let before = self.held(file_id)?;
            if let Some(found) = find(before)? {
                return Ok(found);
            }
            // A longer file holds records that were committed after this snapshot showed the file.
            let held = self.establish(file_id)?;
            let held = Held { bound: held.bound.min(before.bound), ..held };
            self.touched().held.insert(file_id, held);
        }
        let source = io::ErrorKind::TimedOut.into();
        Err(Error::io(self.files().data_path(file_id), "open a file that is replaced", source))
    }

    fn establish(&self, file_id: FileId) -> Result<Held> {
        let files = self.files();
        files.settle(&self.commit().seen, file_id, |opened| {
            let [data, offsets] = opened.inodes();
            let held = Held { data, offsets, bound: opened.bound, is_named: opened.is_named };
            if data.is_none() && offsets.is_some() {
                // Without a data file there must be no entries.
                FilePair::read(files, file_id, opened)?;
                return Ok(held);
            }
            let named = [SlotFile::Data(file_id), SlotFile::Offsets(file_id)];
            for (name, file) in named.into_iter().zip([opened.data, opened.offsets]) {
                file.map(|file| files.open.put(name, file));
            }
            Ok(held)
        })
    }

    /// The files of an id as this snapshot shows them, with the whole offset table.
    pub(crate) fn pair(&self, file_id: FileId) -> Result<FilePair> {
        let files = self.files();
        self.with_held(file_id, |Held { data, offsets, bound, is_named }| {
            let opened = match offsets {
                Some(_) => files.open_both(file_id)?,
                None => Opened::default(),
            };
            if offsets.is_some() && opened.inodes() != [data, offsets] {
                return Ok(None);
            }
            FilePair::read(files, file_id, Opened { bound, is_named, ..opened }).map(Some)
        })
    }

    /// The files of an id with the bound that they have now, whatever the snapshot has read of them before.
    pub(crate) fn fresh_pair(&self, file_id: FileId) -> Result<FilePair> {
        let files = self.files();
        let read = |opened| FilePair::read(files, file_id, opened);
        files.settle(&self.commit().seen, file_id, read)
    }

    /// Reads another file of the column, up to `limit` bytes. Returns its content and its unreadable parts;
    /// `None` if the file does not exist.
    pub(crate) fn small_file(
        &self,
        name: &str,
        limit: u64,
    ) -> Result<Option<(Vec<u8>, Vec<Unreadable>)>> {
        let Files { directory, pread, .. } = self.files();
        let Some(file) = directory.open_file(name)? else { return Ok(None) };
        let byte_len = directory.open_status(name, &file)?.byte_len.min(limit);
        let path = directory.file_path(name);
        PreadFile::new(Arc::clone(pread), path, file, byte_len).read_all().map(Some)
    }
}

impl Snapshot for PreadView {
    fn commit(&self) -> &Commit {
        &self.0.commit
    }

    fn contains(&self, slot: Slot) -> Result<bool> {
        self.contains(slot)
    }

    fn get_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool> {
        self.get_into(slot, buffer)
    }

    fn owned_range(&self, slots: impl RangeBounds<Slot>) -> OwnedRange {
        self.range(slots)
    }

    fn file_ids(&self) -> Result<Vec<FileId>> {
        // Under the lock, so that a file is established either before the listing or according to it.
        let mut touched = self.touched();
        if touched.listed.is_none() {
            touched.listed = Some(self.commit().list()?);
        }
        Ok(touched.listed.clone().unwrap_or_default())
    }

    fn table(&self, file_id: FileId) -> Result<SlotTable> {
        let file = self.pair(file_id)?;
        Ok(SlotTable {
            entries: file.table.entries().collect(),
            is_known: file.is_known,
            bound: file.bound,
            fault: file.unreadable.first().map(|lost| lost.error.clone()),
        })
    }
}

impl Taken for PreadView {
    fn first(commit: Commit) -> Self {
        Self(Arc::new(Inner { commit, touched: Mutex::default() }))
    }

    /// As far as the file is readable.
    fn check_current(&self) -> Result<()> {
        let Some(current) = self.conf().current_file() else { return Ok(()) };
        let (conf, tag) = (self.conf(), self.commit().tag);
        let check = || {
            let FilePair { table, is_known, mut data, .. } = self.pair(current)?;
            if conf.highest.is_some_and(|slot| !is_known[slot.index_in_file()]) {
                return Ok(());
            }
            let end_of = |entry| {
                let fits = header_fits(entry, conf.current_data_len);
                let Some(data) = data.as_mut().filter(|_| fits) else { return Ok(None) };
                let header = data.array(entry)?.ok_or_else(|| data.unreadable_error(entry))?;
                Ok(tag.span(entry, header, conf.current_data_len).ok().map(|span| span.end))
            };
            self.files().check_fit_of(conf, table.entries(), end_of)
        };
        match check() {
            Err(Error::Io(_)) => Ok(()),
            checked => checked,
        }
    }

    fn bound(&self, file_id: FileId) -> Result<u64> {
        self.held(file_id).map(|held| held.bound)
    }
}
