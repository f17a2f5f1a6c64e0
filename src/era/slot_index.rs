//! Slot indices: `start slot u64 | offset i64 × count | count u64`.
//!
//! Three encodings of the index exist, so it is used only as a cross-check, never to find blocks.

use std::fmt;

use super::e2store::{RecordAt, RecordFile, record_type};
use crate::error::Result;
use crate::format::record::{HEADER_BYTES, RecordHeader};
use crate::format::ssz::Mismatch;
use crate::slot::Slot;

/// Maximum number of slots in an era. The largest preset has 8192; the bound also keeps a slot's index in
/// its era within 16 bits.
pub(super) const MAX_SLOTS_PER_ERA: u64 = 65_536;

const START_SLOT_BYTES: u64 = 8;
const ENTRY_BYTES: u64 = 8;
const COUNT_BYTES: u64 = 8;

/// How a block index encodes the offset of a block, and an empty slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexEncoding {
    /// e2store-format-specs: distance from the index's header to the block's header; 0 is an empty slot.
    Rule,
    /// Nimbus, the files published for mainnet, and [`EraExport`](super::EraExport): the same for blocks,
    /// but the entry of an empty slot points to byte 0 of the file.
    Nimbus,
    /// An exporter proposed for Lighthouse: distance to the block's payload; 0 is an empty slot.
    Payload,
}

/// All encodings; if a file fits several, the first one is reported.
const ENCODINGS: [IndexEncoding; 3] =
    [IndexEncoding::Rule, IndexEncoding::Nimbus, IndexEncoding::Payload];

impl fmt::Display for IndexEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IndexEncoding::Rule => "rule",
            IndexEncoding::Nimbus => "nimbus",
            IndexEncoding::Payload => "payload",
        })
    }
}

/// A slot index record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotIndex {
    /// File offset of the record's header.
    pub(super) offset: u64,
    /// The slot of the first entry.
    pub(super) start_slot: Slot,
    /// One entry per slot, in bytes from the start of the index's header; see [`IndexEncoding`].
    pub(super) entries: Vec<i64>,
}

impl SlotIndex {
    /// Length in bytes of an index record with `count` entries, including its header.
    pub(super) const fn record_bytes(count: u64) -> u64 {
        (HEADER_BYTES + START_SLOT_BYTES + COUNT_BYTES)
            .saturating_add(count.saturating_mul(ENTRY_BYTES))
    }

    /// Reads the index record that ends at `end`, located by the count in its last bytes.
    pub(super) fn ending_at(file: &mut RecordFile, end: u64, what: &'static str) -> Result<Self> {
        let wanted = || format!("a slot index that ends at {end}");
        let smallest = Self::record_bytes(1);
        if end < smallest {
            return Err(file.corrupt(0, what, wanted(), format!("only {end} bytes before it")));
        }
        let mut count = [0; size_of::<u64>()];
        file.read_exact_at(end.saturating_sub(COUNT_BYTES), &mut count, what)?;
        let count = u64::from_le_bytes(count);
        let byte_len = Self::record_bytes(count);
        if count == 0 || count > MAX_SLOTS_PER_ERA || byte_len > end {
            let at = end.saturating_sub(COUNT_BYTES);
            let wanted = format!("{}, with 1 to {MAX_SLOTS_PER_ERA} entries", wanted());
            return Err(file.corrupt(at, what, wanted, format!("count {count}")));
        }
        let offset = end.saturating_sub(byte_len);
        let payload_len = byte_len.saturating_sub(HEADER_BYTES);
        let mut bytes = [0; size_of::<RecordHeader>()];
        file.read_exact_at(offset, &mut bytes, what)?;
        let header = RecordHeader::from_bytes(bytes);
        let fits = header.record_type == record_type::SLOT_INDEX
            && u64::from(header.length.get()) == payload_len
            && header.reserved == [0, 0];
        if !fits {
            let wanted = format!("{}, with {count} entries: 69 32, length {payload_len}", wanted());
            return Err(file.corrupt(offset, what, wanted, format!("header {bytes:02x?}")));
        }
        let record =
            RecordAt { record_type: header.record_type, offset, payload_len: header.length.get() };
        let payload = file.payload(&record)?;
        // The length is that of a start slot, `count` entries, and the count.
        let mut entries = payload.as_chunks().0.iter().copied();
        let (start_slot, _count) = (entries.next(), entries.next_back());
        let start_slot = start_slot.map_or(0, u64::from_le_bytes);
        if start_slot.checked_add(count).is_none_or(|end| end > Slot::MAX.0) {
            return Err(file.corrupt(offset, what, wanted(), "slots past the last possible slot"));
        }
        let entries = entries.map(i64::from_le_bytes).collect();
        Ok(Self { offset, start_slot: Slot(start_slot), entries })
    }

