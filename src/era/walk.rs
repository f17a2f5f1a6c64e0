//! A walk over the records of one group of an `.era` file.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Seek};

use super::e2store::{RecordAt, RecordFile, record_type};
use super::frames::{self, Decoded, Fault};
use super::group::{self, Group};
use super::group_records::{self, BLOCK, EraBlock, EraState, Limits, STATE};
use super::index::{IndexEncoding, SlotIndex};
use super::prove::{EraAt, EraProof, Prover};
use super::ssz::{self, BlockHead};
use super::tee_decode;
use crate::error::{Error, Result};
use crate::slot::Slot;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::thread;

/// Bytes of payload that are read ahead and decoded on all cores.
const AHEAD_BYTES: u64 = 4 << 20;

/// A block record that was read and decoded ahead.
#[derive(Debug)]
struct Ahead {
    record: RecordAt,
    decoded: Result<Decoded, Fault>,
    proved: Result<()>,
    sum: Option<u64>,
}

/// A walk over the records of a group: blocks until there are none left, then the state, then
/// the index as a cross-check.
#[derive(Debug)]
pub struct GroupWalk<'f, R> {
    file: &'f mut RecordFile<R>,
    group: Group,
    limits: Limits,
    index: Option<SlotIndex>,
    next_offset: u64,
    last_slot: Option<Slot>,
    state: Option<RecordAt>,
    ahead: VecDeque<Ahead>,
    payloads: Payloads,
    /// The whole state, if it is kept.
    state_value: Option<Vec<u8>>,
    /// The error that stopped the read-ahead, to be returned after the blocks in `ahead`.
    stopped: Option<Error>,
    hasher: RandomState,
    /// Set if blocks are proved too.
    proof: Option<&'f dyn EraProof>,
}

impl<'f, R: Read + Seek> GroupWalk<'f, R> {
    pub(super) fn new(file: &'f mut RecordFile<R>, group: Group, limits: Limits) -> Result<Self> {
        let next_offset = group::version_at(file, group.offset)?.end();
        let index = match group.slots {
            Some(_) => {
                let end = file.record_at(group.indices_offset)?.end();
                Some(SlotIndex::ending_at(file, end, "block index")?)
            }
            None => None,
        };
        Ok(Self {
            file,
            group,
            limits,
            index,
            next_offset,
            last_slot: None,
            state: None,
            ahead: VecDeque::new(),
            payloads: Payloads::default(),
            state_value: None,
            stopped: None,
            hasher: RandomState::new(),
            proof: None,
        })
    }

    /// Keeps about `byte_len` stored bytes of the first blocks, and the state if it is not larger.
    pub(super) fn keep(&mut self, byte_len: usize) {
        let of_blocks = self.group.state_offset.saturating_sub(self.group.offset);
        self.payloads.bytes.reserve(usize::try_from(of_blocks).unwrap_or(byte_len).min(byte_len));
        self.payloads.limit = byte_len;
    }

    /// The kept data.
    pub(super) fn into_kept(self) -> Kept {
        let Self { hasher, payloads, state_value, .. } = self;
        Kept { hasher, blocks: payloads.into_kept(), state: state_value }
    }

    /// Returns the next block; `None` at the state.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for a record that does not belong here, for a block that
    /// does not decode within the bound, and for a slot outside the era or not above the preceding one.
    pub fn next_block(&mut self) -> Result<Option<EraBlock>> {
        if self.ahead.is_empty() && self.state.is_none() {
            if let Some(error) = self.stopped.take() {
                return Err(error);
            }
            self.read_ahead();
            if self.ahead.is_empty()
                && let Some(error) = self.stopped.take()
            {
                return Err(error);
            }
        }
        self.ahead.pop_front().map(|ahead| self.look_at(ahead)).transpose()
    }

    /// Reads the next blocks, up to the state, and decodes them.
    fn read_ahead(&mut self) {
        self.payloads.begin();
        let (mut records, mut bytes) = (Vec::new(), 0_u64);
        while bytes < AHEAD_BYTES && self.state.is_none() {
            match self.next_stored() {
                Ok(Some(record)) => {
                    bytes = bytes.saturating_add(record.payload_len.into());
                    records.push(record);
                }
                Ok(None) => break,
                Err(error) => {
                    self.stopped = Some(error);
                    break;
                }
            }
        }
        let stored: Vec<_> = self.payloads.of(&records).collect();
        // Kept blocks are not read again, so they need no hash.
        let hasher = self.payloads.is_full.then_some(&self.hasher);
        let limit = self.limits.block_bytes;
        self.ahead = decode_all(&stored, limit, hasher, self.proof).into();
    }

