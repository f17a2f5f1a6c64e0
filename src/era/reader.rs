//! An `.era` file: its groups, and a walk over the records of one of them.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use super::e2store::{RecordAt, RecordFile, record_type};
use super::frames;
use super::group::{self, Group};
use super::index::SlotIndex;
use super::ssz::{self, BlockHead, EraRoots, Mismatch, Root, StateHead};
use super::walk::GroupWalk;
use crate::error::{Error, Result};
use crate::slot::Slot;

pub(super) const BLOCK: &str = "block record";
pub(super) const STATE: &str = "state record";

/// Bounds on what is read from a file, in bytes of a decoded value.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One block.
    pub block_bytes: u64,
    /// One state.
    pub state_bytes: u64,
}

impl Limits {
    /// The longest record that a block within the bound can need: frames of incompressible bytes
    /// are a little longer than their value, and no record is held in memory beyond this.
    fn block_record_bytes(&self) -> u64 {
        self.block_bytes.saturating_add(self.block_bytes / 8).saturating_add(1024)
    }
}

/// A block record that was decoded to its end.
#[derive(Clone, Copy, Debug)]
pub struct EraBlock {
    /// Where it lies.
    pub record: RecordAt,
    /// What the block says of itself.
    pub head: BlockHead,
    /// A keyed hash of the record's payload, unless that is kept.
    pub(super) sum: Option<u64>,
}

/// A state record that was decoded, at least as far as its roots go.
#[derive(Clone, Debug)]
pub struct EraState {
    /// Where it lies.
    pub record: RecordAt,
    /// What the state says of itself.
    pub head: StateHead,
    /// The roots of the era's slots; era 0 has no slots.
    pub roots: Option<EraRoots>,
}

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
    /// [`Error::Corrupt`] with file and offset when the ends of the file are not those of an
    /// `.era` file; [`Error::Io`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::from_records(RecordFile::open(path)?)
    }

    /// The same file, opened once more, to be read at two places at the same time.
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

    /// Decodes only the start of a group's state: what it says of itself, and the era's roots.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when that part is damaged or is not the state that the index promises.
    pub fn state_head(&mut self, group: &Group) -> Result<EraState> {
        let record = state_record(&mut self.records, group)?;
        let value = frames::decode_head(&mut self.records, &record, head_bytes(group))
            .map_err(|fault| fault.error(&self.records, &record, STATE, &place_of_state(group)))?;
        // How long the whole state is stays unknown here, and so the bound on its offset.
        read_state(&self.records, group, record, &value, u64::MAX)
    }

    /// Names the chain of a group. Only the very start of its state is decoded.
    ///
    /// # Errors
    /// As [`EraFile::state_head`].
    pub fn genesis_validators_root(&mut self, group: &Group) -> Result<Root> {
        let record = state_record(&mut self.records, group)?;
        let value = frames::decode_head(&mut self.records, &record, ssz::STATE_HEAD_BYTES)
            .map_err(|fault| fault.error(&self.records, &record, STATE, &place_of_state(group)))?;
        read_head(&self.records, group, record, &value).map(|head| head.genesis_validators_root)
    }

    /// [`Self::state_head`] of a state that was decoded before.
    pub(super) fn state_in(&mut self, group: &Group, value: &[u8]) -> Result<EraState> {
        let record = state_record(&mut self.records, group)?;
        read_state(&self.records, group, record, value, value.len() as u64)
    }

    /// The slots of which the group's block index says that they have a block, ascending. Only
    /// [`Self::walk`] shows whether that is true.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
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

    /// Walks the records of a group in order, and decodes each of them to its end.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the group does not start with a version record, or has a damaged
    /// index.
    pub fn walk(&mut self, group: &Group, limits: Limits) -> Result<GroupWalk<'_, R>> {
        GroupWalk::new(&mut self.records, *group, limits)
    }

    /// The stored bytes of a block record: snappy frames.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the record is longer than any block within the limits;
    /// [`Error::Io`].
    pub fn stored_block(&mut self, record: &RecordAt, limits: Limits) -> Result<Vec<u8>> {
        check_block_record(&self.records, record, limits)?;
        self.records.payload_bytes(record)
    }

    /// The decoded state of a record as a stream.
    ///
    /// # Errors
    /// [`Error::Io`]. The stream's own errors are those of the file and of damaged frames.
    pub fn state_stream(&mut self, record: &RecordAt) -> Result<impl Read + use<'_, R>> {
        frames::stream(&mut self.records, record)
    }

    pub(super) fn records(&mut self) -> &mut RecordFile<R> {
        &mut self.records
    }
}

pub(super) fn place_of_state(group: &Group) -> String {
    format!("slot {}", group.state_slot)
}

/// The record that the index says is the state's.
pub(super) fn state_record<R: Read + Seek>(
    file: &mut RecordFile<R>,
    group: &Group,
) -> Result<RecordAt> {
    let wanted = format!("slot {}: the state (02 00) of the index", group.state_slot);
    let record = match file.record_at(group.state_offset) {
        Err(error) if error.is_corrupt() => {
            return Err(file.corrupt(group.state_offset, STATE, wanted, "no record"));
        }
        record => record?,
    };
    if record.record_type == record_type::STATE {
        return Ok(record);
    }
    Err(group::unexpected(file, &record, wanted))
}

pub(super) fn head_bytes(group: &Group) -> usize {
    group.slots.map_or(ssz::STATE_HEAD_BYTES, |slots| {
        usize::try_from(slots.count()).map_or(usize::MAX, ssz::state_roots_end)
    })
}

pub(super) fn read_state<R: Read + Seek>(
    file: &RecordFile<R>,
    group: &Group,
    record: RecordAt,
    value: &[u8],
    byte_len: u64,
) -> Result<EraState> {
    let head = read_head(file, group, record, value)?;
    let roots = match group.slots.map(|slots| usize::try_from(slots.count())) {
        Some(Ok(count)) => {
            let roots = EraRoots::parse(value, byte_len, count);
            Some(roots.map_err(|mismatch| unfit(file, group, record, mismatch))?)
        }
        _ => None,
    };
    Ok(EraState { record, head, roots })
}

fn read_head<R: Read + Seek>(
    file: &RecordFile<R>,
    group: &Group,
    record: RecordAt,
    value: &[u8],
) -> Result<StateHead> {
    let slot = group.state_slot;
    let head = StateHead::parse(value).map_err(|mismatch| unfit(file, group, record, mismatch))?;
    if head.slot != slot {
        let wanted = format!("the state of slot {slot}, as the index says");
        return Err(file.corrupt(record.offset, STATE, wanted, format!("slot {}", head.slot)));
    }
    Ok(head)
}

fn unfit<R: Read + Seek>(
    file: &RecordFile<R>,
    group: &Group,
    record: RecordAt,
    mismatch: Mismatch,
) -> Error {
    let wanted = format!("{}: {}", place_of_state(group), mismatch.wanted);
    file.corrupt(record.offset, STATE, wanted, mismatch.found)
}

pub(super) fn check_block_record<R: Read + Seek>(
    file: &RecordFile<R>,
    record: &RecordAt,
    limits: Limits,
) -> Result<(), Error> {
    let limit = limits.block_record_bytes();
    if u64::from(record.payload_len) <= limit {
        return Ok(());
    }
    let wanted =
        format!("a record of at most {limit} bytes, for a block of {}", limits.block_bytes);
    Err(file.corrupt(record.offset, BLOCK, wanted, format!("{} bytes", record.payload_len)))
}
