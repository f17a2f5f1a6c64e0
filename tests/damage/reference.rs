//! A second reader of the format.

use super::*;

/// What a slot reads as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Nothing,
    Value(Vec<u8>),
    Refused,
}

/// `FORMAT.md`, section 7, word for word, over the bytes of a directory.
pub(crate) struct Reference<'a> {
    pub(crate) files: &'a Files,
    pub(crate) conf: Option<ReferenceConf>,
}

pub(crate) struct ReferenceConf {
    pub(crate) backfill: bool,
    pub(crate) highest: u64,
    pub(crate) current_len: u64,
    pub(crate) record_type: [u8; 2],
    pub(crate) compressed: bool,
    pub(crate) max_value_bytes: u64,
    pub(crate) named: Option<(u64, u64)>,
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl ReferenceConf {
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let backfill = match (bytes.get(..8)?, bytes.len()) {
            (b"LHSTBLK2", 36) => false,
            (b"LHSTBLK3", 52) => true,
            _ => return None,
        };
        let flags_allowed = u8::from(backfill);
        if bytes[26] > 1 || bytes[27] > flags_allowed {
            return None;
        }
        let named = backfill.then(|| (u64_at(bytes, 36), u64_at(bytes, 44)));
        Some(Self {
            backfill,
            highest: u64_at(bytes, 8),
            current_len: u64_at(bytes, 16),
            record_type: [bytes[24], bytes[25]],
            compressed: bytes[26] == 1,
            max_value_bytes: u64_at(bytes, 28),
            named: named.filter(|(file, _)| *file != u64::MAX),
        })
    }
}

impl<'a> Reference<'a> {
    pub(crate) fn new(files: &'a Files) -> Self {
        let conf = files.get(CONF).and_then(|bytes| ReferenceConf::read(bytes));
        Self { files, conf }
    }

    pub(crate) fn read(&self, slot: u64) -> Reading {
        let Some(conf) = &self.conf else {
            return Reading::Refused;
        };
        if conf.highest == u64::MAX || slot > conf.highest {
            return Reading::Nothing;
        }
        let file = slot / SLOTS_PER_FILE;
        let data = self.files.get(&data_name(file));
        let table = self.files.get(&table_name(file));
        let Some(bound) = self.bound(conf, file) else {
            return Reading::Refused;
        };
        let Some(table) = table else {
            return if bound <= 8 { Reading::Nothing } else { Reading::Refused };
        };
        if table.len() > TABLE_BYTES {
            return Reading::Refused;
        }
        let mut padded = table.clone();
        padded.resize(TABLE_BYTES, 0);
        let entry = u64_at(&padded, usize::try_from(slot % SLOTS_PER_FILE * 8).unwrap());
        let Some(data) = data else {
            return if padded.iter().all(|byte| *byte == 0) {
                Reading::Nothing
            } else {
                Reading::Refused
            };
        };
        if entry == 0 {
            return Reading::Nothing;
        }
        if entry >= bound {
            return if conf.backfill { Reading::Nothing } else { Reading::Refused };
        }
        let committed = &data[..usize::try_from(bound).unwrap()];
        conf.record(&committed[usize::try_from(entry).unwrap()..]).unwrap_or(Reading::Refused)
    }

    /// `None` where the file is shorter than the conf says.
    pub(crate) fn bound(&self, conf: &ReferenceConf, file: u64) -> Option<u64> {
        let len = self.files.get(&data_name(file)).map_or(0, |data| data.len() as u64);
        if file == conf.highest / SLOTS_PER_FILE {
            return (conf.current_len <= len).then_some(conf.current_len);
        }
        match conf.named {
            Some((named, bound)) if named == file => (bound <= len).then_some(bound),
            _ => Some(len),
        }
    }

    /// Entries of a file that lie below its bound, with the slot they are of.
    pub(crate) fn entry(&self, slot: u64) -> u64 {
        let table = self.files.get(&table_name(slot / SLOTS_PER_FILE)).cloned().unwrap_or_default();
        let mut padded = table;
        padded.resize(TABLE_BYTES, 0);
        u64_at(&padded, usize::try_from(slot % SLOTS_PER_FILE * 8).unwrap())
    }
}

impl ReferenceConf {
    /// What begins here, up to the bound. `None`: no record of this column.
    pub(crate) fn record(&self, bytes: &[u8]) -> Option<Reading> {
        let header = bytes.get(..8)?;
        let length = usize::try_from(u32::from_le_bytes(header[2..6].try_into().unwrap())).unwrap();
        if header[..2] != self.record_type || header[6..] != [0, 0] {
            return None;
        }
        let payload = bytes[8..].get(..length)?;
        let value = if self.compressed { thaw(payload)? } else { payload.to_vec() };
        (value.len() as u64 <= self.max_value_bytes).then_some(Reading::Value(value))
    }
}

pub(crate) fn thaw(payload: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    snap::read::FrameDecoder::new(payload).take(1 << 20).read_to_end(&mut value).ok()?;
    Some(value)
}