    /// Reads the next block record with its payload; `None` at the state.
    fn next_stored(&mut self) -> Result<Option<RecordAt>> {
        while let Some(record) = self.next_record()? {
            match record.record_type {
                record_type::BLOCK => {
                    group_records::check_block_record(self.file, &record, self.limits)?;
                    self.file.append_payload(&record, &mut self.payloads.bytes)?;
                    return Ok(Some(record));
                }
                record_type::STATE => {
                    self.state = Some(record);
                    return Ok(None);
                }
                _ => {}
            }
        }
        let wanted = format!("a state of slot {} in front of the indices", self.group.state_slot);
        Err(self.file.corrupt(self.group.indices_offset, "group", wanted, "none"))
    }

    /// Decodes the state fully and advances to the indices. Returns the state and its length in bytes.
    /// `watch` is called regularly with the decoder's offset in the file.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if blocks or another state follow it, if it does not
    /// decode within the bound, or if it is not the state named in the index.
    pub fn read_state(&mut self, watch: &mut dyn FnMut(u64)) -> Result<(EraState, u64)> {
        let record = self.pass_state()?;
        let (head_bytes, limit) = self.state_bytes(&record);
        let decoded = frames::decode(self.file, &record, head_bytes, limit, watch);
        let decoded = decoded.map_err(|fault| self.state_fault(&record, fault))?;
        self.state_of(record, decoded)
    }

