//! The checksum files of a column out of the bytes of an input, and which slots they make an exception.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use test_support::{PER_FILE, Reference, SUMS_BYTES, Shown, Sums, sum_of_entry, sums_header};

use super::super::scratch::Bytes;

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

/// Makes the checksum file of a file.
pub fn make(reference: &Reference<'_>, id: u64, recipe: Recipe) -> Option<Sums> {
    let mut recipe = Bytes(&recipe);
    let (kind, with_sum, flawed, flaw) = (recipe.u8(), recipe.u8(), recipe.u8(), recipe.u8());
    let (stray, at, by) = (recipe.u16() % 8192, recipe.u8(), recipe.u8());
    let mut header = sums_header(id, reference.conf.record_type);
    let mut byte_len = SUMS_BYTES;
    match kind % 4 {
        0 => return None,
        1 => {}
        2 => header[usize::from(at) % 32] ^= by | 1,
        _ => byte_len = (SUMS_BYTES + 128 - usize::from(by)) >> (at % 17),
    }
    let mut entries = BTreeMap::new();
    let table = reference.files.get(&id).and_then(|file| file.table.as_ref());
    let indices = table.iter().flat_map(|table| table.entries.keys());
    for (nth, index) in indices.enumerate().filter(|(nth, _)| with_sum >> (nth % 8) & 1 == 1) {
        let slot = id * PER_FILE + u64::from(*index);
        // An uncommitted record has a sum of something.
        let mut sums = [0x5555_5555, u32::from(*index)];
        if let Shown::Payload { at, byte_len } = reference.shown(slot) {
            if byte_len > LONGEST {
                continue;
            }
            let right = reference.sums_of(slot, at, byte_len);
            let is_flawed = flawed >> (nth % 8) & 1 == 1;
            sums = if is_flawed { flawed_sums(right, slot, at - 8, flaw) } else { right };
        }
        entries.insert(*index, sums);
    }
    if flaw & 8 != 0 {
        entries.entry(stray).or_insert([7, u32::from(by)]);
    }
    Some(Sums { header, entries, byte_len })
}

fn flawed_sums([record, entry]: [u32; 2], slot: u64, offset: u64, flaw: u8) -> [u32; 2] {
    match flaw % 8 {
        0 => [record ^ 1, entry],
        1 => [record, entry ^ 0x8000_0000],
        2 => [record ^ 0x100, entry ^ 1],
        3 => [!record, sum_of_entry(slot, offset, !record)],
        4 => [!record, sum_of_entry(slot, offset + 1, !record)],
        5 => [!record, sum_of_entry(slot ^ 1, offset, !record)],
        6 => [u32::MAX; 2],
        _ => [0, entry],
    }
}

/// A slot has a checksum in a file whose header or length is damaged. Healing mends those of the
/// files that the conf names, and then the checksum counts.
pub fn has_mendable_sum(reference: &Reference<'_>, slot: u64) -> bool {
    let id = slot / PER_FILE;
    let sums = reference.files.get(&id).and_then(|file| file.sums.as_ref());
    let index = (slot % PER_FILE) as u16;
    reference.whole_sums(id).is_none() && sums.is_some_and(|sums| sums.entries.contains_key(&index))
}

/// A checksum is kept of a slot whose entry leads nowhere.
pub fn has_stray_sum(reference: &Reference<'_>, slot: u64) -> bool {
    let sums = reference.whole_sums(slot / PER_FILE);
    sums.is_some_and(|sums| sums.of(slot) != [0, 0]) && reference.shown(slot) == Shown::Nothing
}

/// The slots of a file that can be read whose offset entry is lost.
fn lost_in(reference: &Reference<'_>, id: u64) -> Vec<u64> {
    let Ok(file) = reference.file(id) else { return Vec::new() };
    let conf = &reference.conf;
    let is_open = conf.is_v3() && conf.named_len(id).is_some();
    let Some(sums) = reference.whole_sums(id).filter(|_| !is_open) else { return Vec::new() };
    let is_zero = |index: u16| file.table.is_none_or(|table| table.entry(index) == 0);
    let indices = sums.entries.iter().filter(|(_, kept)| **kept != [0, 0]);
    let indices = indices.map(|(index, _)| *index).filter(|index| is_zero(*index));
    let slots = indices.map(|index| id * PER_FILE + u64::from(index));
    slots.filter(|slot| *slot <= conf.highest).collect()
}

/// The slots whose offset entry is lost, in files that can be read. A checksum file alone is
/// no file of the column.
pub fn lost_entries(reference: &Reference<'_>) -> Vec<u64> {
    let (files, conf) = (&reference.files, &reference.conf);
    let there = files.iter().filter(|(id, file)| {
        file.data.is_some() || file.table.is_some() || conf.named_len(**id).is_some()
    });
    let there = there.map(|(id, _)| *id).filter(|id| Some(*id) <= conf.current());
    there.flat_map(|id| lost_in(reference, id)).collect()
}

/// Makes the file. Most of it is a hole.
///
/// # Errors
/// When there is no room.
pub fn write(sums: &Sums, path: &Path) -> io::Result<()> {
    let file = File::create(path)?;
    file.write_all_at(&sums.header, 0)?;
    for (index, [record, entry]) in &sums.entries {
        let at = 32 + u64::from(*index) * 8;
        file.write_all_at(&record.to_le_bytes(), at)?;
        file.write_all_at(&entry.to_le_bytes(), at + 4)?;
    }
    file.set_len(sums.byte_len as u64)
}
