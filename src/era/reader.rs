//! Reads an `.era` file: its groups, and the records of a group.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use super::e2store::{RecordAt, RecordFile};
use super::frames;
use super::group::{self, Group};
use super::group_records::{
    EraState, Limits, STATE, check_block_record, head_bytes, place_of_state, read_head, read_state,
    state_record,
};
use super::index::SlotIndex;
use super::ssz::{self, Root};
use super::walk::GroupWalk;
use crate::error::Result;
use crate::slot::Slot;

/// An open `.era` file of one or more groups.
#[derive(Debug)]
pub struct EraFile<R = File> {
    records: RecordFile<R>,
    groups: Vec<Group>,
}

impl EraFile<File> {
    /// Opens a file and finds its groups by their indices. Nothing else is checked yet.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) with file and offset if the ends of the file are not those
    /// of an `.era` file; [`Error::Io`](crate::Error::Io).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::from_records(RecordFile::open(path)?)
    }

    /// Opens the same file again, so that two offsets can be read concurrently.
    pub(super) fn again(&self) -> Result<Self> {
        Ok(Self { records: self.records.again()?, groups: self.groups.clone() })
    }
}

impl<R: Read + Seek> EraFile<R> {
    /// Reads an `.era` file from any source; `path` is its name in errors.
    ///
    /// # Errors
    /// As [`EraFile::open`].
    pub fn new(source: R, path: impl Into<PathBuf>) -> Result<Self> {
        Self::from_records(RecordFile::new(source, path)?)
    }

    fn from_records(mut records: RecordFile<R>) -> Result<Self> {
        let groups = group::locate_groups(&mut records)?;
        Ok(Self { records, groups })
    }

    /// The file's name, for errors.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.records.path()
    }

    /// The file's length in bytes.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.records.byte_len()
    }

    /// The groups in the order of the file: one or more, of consecutive eras.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Decodes only the start of a group's state: its head and the era's roots.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if that part is damaged, or is not the state named in the
    /// index.
    pub fn state_head(&mut self, group: &Group) -> Result<EraState> {
        let record = state_record(&mut self.records, group)?;
        let value = frames::decode_head(&mut self.records, &record, head_bytes(group))
            .map_err(|fault| fault.error(&self.records, &record, STATE, &place_of_state(group)))?;
        // The length of the whole state is unknown here, so its offsets are not bounded by it.
        read_state(&self.records, group, record, &value, u64::MAX)
    }

    /// Identifies the chain of a group. Decodes only the first bytes of its state.
    ///
    /// # Errors
    /// As [`EraFile::state_head`].
    pub fn genesis_validators_root(&mut self, group: &Group) -> Result<Root> {
        let record = state_record(&mut self.records, group)?;
        let value = frames::decode_head(&mut self.records, &record, ssz::STATE_HEAD_BYTES)
            .map_err(|fault| fault.error(&self.records, &record, STATE, &place_of_state(group)))?;
        read_head(&self.records, group, record, &value).map(|head| head.genesis_validators_root)
    }

    /// [`Self::state_head`] for a state that is already decoded.
    pub(super) fn state_in(&mut self, group: &Group, value: &[u8]) -> Result<EraState> {
        let record = state_record(&mut self.records, group)?;
        read_state(&self.records, group, record, value, value.len() as u64)
    }

    /// The slots with a block according to the group's block index, ascending. Only [`Self::walk`] verifies
    /// them.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Io`].
    pub(super) fn block_slots(&mut self, group: &Group) -> Result<Vec<Slot>> {
        let Some(slots) = group.slots else { return Ok(Vec::new()) };
        let end = group.indices_offset.saturating_add(SlotIndex::record_bytes(slots.count()));
        let index = SlotIndex::ending_at(&mut self.records, end, "block index")?;
        let is_block = |entry: i64| {
            let target = index.target(entry).unwrap_or_default();
            target > group.offset && target < group.state_offset
        };
        let places = index.entries.iter().enumerate().filter(|(_, entry)| is_block(**entry));
        Ok(places.map(|(place, _)| slots.slot_at(place)).collect())
    }

    /// Walks the records of a group in order, and decodes each one fully.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the group does not start with a version record, or has
    /// a damaged index.
    pub fn walk(&mut self, group: &Group, limits: Limits) -> Result<GroupWalk<'_, R>> {
        GroupWalk::new(&mut self.records, *group, limits)
    }

    /// The stored bytes of a block record: snappy frames.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the record is longer than any block within the limits;
    /// [`Error::Io`](crate::Error::Io).
    pub fn stored_block(&mut self, record: &RecordAt, limits: Limits) -> Result<Vec<u8>> {
        check_block_record(&self.records, record, limits)?;
        self.records.payload_bytes(record)
    }

    /// The decoded state of a record as a stream.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io). Reads of the stream fail on file errors and damaged frames.
    pub fn state_stream(&mut self, record: &RecordAt) -> Result<impl Read + use<'_, R>> {
        frames::stream(&mut self.records, record)
    }

    pub(super) fn records(&mut self) -> &mut RecordFile<R> {
        &mut self.records
    }
}
