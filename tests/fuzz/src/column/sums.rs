//! The checksum files of a column: out of the bytes of an input, and what they say of each record:
//! `FORMAT.md`, section 8, written down a second time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use coldstore::{FileId, Slot};

use super::super::scratch::Bytes;
use super::oracle::{Oracle, Shown};

/// Bytes of a whole checksum file.
const SUMS_BYTES: usize = 32 + 8 * 8192;
/// Longer payloads have no checksum here: the sum of a hole of terabytes is of no interest.
const LONGEST: u64 = 1 << 16;

/// How the checksum file of a file is made from what the file holds.
///
/// ```text
/// kind u8 | entries with a sum u8 | flawed entries u8 | flaw u8 | stray index u16 | at u8 | by u8
/// ```
pub type Recipe = [u8; 8];

/// The recipe of a file in which every record has its sum.
pub const HONEST: Recipe = [1, 0xFF, 0, 0, 0, 0, 0, 0];

/// A checksum file.
#[derive(Clone, Debug)]
pub struct Sums {
    header: [u8; 32],
    /// By index: the sum of a record, and that of the entry.
    entries: BTreeMap<u16, [u32; 2]>,
    byte_len: usize,
}

/// What is known of a record.
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

/// CRC-32C, bit by bit.
fn crc(parts: &[&[u8]]) -> u32 {
    let mut crc = !0_u32;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82F6_3B78 };
        }
    }
    !crc
}

fn header(file_id: u64, record_type: [u8; 2]) -> [u8; 32] {
    let mut header = [0; 32];
    header[..8].copy_from_slice(b"CSTSUM01");
    header[8..16].copy_from_slice(&file_id.to_le_bytes());
    header[16..18].copy_from_slice(&record_type);
    let sum = crc(&[&header[..28]]);
    header[28..].copy_from_slice(&sum.to_le_bytes());
    header
}

fn of_entry(slot: u64, offset: u64, record: u32) -> u32 {
    crc(&[&slot.to_le_bytes(), &offset.to_le_bytes(), &record.to_le_bytes()])
}