    /// Passes the state to the prover before the blocks are read, and returns the proof for the blocks.
    ///
    /// # Errors
    /// As [`GroupWalk::read_state`], and those of the prover.
    pub(super) fn prove_state<'p>(
        &mut self,
        prover: &'p mut dyn Prover,
        groups: &[Group],
    ) -> Result<(EraState, u64, Box<dyn EraProof + 'p>)> {
        let (path, group) = (self.file.path().to_path_buf(), self.group);
        let record = group_records::state_record(self.file, &group)?;
        let at = EraAt { path: &path, groups, group: &group, state: record };
        let (head_bytes, limit) = self.state_bytes(&record);
        let decoded =
            tee_decode::decode_for(self.file, &record, head_bytes, limit, move |source| {
                prover.begin(at, source)
            });
        let (decoded, proof) = decoded.map_err(|fault| self.state_fault(&record, fault))?;
        let (state, byte_len) = self.state_of(record, decoded)?;
        Ok((state, byte_len, proof))
    }

    /// The number of leading bytes of the state to keep, and its maximum length.
    fn state_bytes(&self, record: &RecordAt) -> (usize, u64) {
        let kept = if self.may_keep(record) { self.payloads.limit } else { 0 };
        (group_records::head_bytes(&self.group).max(kept), self.limits.state_bytes)
    }

    /// Whether a state may be small enough to keep: frames are hardly ever longer than their value.
    fn may_keep(&self, record: &RecordAt) -> bool {
        (1..=self.payloads.limit).contains(&(record.payload_len as usize))
    }

    fn state_fault(&self, record: &RecordAt, fault: Fault) -> Error {
        fault.error(self.file, record, STATE, &group_records::place_of_state(&self.group))
    }

    fn state_of(&mut self, record: RecordAt, decoded: Decoded) -> Result<(EraState, u64)> {
        let Decoded { head, byte_len } = decoded;
        let state = group_records::read_state(self.file, &self.group, record, &head, byte_len)?;
        if head.len() as u64 == byte_len && self.may_keep(&record) {
            self.state_value = Some(head);
        }
        Ok((state, byte_len))
    }

    /// From now on, passes blocks to this proof.
    pub(super) fn prove_blocks(&mut self, proof: &'f dyn EraProof) {
        self.proof = Some(proof);
    }

    /// Advances to the indices. The blocks must be followed by the state named in the index, and by no
    /// further blocks or states.
    pub(super) fn pass_state(&mut self) -> Result<RecordAt> {
        while self.next_block()?.is_some() {}
        let Some(record) = self.state else {
            return Err(self.file.corrupt(self.group.indices_offset, "group", "a state", "none"));
        };
        let slot = self.group.state_slot;
        if record.offset != self.group.state_offset {
            let wanted = format!("slot {slot}: the state at {}", record.offset);
            let found = format!("a state at {}", self.group.state_offset);
            return Err(self.file.corrupt(record.offset, "state index", wanted, found));
        }
        while let Some(other) = self.next_record()? {
            if matches!(other.record_type, record_type::BLOCK | record_type::STATE) {
                let wanted = format!("no block and no state behind the state of slot {slot}");
                return Err(group::unexpected(self.file, &other, wanted));
            }
        }
        Ok(record)
    }

    /// Compares the block index with the blocks that were found; `None` in era 0, which has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) with the slot of the first entry that fits no encoding.
    pub fn check_index(&self, blocks: &[EraBlock]) -> Result<Option<IndexEncoding>> {
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
        index.encoding(self.group.offset, &offsets).map(Some).map_err(|mismatch| {
            let at = mismatch.entry_offset;
            self.file.corrupt(at, "block index", mismatch.wanted, mismatch.found)
        })
    }

    fn next_record(&mut self) -> Result<Option<RecordAt>> {
        if self.next_offset >= self.group.indices_offset {
            return Ok(None);
        }
        let record = self.file.record_at(self.next_offset)?;
        let indices = self.group.indices_offset;
        if matches!(record.record_type, record_type::VERSION | record_type::SLOT_INDEX) {
            let wanted = format!("no such record in front of the indices at {indices}");
            return Err(group::unexpected(self.file, &record, wanted));
        }
        if record.end() > indices {
            let wanted = format!("a record that ends at or before the indices at {indices}");
            return Err(group::unexpected(self.file, &record, wanted));
        }
        self.next_offset = record.end();
        Ok(Some(record))
    }

    fn look_at(&mut self, ahead: Ahead) -> Result<EraBlock> {
        let Ahead { record, decoded, proved, sum } = ahead;
        let decoded = decoded
            .map_err(|fault| fault.error(self.file, &record, BLOCK, &self.place_of(&record)))?;
        let head = BlockHead::parse(&decoded.head).map_err(|mismatch| {
            let wanted = format!("{}: {}", self.place_of(&record), mismatch.wanted);
            self.file.corrupt(record.offset, BLOCK, wanted, mismatch.found)
        })?;
        self.check_slot(&record, head.slot)?;
        proved?;
        self.last_slot = Some(head.slot);
        Ok(EraBlock { record, head, sum })
    }

    fn check_slot(&self, record: &RecordAt, slot: Slot) -> Result<()> {
        let Some(slots) = self.group.slots else {
            return Err(group::unexpected(self.file, record, "no block in era 0"));
        };
        let lowest = match self.last_slot {
            Some(last) => Slot(last.0.saturating_add(1)),
            None => slots.first,
        };
        if slot < lowest || slot > slots.last {
            let wanted = format!("a slot from {lowest} to {}, in ascending order", slots.last);
            let found = format!("slot {slot}");
            return Err(self.file.corrupt(record.offset, BLOCK, wanted, found));
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

/// Data that a walk keeps for the commit of the group.
#[derive(Debug)]
pub(super) struct Kept {
    /// The hasher of the blocks' keyed hashes.
    pub(super) hasher: RandomState,
    /// The stored bytes of the first blocks, concatenated.
    pub(super) blocks: Vec<u8>,
    /// The whole state, if it is small.
    pub(super) state: Option<Vec<u8>>,
}

/// The stored bytes of blocks that were read ahead, after those that are kept.
#[derive(Debug, Default)]
struct Payloads {
    bytes: Vec<u8>,
    /// Offset in `bytes` of the current round.
    start: usize,
    /// Rounds that start before this offset are kept.
    limit: usize,
    is_full: bool,
}

impl Payloads {
    fn begin(&mut self) {
        if self.is_full {
            self.bytes.truncate(self.start);
        } else {
            self.start = self.bytes.len();
            self.is_full = self.start >= self.limit;
        }
    }

    /// The records of the current round with their stored bytes.
    fn of<'a>(&'a self, records: &'a [RecordAt]) -> impl Iterator<Item = (RecordAt, &'a [u8])> {
        let mut rest = self.bytes.get(self.start..).unwrap_or_default();
        records.iter().map_while(move |record| {
            let stored;
            (stored, rest) = rest.split_at_checked(record.payload_len as usize)?;
            Some((*record, stored))
        })
    }

    fn into_kept(mut self) -> Vec<u8> {
        if self.is_full {
            self.bytes.truncate(self.start);
        }
        self.bytes
    }
}

/// Decodes and proves blocks, on all cores if there are enough.
fn decode_all(
    records: &[(RecordAt, &[u8])],
    limit: u64,
    hasher: Option<&RandomState>,
    proof: Option<&dyn EraProof>,
) -> Vec<Ahead> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut done, mut decoder) = (Vec::new(), frames::Stored::new());
        while let Some((record, stored)) = records.get(next.fetch_add(1, Ordering::Relaxed)) {
            // A proof needs the whole block, a walk its head.
            let head_len = proof.map_or(ssz::BLOCK_HEAD_BYTES, |_| usize::MAX);
            let mut decoded = decoder.decode(record, stored, head_len, limit);
            let mut proved = Ok(());
            if let (Ok(Decoded { head, .. }), Some(proof)) = (&mut decoded, proof) {
                proved = proof.block(record, head);
                head.truncate(ssz::BLOCK_HEAD_BYTES);
                head.shrink_to_fit();
            }
            let sum = hasher.map(|hasher| hasher.hash_one(stored));
            done.push(Ahead { record: *record, decoded, proved, sum });
        }
        done
    };
    let mut all = thread::scope(|scope| {
        let helpers: Vec<_> = (1..cores.min(records.len())).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for helper in helpers {
            all.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_by_key(|ahead| ahead.record.offset);
    all
}
