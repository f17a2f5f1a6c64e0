//! `column.conf`, the commit marker: the only truth about what is committed.

use std::fmt;
use std::path::Path;

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::column::{ColumnSpec, Compression};
use crate::error::{CorruptItem, Error, Result};
use crate::format::record::{FIRST_RECORD_OFFSET, HEADER_BYTES};
use crate::slot::{FileId, Slot};

const MAGIC_V2: [u8; 8] = *b"LHSTBLK2";
const MAGIC_V3: [u8; 8] = *b"LHSTBLK3";
/// Length of a conf by the abandoned draft of V3.
const DRAFT_V3_BYTES: usize = 34;

const FLAG_BACKFILL: u8 = 1;
const NONE: u64 = u64::MAX;

/// A V2 conf, and the common prefix of both versions.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ConfV2 {
    magic: [u8; 8],
    highest_slot: U64,
    current_data_len: U64,
    record_type: [u8; 2],
    compression: u8,
    /// Reserved and 0 in V2, flags in V3.
    flags: u8,
    max_value_bytes: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ConfV3 {
    common: ConfV2,
    backfill_file_id: U64,
    backfill_data_len: U64,
}

/// Bytes of a V2 conf.
pub const V2_BYTES: usize = 36;
/// Bytes of a V3 conf.
pub const V3_BYTES: usize = 52;
const _: () = assert!(size_of::<ConfV2>() == V2_BYTES && size_of::<ConfV3>() == V3_BYTES);

/// A commit marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conf {
    /// The highest committed slot; `None` in an empty column.
    pub highest: Option<Slot>,
    /// Committed length in bytes of the current data file, the one that holds the highest slot; 0 in
    /// an empty column.
    pub current_data_len: u64,
    /// Record type and compression of the column, and the bound on one decoded value.
    pub spec: ColumnSpec,
    /// The fields of a V3 conf; `None` for V2.
    pub backfill: Option<Backfill>,
}

/// The fields that only a V3 conf has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// Whether skipped slots may be filled.
    pub allowed: bool,
    /// The file that backfill appends to, besides the current one.
    pub target: Option<BackfillTarget>,
}

/// A file that backfill appends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackfillTarget {
    /// The file's id.
    pub file_id: FileId,
    /// Its committed length in bytes; 0 if nothing was committed in it yet.
    pub data_len: u64,
}

impl Conf {
    /// The conf of a new column.
    #[must_use]
    pub fn empty(spec: ColumnSpec, allow_backfill: bool) -> Self {
        let backfill = allow_backfill.then_some(Backfill { allowed: true, target: None });
        Self { highest: None, current_data_len: 0, spec, backfill }
    }

    /// The file that holds the highest slot.
    #[must_use]
    pub fn current_file(&self) -> Option<FileId> {
        self.highest.map(Slot::file_id)
    }

    /// Whether skipped slots may be filled.
    #[must_use]
    pub fn allows_backfill(&self) -> bool {
        self.backfill.is_some_and(|backfill| backfill.allowed)
    }

    /// The backfill file, unless it is the current file. (A conf may name the current file as the
    /// backfill file too; `current_data_len` is then the file's committed length.)
    #[must_use]
    pub fn backfill_target(&self) -> Option<BackfillTarget> {
        let target = self.backfill?.target?;
        (Some(target.file_id) != self.current_file()).then_some(target)
    }

    /// This conf with backfill turned on.
    #[must_use]
    pub fn allowing_backfill(self) -> Self {
        let target = self.backfill_target();
        Self { backfill: Some(Backfill { allowed: true, target }), ..self }
    }

    /// This conf with another backfill file. The previous one is sealed at its current length.
    #[must_use]
    pub fn with_target(self, target: Option<BackfillTarget>) -> Self {
        Self { backfill: self.backfill.map(|backfill| Backfill { target, ..backfill }), ..self }
    }

