//! What both kinds of snapshot can do.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::{RangeBounds, RangeInclusive};

use crate::error::{Error, Result};
use crate::files::directory::OpenConf;
use crate::format::conf::Conf;
use crate::format::names::SlotFile;
use crate::read::commit::Commit;
use crate::read::owned_range::OwnedRange;
use crate::slot::{FileId, Slot};
use crate::sync::Arc;

/// The offset table of a file.
#[doc(hidden)]
#[derive(Debug)]
pub struct SlotTable {
    /// By index: the offset of the record; 0 if there is none.
    pub entries: Vec<u64>,
    /// Whether each entry could be read.
    pub is_known: Vec<bool>,
    /// Bytes at or after this offset are not committed.
    pub bound: u64,
    /// Why some entries could not be read.
    pub fault: Option<Error>,
}

impl SlotTable {
    /// The committed records, in the order of their slots, with their offsets.
    pub fn records(
        &self,
        file_id: FileId,
        highest: Slot,
    ) -> impl Iterator<Item = (Slot, u64)> + '_ {
        let slots =
            self.entries.iter().zip(0..).map(move |(entry, at)| (file_id.slot_at(at), *entry));
        slots.filter(move |(slot, entry)| (1..self.bound).contains(entry) && *slot <= highest)
    }

    /// The slots with a record, ascending; the fault in place of those that cannot be read.
    fn slots(
        &self,
        file_id: FileId,
        wanted: RangeInclusive<Slot>,
    ) -> impl DoubleEndedIterator<Item = Result<Slot>> + '_ {
        let slots = (0..self.entries.len()).map(move |index| (index, file_id.slot_at(index)));
        slots.filter(move |(_, slot)| wanted.contains(slot)).filter_map(|(index, slot)| match &self
            .fault
        {
            Some(fault) if !self.is_known[index] => Some(Err(fault.clone())),
            _ => (1..self.bound).contains(&self.entries[index]).then_some(Ok(slot)),
        })
    }
}

/// One commit of a column: mapped ([`View`](crate::View)), or read with `pread` ([`PreadView`](crate::PreadView)).
/// Shows everything that was committed when it was taken, and nothing else.
///
/// Both types do more than this: a `View` returns slices of its maps.
///
/// # Errors
/// As those of [`View`](crate::View) and of [`PreadView`](crate::PreadView).
pub trait Snapshot: Debug + Send + Sync {
    #[doc(hidden)]
    fn commit(&self) -> &Commit;

    /// The commit marker.
    #[doc(hidden)]
    fn conf(&self) -> &Conf {
        self.commit().conf()
    }

    /// The highest slot with a record, `None` in an empty column.
    fn highest_written_slot(&self) -> Option<Slot> {
        self.conf().highest
    }

    /// Whether a slot has a record. Reads only the offset table, not the record.
    ///
    /// # Errors
    /// See [`Snapshot`].
    fn contains(&self, slot: Slot) -> Result<bool>;

    /// The value of a slot, copied; `None` if it has no record.
    ///
    /// # Errors
    /// See [`Snapshot`].
    fn value(&self, slot: Slot) -> Result<Option<Vec<u8>>> {
        let mut value = Vec::new();
        Ok(self.get_into(slot, &mut value)?.then_some(value))
    }

    /// The value of a slot: borrowed if the snapshot maps it and it is not compressed, else copied.
    ///
    /// # Errors
    /// See [`Snapshot`].
    fn get(&self, slot: Slot) -> Result<Option<Cow<'_, [u8]>>> {
        Ok(self.value(slot)?.map(Cow::Owned))
    }

    /// Replaces the content of `buffer` with the value of a slot. Returns `false` if the slot has no
    /// record.
    ///
    /// # Errors
    /// See [`Snapshot`].
    fn get_into(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<bool>;

    /// The records of a range of slots, in either direction. The iterator holds the snapshot and may be
    /// stored. Slots without a record are skipped; after an error it resumes after the damage.
    fn owned_range(&self, slots: impl RangeBounds<Slot>) -> OwnedRange
    where
        Self: Sized;

    /// The first slot with a record at or after `slot`. Reads offset tables only.
    ///
    /// # Errors
    /// See [`Snapshot`].
    fn first_from(&self, slot: Slot) -> Result<Option<Slot>> {
        let Some(highest) = self.conf().highest else { return Ok(None) };
        let files = slot.file_id()..=highest.file_id();
        for file_id in self.file_ids()?.into_iter().filter(|id| files.contains(id)) {
            if let Some(found) = self.table(file_id)?.slots(file_id, slot..=highest).next() {
                return found.map(Some);
            }
        }
        Ok(None)
    }

    /// The last slot with a record at or before `slot`. Reads offset tables only.
    ///
    /// # Errors
    /// See [`Snapshot`].
    fn last_to(&self, slot: Slot) -> Result<Option<Slot>> {
        let Some(highest) = self.conf().highest else { return Ok(None) };
        let last = slot.min(highest);
        for file_id in self.file_ids()?.into_iter().rev().filter(|id| *id <= last.file_id()) {
            if let Some(found) = self.table(file_id)?.slots(file_id, Slot(0)..=last).next_back() {
                return found.map(Some);
            }
        }
        Ok(None)
    }

    /// Ids of the files that may hold records, ascending: those in the directory, and those that the
    /// conf names.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be listed.
    #[doc(hidden)]
    fn file_ids(&self) -> Result<Vec<FileId>>;

    /// The offset table of a file at or below the current one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one of the two files contradicts the format; [`Error::Io`].
    #[doc(hidden)]
    fn table(&self, file_id: FileId) -> Result<SlotTable>;

    /// Whether both the data file and the offset file of an id exist.
    #[doc(hidden)]
    fn has_both_files(&self, file_id: FileId) -> bool {
        let files = [SlotFile::Data(file_id), SlotFile::Offsets(file_id)];
        let directory = &self.commit().files.directory;
        files.iter().all(|file| !matches!(directory.status(&file.name()), Ok(None)))
    }
}

/// A snapshot that a [`Reader`](crate::Reader) takes.
pub trait Taken: Snapshot + Clone {
    /// A snapshot of the first conf that a reader has read.
    fn first(commit: Commit) -> Self;

    /// The snapshot of a later commit.
    fn next(&self, seen: OpenConf) -> Self {
        let Commit { files, options, .. } = self.commit();
        Self::first(Commit::new(Arc::clone(files), Arc::new(seen), *options))
    }

    /// Whether the snapshot holds more than the options allow; the reader then takes it [afresh](Self::afresh).
    fn holds_too_much(&self) -> bool {
        false
    }

    /// Another snapshot of the same commit that holds nothing.
    fn afresh(&self) -> Self {
        Self::first(self.commit().clone())
    }

    /// Checks now that the conf fits its current file.
    fn check_current(&self) -> Result<()>;

    /// The bound of a file as this snapshot shows it.
    fn bound(&self, file_id: FileId) -> Result<u64>;

    /// The committed length of a file, whether the snapshot has read it or not.
    fn committed_len(&self, file_id: FileId) -> Result<u64> {
        self.bound(file_id)
    }
}
