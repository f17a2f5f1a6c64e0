#![allow(clippy::disallowed_methods, reason = "the tests damage files by hand")]

use std::sync::Arc;

use coldstore::{ColumnSpec, PreadView, Reader, ReaderOptions, Writer, WriterOptions};
use rustix::io::Errno;
use tempfile::TempDir;
use test_support::BadSectors;

use super::*;

const EIO: i32 = Errno::IO.raw_os_error();

struct Made {
    directory: tempfile::TempDir,
}

impl Made {
    fn with(column: ColumnSpec, backfill: bool, puts: &[(u64, u8)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = WriterOptions::create(column).allow_backfill(backfill);
        let mut writer = Writer::open(directory.path(), options).unwrap();
        for (slot, byte) in puts {
            writer.put(Slot(*slot), &[*byte; 32]).unwrap();
        }
        Self { directory }
    }

    fn view(&self) -> PreadView {
        Reader::open(self.directory.path(), ReaderOptions::default()).unwrap().view()
    }
}

/// The first letter of each of the first `count` states.
fn letters(slots: &FileSlots, count: usize) -> String {
    slots.states[..count].iter().map(|state| state.to_string().remove(0)).collect()
}

#[test]
fn records_that_lie_after_those_of_later_slots_are_backfilled() {
    let puts = [(1, 0), (4, 0), (7, 0), (5, 0), (2, 0), (3, 0)];
    let made = Made::with(Column::StateSnapshots.spec(), true, &puts);
    let view = made.view();
    let slots = slots_of_file(&view, FileId(0), &Expected::Nothing).unwrap();
    assert_eq!(letters(&slots, 10), "epbbpbepee");
    assert!(slots.fault.is_none());
}

#[test]
fn a_slot_without_a_root_is_missing_between_the_first_and_the_highest() {
    let made = Made::with(Column::BlockRoots.spec(), false, &[(2, 0), (3, 0), (6, 0)]);
    let view = made.view();
    let expected = Expected::of(Column::BlockRoots, &view, None, None).unwrap();
    let slots = slots_of_file(&view, FileId(0), &expected).unwrap();
    assert_eq!(letters(&slots, 9), "eeppmmpee");
    let slots = slots_of_file(&view, FileId(1), &expected).unwrap();
    assert!(slots.states.iter().all(|state| *state == SlotState::Empty));
    assert_eq!(expected.file_ids(&view).unwrap(), [FileId(0)]);
    let missing = |first, last| expected.missing_without_files(&view, Slot(first)..=Slot(last));
    assert_eq!(missing(0, 9000), Some(Slot(2)..=Slot(6)));
    assert_eq!((missing(0, 1), missing(7, 9000)), (None, None));
}

#[test]
fn a_repeated_root_proves_a_skipped_slot_and_a_new_root_a_missing_block() {
    let of_slots = [1, 1, 2, 3, 3, 3, 4, 5];
    let roots: Vec<(u64, u8)> = (0..).zip(of_slots).collect();
    let roots = Made::with(Column::BlockRoots.spec(), false, &roots);
    let blocks = Made::with(Column::Blocks.spec(), false, &[(0, 0), (3, 0)]);
    let (roots, blocks) = (roots.view(), blocks.view());
    let expected = Expected::of(Column::Blocks, &blocks, Some(&roots), None).unwrap();
    let slots = slots_of_file(&blocks, FileId(0), &expected).unwrap();
    assert_eq!(letters(&slots, 10), "psmpssmmee");
}

/// The start of a signed block whose parent has the root `parent`.
fn block(slot: u64, parent: u8) -> Vec<u8> {
    let mut block = vec![0; 184];
    block[..4].copy_from_slice(&100_u32.to_le_bytes());
    block[100..108].copy_from_slice(&slot.to_le_bytes());
    block[116..148].fill(parent);
    block[180..].copy_from_slice(&84_u32.to_le_bytes());
    block
}

#[test]
fn the_first_slot_of_a_late_archive_was_skipped_if_the_next_block_names_its_root_as_parent() {
    let roots = Made::with(Column::BlockRoots.spec(), false, &[(8, 1), (9, 1), (10, 2)]);
    for (parent, wanted) in [(1, "eeeeeeeesspe"), (3, "eeeeeeeeespe")] {
        let directory = tempfile::tempdir().unwrap();
        let options = WriterOptions::create(Column::Blocks.spec());
        let mut writer = Writer::open(directory.path(), options).unwrap();
        writer.put(Slot(10), &block(10, parent)).unwrap();
        let blocks = Made { directory };
        let (roots, blocks) = (roots.view(), blocks.view());
        let expected = Expected::of(Column::Blocks, &blocks, Some(&roots), None).unwrap();
        let slots = slots_of_file(&blocks, FileId(0), &expected).unwrap();
        assert_eq!(letters(&slots, 12), wanted, "its parent is the block {parent}");
    }
}

/// Guards against an archive that seems to begin after its damage.
#[test]
fn a_first_file_that_is_lost_or_damaged_counts_from_its_first_slot() {
    let puts = [(3, 0), (4, 0), (8192, 0), (8193, 0)];
    for (name, is_removed, wanted) in [
        ("data_00000", true, "mmmmmm"),
        ("data_00000", false, "eeeddm"),
        ("data_00000.off", true, "mmmmmm"),
        ("data_00000.off", false, "mmmmmm"),
    ] {
        let made = Made::with(Column::BlockRoots.spec(), false, &puts);
        assert_eq!(lowest_slot(&made.view()).unwrap(), Some(Slot(3)));
        let path = made.directory.path().join(name);
        std::fs::remove_file(&path).unwrap();
        if !is_removed {
            std::fs::write(&path, b"").unwrap();
        }
        let view = made.view();
        let expected = Expected::of(Column::BlockRoots, &view, None, None).unwrap();
        let slots = slots_of_file(&view, FileId(0), &expected).unwrap();
        assert_eq!(letters(&slots, 6), wanted, "{name}, removed: {is_removed}");
    }
    let made = Made::with(Column::BlockRoots.spec(), false, &puts);
    for name in ["data_00000", "data_00000.off"] {
        std::fs::remove_file(made.directory.path().join(name)).unwrap();
    }
    let view = made.view();
    let missing = |begin| {
        let expected = Expected::of(Column::BlockRoots, &view, None, begin).unwrap();
        expected.missing_without_files(&view, Slot(0)..=Slot(8191))
    };
    assert_eq!(missing(None), None, "nothing tells of what was there");
    assert_eq!(missing(Some(Slot(3))), Some(Slot(3)..=Slot(8191)));
}

#[test]
fn slots_of_a_removed_file_are_missing_and_of_a_truncated_one_damaged() {
    let puts = [(0, 0), (1, 0), (8192, 0), (8193, 0), (16384, 0)];
    let made = Made::with(Column::BlockRoots.spec(), false, &puts);
    let path = |name: &str| made.directory.path().join(name);
    let data = std::fs::read(path("data_00001")).unwrap();
    let of_second = || {
        let view = made.view();
        let expected = Expected::of(Column::BlockRoots, &view, None, None).unwrap();
        slots_of_file(&view, FileId(1), &expected).unwrap()
    };
    assert_eq!(letters(&of_second(), 3), "ppm");
    std::fs::write(path("data_00001"), &data[..50]).unwrap();
    assert_eq!(letters(&of_second(), 3), "pdm", "the entry is past the end");
    std::fs::remove_file(path("data_00001")).unwrap();
    let gone = of_second();
    assert_eq!(letters(&gone, 3), "mmm");
    assert!(gone.fault.unwrap().is_corrupt());
    std::fs::write(path("data_00001"), &data).unwrap();
    std::fs::write(path("data_00001.off"), vec![0; 70_000]).unwrap();
    assert_eq!(letters(&of_second(), 3), "ddd");
}

/// A map of slots is drawn around what cannot be read.
#[test]
fn slots_whose_entry_or_root_cannot_be_read_are_unreadable_and_the_others_are_shown() {
    let [blocks, roots] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let open = |dir: &TempDir, kind: Column| {
        Writer::open(dir.path(), WriterOptions::create(kind.spec())).unwrap()
    };
    let root = |slot: u64| (Slot(slot), [u8::try_from(slot / 2 % 200).unwrap(); 32]);
    let all: Vec<_> = (0..1200).map(root).collect();
    open(&roots, Column::BlockRoots).put_batch(&all).unwrap();
    let even: Vec<_> = (0..600).map(|slot| (Slot(slot * 2), block(slot * 2, 0))).collect();
    open(&blocks, Column::Blocks).put_batch(&even).unwrap();
    let view = |dir: &TempDir, name, bytes, error| {
        let medium = Arc::new(BadSectors { name, bytes, error });
        PreadView::open_on(medium, dir.path(), ReaderOptions::default()).unwrap()
    };
    let states = |blocks: &PreadView, roots: &PreadView| {
        let expected = Expected::of(Column::Blocks, blocks, Some(roots), None).unwrap();
        slots_of_file(blocks, FileId(0), &expected).unwrap()
    };
    let count = |slots: &FileSlots, wanted| slots.states.iter().filter(|s| **s == wanted).count();

    let whole = states(&view(&blocks, "no", 0..0, 0), &view(&roots, "no", 0..0, 0));
    assert_eq!((count(&whole, SlotState::Present), count(&whole, SlotState::Skipped)), (600, 600));
    // Entries 512 to 1023.
    let bad = view(&blocks, "data_00000.off", 4096..4097, EIO);
    let shown = states(&bad, &view(&roots, "no", 0..0, 0));
    assert_eq!(count(&shown, SlotState::Unreadable), 512);
    assert!(shown.states[512..1024].iter().all(|state| *state == SlotState::Unreadable));
    assert_eq!(shown.states[..512], whole.states[..512]);
    assert!(shown.fault.unwrap().to_string().contains("data_00000.off: cannot read"));
    // Of the roots in one block nothing tells whether their slots were skipped.
    let bad = view(&roots, "data_00000", 4096..4097, EIO);
    let shown = states(&view(&blocks, "no", 0..0, 0), &bad);
    let unreadable = count(&shown, SlotState::Unreadable);
    assert!((50..=54).contains(&unreadable), "{unreadable}");
    assert_eq!(count(&shown, SlotState::Present), 600);
    assert_eq!(count(&shown, SlotState::Missing) + count(&shown, SlotState::Damaged), 0);
}
