//! The mapped files of one view, by file id.

use std::sync::OnceLock;

use crate::files::map::SlotMap;
use crate::slot::FileId;

const FANOUT_BITS: u32 = 6;
const FANOUT: usize = 1 << FANOUT_BITS;

/// A file of a view: filled in on first touch, in a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct FileCell(OnceLock<SlotMap>);
const _: () = assert!(size_of::<FileCell>() == 64);

/// A tree of fixed depth. Its memory follows the files that were touched, not their ids: one
/// enormous slot in a conf costs a few nodes.
enum Node {
    Inner(Box<[OnceLock<Node>; FANOUT]>),
    Files(Box<[FileCell; FANOUT]>),
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

pub(super) struct FileTable {
    root: Node,
    height: u32,
}

impl FileTable {
    /// A table for the files `0 ..= last`.
    pub(super) fn new(last: FileId) -> Self {
        let mut height = 0;
        while last.0 >> ((height + 1) * FANOUT_BITS) != 0 {
            height += 1;
        }
        Self {
            root: Node::of_height(height),
            height,
        }
    }

    /// The cell of a file, at most the table's last.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked to the fan-out")]
    pub(super) fn cell(&self, file_id: FileId) -> &OnceLock<SlotMap> {
        let mut node = &self.root;
        let mut height = self.height;
        loop {
            let index = (file_id.0 >> (height * FANOUT_BITS)) as usize % FANOUT;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_cell_of_its_own_however_large_its_id() {
        for last in [0, 63, 64, 4095, 4096, 1 << 20, FileId::MAX.0] {
            let table = FileTable::new(FileId(last));
            let mut ids = vec![0, last / 2, last.saturating_sub(1), last];
            ids.dedup();
            let cells: Vec<_> = ids.iter().map(|id| table.cell(FileId(*id))).collect();
            for (index, cell) in cells.iter().enumerate() {
                assert!(std::ptr::eq(*cell, table.cell(FileId(ids[index]))));
                assert!(
                    cells[..index]
                        .iter()
                        .all(|other| !std::ptr::eq(*cell, *other))
                );
            }
        }
    }
}
