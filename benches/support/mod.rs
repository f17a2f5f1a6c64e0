//! The store that the benches read, and the floor: the same files through plain maps.
#![allow(dead_code, missing_docs, unreachable_pub, unsafe_code, clippy::unwrap_used)]

use std::fs::File;
use std::path::Path;

use coldstore::{
    Column, MappedReader, Reader, ReaderOptions, SLOTS_PER_FILE, Slot, Writer, WriterOptions,
};
use memmap2::{Mmap, MmapOptions};

/// xorshift64*: the same numbers in every run.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

pub fn slots(count: usize, below: u64) -> Vec<Slot> {
    let mut random = Random::new();
    (0..count).map(|_| Slot(random.next() % below)).collect()
}

pub fn root_of(slot: Slot) -> [u8; 32] {
    let mut root = [0; 32];
    for (index, chunk) in root.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&(slot.0 * 31 + index as u64).to_le_bytes());
    }
    root
}

/// A column of block roots in `directory`, one record in every slot below `records`.
pub fn write_roots(directory: &Path, records: u64) {
    let mut writer =
        Writer::open(directory, WriterOptions::create(Column::BlockRoots.spec())).unwrap();
    let slots: Vec<Slot> = (0..records).map(Slot).collect();
    for batch in slots.chunks(64 * 8192) {
        let batch: Vec<(Slot, [u8; 32])> =
            batch.iter().map(|slot| (*slot, root_of(*slot))).collect();
        writer.put_batch(&batch).unwrap();
    }
}

/// A column with one record in each of `files` files.
pub fn write_sparse(directory: &Path, files: u64) {
    let mut writer =
        Writer::open(directory, WriterOptions::create(Column::BlockRoots.spec())).unwrap();
    let batch: Vec<(Slot, [u8; 32])> =
        (0..files).map(|id| Slot(id * SLOTS_PER_FILE)).map(|slot| (slot, root_of(slot))).collect();
    for batch in batch.chunks(100) {
        writer.put_batch(batch).unwrap();
    }
}

pub fn open(directory: &Path) -> MappedReader {
    open_with(directory, ReaderOptions::default())
}

pub fn open_with(directory: &Path, options: ReaderOptions) -> MappedReader {
    // SAFETY: the directory is this bench's own, and nobody else writes there.
    unsafe { Reader::open_mapped(directory, options) }.unwrap()
}

pub fn map(file: &File) -> Mmap {
    // SAFETY: as in `open_with`.
    unsafe { MmapOptions::new().map(file) }.unwrap()
}

/// The files of a column of roots, mapped as they are: nothing is checked but what Rust checks.
pub struct Floor {
    files: Vec<(Mmap, Mmap)>,
}

impl Floor {
    pub fn open(directory: &Path, records: u64) -> Self {
        let map = |name: String| map(&File::open(directory.join(name)).unwrap());
        let files = (0..records.div_ceil(SLOTS_PER_FILE))
            .map(|id| (map(format!("data_{id:05}.off")), map(format!("data_{id:05}"))))
            .collect();
        Self { files }
    }

    /// The entry from the offset file, the record from the data file.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    pub fn get(&self, slot: Slot) -> &[u8] {
        let (offsets, data) = &self.files[(slot.0 / SLOTS_PER_FILE) as usize];
        let at = (slot.0 % SLOTS_PER_FILE) as usize * 8;
        let entry = u64::from_le_bytes(offsets[at..at + 8].try_into().unwrap()) as usize;
        &data[entry + 8..entry + 40]
    }
}

impl Floor {
    /// The same with the checks that a record needs: of its offset, its type, its reserved bytes and
    /// its length. The least that a reader of files that may be damaged can do.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    pub fn get_checked(&self, slot: Slot) -> Option<&[u8]> {
        const BLOCK_ROOT: u64 = 2;
        let (offsets, data) = self.files.get((slot.0 / SLOTS_PER_FILE) as usize)?;
        let at = (slot.0 % SLOTS_PER_FILE) as usize * 8;
        let entry = u64::from_le_bytes(offsets.get(at..at + 8)?.try_into().ok()?);
        let (header, rest) = data.get(entry.checked_sub(8)? as usize + 8..)?.split_first_chunk()?;
        let header = u64::from_le_bytes(*header);
        if header & 0xFFFF_0000_0000_FFFF != BLOCK_ROOT {
            return None;
        }
        rest.get(..(header >> 16) as u32 as usize)
    }
}

/// Something cheap that needs every byte of a root. Whoever reads a root checks its length; the
/// floor, which takes 32 bytes without asking, has that check for nothing.
#[inline]
pub fn digest(root: &[u8]) -> u64 {
    let root: &[u8; 32] = root.try_into().unwrap();
    root.as_chunks::<8>().0.iter().fold(0, |sum, chunk| sum ^ u64::from_le_bytes(*chunk))
}
