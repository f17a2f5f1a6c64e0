//! The mapped files of one view, by file id.

use std::sync::OnceLock;

use crate::files::map::SlotMap;
use crate::slot::FileId;

/// A file of a view: filled in on first touch, in a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct FileCell(OnceLock<SlotMap>);
const _: () = assert!(size_of::<FileCell>() == 64);

const CHUNK_BITS: u32 = 6;
const CHUNK: usize = 1 << CHUNK_BITS;
/// Chunks that have their place in the table: 537 million slots, two centuries of mainnet.
const MAX_CHUNKS: usize = 1024;
/// Levels above the files in the tree of all others: 6 bits each cover every file id.
const TREE_HEIGHT: u32 = 8;
const _: () = assert!(FileId::MAX.0 >> ((TREE_HEIGHT + 1) * CHUNK_BITS) == 0);

type Chunk = [FileCell; CHUNK];

/// The cells of files, made in chunks on first touch: a view costs little to make, however many
/// files there are, and finding a file in it costs two loads.
pub(super) struct FileTable {
    near: Box<[OnceLock<Box<Chunk>>]>,
    /// Files that no chain has yet. Memory follows the files that are touched, not their ids: one
    /// enormous slot in a conf costs a few nodes.
    far: OnceLock<Node>,
}

enum Node {
    Inner(Box<[OnceLock<Node>; CHUNK]>),
    Files(Box<Chunk>),
}

impl FileTable {
    /// A table for the files `0 ..= last`.
    pub(super) fn new(last: FileId) -> Self {
        let chunks = usize::try_from(last.0 >> CHUNK_BITS).unwrap_or(MAX_CHUNKS);
        let chunks = chunks.saturating_add(1).min(MAX_CHUNKS);
        Self { near: (0..chunks).map(|_| OnceLock::new()).collect(), far: OnceLock::new() }
    }

    /// The cell of a file.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below the chunk's size")]
    pub(super) fn cell(&self, file_id: FileId) -> &OnceLock<SlotMap> {
        let chunk = usize::try_from(file_id.0 >> CHUNK_BITS).ok();
        match chunk.and_then(|chunk| self.near.get(chunk)).map(|chunk| (chunk, chunk.get())) {
            Some((_, Some(cells))) => &cells[file_id.0 as usize % CHUNK].0,
            Some((chunk, None)) => &new_chunk(chunk)[file_id.0 as usize % CHUNK].0,
            None => self.far_cell(file_id),
        }
    }

    #[cold]
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below the chunk's size")]
    fn far_cell(&self, file_id: FileId) -> &OnceLock<SlotMap> {
        let mut height = TREE_HEIGHT;
        let mut node = self.far.get_or_init(|| Node::of_height(height));
        loop {
            let index = (file_id.0 >> (height * CHUNK_BITS)) as usize % CHUNK;
            match node {
                Node::Files(cells) => return &cells[index].0,
                Node::Inner(nodes) => {
                    height -= 1;
                    node = nodes[index].get_or_init(|| Node::of_height(height));
                }
            }
        }
    }
}

impl Node {
    fn of_height(height: u32) -> Self {
        if height == 0 {
            Node::Files(Box::new(std::array::from_fn(|_| FileCell::default())))
        } else {
            Node::Inner(Box::new(std::array::from_fn(|_| OnceLock::new())))
        }
    }
}

#[cold]
fn new_chunk(chunk: &OnceLock<Box<Chunk>>) -> &Chunk {
    chunk.get_or_init(|| Box::new(std::array::from_fn(|_| FileCell::default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_cell_of_its_own_however_large_its_id() {
        for last in [0, 63, 64, 65_535, 65_536, 1 << 30, FileId::MAX.0] {
            let table = FileTable::new(FileId(last));
            let mut ids = vec![0, last / 2, last.saturating_sub(1), last];
            ids.dedup();
            let cells: Vec<_> = ids.iter().map(|id| table.cell(FileId(*id))).collect();
            for (index, cell) in cells.iter().enumerate() {
                assert!(std::ptr::eq(*cell, table.cell(FileId(ids[index]))));
                assert!(cells[..index].iter().all(|other| !std::ptr::eq(*cell, *other)));
            }
        }
    }
}
