//! An `.era` file of one era, disassembled for damage and reassembled: frames, checksums and index are
//! always valid.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use test_support::chain_content::unframe;

const VERSION: [u8; 2] = *b"e2";
const INDEX: [u8; 2] = *b"i2";
const BLOCK: [u8; 2] = [1, 0];
const STATE: [u8; 2] = [2, 0];

#[derive(Clone)]
pub(crate) struct EraParts {
    /// The blocks as SSZ.
    pub(crate) blocks: Vec<Vec<u8>>,
    pub(crate) state: Vec<u8>,
    first_slot: u64,
    slots: usize,
}

fn record(record_type: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let byte_len = u32::try_from(payload.len()).unwrap();
    [&record_type[..], &byte_len.to_le_bytes(), &[0, 0], payload].concat()
}

fn framed(value: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(value).unwrap();
    encoder.into_inner().unwrap()
}

/// The records of a file: type and payload.
fn records(bytes: &[u8]) -> Vec<([u8; 2], &[u8])> {
    let (mut rest, mut records) = (bytes, Vec::new());
    while let Some((header, tail)) = rest.split_first_chunk::<8>() {
        let byte_len = u32::from_le_bytes(header[2..6].try_into().unwrap()) as usize;
        records.push(([header[0], header[1]], &tail[..byte_len]));
        rest = &tail[byte_len..];
    }
    records
}

impl EraParts {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let records = records(&bytes);
        let values = |of| {
            let of_type = records.iter().filter(move |(record_type, _)| *record_type == of);
            of_type.map(|(_, payload)| unframe(payload)).collect::<Vec<_>>()
        };
        let index = records.iter().find(|(record_type, _)| *record_type == INDEX).unwrap().1;
        Self {
            blocks: values(BLOCK),
            state: values(STATE).remove(0),
            first_slot: u64::from_le_bytes(index[..8].try_into().unwrap()),
            slots: index.len() / 8 - 2,
        }
    }

    fn slot(block: &[u8]) -> u64 {
        u64::from_le_bytes(block[100..108].try_into().unwrap())
    }

    /// The index of the longest block.
    pub(crate) fn longest(&self) -> usize {
        (0..self.blocks.len()).max_by_key(|at| self.blocks[*at].len()).unwrap()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = record(VERSION, &[]);
        let mut offsets = vec![0_i64; self.slots];
        let at = |bytes: &Vec<u8>| i64::try_from(bytes.len()).unwrap();
        for block in &self.blocks {
            let place = usize::try_from(Self::slot(block).wrapping_sub(self.first_slot));
            if let Some(offset) = place.ok().and_then(|place| offsets.get_mut(place)) {
                *offset = at(&bytes);
            }
            bytes.extend(record(BLOCK, &framed(block)));
        }
        let state_at = at(&bytes);
        bytes.extend(record(STATE, &framed(&self.state)));
        let index_at = at(&bytes);
        let relative = |offset: &i64| if *offset == 0 { 0 } else { offset - index_at };
        bytes.extend(index(self.first_slot, offsets.iter().map(relative)));
        let index_at = at(&bytes);
        let state_slot = self.first_slot + self.slots as u64;
        bytes.extend(index(state_slot, [state_at - index_at].into_iter()));
        bytes
    }
}

fn index(first_slot: u64, offsets: impl Iterator<Item = i64>) -> Vec<u8> {
    let mut payload = first_slot.to_le_bytes().to_vec();
    let mut count = 0_u64;
    for offset in offsets {
        payload.extend(offset.to_le_bytes());
        count += 1;
    }
    payload.extend(count.to_le_bytes());
    record(INDEX, &payload)
}

/// A file of era 0 with this state.
pub(crate) fn genesis_file(state: &[u8]) -> Vec<u8> {
    let mut bytes = [record(VERSION, &[]), record(STATE, &framed(state))].concat();
    let index_at = i64::try_from(bytes.len()).unwrap();
    bytes.extend(index(0, [8 - index_at].into_iter()));
    bytes
}