impl Oracle<'_> {
    /// The two sums of a record that is where its entry says; `None` for a long one.
    fn sums_of(&self, slot: Slot, offset: u64, byte_len: u64) -> Option<[u32; 2]> {
        if byte_len > LONGEST {
            return None;
        }
        let mut payload = self.bytes(slot, offset + 8, byte_len).to_vec();
        payload.resize(byte_len as usize, 0);
        let [kind, zero] = self.conf.spec.record_type;
        let mut header = [kind, zero, 0, 0, 0, 0, 0, 0];
        header[2..6].copy_from_slice(&(byte_len as u32).to_le_bytes());
        let record = crc(&[&slot.0.to_le_bytes(), &offset.to_le_bytes(), &header, &payload]);
        Some([record, of_entry(slot.0, offset, record)])
    }

    /// Makes the checksum file of a file.
    pub fn make_sums(&self, file_id: FileId, recipe: Recipe) -> Option<Sums> {
        let mut recipe = Bytes(&recipe);
        let (kind, with_sum, flawed, flaw) = (recipe.u8(), recipe.u8(), recipe.u8(), recipe.u8());
        let (stray, at, by) = (recipe.u16() % 8192, recipe.u8(), recipe.u8());
        let mut header = header(file_id.0, self.conf.spec.record_type);
        let mut byte_len = SUMS_BYTES;
        match kind % 4 {
            0 => return None,
            1 => {}
            2 => header[usize::from(at) % 32] ^= by | 1,
            _ => byte_len = (SUMS_BYTES + 128 - usize::from(by)) >> (at % 17),
        }
        let mut entries = BTreeMap::new();
        let table = self.layout.files.get(&file_id.0).and_then(|files| files.table.as_ref());
        let indices = table.iter().flat_map(|table| table.entries.keys());
        for (nth, index) in indices.enumerate().filter(|(nth, _)| with_sum >> (nth % 8) & 1 == 1) {
            let slot = file_id.slot_at(usize::from(*index));
            // An uncommitted record has a sum of something.
            let mut sums = [0x5555_5555, u32::from(*index)];
            if let Shown::Payload { at, byte_len } = self.shown(slot) {
                let Some(right) = self.sums_of(slot, at - 8, byte_len) else { continue };
                let is_flawed = flawed >> (nth % 8) & 1 == 1;
                sums = if is_flawed { Self::flaw(right, slot, at - 8, flaw) } else { right };
            }
            entries.insert(*index, sums);
        }
        if flaw & 8 != 0 {
            entries.entry(stray).or_insert([7, u32::from(by)]);
        }
        Some(Sums { header, entries, byte_len })
    }

    fn flaw([record, entry]: [u32; 2], slot: Slot, offset: u64, flaw: u8) -> [u32; 2] {
        match flaw % 8 {
            0 => [record ^ 1, entry],
            1 => [record, entry ^ 0x8000_0000],
            2 => [record ^ 0x100, entry ^ 1],
            3 => [!record, of_entry(slot.0, offset, !record)],
            4 => [!record, of_entry(slot.0, offset + 1, !record)],
            5 => [!record, of_entry(slot.0 ^ 1, offset, !record)],
            6 => [u32::MAX; 2],
            _ => [0, entry],
        }
    }

    /// The checksum file of a file, where it tells anything.
    fn whole_sums(&self, file_id: FileId) -> Option<&Sums> {
        let sums = self.layout.files.get(&file_id.0)?.sums.as_ref()?;
        let header = header(file_id.0, self.conf.spec.record_type);
        (sums.byte_len == SUMS_BYTES && sums.header == header).then_some(sums)
    }

    /// What is kept of a slot; zeros where nothing is.
    fn kept(&self, slot: Slot) -> [u32; 2] {
        let sums = self.whole_sums(slot.file_id());
        let index = slot.index_in_file() as u16;
        sums.and_then(|sums| sums.entries.get(&index)).copied().unwrap_or_default()
    }

    /// What the checksum of a slot says of what is shown there.
    pub fn verdict(&self, slot: Slot, shown: Shown) -> Verdict {
        let kept = self.kept(slot);
        let Shown::Payload { at, byte_len } = shown else { return Verdict::Unknown };
        if kept == [0, 0] {
            return Verdict::Unknown;
        }
        let offset = at - 8;
        let Some(right) = self.sums_of(slot, offset, byte_len) else {
            panic!("a long record has a checksum");
        };
        match (kept[0] == right[0], kept[1] == right[1]) {
            (true, true) => Verdict::Intact,
            (true, false) | (false, true) => Verdict::EntryDamaged,
            _ if kept[1] == of_entry(slot.0, offset, kept[0]) => Verdict::Damaged,
            _ => Verdict::Misplaced,
        }
    }

    /// A slot has a checksum in a file whose header or length is damaged. Healing mends those of the
    /// files that the conf names, and then the checksum counts.
    pub fn has_mendable_sum(&self, slot: Slot) -> bool {
        let file_id = slot.file_id();
        let sums = self.layout.files.get(&file_id.0).and_then(|files| files.sums.as_ref());
        let index = slot.index_in_file() as u16;
        self.whole_sums(file_id).is_none()
            && sums.is_some_and(|sums| sums.entries.contains_key(&index))
    }

    /// A checksum is kept of a slot whose entry leads nowhere.
    pub fn has_stray_sum(&self, slot: Slot) -> bool {
        self.kept(slot) != [0, 0] && self.shown(slot) == Shown::Nothing
    }

    /// The slots of a file that can be read whose offset entry is lost.
    fn lost_in(&self, file_id: FileId) -> Vec<Slot> {
        let Ok(readable) = self.file(file_id) else { return Vec::new() };
        let is_open = self.conf.backfill.is_some() && self.conf.named_len(file_id).is_some();
        let Some(sums) = self.whole_sums(file_id).filter(|_| !is_open) else { return Vec::new() };
        let is_zero = |index: usize| readable.is_none_or(|(table, _, _)| table.entry(index) == 0);
        let indices = sums.entries.iter().filter(|(_, kept)| **kept != [0, 0]);
        let indices = indices.map(|(index, _)| usize::from(*index)).filter(|index| is_zero(*index));
        let slots = indices.map(|index| file_id.slot_at(index));
        slots.filter(|slot| Some(*slot) <= self.conf.highest).collect()
    }

    /// The slots whose offset entry is lost, in files that can be read. A checksum file alone is
    /// no file of the column.
    pub fn lost_entries(&self) -> Vec<Slot> {
        let current = self.conf.current_file();
        let named = current.into_iter().chain(self.conf.backfill_target().map(|t| t.file_id));
        let named: Vec<FileId> = named.collect();
        let files = self.layout.files.iter().map(|(id, files)| (FileId(*id), files));
        let there = files.filter(|(id, files)| {
            files.data.is_some() || files.table.is_some() || named.contains(id)
        });
        let there = there.map(|(id, _)| id).filter(|id| Some(*id) <= current);
        there.flat_map(|id| self.lost_in(id)).collect()
    }
}

impl Sums {
    /// Makes the file. Most of it is a hole.
    ///
    /// # Errors
    /// When there is no room.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.write_all_at(&self.header, 0)?;
        for (index, [record, entry]) in &self.entries {
            let at = 32 + u64::from(*index) * 8;
            file.write_all_at(&record.to_le_bytes(), at)?;
            file.write_all_at(&entry.to_le_bytes(), at + 4)?;
        }
        file.set_len(self.byte_len as u64)
    }

    /// The bytes of the file.
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
}
