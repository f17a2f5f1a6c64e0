//! What a reader must show of a column: `FORMAT.md`, section 7, written down a second time and
//! without a map.

use coldstore::format::conf::Conf;
use coldstore::format::offsets::{ENTRIES, TABLE_BYTES};
use coldstore::{Compression, FileId, Slot};

use super::layout::{Data, Files, Layout, Table};

/// What is at a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    /// A payload: where it starts in its data file and how long it is.
    Payload {
        at: u64,
        byte_len: u64,
    },
    /// The entry leads to no record.
    Damage,
    /// No slot of the file can be read.
    FileDamage,
}

/// A file that can be read, up to its bound. `None` where there is no file and no record.
pub type Readable<'a> = Option<(&'a Table, Option<&'a Data>, u64)>;

pub struct Oracle<'a> {
    pub layout: &'a Layout,
    pub conf: Conf,
}

impl<'a> Oracle<'a> {
    pub fn file(&self, file_id: FileId) -> Result<Readable<'a>, ()> {
        static NO_FILES: Files = Files { data: None, table: None, sums: None, recipe: [0; 8] };
        let files = self.layout.files.get(&file_id.0).unwrap_or(&NO_FILES);
        let named = self.conf.named_len(file_id);
        if named == Some(0) {
            return Ok(None);
        }
        let data_len = files.data.as_ref().map(Data::byte_len);
        let bound = named.or(data_len).unwrap_or(0);
        if data_len.unwrap_or(0) < bound {
            return Err(());
        }
        match &files.table {
            None if bound <= 8 => Ok(None),
            None => Err(()),
            Some(table) if table.byte_len > TABLE_BYTES => Err(()),
            Some(table) if files.data.is_none() => {
                let any = (0..ENTRIES).any(|index| table.entry(index) != 0);
                if any { Err(()) } else { Ok(None) }
            }
            Some(table) => Ok(Some((table, files.data.as_ref(), bound))),
        }
    }

    pub fn shown(&self, slot: Slot) -> Shown {
        if Some(slot) > self.conf.highest || slot > Slot::MAX {
            return Shown::Nothing;
        }
        match self.file(slot.file_id()) {
            Err(()) => Shown::FileDamage,
            Ok(None) => Shown::Nothing,
            Ok(Some((table, data, bound))) => {
                self.record(table.entry(slot.index_in_file()), data, bound)
            }
        }
    }

    fn record(&self, entry: u64, data: Option<&Data>, bound: u64) -> Shown {
        if entry == 0 {
            return Shown::Nothing;
        }
        if entry >= bound {
            // Without backfill an entry behind the bound cannot come from a crash.
            return if self.conf.backfill.is_some() { Shown::Nothing } else { Shown::Damage };
        }
        if entry < 8 || bound - entry < 8 {
            return Shown::Damage;
        }
        let byte = |at: u64| {
            data.and_then(|data| data.bytes.get(usize::try_from(at).ok()?)).copied().unwrap_or(0)
        };
        let header: [u8; 8] = std::array::from_fn(|index| byte(entry + index as u64));
        let byte_len = u32::from_le_bytes(header[2..6].try_into().unwrap());
        let byte_len = u64::from(byte_len);
        let is_record = header[..2] == self.conf.spec.record_type && header[6..] == [0, 0];
        let fits = bound - entry - 8 >= byte_len;
        let is_long = self.conf.spec.compression == Compression::None
            && byte_len > self.conf.spec.max_value_bytes;
        if !is_record || !fits || is_long {
            return Shown::Damage;
        }
        Shown::Payload { at: entry + 8, byte_len }
    }

    /// Every slot at or below the highest whose entry is not 0, in files that can be read; and how
    /// many files cannot be.
    pub fn entries(&self) -> (Vec<Slot>, usize) {
        let (mut slots, mut damaged) = (Vec::new(), 0);
        let Some(current) = self.conf.current_file() else {
            return (slots, damaged);
        };
        let target = self.conf.backfill_target().filter(|target| target.data_len > 0);
        let mut ids: Vec<u64> = self.layout.files.keys().copied().collect();
        ids.extend(target.map(|target| target.file_id.0));
        ids.push(current.0);
        ids.sort_unstable();
        ids.dedup();
        for file_id in ids.into_iter().map(FileId).filter(|id| *id <= current) {
            match self.file(file_id) {
                Err(()) => damaged += 1,
                Ok(None) => {}
                Ok(Some((table, _, _))) => {
                    let there = table.entries.keys().map(|index| usize::from(*index));
                    let there = there.filter(|index| table.entry(*index) != 0);
                    let there = there.map(|index| Slot(file_id.0 * 8192 + index as u64));
                    slots.extend(there.filter(|slot| Some(*slot) <= self.conf.highest));
                }
            }
        }
        (slots, damaged)
    }

    /// The bytes of a payload, as far as they are not a hole; `None` where all of it is one.
    pub fn bytes(&self, slot: Slot, at: u64, byte_len: u64) -> &'a [u8] {
        let data = self.layout.files.get(&slot.file_id().0).and_then(|files| files.data.as_ref());
        let bytes = data.map_or(&[][..], |data| &data.bytes);
        let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        &rest[..rest.len().min(usize::try_from(byte_len).unwrap_or(usize::MAX))]
    }
}
