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
mod tests {
    use super::super::mapping::Part;
    use super::super::mapping::tests::{TAG, file_of, map_of};
    use super::*;
    use crate::format::record::RecordTag;

    fn first_slot(file: u64) -> Slot {
        FileId(file).first_slot()
    }

    /// Those of the first 200 files that have a map with a record.
    fn mapped(index: &MapIndex) -> Vec<u64> {
        let is_mapped = |file: &u64| index.get(FileId(*file)).is_some_and(SlotMap::has_files);
        (0..200).filter(is_mapped).collect()
    }

    fn put(index: &MapIndex, file: u64, map: &SlotMap) {
        index.leaf(FileId(file)).unwrap().put(FileId(file), map.clone());
    }

    #[test]
    fn every_file_below_the_end_has_a_place_of_its_own() {
        let (bytes, table) = file_of(&[b"ab"]);
        let map = map_of(&bytes, &table);
        for last in [0, 63, 64, 65_535, 65_536, 1 << 30, FileId::MAX.0] {
            let index = MapIndex::new(first_slot(last).0 + 1);
            let mut files = vec![0, last / 2, last.saturating_sub(1), last];
            files.dedup();
            let mut count = 0;
            for file in files {
                let Some(leaf) = index.leaf(FileId(file)) else {
                    assert!(file >= MAX_LEAVES << LEAF_BITS);
                    assert!(index.get(FileId(file)).is_none());
                    continue;
                };
                assert!(leaf.get(FileId(file)).is_none() && index.len() == count);
                let put = leaf.put(FileId(file), map.clone());
                assert!(std::ptr::eq(index.get(FileId(file)).unwrap(), put));
                assert!(std::ptr::eq(leaf.put(FileId(file), SlotMap::absent()), put));
                assert_eq!(index.payload(first_slot(file), TAG.up_to(2)), Some(&b"ab"[..]));
                count += 1;
            }
        }
        assert!(MapIndex::new(0).get(FileId(0)).is_none());
    }

    #[test]
    fn a_plain_read_returns_what_the_checked_one_does() {
        let (bytes, mut table) = file_of(&[b"ab", b"", b"cde"]);
        let last = bytes.len() as u64;
        // Entries past the bound, or that do not point to a header.
        for (slot, entry) in (3..).zip([0, 1, 7, 9, last - 1, last, last + 8, u64::MAX]) {
            table.set(slot, entry);
        }
        let whole = map_of(&bytes, &table);
        for bound in 0..=bytes.len() {
            let index = MapIndex::new(12);
            let find = |slot, tag| index.payload(Slot(slot), tag);
            assert_eq!(find(0, TAG.up_to(2)), None, "no map is there yet");
            let leaf = index.leaf(FileId(0)).unwrap();
            let map = leaf.put(FileId(0), whole.rebound(bound).unwrap());
            for (slot, longest) in (0..12).flat_map(|slot| [(slot, 2), (slot, u32::MAX)]) {
                let wanted = TAG.payload(map.records(), map.entry(Slot(slot).index_in_file())).ok();
                let wanted = wanted.filter(|payload| payload.len() <= longest as usize);
                let found = find(slot, TAG.up_to(longest));
                assert_eq!(found, wanted, "slot {slot}, bound {bound}, longest {longest}");
                assert_eq!(find(slot, RecordTag::new([5, 0]).up_to(longest)), None);
                assert_eq!(index.without_slots().payload(Slot(slot), TAG.up_to(longest)), None);
            }
            assert_eq!(find(12, TAG.up_to(2)), None, "past the end");
        }
    }