    /// This conf without a backfill file in which nothing was committed.
    #[must_use]
    pub fn without_new_target(self) -> Self {
        match self.backfill_target() {
            Some(BackfillTarget { data_len: 0, .. }) => self.with_target(None),
            _ => self,
        }
    }

    /// The committed length of a file that this conf names; `None` for any other file.
    #[must_use]
    pub fn named_len(&self, file_id: FileId) -> Option<u64> {
        if self.current_file() == Some(file_id) {
            return Some(self.current_data_len);
        }
        let target = self.backfill_target()?;
        (target.file_id == file_id).then_some(target.data_len)
    }

    /// Whether a writer, of this or other software, may have advanced from `earlier` to this conf: no
    /// slot, length or bound decreases, and no setting is taken back.
    #[must_use]
    pub fn may_follow(&self, earlier: &Conf) -> bool {
        let (spec, before) = (self.spec, earlier.spec);
        let is_same_kind = (spec.record_type, spec.compression)
            == (before.record_type, before.compression)
            && spec.max_value_bytes >= before.max_value_bytes
            && (self.backfill.is_some() || earlier.backfill.is_none())
            && (self.allows_backfill() || !earlier.allows_backfill());
        let has_grown =
            |file_id, data_len| self.named_len(file_id).is_none_or(|now| now >= data_len);
        let current = earlier.current_file().map(|file_id| (file_id, earlier.current_data_len));
        let target = earlier.backfill_target().map(|target| (target.file_id, target.data_len));
        let mut named = current.into_iter().chain(target);
        is_same_kind && self.highest >= earlier.highest && named.all(|(id, len)| has_grown(id, len))
    }

