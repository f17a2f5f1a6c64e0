//! A walk over the records of one group of an `.era` file.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use super::e2store::{RecordAt, record_type};
use super::era_file::EraFile;
use super::group::{self, BLOCK, EraBlock, EraGroup};
use super::prover::EraProof;
use super::slot_index::{IndexEncoding, SlotIndex};
use super::value_reader::{self, WHOLE};
use crate::error::{Error, Result};
use crate::format::ssz::{BlockHead, Mismatch};
use crate::slot::Slot;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::thread;

/// Bytes of payload that are read ahead and decoded on all cores.
const AHEAD_BYTES: u64 = 4 << 20;

/// A walk over the records of a group: blocks until there are none left, then the state, then
/// the index as a cross-check.
#[derive(Debug)]
pub struct GroupWalk<'f> {
    file: &'f mut EraFile,
    group: EraGroup,
    index: Option<SlotIndex>,
    next_offset: u64,
    last_slot: Option<Slot>,
    state: Option<RecordAt>,
    ahead: VecDeque<Ahead>,
    /// The error that stopped the read-ahead, to be returned after the blocks in `ahead`.
    stopped: Option<Error>,
    hasher: RandomState,
    /// Set if blocks are proved too.
    proof: Option<&'f dyn EraProof>,
}

/// A block record that was read and decoded ahead.
#[derive(Debug)]
struct Ahead {
    record: RecordAt,
    head: Result<BlockHead, Mismatch>,
    proved: Result<()>,
    sum: u64,
}

impl EraFile {
    /// Walks the records of a group in order, and decodes each one fully.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the group does not start with a version record, or has a damaged index.
    pub fn walk(&mut self, group: &EraGroup) -> Result<GroupWalk<'_>> {
        let records = &mut self.records;
        let next_offset = group::version_at(records, group.offset)?.end();
        let index = match group.slots {
            Some(_) => {
                let end = records.record_at(group.indices_offset)?.end();
                Some(SlotIndex::ending_at(records, end, "block index")?)
            }
            None => None,
        };
        Ok(GroupWalk {
            file: self,
            group: *group,
            index,
            next_offset,
            last_slot: None,
            state: None,
            ahead: VecDeque::new(),
            stopped: None,
            hasher: RandomState::new(),
            proof: None,
        })
    }
}

impl<'f> GroupWalk<'f> {
    /// From now on, passes blocks to this proof, and hashes them with this hasher.
    pub(super) fn prove(mut self, proof: Option<&'f dyn EraProof>, hasher: &RandomState) -> Self {
        (self.proof, self.hasher) = (proof, hasher.clone());
        self
    }

