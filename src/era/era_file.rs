//! Reads an `.era` file: its groups, and the records of a group.

use std::hash::RandomState;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::e2store::{RecordAt, RecordFile, record_type};
use super::group::{self, BLOCK, EraGroup, EraState, STATE};
use super::slot_index::SlotIndex;
use super::value_reader::{ValueReader, ValueSum};
use crate::column::Column;
use crate::error::Result;
use crate::format::frames::max_encoded_len;
use crate::format::ssz::{self, EraRoots, Mismatch, StateHead};
use crate::slot::Slot;

/// Maximum sizes of decoded values, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) block_bytes: u64,
    pub(super) state_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            block_bytes: Column::Blocks.spec().max_value_bytes,
            state_bytes: Column::StateSnapshots.spec().max_value_bytes,
        }
    }
}

/// An open `.era` file of one or more groups. Clones read the same open file.
#[derive(Clone, Debug)]
pub struct EraFile {
    pub(super) records: RecordFile,
    groups: Vec<EraGroup>,
    /// By default those of the columns.
    pub(super) limits: Limits,
}

impl EraFile {
    /// Opens a file and finds its groups by their indices. Nothing else is checked yet.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) with file and offset if the ends of the file are not those
    /// of an `.era` file; [`Error::Io`](crate::Error::Io).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::of_records(RecordFile::open(path.into())?)
    }

    /// Reads an `.era` file from memory; `path` is its name in errors.
    ///
    /// # Errors
    /// As [`EraFile::open`].
    pub fn of_bytes(bytes: Vec<u8>, path: impl Into<PathBuf>) -> Result<Self> {
        Self::of_records(RecordFile::of_bytes(bytes, path.into()))
    }

    fn of_records(mut records: RecordFile) -> Result<Self> {
        let groups = group::locate_groups(&mut records)?;
        Ok(Self { records, groups, limits: Limits::default() })
    }

    /// The file's name, for errors.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.records.path
    }

    /// The file's length in bytes.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.records.byte_len
    }

    /// The groups in the order of the file: one or more, of consecutive eras.
    #[must_use]
    pub fn groups(&self) -> &[EraGroup] {
        &self.groups
    }

    /// Decodes only the start of a group's state: its head and the era's roots.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if that part is damaged, or is not the state named in the
    /// index.
    pub fn state_head(&mut self, group: &EraGroup) -> Result<EraState> {
        let record = self.state_record(group)?;
        let value = self.state_reader(group, record).into_head()?;
        // The length of the whole state is unknown here, so its offsets are not bounded by it.
        self.parse_state(group, record, &value, u64::MAX)
    }

    /// Identifies the chain of a group. Decodes only the first bytes of its state.
    pub(super) fn genesis_validators_root(&mut self, group: &EraGroup) -> Result<[u8; 32]> {
        let record = self.state_record(group)?;
        let value = self.state_reader(group, record).keep(ssz::STATE_HEAD_BYTES).into_head()?;
        self.parse_head(group, record, &value).map(|head| head.genesis_validators_root)
    }

    /// Reads the header of the state's record, at the offset in the index.
    pub(super) fn state_record(&mut self, group: &EraGroup) -> Result<RecordAt> {
        let wanted = format!("slot {}: the state (02 00) of the index", group.state_slot);
        let record = match self.records.record_at(group.state_offset) {
            Err(error) if error.is_corrupt() => {
                return Err(self.records.corrupt(group.state_offset, STATE, wanted, "no record"));
            }
            record => record?,
        };
        if record.record_type == record_type::STATE {
            return Ok(record);
        }
        Err(group::unexpected(&self.records, &record, wanted))
    }

    /// Decodes the state of a group to its end. `prove` reads of it what it needs, before the rest is read.
    pub(super) fn read_state<T>(
        &mut self,
        group: &EraGroup,
        hasher: &RandomState,
        prove: impl FnOnce(RecordAt, &mut ValueReader<'_>) -> Result<T>,
        watch: &mut dyn FnMut(u64),
    ) -> Result<(EraState, ValueSum, T)> {
        let record = self.state_record(group)?;
        let mut reader = self.state_reader(group, record).hash(hasher);
        let proved = match prove(record, &mut reader) {
            Ok(proved) => proved,
            // The prover may have failed because of the reader's error, but its own says less.
            Err(error) => return Err(reader.into_fault().unwrap_or(error)),
        };
        let (head, sum) = reader.finish(watch)?;
        Ok((self.parse_state(group, record, &head, sum.byte_len)?, sum, proved))
    }

    /// A reader of the state that keeps its head, with the roots of the era's slots.
    pub(super) fn state_reader(&mut self, group: &EraGroup, record: RecordAt) -> ValueReader<'_> {
        let head_bytes = group.slots.map_or(ssz::STATE_HEAD_BYTES, |slots| {
            usize::try_from(slots.count()).map_or(usize::MAX, ssz::state_roots_end)
        });
        ValueReader::new(&mut self.records, record, STATE, place_of_state(group))
            .limit(self.limits.state_bytes)
            .keep(head_bytes)
    }

    /// Parses the state of a group. `value` is its start, `byte_len` the length of all of it.
    fn parse_state(
        &self,
        group: &EraGroup,
        record: RecordAt,
        value: &[u8],
        byte_len: u64,
    ) -> Result<EraState> {
        let head = self.parse_head(group, record, value)?;
        let roots = match group.slots.map(|slots| usize::try_from(slots.count())) {
            Some(Ok(count)) => Some(
                EraRoots::parse(value, byte_len, count)
                    .map_err(|mismatch| self.unfit_state(group, &record, mismatch))?,
            ),
            _ => None,
        };
        Ok(EraState { record, head, roots })
    }

    fn parse_head(&self, group: &EraGroup, record: RecordAt, value: &[u8]) -> Result<StateHead> {
        let slot = group.state_slot;
        let head = StateHead::parse(value)
            .map_err(|mismatch| self.unfit_state(group, &record, mismatch))?;
        if head.slot != slot {
            let wanted = format!("the state of slot {slot}, as the index says");
            let found = format!("slot {}", head.slot);
            return Err(self.records.corrupt(record.offset, STATE, wanted, found));
        }
        Ok(head)
    }

    fn unfit_state(&self, group: &EraGroup, record: &RecordAt, mismatch: Mismatch) -> crate::Error {
        let wanted = format!("{}: {}", place_of_state(group), mismatch.wanted);
        self.records.corrupt(record.offset, STATE, wanted, mismatch.found)
    }

    /// The slots with a block according to the group's block index, ascending. Only a walk verifies
    /// them.
    pub(super) fn block_slots(&mut self, group: &EraGroup) -> Result<Vec<Slot>> {
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

    /// The stored bytes of a block record: snappy frames.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the record is longer than any block;
    /// [`Error::Io`](crate::Error::Io).
    pub fn stored_block(&mut self, record: &RecordAt) -> Result<Vec<u8>> {
        // Longer records are never read into memory.
        let block_bytes = self.limits.block_bytes;
        let limit = max_encoded_len(block_bytes);
        if u64::from(record.payload_len) > limit {
            let wanted = format!("a record of at most {limit} bytes, for a block of {block_bytes}");
            let found = format!("{} bytes", record.payload_len);
            return Err(self.records.corrupt(record.offset, BLOCK, wanted, found));
        }
        self.records.payload(record)
    }

    /// The decoded state of a record as a stream. Its reads fail if the file cannot be read, or if the
    /// frames are damaged or hold more than any state.
    pub fn state_stream(&mut self, record: &RecordAt) -> impl Read + use<'_> {
        ValueReader::new(&mut self.records, *record, STATE, "the state")
            .limit(self.limits.state_bytes)
    }
}

fn place_of_state(group: &EraGroup) -> String {
    format!("slot {}", group.state_slot)
}