    #[test]
    fn the_next_index_shares_the_leaves_without_a_changed_file() {
        let (bytes, table) = file_of(&[b"ab"]);
        let map = map_of(&bytes, &table);
        let end = first_slot(199).0 + 1;
        let first = MapIndex::new(end);
        for file in [0, 1, 63, 64, 70, 130] {
            put(&first, file, &map);
        }
        let changed = [1, 2, 130, 1 << 40].map(FileId);
        let second = first.next(end, Some(&changed));
        assert_eq!(mapped(&second), [0, 63, 64, 70]);
        let earlier = |index: &MapIndex, file| {
            index.leaf(FileId(file)).unwrap().earlier(FileId(file)).is_some()
        };
        let kept: Vec<u64> = (0..200).filter(|file| earlier(&second, *file)).collect();
        assert_eq!((kept, second.len()), (vec![1, 130], 6));
        // Files 64 to 127 are in one leaf; the other leaves are new.
        put(&second, 100, &map);
        put(&second, 2, &map);
        put(&second, 1, &map);
        assert_eq!(mapped(&first), [0, 1, 63, 64, 70, 100, 130]);
        assert_eq!((mapped(&second), second.len()), (vec![0, 1, 2, 63, 64, 70, 100], 8));
        // If the changes are unknown, every map must be checked.
        let third = second.next(end, None);
        assert!(mapped(&third).is_empty() && third.len() == 8);
        assert!([0, 1, 2, 63, 64, 70, 100, 130].iter().all(|file| earlier(&third, *file)));
        let fourth = third.next(first_slot(300).0, Some(&[]));
        put(&fourth, 290, &map);
        assert!(earlier(&fourth, 130) && fourth.next(1, Some(&[])).leaves.len() == 1);
    }

    #[test]
    fn a_leaf_keeps_what_was_listed_first() {
        let ids = |index: &MapIndex, from, to| -> Vec<u64> {
            index.listed(FileId(from)..FileId(to)).map(|id| id.0).collect()
        };
        let end = first_slot(199).0 + 1;
        let first = MapIndex::new(end);
        assert!(!first.is_listed() && !first.leaf(FileId(5)).unwrap().is_unlisted(FileId(5)));
        first.set_listed(&[0, 3, 63, 64, 130, 1 << 50].map(FileId));
        assert!(first.is_listed() && first.leaf(FileId(5)).unwrap().is_unlisted(FileId(5)));
        let second = first.next(end, Some(&[FileId(4)]));
        assert!(!second.is_listed());
        second.set_listed(&[4, 131].map(FileId));
        assert_eq!(ids(&second, 0, u64::MAX), [4, 64, 130]);
        assert_eq!(ids(&first, 0, u64::MAX), [0, 3, 63, 64, 130]);
        assert_eq!(ids(&first, 3, 64), [3, 63]);
        assert!(ids(&first, 131, 131).is_empty() && ids(&first, 1 << 40, u64::MAX).is_empty());
        assert_eq!(first.listed(FileId(0)..FileId(130)).next_back(), Some(FileId(64)));
    }

    /// Miri lets the readers see the stores in any order that the memory model allows.
    #[test]
    fn a_map_is_found_whole_or_not_at_all_while_it_is_put_in() {
        let (bytes, table) = file_of(&[b"ab"]);
        let map = map_of(&bytes, &table);
        let files = [0, 1, 64];
        let end = first_slot(64).0 + 1;
        let index = MapIndex::new(end);
        let look = |index: &MapIndex| {
            for file in files {
                if let Some(payload) = index.payload(first_slot(file), TAG.up_to(2)) {
                    assert_eq!(payload, b"ab");
                }
                if let Some(map) = index.get(FileId(file)) {
                    assert_eq!(TAG.payload(map.records(), map.entry(0)), Ok(&b"ab"[..]));
                    map.is_first_touch(0, Part::Whole);
                }
            }
        };
        let take_over = || {
            let later = index.next(end, Some(&[FileId(1)]));
            put(&later, 0, &map);
            look(&later);
        };
        let put_in = |files: &[u64]| {
            for file in files {
                put(&index, *file, &map);
                look(&index);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..3).for_each(|_| look(&index)));
            scope.spawn(|| (0..2).for_each(|_| take_over()));
            scope.spawn(|| put_in(&files[..2]));
            put_in(&files[1..]);
        });
        assert_eq!(index.len(), files.len());
        look(&index);
    }
}