    /// Returns the next block; `None` at the state.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a record that does not belong here, for a block that does not decode within
    /// the bound, and for a slot outside the era or not above the preceding one.
    pub fn next_block(&mut self) -> Result<Option<EraBlock>> {
        if self.ahead.is_empty() && self.stopped.is_none() && self.state.is_none() {
            self.read_ahead();
        }
        match (self.ahead.pop_front(), self.stopped.take()) {
            (Some(ahead), stopped) => {
                self.stopped = stopped;
                self.check_block(ahead).map(Some)
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// Reads the next blocks, up to the state, and decodes them.
    fn read_ahead(&mut self) {
        let (mut stored, mut bytes) = (Vec::new(), 0_u64);
        while bytes < AHEAD_BYTES && self.state.is_none() && self.stopped.is_none() {
            match self.next_stored() {
                Ok(Some(block)) => {
                    bytes = bytes.saturating_add(block.0.payload_len.into());
                    stored.push(block);
                }
                Ok(None) => break,
                Err(error) => self.stopped = Some(error),
            }
        }
        let limit = self.file.limits.block_bytes;
        self.ahead = decode_all(&stored, limit, &self.hasher, self.proof).into();
    }

    /// Reads the next block record with its payload; `None` at the state.
    fn next_stored(&mut self) -> Result<Option<(RecordAt, Vec<u8>)>> {
        while let Some(record) = self.next_record()? {
            match record.record_type {
                record_type::BLOCK => {
                    return self.file.stored_block(&record).map(|stored| Some((record, stored)));
                }
                record_type::STATE => {
                    self.state = Some(record);
                    return Ok(None);
                }
                _ => {}
            }
        }
        let wanted = format!("a state of slot {} before the indices", self.group.state_slot);
        Err(self.file.records.corrupt(self.group.indices_offset, "group", wanted, "none"))
    }

    /// Advances to the indices. The blocks must be followed by the state named in the index, and by no
    /// further blocks or states.
    fn pass_state(&mut self) -> Result<()> {
        while self.next_block()?.is_some() {}
        let (slot, wanted) = (self.group.state_slot, self.group.state_offset);
        let state = self.state.filter(|record| record.offset != wanted);
        if let Some(RecordAt { offset, .. }) = state {
            let found = format!("a state at {wanted}");
            let wanted = format!("slot {slot}: the state at {offset}");
            return Err(self.file.records.corrupt(offset, "state index", wanted, found));
        }
        while let Some(other) = self.next_record()? {
            if matches!(other.record_type, record_type::BLOCK | record_type::STATE) {
                let wanted = format!("no block and no state after the state of slot {slot}");
                return Err(group::unexpected(&self.file.records, &other, wanted));
            }
        }
        Ok(())
    }

    /// Passes the state, and compares the block index with the blocks that were found; `None` in era 0, which
    /// has no index.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if blocks or another state follow the state, if it is not the one named in the state
    /// index, or with the slot of the first entry of the block index that fits no encoding.
    pub fn finish(mut self, blocks: &[EraBlock]) -> Result<Option<IndexEncoding>> {
        self.pass_state()?;
        let (Some(index), Some(slots)) = (&self.index, self.group.slots) else {
            return Ok(None);
        };
        let mut offsets = vec![None; index.entries.len()];
        for block in blocks {
            let place = slots.index_of(block.head.slot).and_then(|at| offsets.get_mut(at));
            if let Some(place) = place {
                *place = Some(block.record.offset);
            }
        }
        index.encoding(self.group.offset, &offsets).map(Some).map_err(|(at, mismatch)| {
            self.file.records.corrupt(at, "block index", mismatch.wanted, mismatch.found)
        })
    }

    fn next_record(&mut self) -> Result<Option<RecordAt>> {
        let indices = self.group.indices_offset;
        if self.next_offset >= indices {
            return Ok(None);
        }
        let records = &mut self.file.records;
        let record = records.record_at(self.next_offset)?;
        if matches!(record.record_type, record_type::VERSION | record_type::SLOT_INDEX) {
            let wanted = format!("no such record before the indices at {indices}");
            return Err(group::unexpected(records, &record, wanted));
        }
        if record.end() > indices {
            let wanted = format!("a record that ends at or before the indices at {indices}");
            return Err(group::unexpected(records, &record, wanted));
        }
        self.next_offset = record.end();
        Ok(Some(record))
    }

    fn check_block(&mut self, ahead: Ahead) -> Result<EraBlock> {
        let Ahead { record, head, proved, sum } = ahead;
        let head = head.map_err(|mismatch| {
            let wanted = format!("{}: {}", self.place_of(&record), mismatch.wanted);
            self.file.records.corrupt(record.offset, BLOCK, wanted, mismatch.found)
        })?;
        self.check_slot(&record, head.slot)?;
        proved?;
        self.last_slot = Some(head.slot);
        Ok(EraBlock { record, head, sum })
    }

    fn check_slot(&mut self, record: &RecordAt, slot: Slot) -> Result<()> {
        let Some(slots) = self.group.slots else {
            return Err(group::unexpected(&self.file.records, record, "no block in era 0"));
        };
        let lowest = self.last_slot.map_or(slots.first, |last| Slot(last.0.saturating_add(1)));
        if slot < lowest || slot > slots.last {
            let wanted = format!("a slot from {lowest} to {}, in ascending order", slots.last);
            let found = format!("slot {slot}");
            return Err(self.file.records.corrupt(record.offset, BLOCK, wanted, found));
        }
        Ok(())
    }

    /// Describes the slot of an undecodable block, by the index or by its neighbor.
    fn place_of(&self, record: &RecordAt) -> String {
        let by_index = self.index.as_ref().and_then(|index| {
            let leads_here = |entry: &i64| {
                let target = index.target(*entry).filter(|_| *entry != 0);
                target == Some(record.offset)
                    || (record.payload_len > 0 && target == Some(record.payload_offset()))
            };
            index.entries.iter().position(leads_here)
        });
        match (by_index, self.group.slots, self.last_slot) {
            (Some(at), Some(slots), _) => format!("slot {} by the index", slots.slot_at(at)),
            (_, _, Some(last)) => format!("a block after slot {last}"),
            _ => "the first block".to_owned(),
        }
    }
}

/// Decodes and proves blocks, on all cores if there are enough.
fn decode_all(
    blocks: &[(RecordAt, Vec<u8>)],
    limit: u64,
    hasher: &RandomState,
    proof: Option<&dyn EraProof>,
) -> Vec<Ahead> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut done, mut value) = (Vec::new(), Vec::new());
        while let Some((record, stored)) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let head = value_reader::decode_stored(record, stored, limit, &mut value)
                .map_err(|found| Mismatch { wanted: WHOLE.to_owned(), found })
                .and_then(|()| BlockHead::parse(&value));
            let proved = match proof {
                Some(proof) if head.is_ok() => proof.block(record, &value),
                _ => Ok(()),
            };
            done.push(Ahead { record: *record, head, proved, sum: hasher.hash_one(stored) });
        }
        done
    };
    let mut all = thread::scope(|scope| {
        let helpers: Vec<_> = (1..cores.min(blocks.len())).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for helper in helpers {
            all.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_by_key(|ahead| ahead.record.offset);
    all
}
