//! Unit tests of `src/files/map/index.rs`, which is private.

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
    let earlier =
        |index: &MapIndex, file| index.leaf(FileId(file)).unwrap().earlier(FileId(file)).is_some();
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
