//! The maps of a snapshot, by file.

use std::ops::Range;

use super::mapping::SlotMap;
use super::plain::PlainCell;
use crate::format::record::BoundedTag;
use crate::slot::{FileId, SLOTS_PER_FILE, Slot};
use crate::sync::{Arc, OnceLock};

const LEAF_BITS: u32 = 6;
/// Number of files in a leaf.
const LEAF_FILES: usize = 1 << LEAF_BITS;
const FILE_BITS: u32 = SLOTS_PER_FILE.trailing_zeros();
const _: () = assert!(1 << FILE_BITS == SLOTS_PER_FILE);
const LEAF_SLOTS: u64 = SLOTS_PER_FILE << LEAF_BITS;
/// Maximum number of leaves in an index: 537 million slots, two centuries of mainnet.
const MAX_LEAVES: u64 = 1024;

/// The maps of all files below a slot, in leaves of [`LEAF_FILES`] files.
///
/// A map is inserted once and stays. Snapshots share the leaves in which no file changed between them.
#[derive(Clone, Debug)]
pub(crate) struct MapIndex {
    leaves: Arc<[Arc<Leaf>]>,
    /// Every slot below `end` has a leaf.
    end: u64,
}

/// The maps of [`LEAF_FILES`] files with consecutive ids.
#[derive(Debug)]
pub(crate) struct Leaf {
    /// The fields of `maps` that plain reads need.
    plain: [PlainCell; LEAF_FILES],
    maps: [OnceLock<SlotMap>; LEAF_FILES],
    /// Maps of an earlier snapshot whose files may have changed. They are checked before use.
    earlier: Vec<(usize, SlotMap)>,
    /// One bit for each file in the directory, once the directory was listed.
    listed: OnceLock<u64>,
}

impl MapIndex {
    /// An empty index for the files of all slots below `end`, or of as many as [`MAX_LEAVES`] hold.
    pub(crate) fn new(end: u64) -> Self {
        Self::of((0..leaf_count(end)).map(|_| Arc::new(Leaf::new())).collect(), end)
    }

    fn of(leaves: Arc<[Arc<Leaf>]>, end: u64) -> Self {
        let end = end.min(leaves.len() as u64 * LEAF_SLOTS);
        Self { leaves, end }
    }

    /// An index with the same leaves, in which [`Self::payload`] finds nothing.
    pub(crate) fn without_slots(&self) -> Self {
        Self { leaves: Arc::clone(&self.leaves), end: 0 }
    }

    /// The index of a later snapshot. Shares the leaves without a file in `changed`, and takes over the
    /// maps of all other files. Maps of files in `changed` are kept to be checked. `None`: any file may
    /// have changed.
    pub(crate) fn next(&self, end: u64, changed: Option<&[FileId]>) -> Self {
        let count = leaf_count(end);
        let mut masks = vec![if changed.is_some() { 0 } else { u64::MAX }; count];
        for file_id in changed.unwrap_or_default() {
            if let Some(mask) = masks.get_mut(leaf_of(*file_id)) {
                *mask |= bit_of(*file_id);
            }
        }
        let leaves = masks.iter().enumerate().map(|(index, mask)| match self.leaves.get(index) {
            Some(leaf) if *mask == 0 => Arc::clone(leaf),
            Some(leaf) => Arc::new(leaf.next(*mask)),
            None => Arc::new(Leaf::new()),
        });
        Self::of(leaves.collect(), end)
    }

    /// The payload of the record of a slot below the end, if the file's map was inserted and the record
    /// matches `tag`.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "64-bit targets only")]
    pub(crate) fn payload(&self, slot: Slot, tag: BoundedTag) -> Option<&[u8]> {
        if slot.0 >= self.end {
            return None;
        }
        let leaf = (slot.0 >> (FILE_BITS + LEAF_BITS)) as usize;
        // SAFETY: the slot is below `end`, and `Self::of` has checked that each such slot has a leaf.
        let leaf = unsafe { self.leaves.get_unchecked(leaf) };
        let plain = &leaf.plain[(slot.0 >> FILE_BITS) as usize % LEAF_FILES];
        // SAFETY: only `Leaf::put_at` publishes maps, and the leaf keeps them in `maps`.
        unsafe { plain.payload(slot.index_in_file(), tag) }
    }

    /// The map of a file, if it was inserted.
    pub(crate) fn get(&self, file_id: FileId) -> Option<&SlotMap> {
        self.leaf(file_id)?.get(file_id)
    }

    /// The leaf of a file; `None` past the end of the index.
    pub(crate) fn leaf(&self, file_id: FileId) -> Option<&Leaf> {
        self.leaves.get(leaf_of(file_id)).map(|leaf| &**leaf)
    }

