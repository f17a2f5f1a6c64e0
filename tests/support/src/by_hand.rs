//! The format written by hand, from `FORMAT.md`.

use super::*;

pub fn data_name(file_id: u64) -> String {
    format!("data_{file_id:05}")
}

pub fn offsets_name(file_id: u64) -> String {
    format!("data_{file_id:05}.off")
}

/// A conf, field by field as FORMAT.md section 4 has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawConf {
    pub highest: u64,
    pub len: u64,
    pub record_type: [u8; 2],
    pub compression: u8,
    /// Byte 27: reserved in V2, flags in V3.
    pub byte_27: u8,
    pub max: u64,
    /// Backfill file and its length: there are such fields in V3 alone.
    pub backfill: Option<(u64, u64)>,
}

impl RawConf {
    pub fn parse(bytes: &[u8]) -> RawConf {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let v3 = match (&bytes[..8], bytes.len()) {
            (b"LHSTBLK2", 36) => false,
            (b"LHSTBLK3", 52) => true,
            (magic, len) => panic!("no conf: magic {magic:?}, {len} bytes"),
        };
        RawConf {
            highest: word(8),
            len: word(16),
            record_type: [bytes[24], bytes[25]],
            compression: bytes[26],
            byte_27: bytes[27],
            max: word(28),
            backfill: v3.then(|| (word(36), word(44))),
        }
    }

    /// A conf that may be opened, by section 4; `None` for any other bytes.
    pub fn valid(bytes: &[u8]) -> Option<RawConf> {
        if !matches!((bytes.get(..8)?, bytes.len()), (b"LHSTBLK2", 36) | (b"LHSTBLK3", 52)) {
            return None;
        }
        let conf = RawConf::parse(bytes);
        let is_known = conf.compression <= 1 && conf.byte_27 <= u8::from(conf.is_v3());
        let fits = if conf.current().is_some() { conf.len >= 16 } else { conf.len == 0 };
        let target_fits = match (conf.target(), conf.backfill) {
            (Some((id, len)), _) => Some(id) <= conf.current() && (len == 0 || len >= 8),
            (None, Some((_, len))) => len == 0,
            (None, None) => true,
        };
        (is_known && fits && target_fits).then_some(conf)
    }

    /// Whether backfill is on.
    pub fn is_v3(&self) -> bool {
        self.backfill.is_some()
    }

    /// `None` for an empty column.
    pub fn highest_slot(&self) -> Option<u64> {
        (self.highest != u64::MAX).then_some(self.highest)
    }

    /// The id of the current file.
    pub fn current(&self) -> Option<u64> {
        Some(self.highest_slot()? / PER_FILE)
    }

    /// The id and the committed length of the backfill file.
    pub fn target(&self) -> Option<(u64, u64)> {
        self.backfill.filter(|(id, _)| *id != u64::MAX)
    }

    /// The committed length of a file that the conf names.
    pub fn named_len(&self, id: u64) -> Option<u64> {
        if self.current() == Some(id) {
            return Some(self.len);
        }
        self.target().filter(|(target, _)| *target == id).map(|(_, len)| len)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(if self.backfill.is_some() { b"LHSTBLK3" } else { b"LHSTBLK2" });
        bytes.extend(self.highest.to_le_bytes());
        bytes.extend(self.len.to_le_bytes());
        bytes.extend(self.record_type);
        bytes.extend([self.compression, self.byte_27]);
        bytes.extend(self.max.to_le_bytes());
        if let Some((file, len)) = self.backfill {
            bytes.extend(file.to_le_bytes());
            bytes.extend(len.to_le_bytes());
        }
        bytes
    }

    pub fn read(dir: &Path) -> RawConf {
        RawConf::parse(&fs::read(dir.join("column.conf")).unwrap())
    }

    /// Replaces the conf as a commit does it: by a rename.
    pub fn commit(&self, dir: &Path) {
        let tmp = dir.join("column.conf.tmp");
        fs::write(&tmp, self.bytes()).unwrap();
        fs::rename(&tmp, dir.join("column.conf")).unwrap();
        write_witness(dir, &[&self.bytes()]);
    }

    /// The conf of an empty [`PLAIN`] column.
    pub fn empty(backfill: bool) -> RawConf {
        RawConf {
            highest: u64::MAX,
            len: 0,
            record_type: PLAIN.record_type,
            compression: 0,
            byte_27: u8::from(backfill),
            max: PLAIN.max_value_bytes,
            backfill: backfill.then_some((u64::MAX, 0)),
        }
    }