    /// The number of slots that the index covers.
    pub(super) fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The file offset that an entry points to; `None` if it is out of range.
    pub(super) fn target(&self, entry: i64) -> Option<u64> {
        self.offset.checked_add_signed(entry)
    }

    /// Finds the encoding in which every entry is correct. `blocks[i]` is the offset of the header of the
    /// block of the `i`-th slot, `None` for an empty slot. `group_offset` is the start of the index's
    /// group, which was byte 0 of a Nimbus file before several files were concatenated.
    ///
    /// # Errors
    /// The file offset of the first entry at which no encoding fits it and all preceding entries.
    pub(super) fn encoding(
        &self,
        group_offset: u64,
        blocks: &[Option<u64>],
    ) -> Result<IndexEncoding, (u64, Mismatch)> {
        let mut fitting = ENCODINGS.to_vec();
        for (index, entry) in self.entries.iter().enumerate() {
            let block = blocks.get(index).copied().flatten();
            let before = fitting.clone();
            fitting.retain(|encoding| self.fits(*encoding, *entry, block, group_offset));
            if fitting.is_empty() {
                return Err(self.mismatch(index, block, &before));
            }
        }
        Ok(fitting.first().copied().unwrap_or(IndexEncoding::Rule))
    }

    fn fits(
        &self,
        encoding: IndexEncoding,
        entry: i64,
        block: Option<u64>,
        group_offset: u64,
    ) -> bool {
        let target = self.target(entry);
        match (encoding, block) {
            (IndexEncoding::Rule | IndexEncoding::Nimbus, Some(block)) => target == Some(block),
            (IndexEncoding::Payload, Some(block)) => target == block.checked_add(HEADER_BYTES),
            (IndexEncoding::Rule | IndexEncoding::Payload, None) => entry == 0,
            (IndexEncoding::Nimbus, None) => target == Some(0) || target == Some(group_offset),
        }
    }

    fn mismatch(
        &self,
        index: usize,
        block: Option<u64>,
        before: &[IndexEncoding],
    ) -> (u64, Mismatch) {
        let slot = Slot(self.start_slot.0.saturating_add(index as u64));
        let names: Vec<String> = before.iter().map(ToString::to_string).collect();
        let names = names.join(" or ");
        let entry = self.entries.get(index).copied().unwrap_or_default();
        let entries_at = self.offset.saturating_add(HEADER_BYTES + START_SLOT_BYTES);
        let entry_at = entries_at.saturating_add((index as u64).saturating_mul(ENTRY_BYTES));
        let wanted = match block {
            Some(block) => format!("slot {slot}: the block at {block}, encoding {names}"),
            None => format!("slot {slot}: no block, encoding {names}"),
        };
        let found = match self.target(entry) {
            _ if entry == 0 => "0, which is no block".to_owned(),
            Some(target) => format!("{entry}, which leads to {target}"),
            None => format!("{entry}, which leads out of the file"),
        };
        (entry_at, Mismatch { wanted, found })
    }
}