    /// Whether every leaf has the listing of its files in the directory.
    pub(crate) fn is_listed(&self) -> bool {
        self.leaves.iter().all(|leaf| leaf.listed.get().is_some())
    }

    /// Sets the files in the directory, in leaves that do not have a listing yet.
    pub(crate) fn set_listed(&self, ids: &[FileId]) {
        let mut masks = vec![0; self.leaves.len()];
        for file_id in ids {
            if let Some(mask) = masks.get_mut(leaf_of(*file_id)) {
                *mask |= bit_of(*file_id);
            }
        }
        for (leaf, mask) in self.leaves.iter().zip(masks) {
            leaf.listed.get_or_init(|| mask);
        }
    }

    /// Ids of the listed files in a range of ids, ascending.
    pub(crate) fn listed(&self, ids: Range<FileId>) -> impl DoubleEndedIterator<Item = FileId> {
        let end = leaf_of(ids.end).saturating_add(1).min(self.leaves.len());
        let files = (leaf_of(ids.start)..end).flat_map(|leaf| {
            let listed = self.leaves[leaf].listed.get().copied().unwrap_or(0);
            let first = (leaf as u64) << LEAF_BITS;
            (0..LEAF_FILES as u64)
                .filter(move |file| listed >> file & 1 == 1)
                .map(move |file| FileId(first + file))
        });
        files.filter(move |file_id| ids.contains(file_id))
    }

    /// Number of maps.
    pub(crate) fn len(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.len()).sum()
    }
}

impl Leaf {
    fn new() -> Self {
        let maps = std::array::from_fn(|_| OnceLock::new());
        let plain = [const { PlainCell::new() }; LEAF_FILES];
        Self { plain, maps, earlier: Vec::new(), listed: OnceLock::new() }
    }

    /// The leaf of a later snapshot; `changed` has one bit for each file that may have changed.
    fn next(&self, changed: u64) -> Self {
        let mut next = Self::new();
        for index in 0..LEAF_FILES {
            let earlier = || self.earlier.iter().find(|(of, _)| *of == index).map(|(_, map)| map);
            match self.maps[index].get() {
                Some(map) if changed >> index & 1 == 0 => {
                    next.put_at(index, map.clone());
                }
                map => {
                    let map = map.or_else(earlier).filter(|map| map.has_files());
                    next.earlier.extend(map.map(|map| (index, map.clone())));
                }
            }
        }
        next
    }

    /// The map of a file of this leaf, if it was inserted.
    pub(crate) fn get(&self, file_id: FileId) -> Option<&SlotMap> {
        self.maps[index_of(file_id)].get()
    }

    /// Inserts the map of a file of this leaf unless there is one, and returns the map in the leaf.
    pub(crate) fn put(&self, file_id: FileId, map: SlotMap) -> &SlotMap {
        self.put_at(index_of(file_id), map)
    }

    fn put_at(&self, index: usize, map: SlotMap) -> &SlotMap {
        let map = self.maps[index].get_or_init(|| map);
        self.plain[index].publish(map);
        map
    }

    /// The map of a file in an earlier snapshot.
    pub(crate) fn earlier(&self, file_id: FileId) -> Option<&SlotMap> {
        let index = index_of(file_id);
        self.earlier.iter().find(|(of, _)| *of == index).map(|(_, map)| map)
    }

    /// Whether a file was missing when the directory was listed.
    pub(crate) fn is_unlisted(&self, file_id: FileId) -> bool {
        self.listed.get().is_some_and(|listed| listed & bit_of(file_id) == 0)
    }

    fn len(&self) -> usize {
        let is_new = |of: usize| self.maps[of].get().is_none();
        let earlier = self.earlier.iter().filter(|(of, _)| is_new(*of)).count();
        self.maps.iter().filter(|map| map.get().is_some()).count() + earlier
    }
}

fn leaf_count(end: u64) -> usize {
    usize::try_from(end.div_ceil(LEAF_SLOTS).min(MAX_LEAVES)).unwrap_or(usize::MAX)
}

fn leaf_of(file_id: FileId) -> usize {
    usize::try_from(file_id.0 >> LEAF_BITS).unwrap_or(usize::MAX)
}

#[allow(clippy::cast_possible_truncation, reason = "the remainder is below LEAF_FILES")]
fn index_of(file_id: FileId) -> usize {
    file_id.0 as usize % LEAF_FILES
}

fn bit_of(file_id: FileId) -> u64 {
    1 << index_of(file_id)
}

#[cfg(test)]
#[path = "../../../tests/read/map_index.rs"]
mod tests;
