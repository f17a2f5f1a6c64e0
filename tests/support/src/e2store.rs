//! `.era` files taken apart and put together again, by their specification alone.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

/// Slots per era of the minimal chain.
pub const ERA_SLOTS: u64 = 64;

pub const VERSION_RECORD: [u8; 2] = [0x65, 0x32];
pub const BLOCK: [u8; 2] = [1, 0];
pub const STATE: [u8; 2] = [2, 0];
pub const INDEX: [u8; 2] = [0x69, 0x32];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Rule,
    Nimbus,
    Payload,
}

/// A record of a group, without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: [u8; 2],
    pub payload: Vec<u8>,
}

/// A file of one group, taken apart: its records without version and indices.
#[derive(Clone, Debug)]
pub struct Parts {
    pub era: u64,
    pub slots_per_era: u64,
    pub records: Vec<Record>,
}

impl Parts {
    pub fn read(path: &Path) -> Self {
        Self::parse(&fs::read(path).unwrap())
    }

    pub fn parse(bytes: &[u8]) -> Self {
        let mut records = walk(bytes);
        assert_eq!(records.remove(0).kind, VERSION_RECORD);
        let states = records.pop().unwrap();
        assert_eq!(states.kind, INDEX);
        let state_slot = u64_at(&states.payload, 0);
        let slots_per_era = if state_slot == 0 {
            ERA_SLOTS
        } else {
            let blocks = records.pop().unwrap();
            assert_eq!(blocks.kind, INDEX);
            u64_at(&blocks.payload, blocks.payload.len() - 8)
        };
        Self { era: state_slot / slots_per_era, slots_per_era, records }
    }

    pub fn block(&self, slot: u64) -> Option<usize> {
        self.records.iter().position(|record| record.kind == BLOCK && record.slot() == slot)
    }

    pub fn state(&self) -> usize {
        self.records.iter().position(|record| record.kind == STATE).unwrap()
    }

    /// Rewrites the value of a record.
    pub fn change(&mut self, index: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let mut value = self.records[index].value();
        change(&mut value);
        self.records[index].payload = frames(&value);
    }

    /// The file again, with indices that follow the records.
    pub fn build(&self, encoding: Encoding) -> Vec<u8> {
        let mut bytes = Record::header(VERSION_RECORD, 0).to_vec();
        let first_slot = self.era.saturating_sub(1) * self.slots_per_era;
        let mut blocks = vec![None; usize::try_from(self.slots_per_era).unwrap()];
        let mut state_at = 0;
        for record in &self.records {
            let at = i64::try_from(bytes.len()).unwrap();
            if record.kind == BLOCK {
                let place = record.try_slot().and_then(|slot| slot.checked_sub(first_slot));
                if let Some(entry) = place.and_then(|at| blocks.get_mut(usize::try_from(at).ok()?))
                {
                    *entry = Some(at);
                }
            } else if record.kind == STATE {
                state_at = at;
            }
            record.append_to(&mut bytes);
        }
        if self.era > 0 {
            let at = i64::try_from(bytes.len()).unwrap();
            let entries: Vec<i64> = blocks
                .iter()
                .map(|block| match (block, encoding) {
                    (Some(block), Encoding::Payload) => block + 8 - at,
                    (Some(block), _) => block - at,
                    (None, Encoding::Nimbus) => -at,
                    (None, _) => 0,
                })
                .collect();
            index(first_slot, &entries).append_to(&mut bytes);
        }
        let at = i64::try_from(bytes.len()).unwrap();
        index(self.era * self.slots_per_era, &[state_at - at]).append_to(&mut bytes);
        bytes
    }
}

impl Record {
    pub fn header(kind: [u8; 2], len: usize) -> [u8; 8] {
        let len = u32::try_from(len).unwrap().to_le_bytes();
        [kind[0], kind[1], len[0], len[1], len[2], len[3], 0, 0]
    }

    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend(Self::header(self.kind, self.payload.len()));
        bytes.extend(&self.payload);
    }

    pub fn value(&self) -> Vec<u8> {
        self.try_value().unwrap()
    }

    fn try_value(&self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        snap::read::FrameDecoder::new(&*self.payload).read_to_end(&mut value).ok()?;
        Some(value)
    }

    pub fn slot(&self) -> u64 {
        self.try_slot().unwrap()
    }

    fn try_slot(&self) -> Option<u64> {
        self.try_value()?.get(100..108).map(|bytes| u64_at(bytes, 0))
    }
}

pub fn index(start_slot: u64, entries: &[i64]) -> Record {
    let mut payload = start_slot.to_le_bytes().to_vec();
    payload.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    payload.extend((entries.len() as u64).to_le_bytes());
    Record { kind: INDEX, payload }
}

pub fn walk(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[2..6].try_into().unwrap()) as usize;
        records.push(Record { kind: [rest[0], rest[1]], payload: rest[8..8 + len].to_vec() });
        rest = &rest[8 + len..];
    }
    records
}

/// Where the header of each record starts.
pub fn offsets(bytes: &[u8]) -> Vec<usize> {
    walk(bytes)
        .iter()
        .scan(0, |at, record| {
            let offset = *at;
            *at += 8 + record.payload.len();
            Some(offset)
        })
        .collect()
}

pub fn frames(value: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(value).unwrap();
    encoder.into_inner().unwrap()
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}
