//! Checksum files, from `FORMAT.md` section 8.

use super::*;

/// Bytes of a whole checksum file.
pub const SUMS_BYTES: usize = 32 + 8 * 8192;
const TABLE: [u32; 256] = crc_table();

/// A checksum file; entries of zeros are left out.
#[derive(Clone, Debug)]
pub struct Sums {
    pub header: [u8; 32],
    /// By index: the sum of a record, and that of the entry.
    pub entries: BTreeMap<u16, [u32; 2]>,
    pub byte_len: usize,
}

/// What a checksum file tells about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Unknown,
    Intact,
    EntryDamaged,
    Damaged,
    Misplaced,
}

impl Verdict {
    /// A reader that compares checksums refuses the record.
    pub fn is_refused(self) -> bool {
        matches!(self, Self::Damaged | Self::Misplaced)
    }
}

impl Sums {
    pub fn parse(bytes: &[u8]) -> Self {
        let mut header = [0; 32];
        let header_len = bytes.len().min(32);
        header[..header_len].copy_from_slice(&bytes[..header_len]);
        let entries = nonzero_words(bytes.get(32..).unwrap_or_default())
            .filter_map(|(index, word)| {
                let [record, entry] = [word, word >> 32].map(|half| (half & 0xFFFF_FFFF) as u32);
                Some((u16::try_from(index).ok()?, [record, entry]))
            })
            .collect();
        Self { header, entries, byte_len: bytes.len() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; SUMS_BYTES.max(self.byte_len)];
        bytes[..32].copy_from_slice(&self.header);
        for (index, [record, entry]) in &self.entries {
            let at = 32 + usize::from(*index) * 8;
            bytes[at..at + 4].copy_from_slice(&record.to_le_bytes());
            bytes[at + 4..at + 8].copy_from_slice(&entry.to_le_bytes());
        }
        bytes.truncate(self.byte_len);
        bytes
    }

    /// Whether the file tells anything about the records of this file.
    pub fn is_whole(&self, file_id: u64, record_type: [u8; 2]) -> bool {
        self.byte_len == SUMS_BYTES && self.header == sums_header(file_id, record_type)
    }

    /// The two sums of a slot; zeros where none are kept.
    pub fn of(&self, slot: u64) -> [u32; 2] {
        let index = (slot % PER_FILE) as u16;
        self.entries.get(&index).copied().unwrap_or_default()
    }
}

/// CRC-32C of the parts, one after the other.
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut crc = !0_u32;
    for byte in parts.iter().copied().flatten() {
        crc = TABLE[(crc as u8 ^ byte) as usize] ^ crc >> 8;
    }
    !crc
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82F6_3B78 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

pub fn sums_header(file_id: u64, record_type: [u8; 2]) -> [u8; 32] {
    let mut header = [0; 32];
    header[..8].copy_from_slice(b"CSTSUM01");
    header[8..16].copy_from_slice(&file_id.to_le_bytes());
    header[16..18].copy_from_slice(&record_type);
    let sum = crc32c(&[&header[..28]]);
    header[28..].copy_from_slice(&sum.to_le_bytes());
    header
}

/// The sum of a checksum entry.
pub fn sum_of_entry(slot: u64, offset: u64, record: u32) -> u32 {
    crc32c(&[&slot.to_le_bytes(), &offset.to_le_bytes(), &record.to_le_bytes()])
}

/// Both sums of a record.
pub fn sums_of_record(slot: u64, offset: u64, header: [u8; 8], payload: &[u8]) -> [u32; 2] {
    let record = crc32c(&[&slot.to_le_bytes(), &offset.to_le_bytes(), &header, payload]);
    [record, sum_of_entry(slot, offset, record)]
}