    /// Changes the conf on disk by a rename.
    pub fn edit(dir: &Path, change: impl FnOnce(&mut RawConf)) {
        let mut conf = RawConf::read(dir);
        change(&mut conf);
        conf.commit(dir);
    }
}

/// Writes `column.check` as if these confs, as far as they are any, had been written one after the
/// other. Without a conf it is removed.
pub fn write_witness(dir: &Path, confs: &[&[u8]]) {
    let decoded = confs.iter().map(|bytes| Conf::decode(Path::new("column.conf"), bytes));
    let (mut witness, mut last) = (Witness::default(), None);
    for conf in decoded.filter_map(Result::ok) {
        witness.fill(last.as_ref(), conf);
        last = Some(conf);
    }
    match last {
        Some(_) => fs::write(dir.join("column.check"), witness.to_bytes()).unwrap(),
        None => drop(fs::remove_file(dir.join("column.check"))),
    }
}

/// The names of what was put aside in a directory.
pub fn asides(dir: &Path) -> Vec<String> {
    files_of(dir).into_keys().filter(|name| name.starts_with("aside")).collect()
}

/// The spec that a golden conf was made with.
pub fn spec_of(conf: &RawConf) -> ColumnSpec {
    let compression = match conf.compression {
        0 => Compression::None,
        1 => Compression::Snappy,
        other => panic!("compression {other}"),
    };
    ColumnSpec { record_type: conf.record_type, compression, max_value_bytes: conf.max }
}

/// A record as it stands in a data file.
pub fn record_bytes(record_type: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let mut bytes = record_type.to_vec();
    bytes.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

/// The record of a slot of a [`PLAIN`] column.
pub fn plain_record(slot: u64) -> Vec<u8> {
    record_bytes(PLAIN.record_type, &value(slot))
}

/// The entry of a slot, 0 where the file is missing or too short.
pub fn entry(dir: &Path, slot: u64) -> u64 {
    let Ok(bytes) = fs::read(dir.join(offsets_name(slot / PER_FILE))) else {
        return 0;
    };
    let at = usize::try_from(slot % PER_FILE).unwrap() * 8;
    bytes.get(at..at + 8).map_or(0, |entry| u64::from_le_bytes(entry.try_into().unwrap()))
}

/// Overwrites the entry of a slot in place; makes a whole offset file where there is none.
pub fn set_entry(dir: &Path, slot: u64, offset: u64) {
    let path = dir.join(offsets_name(slot / PER_FILE));
    let file = open_rw(&path);
    if file.metadata().unwrap().len() == 0 {
        file.set_len(OFFSETS_LEN).unwrap();
    }
    file.write_all_at(&offset.to_le_bytes(), slot % PER_FILE * 8).unwrap();
}

fn open_rw(path: &Path) -> fs::File {
    fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

pub fn data_len(dir: &Path, file_id: u64) -> u64 {
    fs::metadata(dir.join(data_name(file_id))).unwrap().len()
}

/// Appends bytes to a file, which may be missing, and returns where they start.
pub fn append(dir: &Path, name: &str, bytes: &[u8]) -> u64 {
    append_to(&dir.join(name), bytes)
}

/// As [`append`], by path.
pub fn append_to(path: &Path, bytes: &[u8]) -> u64 {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    let at = file.metadata().unwrap().len();
    file.write_all(bytes).unwrap();
    at
}

/// Appends a record to the data file of a slot, making it with its version record where there is
/// none, and returns its offset. No entry, no commit.
pub fn append_record(dir: &Path, slot: u64, record: &[u8]) -> u64 {
    let name = data_name(slot / PER_FILE);
    if !dir.join(&name).exists() {
        append(dir, &name, &VERSION);
    }
    append(dir, &name, record)
}

/// Record and entry of a [`PLAIN`] value, without the commit: what a crash right before the conf
/// leaves. Returns the record's offset.
pub fn write_uncommitted(dir: &Path, slot: u64) -> u64 {
    let offset = append_record(dir, slot, &plain_record(slot));
    set_entry(dir, slot, offset);
    offset
}

/// Overwrites bytes of a file in place.
pub fn overwrite(dir: &Path, name: &str, at: u64, bytes: &[u8]) {
    open_rw(&dir.join(name)).write_all_at(bytes, at).unwrap();
}

pub fn set_len(dir: &Path, name: &str, len: u64) {
    open_rw(&dir.join(name)).set_len(len).unwrap();
}

pub fn remove(dir: &Path, name: &str) {
    fs::remove_file(dir.join(name)).unwrap();
}