    /// The magic as text: "LHSTBLK2" or "LHSTBLK3".
    #[must_use]
    pub fn version(&self) -> &'static str {
        if self.backfill.is_some() { "LHSTBLK3" } else { "LHSTBLK2" }
    }

    /// Encodes the conf file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let common = ConfV2 {
            magic: if self.backfill.is_some() { MAGIC_V3 } else { MAGIC_V2 },
            highest_slot: U64::new(self.highest.map_or(NONE, |slot| slot.0)),
            current_data_len: U64::new(self.current_data_len),
            record_type: self.spec.record_type,
            compression: match self.spec.compression {
                Compression::None => 0,
                Compression::Snappy => 1,
            },
            flags: if self.allows_backfill() { FLAG_BACKFILL } else { 0 },
            max_value_bytes: U64::new(self.spec.max_value_bytes),
        };
        let Some(backfill) = self.backfill else {
            return common.as_bytes().to_vec();
        };
        let (file_id, data_len) =
            backfill.target.map_or((NONE, 0), |target| (target.file_id.0, target.data_len));
        ConfV3 {
            common,
            backfill_file_id: U64::new(file_id),
            backfill_data_len: U64::new(data_len),
        }
        .as_bytes()
        .to_vec()
    }

    /// Parses a conf file; `path` appears in errors only.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an unknown compression, an unknown flag, or the abandoned draft of
    /// V3; [`Error::Corrupt`] for everything else that contradicts the format.
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        if let Ok(v3) = ConfV3::ref_from_bytes(bytes)
            && v3.common.magic == MAGIC_V3
        {
            return Self::from_v3(path, v3);
        }
        if let Ok(v2) = ConfV2::ref_from_bytes(bytes)
            && v2.magic == MAGIC_V2
        {
            if v2.flags != 0 {
                return Err(corrupt(path, 27, "reserved byte", "0", v2.flags));
            }
            return Self::from_common(path, v2);
        }
        Err(Self::unknown(path, bytes))
    }

    fn unknown(path: &Path, bytes: &[u8]) -> Error {
        let magic = &bytes[..bytes.len().min(MAGIC_V2.len())];
        let found = format!("'{}' and {} bytes", magic.escape_ascii(), bytes.len());
        if magic == MAGIC_V3 && bytes.len() == DRAFT_V3_BYTES {
            return Error::Unsupported {
                file: path.into(),
                what: "conf, an abandoned draft of LHSTBLK3",
                found: found.into(),
            };
        }
        let wanted = format!("'LHSTBLK2' and {V2_BYTES} bytes, or 'LHSTBLK3' and {V3_BYTES} bytes");
        Error::corrupt(path, 0, CorruptItem::Conf("conf"), wanted, found)
    }

    fn from_common(path: &Path, common: &ConfV2) -> Result<Self> {
        let compression = match common.compression {
            0 => Compression::None,
            1 => Compression::Snappy,
            other => return Err(unsupported(path, "compression", other)),
        };
        let highest = Some(common.highest_slot.get()).filter(|slot| *slot != NONE).map(Slot);
        let current_data_len = common.current_data_len.get();
        match highest {
            None if current_data_len != 0 => {
                return Err(corrupt(
                    path,
                    16,
                    "current data length of an empty column",
                    "0",
                    current_data_len,
                ));
            }
            Some(_) if current_data_len < FIRST_RECORD_OFFSET + HEADER_BYTES => {
                let wanted = "at least the 16 bytes of a version record and a record header";
                return Err(corrupt(path, 16, "current data length", wanted, current_data_len));
            }
            _ => {}
        }
        let spec = ColumnSpec {
            record_type: common.record_type,
            compression,
            max_value_bytes: common.max_value_bytes.get(),
        };
        Ok(Self { highest, current_data_len, spec, backfill: None })
    }

    fn from_v3(path: &Path, v3: &ConfV3) -> Result<Self> {
        let flags = v3.common.flags;
        if flags & !FLAG_BACKFILL != 0 {
            return Err(unsupported(path, "flags", flags));
        }
        let conf = Self::from_common(path, &v3.common)?;
        let (file_id, data_len) = (v3.backfill_file_id.get(), v3.backfill_data_len.get());
        let target = if file_id == NONE {
            if data_len != 0 {
                let what = "backfill data length without a backfill file";
                return Err(corrupt(path, 44, what, "0", data_len));
            }
            None
        } else {
            let file_id = FileId(file_id);
            if conf.current_file().is_none_or(|current| file_id > current) {
                let wanted = conf.current_file().map_or_else(
                    || "none in an empty column".to_owned(),
                    |current| format!("at most {}, the current file", current.0),
                );
                return Err(corrupt(path, 36, "backfill file id", &wanted, file_id.0));
            }
            if data_len != 0 && data_len < FIRST_RECORD_OFFSET {
                let wanted = "0, or at least the 8 bytes of a version record";
                return Err(corrupt(path, 44, "backfill data length", wanted, data_len));
            }
            Some(BackfillTarget { file_id, data_len })
        };
        let allowed = flags & FLAG_BACKFILL != 0;
        Ok(Self { backfill: Some(Backfill { allowed, target }), ..conf })
    }
}

/// Writes all fields, for messages that show two confs side by side.
impl fmt::Display for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version())?;
        match self.highest {
            Some(highest) => {
                let (file_id, data_len) = (highest.file_id(), self.current_data_len);
                write!(f, ", highest slot {highest}, {data_len} bytes of data_{file_id}")?;
            }
            None => f.write_str(", empty")?,
        }
        if let Some(BackfillTarget { file_id, data_len }) = self.backfill_target() {
            write!(f, ", backfill of data_{file_id} up to {data_len} bytes")?;
        }
        let [first, second] = self.spec.record_type;
        let (compression, bound) = (self.spec.compression, self.spec.max_value_bytes);
        write!(f, ", records {first:02x} {second:02x}, {compression}, values up to {bound} bytes")
    }
}

fn corrupt(
    path: &Path,
    offset: u64,
    what: &'static str,
    wanted: &str,
    found: impl Into<u64>,
) -> Error {
    Error::corrupt(path, offset, CorruptItem::Conf(what), wanted, found.into().to_string())
}

fn unsupported(path: &Path, what: &'static str, found: u8) -> Error {
    Error::Unsupported { file: path.into(), what, found: format!("{found:#04x}").into() }
}
